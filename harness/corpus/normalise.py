"""One spelling for every function: what the corpus stores and what both sides of a pair are written in.

A mutation can only be printed by `ast.unparse`, which loses comments, line breaks and quotes; half of all documented
functions look different after it. So *every* text goes through the same printing, or a reward model would learn
formatting instead of correctness. Docstrings are taken out (they become the prompt) and so are decorators: they name
things outside the function, and some of them (validation tables, generated documentation) are longer than it.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import warnings
from collections.abc import Sequence

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

# A line that ends the description: a doctest, a reST field or directive, "Args:" and its like, a NumPy underline.
_LISTING = re.compile(
    r"\s*(>>> |:\w[^:\n]*:(?!`)|\.\. \w+"
    r"|(Args|Arguments|Parameters|Params|Returns?|Yields|Raises|Examples?|Notes?|See Also|References)(:|\s*$))"
)
# What printed code has wherever an f-string is, and what it has where the printer had to choose quotes or escapes.
# Other strings may have both.
_FORMATTED = ("f'", 'f"')
_CHOSEN = ('"', "\\")
_UNDERLINE = re.compile(r"\s*[-=~]{3,}\s*$")


def parse_quietly(text: str | bytes) -> ast.Module:
    """`ast.parse` without the warnings that other people's code causes.

    Raises:
        SyntaxError: for everything that cannot be parsed, null bytes and bottomless nesting included.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            raise SyntaxError(str(error)) from error


def compiles(source: str) -> bool:
    """Whether Python accepts the source (which is compiled and never run)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(source, "<function>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            return False
    return True


def parse_function(source: str) -> FunctionNode:
    """The one function a source consists of, its docstring and decorators taken out; it may be indented.

    Raises:
        SyntaxError: the source is not exactly one parsable function.
    """
    body = parse_quietly(textwrap.dedent(source) if source[:1].isspace() else source).body
    if len(body) != 1 or not isinstance(body[0], FunctionNode):
        raise SyntaxError("not exactly one function")
    strip(body[0])
    return body[0]


def strip(function: FunctionNode) -> None:
    """Take the decorators and the docstring out, in place; a body left empty becomes `pass`."""
    function.decorator_list = []
    if ast.get_docstring(function, clean=False) is not None:
        function.body = function.body[1:] or [ast.copy_location(ast.Pass(), function.body[0])]


def print_function(function: FunctionNode) -> str:
    """The normalised text of a function already stripped, without a final newline.

    Raises:
        SyntaxError: Python cannot print it (an f-string that needs a backslash, bottomless nesting).
    """
    try:
        return ast.unparse(function)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error)) from error


def normalise(source: str) -> str:
    """The normalised text of one function; normalising twice changes nothing more.

    Raises:
        SyntaxError: the source is not exactly one function that can be parsed and printed.
    """
    return print_function(parse_function(source))


def prints_alike(function: FunctionNode, printed: str) -> bool:
    """Whether normalising a function's printed text once more gives the same text.

    Python prints what it parses, so it does, but for a second string after the docstring, which would be taken for one,
    and for what it may do to quotes and escapes in f-strings. Only where these are is it printed again.
    """
    if ast.get_docstring(function, clean=False) is not None:
        return False
    if not (any(sign in printed for sign in _FORMATTED) and any(sign in printed for sign in _CHOSEN)):
        return True
    try:
        return normalise(printed) == printed
    except SyntaxError:
        return False


def describe(docstring: str, characters: int) -> str:
    """What a docstring says before it starts listing parameters, clipped.

    Args:
        docstring: cleaned or not.
        characters: the upper limit. Whole paragraphs are kept as long as they fit; a first paragraph that is itself
            too long is cut after a word.

    Returns:
        The description; empty if the docstring begins with a list of parameters or a doctest.
    """
    text = "\n".join(_description_lines(inspect.cleandoc(docstring).splitlines())).strip()
    if len(text) <= characters:
        return text
    end = text.rfind("\n\n", 0, characters + 2)
    if end <= 0:
        end = max(text.rfind(" ", 0, characters + 1), text.rfind("\n", 0, characters + 1))
    return text[: end if end > 0 else characters].rstrip()


def describes(docstring: str, characters: int) -> bool:
    """Whether `describe` leaves at least so many characters of a docstring; its first line mostly tells."""
    lines = docstring.strip().splitlines()
    stays = lines and not _LISTING.match(lines[0]) and not any(_UNDERLINE.match(line) for line in lines[:2])
    if stays and len(lines[0].rstrip()) >= characters:
        return True
    return len(describe(docstring, len(docstring))) >= characters


def _description_lines(lines: Sequence[str]) -> list[str]:
    for index, line in enumerate(lines):
        if _LISTING.match(line):
            return list(lines[:index])
        if _UNDERLINE.match(line):
            return list(lines[: max(index - 1, 0)])  # the heading stands on the line before
    return list(lines)
