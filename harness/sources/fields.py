"""Fields of one row from outside: typed, bounded, and refused with the place where they stand."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from harness.errors import DataError

LONGEST_TEXT = 1_000_000
LONGEST_NAME = 512
MOST_NAMED = 8  # fields of a row in an error
MOST_DIGITS = 10  # of an index, which is below 2^31

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Fields:
    """A row, or a part of it, at a place such as `line 3`. Keys that nobody asks for are ignored."""

    def __init__(self, data: Any, place: str, path: str = "") -> None:
        self.place = place
        self._path = path
        self._data: Mapping[Any, Any] = data if isinstance(data, Mapping) else {}
        if not isinstance(data, Mapping):
            raise self.wrong(path or "a row", "be a mapping", data)

    def has(self, name: str) -> bool:
        """Whether there is a value that is not null."""
        return self._data.get(name) is not None

    def text(self, name: str, *, longest: int = LONGEST_TEXT, may_be_empty: bool = False) -> str:
        value = self._data.get(name)
        if not isinstance(value, str) or len(value) > longest or not (value or may_be_empty):
            size = "0" if may_be_empty else "1"
            raise self.wrong(name, f"be a text of {size} to {longest:,} characters", value)
        if _LONE_SURROGATE.search(value):
            raise self.wrong(name, "be a text without lone surrogates", value)
        return value

    def name(self, name: str) -> str:
        """An identifier: a short text, or a whole number."""
        value = self._data.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
            return str(value)
        return self.text(name, longest=LONGEST_NAME)

    def optional_name(self, name: str, default: str) -> str:
        return self.name(name) if self.has(name) and self._data[name] != "" else default

    def boolean(self, name: str) -> bool:
        value = self._data.get(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "be true or false", value)
        return value

    def index(self, name: str) -> int:
        value = self._data.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value.lstrip("0")) <= MOST_DIGITS:
            value = int(value.lstrip("0") or "0")
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
            raise self.wrong(name, "be a whole number from 0", value)
        return value

    def number(self, name: str) -> float:
        value = self._data.get(name)
        try:
            # Python's own spellings of numbers are none of a file's: 1_000 would be 1000.
            spelled = isinstance(value, str) and (not value.isascii() or "_" in value)
            number = math.nan if isinstance(value, bool) or value is None or spelled else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.wrong(name, "be a finite number", value)
        return number

    def answer(self, name: str) -> str | None:
        """A stated answer as text, so that equal ones are equal: 18, 18.0 and "18" are one. None where none is."""
        value = self._data.get(name)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float):
            return str(int(value)) if value.is_integer() else repr(value)
        if isinstance(value, int):
            return str(value)
        return self.text(name, may_be_empty=True).strip() or None

    def part(self, name: str) -> Fields:
        """A mapping."""
        value = self._data.get(name)
        if not isinstance(value, Mapping):
            raise self.wrong(name, "be a mapping", value)
        return Fields(value, self.place, name)

    def texts(self, name: str) -> list[str]:
        """A list of texts, with at least one."""
        value = self._data.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
            raise self.wrong(name, "be a list of texts", value)
        if any(map(_LONE_SURROGATE.search, value)):
            raise self.wrong(name, "be a list of texts without lone surrogates", value)
        return value

    def booleans(self, name: str) -> list[bool]:
        """A list of true and false, with at least one."""
        value = self._data.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(one, bool) for one in value):
            raise self.wrong(name, "be a list of true and false", value)
        return value

    def lines(self, name: str) -> list[str]:
        """What is not blank of a list of texts, or of a text's lines; at least one."""
        value = self._data.get(name)
        lines = value.split("\n") if isinstance(value, str) else value
        if not isinstance(lines, list) or not all(isinstance(one, str) for one in lines):
            raise self.wrong(name, "be a list of texts, or a text", value)
        found = [line.strip() for line in lines if line.strip()]
        if not found or any(map(_LONE_SURROGATE.search, found)):
            raise self.wrong(name, "hold a text, without lone surrogates", value)
        return found

    def parts(self, name: str, most: int) -> list[Fields]:
        """A list of mappings, with at least one."""
        value = self._data.get(name)
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise self.wrong(name, f"be a list of 1 to {most:,}", value)
        return [Fields(one, self.place, f"{name}.{index}") for index, one in enumerate(value)]

    def wrong(self, name: str, should: str, value: object) -> DataError:
        there = ", ".join(repr(key)[:40] for key in islice(self._data, MOST_NAMED))
        absent = "missing" if name in self._data or not there else f"missing, and there are {there}"
        shown = absent if value is None else repr(value)
        shown = shown if len(shown) <= 80 or value is None else shown[:77] + "..."
        path = f"{self._path}.{name}" if self._path and self._path != name else name
        return DataError(f"`{path}` must {should}", f"it is {shown}", "correct the file", self.place)
