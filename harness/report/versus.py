"""What two rows can be compared on, and the stage that compares them. Reads no result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.pipeline.evaluation import COMPARISON, ComparisonSpec, JudgedSpec, MatchSpec, SideSpec
from harness.pipeline.graph import Graph, Stage
from harness.pipeline.kinds import noted_stage
from harness.recipe.fields import CODE
from harness.report.index import Index, OutcomeEntry, StageEntry
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

    All are fingerprints of stages.
    """

    values: str
    scores: str | None
    pretrain_seed: int | None
    finetune_seed: int | None


@dataclass(frozen=True, kw_only=True)
class Match:
    """A task both rows were judged on with the same data.

    Attributes:
        texts: the stage that holds the candidates or pairs; None where they cannot be read.
    """

    task: str
    evaluation: str
    first: tuple[Judged, ...]
    second: tuple[Judged, ...]
    first_pool: str
    second_pool: str
    texts: str | None


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A task on which two rows cannot be compared, and why."""

    task: str
    evaluation: str
    why: str


def match(first: Row, second: Row, is_done: IsThere, area_of: AreaOf) -> tuple[list[Match], list[Mismatch]]:
    """Every task of either row: compared where both have all their seeds on the same data, else with the reason."""
    questions = [_questions(row) for row in (first, second)]
    matches: list[Match] = []
    mismatches: list[Mismatch] = []
    for task, evaluation in dict.fromkeys([*questions[0], *questions[1]]):
        sides = [_distinct(asked.get((task, evaluation), ())) for asked in questions]
        data = [
            {_judged_on(row.index, entry) for entry in side} for row, side in zip((first, second), sides, strict=True)
        ]
        gaps = [_gap(row, side, is_done) for row, side in zip((first, second), sides, strict=True)]
        why = "; ".join(gap for gap in gaps if gap)
        if not why and (data[0] != data[1] or len(data[0]) != 1):
            why = "judged on other data"
        if not why and evaluation == "best_of_n":
            why = _no_common_area({area_of(entry.stage) for side in sides for entry in side})
        if why:
            mismatches.append(Mismatch(task=task, evaluation=evaluation, why=why))
            continue
        matches.append(
            Match(
                task=task,
                evaluation=evaluation,
                first=tuple(_judged(first.index, entry) for entry in sides[0]),
                second=tuple(_judged(second.index, entry) for entry in sides[1]),
                first_pool=first.pool,
                second_pool=second.pool,
                texts=data[0].pop(),
            )
        )
    return matches, mismatches


def readable(matches: Sequence[Match], has_payload: IsThere) -> tuple[list[Match], list[Mismatch]]:
    """The matches as far as their files are there: values must be, scores and texts may have been dropped."""
    kept: list[Match] = []
    dropped: list[Mismatch] = []
    for one in matches:
        if not all(has_payload(side.values) for side in (*one.first, *one.second)):
            why = "values by problem were dropped; a run that needs them makes them again"
            dropped.append(Mismatch(task=one.task, evaluation=one.evaluation, why=why))
            continue
        kept.append(
            replace(
                one,
                first=tuple(_with_scores(side, has_payload) for side in one.first),
                second=tuple(_with_scores(side, has_payload) for side in one.second),
                texts=one.texts if one.texts is not None and has_payload(one.texts) else None,
            )
        )
    return kept, dropped


def comparison_stage(graph: Graph, matches: Sequence[Match], seed: int, stage_of: Callable[[str], Stage]) -> Stage:
    """The stage that compares two rows. It knows no names, so what they are called does not matter.

    Args:
        seed: resamples problems.
        stage_of: a stage by its fingerprint.
    """
    inputs: dict[str, Stage] = {}
    names: dict[str, str] = {}

    def name_of(fingerprint: str) -> str:
        if fingerprint not in names:
            names[fingerprint] = f"input-{len(names):05d}"
            inputs[names[fingerprint]] = stage_of(fingerprint)
        return names[fingerprint]

    def side(pool: str, judged: Sequence[Judged]) -> SideSpec:
        seeds = [
            JudgedSpec(
                values=name_of(one.values),
                scores=None if one.scores is None else name_of(one.scores),
                pretrain_seed=one.pretrain_seed,
                finetune_seed=one.finetune_seed,
            )
            for one in judged
        ]
        return SideSpec(pool=pool, seeds=tuple(seeds))

    compared = tuple(
        MatchSpec(
            task=one.task,
            evaluation=one.evaluation,
            first=side(one.first_pool, one.first),
            second=side(one.second_pool, one.second),
            texts=None if one.texts is None else name_of(one.texts),
        )
        for one in matches
    )
    return graph.stage(COMPARISON, ComparisonSpec(matches=compared, seed=seed), inputs, label="comparison")


def stage_in(indexes: Sequence[Index]) -> Callable[[str], Stage]:
    """Finds stages in what recipes left of their plans: enough of a stage to be read, not to be run."""

    def stage_of(fingerprint: str) -> Stage:
        entry = next(index.stages[fingerprint] for index in indexes if fingerprint in index.stages)
        return noted_stage(entry.kind, fingerprint, entry.label)

    return stage_of


def _no_common_area(areas: set[tuple[int, ...] | None]) -> str:
    """Why areas cannot be compared; "" where they can."""
    if None in areas:
        return "an earlier version made the area, over the N its recipe listed; run the recipe again"
    if len(areas) > 1:
        grids = " against ".join(
            listing([str(size) for size in area]) or "none" for area in sorted(area or () for area in areas)
        )
        return f"areas over different N ({grids})"
    return "" if areas != {()} else "no area: the smallest pool holds fewer than 8 candidates"


def _questions(row: Row) -> dict[Question, list[OutcomeEntry]]:
    found: dict[Question, list[OutcomeEntry]] = {}
    for entry in row.outcomes:
        evaluation = "best_of_n" if row.pool else entry.evaluation
        found.setdefault((entry.task, evaluation), []).append(entry)
    return found


def _distinct(entries: Sequence[OutcomeEntry]) -> list[OutcomeEntry]:
    """Each evaluation once: that of a checkpoint before fine-tuning is shared by its fine-tuning seeds."""
    found: dict[str, OutcomeEntry] = {}
    for entry in entries:
        found.setdefault(entry.stage, entry)
    return list(found.values())


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


def _inputs(index: Index, entry: OutcomeEntry) -> Mapping[str, str]:
    stage: StageEntry = index.stages[entry.stage]
    return stage.inputs


def _judged_on(index: Index, entry: OutcomeEntry) -> str:
    inputs = _inputs(index, entry)
    return inputs["pairs" if "pairs" in inputs else "candidates"]


def _judged(index: Index, entry: OutcomeEntry) -> Judged:
    return Judged(
        values=entry.stage,
        scores=_inputs(index, entry).get("scores") if entry.evaluation == "best_of_n" else None,
        pretrain_seed=entry.pretrain_seed,
        finetune_seed=None if entry.task == CODE else entry.finetune_seed,
    )


def _with_scores(judged: Judged, has_payload: IsThere) -> Judged:
    there = judged.scores is not None and has_payload(judged.scores)
    return judged if there or judged.scores is None else replace(judged, scores=None)
