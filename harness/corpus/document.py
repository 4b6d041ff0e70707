"""What every source yields: documents. Python files become their documented functions, everything else stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from harness.corpus.normalise import FunctionNode, parse_function, print_function
from harness.corpus.python_packages import Function, functions_of
from harness.corpus.tally import Tally
from harness.recipe.corpus import PYTHON

PROSE = frozenset({"text", "markdown"})
# A comment at the very beginning of a file: lines of one kind, or one block.
_LEADING_LINES = re.compile(r"(?:#!.*\n)?((?:[ \t]*(?:#|//|--|;|%).*\n)+)")
_LEADING_BLOCK = re.compile(r"\s*/\*(.*?)\*/\s*\n?", re.DOTALL)
_COMMENT_SIGNS = re.compile(r"^[ \t]*(?:#+|//+!?|--+|;+|%+|\*+)?[ \t]?", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A row of the corpus before it has a split; what the fields mean is told by `harness.store.artifacts.Corpus`.

    `node` is what the text of a function was printed from, so that nobody parses it again.
    """

    cluster: str
    path: str
    name: str = ""
    unit: Literal["function", "document"] = "document"
    language: str
    licence: str = ""
    description: str
    text: str
    node: FunctionNode | None = field(default=None, compare=False, repr=False)


def of_function(function: Function, *, licence: str = "") -> Document:
    """A function just parsed, as a document."""
    return Document(
        cluster=function.package,
        path=function.module,
        name=function.qualified_name,
        unit="function",
        language=PYTHON,
        licence=licence,
        description=function.docstring,
        text=function.source,
        node=function.node,
    )


def unpack(
    document: Document, *, chunk_characters: int | None, counts: Tally, undocumented: bool = False
) -> Iterator[Document]:
    """The documents a text consists of.

    Python with a description is one function in normal form if it is one, else a document; Python without is a file
    of functions. Other documents are cut into chunks and, where they have no description, begin with it.

    Args:
        document: as a source gives it; an empty description means that it has none of its own.
        chunk_characters: greatest length of a piece, cut at line ends; None cuts nothing.
        counts: "unparsable_files" and "unparsable_functions" are added to it.
        undocumented: of a file of functions those without a docstring too.
    """
    if document.language == PYTHON and not document.description:
        for function in functions_of(
            document.text, counts, package=document.cluster, module=document.path, undocumented=undocumented
        ):
            yield of_function(function, licence=document.licence)
        return
    if document.language == PYTHON:
        try:
            node = parse_function(document.text)
            yield replace(document, unit="function", text=print_function(node), node=node)
            return
        except SyntaxError:
            pass  # more or less than one function: a document like any other
    for piece in _pieces(document.text, chunk_characters):
        if document.description:
            yield replace(document, text=piece)
        else:
            description, rest = leading_description(piece, document.language)
            yield replace(document, description=description, text=rest)


def leading_description(text: str, language: str) -> tuple[str, str]:
    """(what a text says about itself at its beginning, the rest): its leading comment, or prose's first paragraph."""
    if language in PROSE:
        first, *rest = _PARAGRAPH_END.split(text.strip(), maxsplit=1)
        return (first.lstrip("# ").strip(), rest[0].strip()) if rest else ("", text)
    block = _LEADING_BLOCK.match(text)
    lines = None if block else _LEADING_LINES.match(text)
    found = block or lines
    if found is None:
        return "", text
    return _COMMENT_SIGNS.sub("", found.group(1)).strip(), text[found.end() :].strip("\n")


def _pieces(text: str, characters: int | None) -> Iterator[str]:
    """The text in pieces of whole lines; a line that is longer by itself is cut."""
    if characters is None or len(text) <= characters:
        yield text
        return
    start = 0
    while start < len(text):
        end = min(start + characters, len(text))
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end].rstrip("\n")
        start = end
