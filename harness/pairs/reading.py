"""Reads texts that may be Python and may be anything: parsed and compiled within bounds, never run.

The texts are other people's or a model's. What Python cannot take (null bytes, half characters, bottomless nesting,
numbers of a million digits) makes a text unreadable and stops nothing.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from dataclasses import dataclass
from typing import Literal

MOST_CHARACTERS = 100_000
"""Longer texts are not parsed: a hundred times the longest function the default corpus keeps."""

MOST_BRACKETS_DEEP = 100
"""Deeper texts are not parsed: Python's own limit is 200, and its parser may take exponential time before it."""

State = Literal["compiles", "parses", "broken", "empty", "too_long", "too_deep"]

REFUSALS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
"""What `ast.parse` and `compile` raise for texts they do not take."""

_BRACKETS = re.compile(r"[\[({]|[\])}]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What came of a text.

    Attributes:
        state: `compiles` implies that it parses; `too_long` and `too_deep` were not tried.
        tree: where it parses.
    """

    state: State
    tree: ast.Module | None = None

    @property
    def parses(self) -> bool:
        return self.tree is not None


def read(text: str) -> Reading:
    """Parse a text and see whether Python would accept it; common indentation is taken off first."""
    if not text.strip():
        return Reading(state="empty")
    if len(text) > MOST_CHARACTERS:
        return Reading(state="too_long")
    if _deeper_than(text, MOST_BRACKETS_DEEP):
        return Reading(state="too_deep")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            source = textwrap.dedent(text) if text.lstrip("\n")[0] in " \t" else text
            tree = ast.parse(source)
        except REFUSALS:
            return Reading(state="broken")
        try:
            compile(source, "<pair>", "exec", dont_inherit=True)
        except REFUSALS:
            return Reading(state="parses", tree=tree)
    return Reading(state="compiles", tree=tree)


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
