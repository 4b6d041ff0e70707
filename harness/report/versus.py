"""What two rows can be compared on, and the stage that compares them. Reads no result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.pipeline.comparing import COMPARISON
from harness.pipeline.evaluation import JUDGED_ON
from harness.pipeline.evaluations import evaluation_of
from harness.pipeline.evaluations.best_of_n import BEST_OF_N, SMALLEST_POOL
from harness.pipeline.graph import Graph, Stage
from harness.recipe.fields import before_finetuning
from harness.report.index import Index, OutcomeEntry
from harness.report.rows import Row
from harness.report.words import listing

Question = tuple[str, str]  # task, evaluation
IsThere = Callable[[str], bool]
"""Of a stage, by fingerprint."""

AreaOf = Callable[[str], tuple[int, ...] | None]
"""The N that a finished evaluation's area is a mean over, by fingerprint; None where its record does not say."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One seed's evaluation: its values, and the scores they were made from (None: there are none to read).

    Both are fingerprints of stages.
    """

    values: str
    scores: str | None
    pretrain_seed: int | None
    finetune_seed: int | None


@dataclass(frozen=True, kw_only=True)
class Side:
    """A row's part of a match: which baseline of the pools it is ("" for all others) and its seeds."""

    pool: str
    seeds: tuple[Judged, ...]


@dataclass(frozen=True, kw_only=True)
class Match:
    """A task both rows were judged on with the same data.

    Attributes:
        texts: the stage that holds the candidates or pairs; None where they cannot be read.
    """

    task: str
    evaluation: str
    first: Side
    second: Side
    texts: str | None


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A task on which two rows cannot be compared, and why."""

    task: str
    evaluation: str
    why: str


def match(first: Row, second: Row, is_done: IsThere, area_of: AreaOf) -> tuple[list[Match], list[Mismatch]]:
    """Every task of either row: compared where both have all their seeds on the same data, else with the reason."""
    rows = (first, second)
    questions = [_questions(row) for row in rows]
    matches: list[Match] = []
    mismatches: list[Mismatch] = []
    for task, evaluation in dict.fromkeys([*questions[0], *questions[1]]):
        entries = [list(asked.get((task, evaluation), {}).values()) for asked in questions]
        data = [{_judged_on(row.index, one) for one in its} for row, its in zip(rows, entries, strict=True)]
        why = "; ".join(filter(None, (_gap(row, its, is_done) for row, its in zip(rows, entries, strict=True))))
        if not why and (data[0] != data[1] or len(data[0]) != 1):
            splits = dict.fromkeys(row.index.split_of(task) for row in rows)
            why = f"judged on {' and '.join(splits)}" if len(splits) > 1 else "judged on other data"
        if not why and evaluation == BEST_OF_N.name:
            why = _no_common_area({area_of(one.stage) for its in entries for one in its})
        if why:
            mismatches.append(Mismatch(task=task, evaluation=evaluation, why=why))
            continue
        sides = [_side(row, its) for row, its in zip(rows, entries, strict=True)]
        found = Match(task=task, evaluation=evaluation, first=sides[0], second=sides[1], texts=data[0].pop())
        matches.append(found)
    return matches, mismatches


def readable(matches: Sequence[Match], has_payload: IsThere) -> tuple[list[Match], list[Mismatch]]:
    """The matches whose files are there: values must be, scores and texts may have been dropped."""

    def kept(fingerprint: str | None) -> str | None:
        return fingerprint if fingerprint is not None and has_payload(fingerprint) else None

    def kept_scores(side: Side) -> Side:
        return replace(side, seeds=tuple(replace(one, scores=kept(one.scores)) for one in side.seeds))

    whole: list[Match] = []
    dropped: list[Mismatch] = []
    for one in matches:
        if all(has_payload(judged.values) for judged in (*one.first.seeds, *one.second.seeds)):
            first, second = kept_scores(one.first), kept_scores(one.second)
            whole.append(replace(one, first=first, second=second, texts=kept(one.texts)))
        else:
            why = "values by problem were dropped; a run that needs them makes them again"
            dropped.append(Mismatch(task=one.task, evaluation=one.evaluation, why=why))
    return whole, dropped


def comparison_stage(graph: Graph, matches: Sequence[Match], seed: int, stage_of: Callable[[str], Stage]) -> Stage:
    """The stage that compares two rows. It knows no names, so what they are called does not matter.

    Args:
        seed: resamples problems.
        stage_of: a stage by its fingerprint.
    """
    names: dict[str, str] = {}

    def named(part: dict[str, Any], *keys: str) -> None:
        """Put an input's name in the place of its fingerprint."""
        for key in keys:
            if part[key] is not None:
                part[key] = names.setdefault(part[key], f"input-{len(names):05d}")

    found = [asdict(one) for one in matches]
    for one in found:
        for judged in (*one["first"]["seeds"], *one["second"]["seeds"]):
            named(judged, "values", "scores")
        named(one, "texts")
    inputs = {name: stage_of(fingerprint) for fingerprint, name in names.items()}
    spec = COMPARISON.read({"matches": found, "seed": seed})
    return graph.stage(COMPARISON, spec, inputs, label="comparison")


def _no_common_area(areas: set[tuple[int, ...] | None]) -> str:
    """Why areas cannot be compared; "" where they can."""
    if None in areas:
        return "an earlier version made the area, over the N its recipe listed; run the recipe again"
    if len(areas) > 1:
        grids = " against ".join(
            listing([str(size) for size in area]) or "none" for area in sorted(area or () for area in areas)
        )
        return f"areas over different N ({grids})"
    return "" if areas != {()} else f"no area: the smallest pool holds fewer than {SMALLEST_POOL} candidates"


def _questions(row: Row) -> dict[Question, dict[str, OutcomeEntry]]:
    """{task and evaluation: {stage: entry}}: a checkpoint before fine-tuning is shared by its fine-tuning seeds."""
    found: dict[Question, dict[str, OutcomeEntry]] = {}
    for entry in row.outcomes:
        found.setdefault((entry.task, evaluation_of(entry.evaluation).name), {}).setdefault(entry.stage, entry)
    return found


def _gap(row: Row, entries: Sequence[OutcomeEntry], is_done: IsThere) -> str:
    """Why a row does not count on a task; "" where it does."""
    if not entries:
        return f"not asked of {row.name}"
    done = sum(is_done(entry.stage) for entry in entries)
    if done == len(entries):
        return ""
    if len(entries) == 1:
        return f"{row.name} is not done"
    return f"{row.name}: {done} of {len(entries)} seeds done"


def _judged_on(index: Index, entry: OutcomeEntry) -> str:
    inputs = index.stages[entry.stage].inputs
    return next(inputs[name] for name in JUDGED_ON if name in inputs)


def _scores(index: Index, entry: OutcomeEntry) -> str | None:
    """The scores by which a row picks of a pool."""
    return index.stages[entry.stage].inputs.get("scores") if evaluation_of(entry.evaluation).picks else None


def _side(row: Row, entries: Sequence[OutcomeEntry]) -> Side:
    return Side(
        pool=row.pool,
        seeds=tuple(
            Judged(
                values=entry.stage,
                scores=_scores(row.index, entry),
                pretrain_seed=entry.pretrain_seed,
                finetune_seed=None if before_finetuning(entry.task) else entry.finetune_seed,
            )
            for entry in entries
        ),
    )
