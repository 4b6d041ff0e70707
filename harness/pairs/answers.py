"""What becomes of what models answer, and the parts of a function that they are shown. Knows no engine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.corpus.normalise import FunctionNode, parse_quietly, print_function, strip
from harness.corpus.python_packages import Function

# A fenced block of an answer in Markdown; one that is cut off has no closing fence.
_FENCED = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def signature_of(function: Function) -> str:
    """The first line of a function, which every side of its pairs is to have; "" for a document that is no function."""
    first = function.source.partition("\n")[0]
    return first if first.startswith(("def ", "async def ")) else ""


def clipped(description: str, share: float) -> str:
    """The beginning of a description, cut after a word: at most this share of its characters, and one word at least."""
    if share == 1:
        return description
    words = description.split(" ")
    kept = words[:1]
    for word in words[1:]:
        if len(" ".join([*kept, word])) > share * len(description):
            break
        kept.append(word)
    return " ".join(kept)


def code_of(answer: str, signature: str) -> str:
    """The code of an answer: its first fenced block, or all of it.

    Where that parses and holds the function that was asked for (or is one function), only this function is kept, in the
    normal form that references have, without docstring and comments: a reward model is to learn what code does, not
    who formats how. What does not parse stays as it was written.
    """
    fenced = _FENCED.search(answer)
    code = (fenced.group(1) if fenced else answer).strip("\n").rstrip()
    try:
        body = parse_quietly(code).body
        functions = [node for node in body if isinstance(node, FunctionNode)]
        named = [node for node in functions if f"def {node.name}(" in signature]
        chosen = next(iter(named), functions[0] if len(functions) == 1 else None)
        if chosen is None:
            return code
        strip(chosen)
        return print_function(chosen)
    except SyntaxError:
        return code


def descriptions_of(rows: Sequence[Mapping[str, Any]], characters: int) -> dict[int, str]:
    """Slot -> description in one paragraph, cut after a word to so many characters; slots without text are left out."""
    found = {}
    for row in rows:
        text = " ".join(row["text"].split())
        if len(text) > characters:
            text = text[: characters + 1].rpartition(" ")[0]
        if text:
            found[int(row["slot"])] = text
    return found
