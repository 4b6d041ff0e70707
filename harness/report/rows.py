"""The rows of a workdir by name: every recipe's settings, its reference scorers, and what a pool gives without one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from harness.errors import RecipeError
from harness.plan.rows import POOL
from harness.report.index import Index, OutcomeEntry
from harness.report.words import REFERENCES, listing, reference_label
from harness.store.identity import SHORT
from harness.store.retractions import Retraction

BASELINES = tuple(name for kind, name in REFERENCES if kind == POOL)
SEPARATOR = ":"  # between a recipe and a row of it; no name of a recipe holds one
MOST_SUGGESTED = 5


@dataclass(frozen=True, kw_only=True)
class Row:
    """A setting, a reference scorer or a baseline of the pools, in one recipe.

    Attributes:
        names: all names of a setting whose stages coincide with others'.
        kind: `setting`, `imported` or `reference`.
        pool: which baseline of the pools it is, "" for all others.
        outcomes: everything it is judged by, one a seed, task and evaluation.
    """

    name: str
    names: tuple[str, ...]
    kind: str
    pool: str
    outcomes: tuple[OutcomeEntry, ...]
    index: Index

    @property
    def full_name(self) -> str:
        return f"{self.index.recipe}{SEPARATOR}{self.name}"

    @property
    def label(self) -> str:
        """As boards and reports show it: "n-grams" for `ngrams`."""
        return reference_label(self.name) if self.kind == "reference" else self.name


def rows_of(index: Index) -> Iterator[Row]:
    """All rows of a recipe, in the order of its outcomes."""
    grouped: dict[tuple[str, str], list[OutcomeEntry]] = {}
    for entry in index.outcomes:
        grouped.setdefault((entry.kind, entry.row), []).append(entry)
    for (kind, name), entries in grouped.items():
        outcomes, names = tuple(entries), entries[0].names
        if kind == "reference" and name == POOL:
            for baseline in BASELINES:
                yield Row(name=baseline, names=(baseline,), kind=kind, pool=baseline, outcomes=outcomes, index=index)
        else:
            yield Row(name=name, names=names, kind=kind, pool="", outcomes=outcomes, index=index)


def retraction(row: Row, entry: OutcomeEntry, retractions: Mapping[str, Retraction]) -> str:
    """Which stages that an outcome is made from are retracted, and why; "" where none is."""
    if not retractions:
        return ""
    stages = row.index.stages
    found = sorted(row.index.made_from(entry.stage) & retractions.keys())
    return "; ".join(
        f"{stages[key].label} ({stages[key].kind}/{key[:SHORT]}) is retracted: {retractions[key].reason}"
        for key in found
    )


def find_row(indexes: Sequence[Index], text: str) -> Row:
    """The row with this name or label; `RECIPE:NAME` chooses between recipes.

    A setting wins over a reference of its name. Rows of several recipes are one where they are judged by the same
    stages.

    Raises:
        RecipeError: nothing has the name, or several different rows have it.
    """
    found = _named([row for index in indexes for row in rows_of(index)], text)
    recipe, _, name = text.partition(SEPARATOR)
    if not found and name:
        found = _named([row for index in indexes if index.recipe == recipe for row in rows_of(index)], name)
    if not found:
        raise RecipeError(f"no row is named {text!r}", "", _remedy(indexes, text))
    if len({_judged_by(row) for row in found}) > 1:
        choices = listing([row.full_name for row in found], "or")
        raise RecipeError(f"{len(found)} different rows are named {text!r}", "", f"use {choices}")
    return found[0]


def _named(rows: Sequence[Row], name: str) -> list[Row]:
    found = [row for row in rows if name in (row.name, row.label, *row.names)]
    return [row for row in found if row.kind == "setting"] or found


def _judged_by(row: Row) -> frozenset[tuple[str, str, str]]:
    return frozenset((row.pool, entry.task, entry.stage) for entry in row.outcomes)


def _remedy(indexes: Sequence[Index], text: str) -> str:
    rows = [row for index in indexes for row in rows_of(index)]
    names = list(dict.fromkeys(name for row in rows for name in (row.label, *row.names, row.full_name)))
    near = get_close_matches(text, names, n=MOST_SUGGESTED)
    if near:
        return f"did you mean {listing([repr(name) for name in near], 'or')}?"
    shown = list(dict.fromkeys(row.label for row in rows))
    if not shown:
        return "`harness report` of a recipe lists its rows"
    more = f" and {len(shown) - MOST_SUGGESTED:,} more" if len(shown) > MOST_SUGGESTED else ""
    return f"this workdir has {', '.join(shown[:MOST_SUGGESTED])}{more}"
