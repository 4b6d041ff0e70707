"""What the analysis says, as typed values found by task and row. Reads its JSON and computes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from harness.report.words import DASH, reference_label

SETTING = "setting"
"""The kind of row that a recipe trains."""

TIED = "tied"
"""The place of a setting that may hold any."""


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
            return TIED
        return str(self.low) if self.low == self.high else f"{self.low}{DASH}{self.high}"


Key = tuple[str, str, str]  # task, kind of row, row


class AnalysisIndex:
    """The analysis, indexed: each method returns what is known of one row, by metric or evaluation."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._estimates = _by_row(data.get("estimates", ()), "metric")
        self._differences = _by_row(data.get("differences", ()), "evaluation")
        self._above = _by_row(data.get("above_chance", ()), "evaluation")
        self._ranks = _by_row(data.get("ranks", ()), "evaluation")
        self._left_out = _by_row(data.get("left_out", ()), "metric")
        self._arms = Counter((one["task"], one["evaluation"]) for one in data.get("ranks", ()))

    def estimates(self, row: Key) -> dict[str, Estimate]:
        return {metric: _ESTIMATE.validate_python(one) for metric, one in self._estimates.get(row, {}).items()}

    def in_one_cluster(self, row: Key) -> frozenset[str]:
        """Metrics that have no interval, since all problems fall in one cluster."""
        return frozenset(self._left_out.get(row, ()))

    def differences(self, row: Key) -> dict[str, Difference]:
        return {name: _DIFFERENCE.validate_python(one) for name, one in self._differences.get(row, {}).items()}

    def above(self, row: Key) -> dict[str, AboveShallow]:
        found = {}
        for evaluation, one in self._above.get(row, {}).items():
            best = reference_label(one["best_reference"])
            found[evaluation] = AboveShallow(
                above=one["above"],
                reference=best,
                reference_estimate=one["difference"]["reference_estimate"],
                difference=_DIFFERENCE.validate_python({**one, **one["difference"], "against": best}),
                references=tuple(map(reference_label, one["references"])),
            )
        return found

    def places(self, row: Key) -> dict[str, Place]:
        return {
            evaluation: _PLACE.validate_python({**one, "of": self._arms[(one["task"], evaluation)]})
            for evaluation, one in self._ranks.get(row, {}).items()
        }


# These read what they know of an entry and ignore the rest.
_ESTIMATE, _DIFFERENCE, _PLACE = TypeAdapter(Estimate), TypeAdapter(Difference), TypeAdapter(Place)


def _by_row(found: Iterable[Mapping[str, Any]], name: str) -> dict[Key, dict[str, Mapping[str, Any]]]:
    """{row: {the entry's value of `name`: entry}}; what names no kind is a setting's."""
    rows: dict[Key, dict[str, Mapping[str, Any]]] = {}
    for one in found:
        rows.setdefault((one["task"], one.get("kind", SETTING), one["row"]), {})[one[name]] = one
    return rows
