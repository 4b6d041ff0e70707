"""What a file's bytes say as text: its encoding, line ends as "\\n", and whether they are text at all.

Files without a byte order mark are UTF-8; the legacy encodings look alike, so nobody guesses them.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import DataError

# The longest line of JSON and the largest value or source file that is read; longer ones are counted, never held.
LONGEST_LINE = 8 << 20
# What a packed file may unpack to: real text is packed to a third or a tenth, what passes both bounds is made to.
MOST_UNPACKED = 64 << 20
MOST_TIMES = 100
MOST_DIGITS = 1_000  # of a whole number; beyond 4,300 Python reads and writes none
_LEAST_LINE = 32  # characters that a line counts for at least: reading many empty ones takes long as well
# Share of characters that no encoding gave, from which a file is something else than text.
_MOST_UNDECODED = 0.25
_UNDECODED = "\ufffd"
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a file that may be packed raises where it is damaged."""


class RepeatedKeyError(ValueError):
    """A key appears twice in one JSON object."""


def decode(content: bytes, encoding: str | None = None) -> str | None:
    """A file's content as text, with line ends as "\\n"; None where it is none.

    No text is what holds null characters, or more than a quarter of what cannot be decoded; less than that is replaced.

    Args:
        encoding: default: by the byte order mark, else UTF-8.
    """
    text = content.decode(encoding or _encoding(content), "replace")
    if "\0" in text or text.count(_UNDECODED) > _MOST_UNDECODED * len(text):
        return None
    return with_line_feeds(text)


def with_line_feeds(text: str) -> str:
    """The text with all line ends, CRLF and CR too, as "\\n"."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> Iterator[str | None]:
    """The lines of a file, unpacked where it is gzipped; None for one that is longer than `LONGEST_LINE`.

    Bytes that are not of the file's encoding come as lone surrogates, or replaced.

    Raises:
        OSError, EOFError, zlib.error: it is damaged, see `UNREADABLE`.
        DataError: it unpacks to more than it may.
    """
    packed = path.suffix == ".gz"
    most = most_unpacked(path) if packed else None
    with gzip.open(path) if packed else path.open("rb") as raw:
        encoding = _encoding(raw.peek(4)[:4])
        errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
        lines = io.TextIOWrapper(raw, encoding, errors)
        unpacked = 0
        inside = False  # a line too long
        while line := lines.readline(LONGEST_LINE):
            unpacked += max(len(line), _LEAST_LINE)
            if most is not None and unpacked > most:
                raise too_large(path.name, most)
            began_inside, inside = inside, len(line) == LONGEST_LINE and not line.endswith("\n")
            if not began_inside:
                yield None if inside else line


def most_unpacked(path: Path) -> int:
    """Bytes or characters that may be read out of a file that packs them."""
    return max(MOST_UNPACKED, MOST_TIMES * path.stat().st_size)


def too_large(name: str, most: int) -> DataError:
    """That a file holds more than `most_unpacked`."""
    return DataError(
        f"a file of the corpus may unpack to {MOST_UNPACKED >> 20} MiB or {MOST_TIMES} times its size",
        f"{name} holds more than {most:,} bytes",
        "look at what it holds; if all is well, store it unpacked or with less repeated",
    )


def parse_json(line: str) -> Any:
    """The value of a line of JSON.

    Raises:
        RepeatedKeyError: a key appears twice in an object.
        ValueError: it is no JSON, or its numbers are too long.
        RecursionError: it is nested too deeply.
    """
    return json.loads(line, object_pairs_hook=_object, parse_int=_whole_number)


def _whole_number(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number has {len(text):,} digits and not up to {MOST_DIGITS:,}: {text[:20]}...")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RepeatedKeyError(f"the key {twice!r} appears twice")
    return values


def _encoding(head: bytes) -> str:
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8")
