"""Where commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from rich.console import Console
from rich.table import Table


def output() -> Console:
    return Console(soft_wrap=False, highlight=False)


def errors() -> Console:
    return Console(stderr=True, highlight=False)


def visible(text: str) -> str:
    """Text of unknown origin as it may be printed: whatever would steer a terminal is spelled out, lines are joined."""
    marked = text.strip().replace("\r\n", "\n").replace("\n", " \N{RETURN SYMBOL} ")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in marked)


def print_json(data: Any) -> None:
    Console(soft_wrap=True, highlight=False, markup=False, color_system=None).print(
        json.dumps(data, indent=1, sort_keys=True), markup=False
    )


def printable(text: str) -> str:
    """Text of unknown origin with its lines and tabs; whatever else would steer a terminal is spelled out."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table in the house style; columns named in `right` are numbers."""
    made = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made
