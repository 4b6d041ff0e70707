"""What the settings come to, in a few sentences for the first screen: from the analysis alone, worded by a template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.pipeline.evaluations import headline, headline_label
from harness.report.board import NOT_ASKED, Board
from harness.report.render import paragraphs
from harness.report.verdicts import Finding
from harness.report.words import reference_label, signed

COIN = (reference_label("coin"),)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """On one task by one metric.

    Attributes:
        settings: how many the recipe asks this of; `missing` are those without an estimate.
        judged, claimed: how many have seeds enough to be above the shallow baselines, or to differ.
        above: those that beat every shallow baseline.
        references: the best of these baselines, of each set of data that judges, and how good it is.
        coin: whether tossing one is the only such baseline.
        apart: those whose difference from `baseline` has an interval without 0, each with the difference.
    """

    task: str
    metric: str
    settings: int
    missing: tuple[str, ...]
    judged: int
    above: tuple[str, ...]
    references: Mapping[str, float]
    coin: bool
    claimed: int
    apart: tuple[str, ...]
    baseline: str


def answer(boards: Iterable[Board]) -> tuple[str, ...]:
    """A sentence or two for each task and metric; one where nothing may be claimed yet."""
    return paragraphs("answer.txt", verdicts=[one for board in boards for one in _verdicts(board)])


def claims_in_words(findings: Sequence[Finding]) -> tuple[str, ...]:
    """What became of each of the recipe's claims, a sentence each."""
    return paragraphs("claims.txt", findings=findings)


def _verdicts(board: Board) -> Iterator[Verdict]:
    for evaluation in sorted(board.evaluations, key=lambda one: one != board.main):
        asked = [row for row in board.settings if not row.gaps.get(evaluation, "").startswith(NOT_ASKED)]
        against = [(row, row.above[evaluation]) for row in board.settings if evaluation in row.above]
        with_scorers = [one for one in against if one[1].references != COIN]
        coin, against = bool(against) and not with_scorers, with_scorers or against
        gaps = [(row, row.differences[evaluation]) for row in board.settings if evaluation in row.differences]
        any_above = any(one.above for _, one in against)
        if against or gaps:
            yield Verdict(
                task=board.title,
                metric=headline_label(evaluation),
                settings=len(asked),
                missing=tuple(row.label for row in asked if headline(evaluation) not in row.estimates),
                judged=sum(one.above is not None for _, one in against),
                above=tuple(row.label for row, one in against if one.above),
                references={one.reference: one.reference_estimate for _, one in against if one.above or not any_above},
                coin=coin,
                claimed=sum(gap.claims for _, gap in gaps),
                apart=tuple(f"{row.label} ({signed(gap.estimate)})" for row, gap in gaps if gap.separate),
                baseline=board.baseline,
            )
