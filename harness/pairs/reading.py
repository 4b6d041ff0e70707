"""Reads texts that may be Python and may be anything: parsed and compiled within bounds, never run.

The texts are other people's or a model's. What Python cannot take (null bytes, half characters, bottomless nesting,
numbers of a million digits) makes a text unreadable and stops nothing.
"""

from __future__ import annotations

import ast
import re
import textwrap
from typing import Literal

from harness.corpus.normalise import compiles, parse_quietly

MOST_CHARACTERS = 100_000
"""Longer texts are not parsed: a hundred times the longest function the default corpus keeps."""

MOST_BRACKETS_DEEP = 100
"""Deeper texts are not parsed: Python's own limit is 200, and its parser may take exponential time before it."""

State = Literal["compiles", "parses", "broken", "empty", "too_long", "too_deep"]

PARSING: tuple[State, ...] = ("compiles", "parses")

_BRACKETS = re.compile(r"[\[({]|[\])}]")


def parse(text: str) -> ast.Module | None:
    """The syntax tree of a text, its common indentation taken off first; None where there is none within bounds."""
    return None if _refused(text) else _parse(_dedented(text))


def state_of(text: str) -> State:
    """Whether Python would accept a text: what compiles also parses; what is refused was not tried."""
    refused = _refused(text)
    if refused is not None:
        return refused
    source = _dedented(text)
    if compiles(source):
        return "compiles"
    return "broken" if _parse(source) is None else "parses"


def _refused(text: str) -> State | None:
    if not text.strip():
        return "empty"
    if len(text) > MOST_CHARACTERS:
        return "too_long"
    return "too_deep" if _deeper_than(text, MOST_BRACKETS_DEEP) else None


def _dedented(text: str) -> str:
    return textwrap.dedent(text) if text.lstrip("\n")[0] in " \t" else text


def _parse(source: str) -> ast.Module | None:
    try:
        return parse_quietly(source)
    except SyntaxError:
        return None


def _deeper_than(text: str, most: int) -> bool:
    """Whether brackets, wherever they stand, open more than so many times without closing."""
    if text.count("(") + text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth = depth + 1 if match.group() in "([{" else max(0, depth - 1)
        if depth > most:
            return True
    return False
