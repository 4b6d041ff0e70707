"""What the analysis says, as typed values found by task and row. Reads its JSON and computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.report.words import DASH, REFERENCES


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


class AnalysisIndex:
    """The analysis, indexed."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._estimates: dict[tuple[str, str, str], dict[str, Estimate]] = {}
        for one in data.get("estimates", ()):
            fields = {name: one[name] for name in Estimate.__dataclass_fields__ if name != "by_seed"}
            estimate = Estimate(**fields, by_seed=tuple(one["by_seed"]))
            self._estimates.setdefault((one["task"], one["kind"], one["row"]), {})[one["metric"]] = estimate
        self._differences: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
        for one in data.get("differences", ()):
            self._differences.setdefault((one["task"], one["kind"], one["row"]), {})[one["evaluation"]] = one
        self._above = self._by_row(data.get("above_chance", ()))
        self._ranks = self._by_row(data.get("ranks", ()))
        self._arms: dict[tuple[str, str], int] = {}
        for one in data.get("ranks", ()):
            key = (one["task"], one["evaluation"])
            self._arms[key] = self._arms.get(key, 0) + 1

    @staticmethod
    def _by_row(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Mapping[str, Any]]]:
        found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
        for one in rows:
            found.setdefault((one["task"], one["row"]), {})[one["evaluation"]] = one
        return found

    def estimates(self, task: str, kind: str, name: str) -> Mapping[str, Estimate]:
        return self._estimates.get((task, kind, name), {})

    def differences(self, task: str, kind: str, name: str) -> dict[str, Difference]:
        rows = self._differences.get((task, kind, name), {})
        return {evaluation: _difference(one, one["against"]) for evaluation, one in rows.items()}

    def above(self, task: str, name: str) -> dict[str, AboveShallow]:
        return {
            evaluation: AboveShallow(
                above=one["above"],
                reference=reference_label(one["best_reference"]),
                reference_estimate=one["difference"]["reference_estimate"],
                difference=_difference(
                    {**one["difference"], "lacking": one["lacking"]}, reference_label(one["best_reference"])
                ),
                references=tuple(reference_label(name) for name in one["references"]),
            )
            for evaluation, one in self._above.get((task, name), {}).items()
        }

    def places(self, task: str, name: str) -> dict[str, Place]:
        return {
            evaluation: Place(
                low=one["low"],
                high=one["high"],
                of=self._arms[(task, evaluation)],
                tied_with=tuple(one["tied_with"]),
            )
            for evaluation, one in self._ranks.get((task, name), {}).items()
        }


def _difference(one: Mapping[str, Any], against: str) -> Difference:
    return Difference(
        against=against,
        estimate=one["estimate"],
        low=one["low"],
        high=one["high"],
        covers=one["covers"],
        lacking=one["lacking"],
    )


def reference_label(name: str) -> str:
    """What people call a reference of the analysis."""
    if name == "coin":
        return "a coin"
    return next((label for (_, row), (label, _) in REFERENCES.items() if row == name), name)
