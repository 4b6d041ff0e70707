"""What the analysis says, as typed values found by task and row. Reads its JSON and computes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.report.words import DASH, REFERENCES

SETTING = "setting"
"""The kind of row that a recipe trains."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval, as analysis gave it."""

    estimate: float
    low: float
    high: float
    level: float
    covers: str
    problems: int
    clusters: int
    method: str
    by_seed: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired difference of a setting, or of a row from outside, from `against`.

    Attributes:
        lacking: the seeds of which there are too few, such as "1 PMP seed"; "" where there are enough.
    """

    against: str
    estimate: float
    low: float
    high: float
    covers: str
    lacking: str

    @property
    def claims(self) -> bool:
        """Whether there are seeds enough for it to say something about other runs."""
        return not self.lacking

    @property
    def separate(self) -> bool:
        """Whether the interval excludes 0, and may claim it: with seeds enough, and with a spread."""
        return self.claims and self.low < self.high and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, kw_only=True)
class AboveShallow:
    """Whether a setting beats every reference that understands nothing, and the difference from the best of them.

    Attributes:
        above: None where there are too few seeds to say.
    """

    above: bool | None
    reference: str
    reference_estimate: float
    difference: Difference
    references: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Ranks that cannot be told apart for a setting, of `of` settings."""

    low: int
    high: int
    of: int
    tied_with: tuple[str, ...]

    def __str__(self) -> str:
        if self.of == 1:
            return ""
        if self.low == 1 and self.high == self.of:
            return "tied"
        return str(self.low) if self.low == self.high else f"{self.low}{DASH}{self.high}"


Key = tuple[str, str, str]  # task, kind of row, row


class AnalysisIndex:
    """The analysis, indexed: each method gives what is known of one row, by metric or evaluation."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._estimates = _by_row(data.get("estimates", ()), "metric")
        self._differences = _by_row(data.get("differences", ()), "evaluation")
        self._above = _by_row(data.get("above_chance", ()), "evaluation")
        self._ranks = _by_row(data.get("ranks", ()), "evaluation")
        self._arms = Counter((one["task"], one["evaluation"]) for one in data.get("ranks", ()))

    def estimates(self, row: Key) -> dict[str, Estimate]:
        return {
            metric: Estimate(**{name: one[name] for name in _FIELDS}, by_seed=tuple(one["by_seed"]))
            for metric, one in self._estimates.get(row, {}).items()
        }

    def differences(self, row: Key) -> dict[str, Difference]:
        return {
            evaluation: _difference(one, one["against"], one["lacking"])
            for evaluation, one in self._differences.get(row, {}).items()
        }

    def above(self, row: Key) -> dict[str, AboveShallow]:
        return {
            evaluation: AboveShallow(
                above=one["above"],
                reference=reference_label(one["best_reference"]),
                reference_estimate=one["difference"]["reference_estimate"],
                difference=_difference(one["difference"], reference_label(one["best_reference"]), one["lacking"]),
                references=tuple(map(reference_label, one["references"])),
            )
            for evaluation, one in self._above.get(row, {}).items()
        }

    def places(self, row: Key) -> dict[str, Place]:
        return {
            evaluation: Place(
                low=one["low"],
                high=one["high"],
                of=self._arms[(one["task"], evaluation)],
                tied_with=tuple(one["tied_with"]),
            )
            for evaluation, one in self._ranks.get(row, {}).items()
        }


_FIELDS = [name for name in Estimate.__dataclass_fields__ if name != "by_seed"]


def _by_row(found: Iterable[Mapping[str, Any]], name: str) -> dict[Key, dict[str, Mapping[str, Any]]]:
    """{row: {the entry's value of `name`: entry}}; what names no kind is a setting's."""
    rows: dict[Key, dict[str, Mapping[str, Any]]] = {}
    for one in found:
        rows.setdefault((one["task"], one.get("kind", SETTING), one["row"]), {})[one[name]] = one
    return rows


def _difference(one: Mapping[str, Any], against: str, lacking: str) -> Difference:
    return Difference(
        against=against,
        estimate=one["estimate"],
        low=one["low"],
        high=one["high"],
        covers=one["covers"],
        lacking=lacking,
    )


def reference_label(name: str) -> str:
    """What people call a reference of the analysis."""
    if name == "coin":
        return "a coin"
    return next((label for (_, row), (label, _) in REFERENCES.items() if row == name), name)
