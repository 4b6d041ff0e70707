"""Items of flat XML files from outside: attributes and the texts of children, in bounds.

Nothing is expanded and nothing else is opened: a declaration inside the document, which is where entities are made, is
refused, and an external one that a published file names is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from harness.errors import DataError

XML = ".xml"
MOST_BYTES = 64 << 20
CHUNK = 1 << 16


def read_items(path: Path, item: str, children: Set[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(place in the file, attributes and named children's texts) of each element called `item`, in order.

    Raises:
        DataError: the file is larger than it may be, is no XML, declares something, or says a thing of an item twice.
    """
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"a {XML} file may hold {MOST_BYTES:,} bytes", "it is larger", "store it as .jsonl")
    reader = _Items(item, children)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield from reader.feed(chunk)
        yield from reader.feed(b"", last=True)


class _Items:
    def __init__(self, item: str, children: Set[str]) -> None:
        self._item, self._children = item, children
        self._found: list[tuple[str, dict[str, str]]] = []
        self._row: dict[str, str] | None = None
        self._at = ""
        self._child = ""
        self._texts: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._declared
        self._parser.SkippedEntityHandler = self._skipped
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._texts.append

    def feed(self, content: bytes, *, last: bool = False) -> list[tuple[str, dict[str, str]]]:
        """The items that end in it."""
        try:
            self._parser.Parse(content, last)
        except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: an encoding that is none
            raise DataError(f"a {XML} file must be XML", f"it is not ({error})", "correct the file") from None
        found, self._found[:] = list(self._found), []
        return found

    def _place(self) -> str:
        return f"line {self._parser.CurrentLineNumber:,}"

    def _doctype(self, name: str, system: str | None, public: str | None, declares: int) -> None:
        if declares:
            self._declared()

    def _declared(self, *declaration: object) -> NoReturn:
        value = "its DOCTYPE does"
        raise DataError(
            f"a {XML} file must declare nothing itself", value, "drop what is in its brackets", self._place()
        )

    def _skipped(self, name: str, parameter: bool) -> NoReturn:
        """An entity that the external declaration would have to make: its place in the text would stay empty."""
        rule = f"a {XML} file must write its texts out"
        raise DataError(rule, f"it names the entity {name!r}", "write what it stands for", self._place())

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._texts.clear()
        self._child = name
        if name == self._item:
            if self._row is not None:
                value = f"it begins inside the one of {self._at}"
                raise DataError(f"`{name}` must stand on its own", value, "correct the file", self._place())
            self._row, self._at = dict(attributes), self._place()

    def _end(self, name: str) -> None:
        if self._row is not None and name == self._child and name in self._children:
            if name in self._row:
                rule = "an element must be unique in its item"
                raise DataError(rule, f"`{name}` appears again", "correct the file", self._place())
            self._row[name] = "".join(self._texts).strip()
        elif name == self._item and self._row is not None:
            self._found.append((self._at, self._row))
            self._row = None
        self._texts.clear()
