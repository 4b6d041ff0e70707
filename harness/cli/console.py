"""Where commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import codecs
import io
import json
import sys
import unicodedata
from typing import Any

from rich.console import Console

from harness.tracking.words import plain

# What replaces our own characters where a terminal's encoding lacks them; any other is replaced by its code.
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
    """A console that prints text as it is, without markup, emoji or folding; only a terminal's tables are folded."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = UNBOUNDED
    return made


def visible(text: str) -> str:
    """Text of unknown origin on one line; whatever would steer a terminal is spelled out."""
    return plain(text.strip().replace("\r\n", "\n").replace("\n", " \N{RETURN SYMBOL} "))


def clipped(text: str, most: int = 80) -> str:
    """An argument as a message quotes it: on one line and shortened to fit."""
    return repr(text if len(text) <= most else f"{text[:most]}...")


def print_json(data: Any) -> None:
    output().file.write(f"{json.dumps(data, indent=1, sort_keys=True)}\n")  # rich takes seconds for long texts


def printable(text: str) -> str:
    """Text of unknown origin with its lines and tabs; whatever else would steer a terminal is spelled out."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
