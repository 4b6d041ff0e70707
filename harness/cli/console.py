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


def print_json(data: Any) -> None:
    Console(soft_wrap=True, highlight=False, markup=False, color_system=None).print(
        json.dumps(data, indent=1, sort_keys=True), markup=False
    )


def visible(text: str) -> str:
    """Text from outside as a terminal may print it: control and direction marks are spelled out, not obeyed."""
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
