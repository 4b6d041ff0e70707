"""The axes of a recipe as its results show them: names, short labels, and the value of every setting as number or text.

One model for the board, CSV, JSON, `harness.results` and trackers. Plain data; it is no identity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

UNITS = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000, "T": 1_000_000_000_000}
FIRST_SHORTENED = 10_000
MOST_DIGITS = 4  # of a shortened number: 102.4k, and 16384 as it is
DECADE = 10.0
BETWEEN = ", "
"""What stands between a setting's values in its name."""

ALSO = " = "
"""What stands between the names of settings that are one."""

_SHORT = re.compile(r"([-+]?\d{1,40}(?:\.\d{1,40})?(?:[eE][-+]?\d{1,3})?)([kMGT]?)")

Number = int | float


@dataclass(frozen=True, kw_only=True)
class AxisValue:
    """One value of an axis.

    Attributes:
        name: what settings, claims and `exclude` call it, such as `count=25.6M` or `rm+lm`.
        label: the value alone, such as `25.6M` or `rm+lm`.
        number: on a numeric axis.
    """

    name: str
    label: str
    number: Number | None = None

    @property
    def plain(self) -> Number | str:
        """The number of a numeric axis, the label of a categorical one."""
        return self.label if self.number is None else self.number


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a recipe.

    Attributes:
        name: as the recipe has it, such as `pairs.count`.
        label: short: the last part of the name where no other axis ends in it.
        scale: `log` where the numbers are above 0 and span more than a decade.
    """

    name: str
    label: str
    kind: Literal["numeric", "categorical"]
    scale: Literal["linear", "log"]
    values: tuple[AxisValue, ...]

    def value(self, name: str | None) -> AxisValue | None:
        """The value of this name; None where there is none, as where a setting has no value on the axis."""
        return next((one for one in self.values if one.name == name), None)

    def plain(self, values: Mapping[str, str]) -> Number | str | None:
        """Number or text of a setting with these value names by axis; None where it has no value here."""
        found = self.value(values.get(self.name))
        return None if found is None else found.plain


def prefix(axis: str) -> str:
    """What names of an axis's plain values begin with."""
    return f"{axis.rpartition('.')[2]}="


def names_value(name: str, axis: str, value: object) -> bool:
    """Whether a value, as a recipe writes it elsewhere, is the axis's value of this name; numbers in any form."""
    text, wanted = name.removeprefix(prefix(axis)), str(value)
    if wanted in (text, name):
        return True
    number = number_of(text)
    return number is not None and not isinstance(value, bool) and number == number_of(wanted.removeprefix(prefix(axis)))


def make_axes(found: Mapping[str, Sequence[tuple[str, str, Any]]]) -> tuple[Axis, ...]:
    """Axes from (name, label, value) of each of their values; numeric where all values are finite numbers."""
    names = short_names(found)
    return tuple(
        _axis(name, names[name], [(one, label, _finite(value)) for one, label, value in values])
        for name, values in found.items()
    )


def _axis(name: str, label: str, values: Sequence[tuple[str, str, Number | None]]) -> Axis:
    numbers = [number for _, _, number in values if number is not None]
    numeric = 0 < len(values) == len(numbers)
    wide = numeric and min(numbers) > 0 and max(numbers) > DECADE * min(numbers)
    return Axis(
        name=name,
        label=label,
        kind="numeric" if numeric else "categorical",
        scale="log" if wide else "linear",
        values=tuple(AxisValue(name=one, label=label, number=at if numeric else None) for one, label, at in values),
    )


def short_names(names: Iterable[str]) -> dict[str, str]:
    """{dotted name: its last part, or all of it where another ends in the same}."""
    last = {name: name.rpartition(".")[2] for name in names}
    return {name: end if list(last.values()).count(end) == 1 else name for name, end in last.items()}


def _finite(value: Any) -> Number | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # a whole number that no float holds
        return None


def short(value: Any) -> str:
    """A value as people read it: `25.6M` of 25600000. Always exact, so different numbers never share a text."""
    number = _finite(value)
    if number is None or abs(number) < FIRST_SHORTENED or number != int(number):
        return str(value)
    unit, size = next((unit, size) for unit, size in reversed(UNITS.items()) if abs(number) >= size)
    text = f"{number / size:.{MOST_DIGITS}g}"
    return f"{text}{unit}" if "e" not in text and number_of(f"{text}{unit}") == number else str(value)


def number_of(text: str) -> Number | None:
    """The number that `short` or a recipe wrote as `text`; None where it is none."""
    found = _SHORT.fullmatch(text)
    if found is None:
        return None
    digits, unit = found.groups()
    if digits.lstrip("-+").isdigit():
        return int(digits) * UNITS.get(unit, 1)
    number = float(digits) * UNITS.get(unit, 1)
    if not math.isfinite(number):
        return None
    return round(number) if unit and abs(number - round(number)) < 1e-6 * abs(number) else number
