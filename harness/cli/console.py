"""Where commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import codecs
import io
import json
import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.table import Table

# What stands for characters of our own where a terminal has none of them; of any other its code stands there.
PLAIN = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{RETURN SYMBOL}": "|",
}
PLAINLY = "harness-plainly"
UNBOUNDED = 100_000  # columns of what is no terminal


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of codecs: what cannot be encoded is written in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    return PLAIN.get(character, character.encode("ascii", "backslashreplace").decode("ascii")), error.start + 1


def print_anything() -> None:
    """Let this process print any text, whatever encoding its terminal or file has."""
    codecs.register_error(PLAINLY, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a test may have put another in its place
            stream.reconfigure(errors=PLAINLY)


def output() -> Console:
    return _console(stderr=False)


def errors() -> Console:
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    """A console; what goes to a file or a pipe is neither cropped nor folded."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = UNBOUNDED
    return made


def visible(text: str) -> str:
    """Text of unknown origin as it may be printed: whatever would steer a terminal is spelled out, lines are joined."""
    marked = text.strip().replace("\r\n", "\n").replace("\n", " \N{RETURN SYMBOL} ")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in marked)


def clipped(text: str, most: int = 80) -> str:
    """An argument as a message quotes it: on one line and not longer than one."""
    return repr(text if len(text) <= most else f"{text[:most]}...")


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
