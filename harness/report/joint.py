"""One report of several recipes: their boards joined where the same data judge, everything else side by side.

Two recipes share the board of a task where every evaluation that both have is of the same candidates, pairs or
documents. The rows of shared boards are compared by an analysis of their own, which is the stage that compares the rows
of one recipe. Boards of one recipe alone keep its own analysis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from harness.pipeline.comparing import ANALYSIS, AnalysisSpec, OutcomeSpec
from harness.pipeline.evaluation import JUDGED_ON
from harness.pipeline.evaluations import evaluation_of, headline, headline_label
from harness.pipeline.evaluations.best_of_n import AREA_POOL_SHARE
from harness.pipeline.graph import Graph, Stage
from harness.plan.plan import Plan, PlannedSetting
from harness.plan.rows import IMPORTED, POOL
from harness.recipe.axes import ALSO
from harness.report.board import NOT_ASKED, Board, Row
from harness.report.comparison import SETTING, AnalysisIndex
from harness.report.overview import Caution, Overview
from harness.report.words import listing
from harness.search.state import SearchState
from harness.store.store import Store

SEPARATOR = ": "  # between a recipe and what is its own
DROPPED = "values by problem were dropped; a run that needs them makes them again"

Key = tuple[str, str]
"""Kind and name of a row."""

Judged = dict[tuple[str, str], frozenset[str]]
"""Fingerprints of what judges a row, by board and outcome."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A recipe of a joint report: what it is called there, and what its own report shows."""

    name: str
    plan: Plan
    store: Store
    seen: Overview
    search: SearchState | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """The recipes that share the board of a task, each by its place among the parts, in order.

    Attributes:
        task: what the board is called: the task's name, with the recipe's where recipes have boards of their own.
    """

    task: str
    boards: Mapping[int, Board]

    @property
    def first(self) -> int:
        return min(self.boards)


class Joint:
    """What several recipes share: how rows and boards are called, and which rows are compared with one another."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.apart: list[str] = []
        """Why recipes with the same task have boards of their own, a line each."""
        self.groups = self._grouped()

    # ---------------------------------------------------------------------------------------------- boards

    def _grouped(self) -> list[Group]:
        found: dict[str, list[dict[int, Board]]] = {}
        for at, part in enumerate(self.parts):
            for board in part.seen.boards:
                shared = found.setdefault(board.task, [])
                reasons = []
                for group in shared:
                    why = next(filter(None, (_why_apart(other, board) for other in group.values())), "")
                    if not why:
                        group[at] = board
                        break
                    reasons.append(f"{board.title}: {part.name} and {self.parts[min(group)].name}: {why}")
                else:
                    shared.append({at: board})
                    self.apart += reasons
        groups = []
        for task, shared in found.items():
            for group in shared:
                names = listing([self.parts[at].name for at in group])
                groups.append(Group(task=f"{task} ({names})" if len(shared) > 1 else task, boards=group))
        return groups

    @cached_property
    def names(self) -> list[dict[Key, str]]:
        """Of each part, what its rows are called here: the same models, or the same reference, have one name."""
        rows: list[_SameRow] = []
        for at, part in enumerate(self.parts):
            models = {one.name: _models(one) for one in part.plan.settings}
            for (kind, name), judged in self._judged(at).items():
                same = (one for one in rows if one.kind == kind and at not in one.names)
                found = next((one for one in same if one.is_same(name, models.get(name), judged)), None)
                if found is None:
                    rows.append(_SameRow(kind, models.get(name), dict(judged), {at: name}))
                else:
                    found.judged.update(judged)
                    found.names[at] = name
        times = Counter((one.kind, one.name) for one in rows)
        names: list[dict[Key, str]] = [{} for _ in self.parts]
        for one in rows:
            of = f"{self.parts[min(one.names)].name}{SEPARATOR}" if times[one.kind, one.name] > 1 else ""
            for at, own in one.names.items():
                names[at][one.kind, own] = of + one.name
        return names

    def _judged(self, at: int) -> dict[Key, Judged]:
        """Of every row of a part, which stages judge it on each board and evaluation."""
        tasks = {group.boards[at].task: group.task for group in self.groups if at in group.boards}
        found: dict[Key, Judged] = {}
        for board in self.parts[at].seen.boards:
            for row in board.rows:
                judged = found.setdefault((row.kind, row.name), {})
                for outcome in row.outcomes:
                    where = (tasks[board.task], outcome.metric)
                    judged[where] = judged.get(where, frozenset()) | {outcome.stage.fingerprint}
        return found

    # -------------------------------------------------------------------------------------------- analyses

    def analyses(self, has_payload: Callable[[int, Stage], bool]) -> dict[int, Stage]:
        """The stages that compare rows of several recipes, by the part whose baseline they compare with.

        Args:
            has_payload: whether a part's store holds a stage's files.
        """
        graph = Graph()
        found = {}
        for first in sorted({group.first for group in self.groups if len(group.boards) > 1}):
            stage = self._analysis(graph, first, has_payload)
            if stage is not None:
                found[first] = stage
        return found

    def _analysis(self, graph: Graph, first: int, has_payload: Callable[[int, Stage], bool]) -> Stage | None:
        """Of the rows of all boards that begin with a recipe; None where no setting has any."""
        inputs: dict[str, Stage] = {}
        rows: list[OutcomeSpec] = []
        for group in (one for one in self.groups if one.first == first):
            there: set[tuple[str, str, str]] = set()
            for at, board in group.boards.items():
                for key, compared in self._compared(at, board.task).items():
                    if key in there or not all(has_payload(at, stage) for _, stage in compared):
                        continue
                    there.add(key)
                    for one, stage in compared:
                        name = f"outcome-{len(inputs):05d}"
                        inputs[name] = stage
                        rows.append(one.model_copy(update={"input": name, "row": key[1], "task": group.task}))
        if not any(one.kind == SETTING for one in rows):
            return None
        part = self.parts[first]
        spec = AnalysisSpec(rows=tuple(rows), baseline=self._baseline(first), seed=part.plan.loaded.recipe.seeds.data)
        return graph.stage(ANALYSIS, spec, inputs, label="joint analysis")

    def _compared(self, at: int, task: str) -> dict[tuple[str, str, str], list[tuple[OutcomeSpec, Stage]]]:
        """What a part's own analysis compares on a task, by kind, joint name and evaluation."""
        stage = self.parts[at].seen.analysis
        found: dict[tuple[str, str, str], list[tuple[OutcomeSpec, Stage]]] = {}
        if stage is not None:
            for one in (one for one in stage.spec.rows if one.task == task):
                name = one.row if one.kind == POOL else self.names[at][one.kind, one.row]
                found.setdefault((one.kind, name, one.evaluation), []).append((one, stage.inputs[one.input].stage))
        return found

    def _baseline(self, at: int) -> str:
        return self.names[at].get((SETTING, self.parts[at].seen.boards[0].baseline), "")

    # ---------------------------------------------------------------------------------------------- results

    def boards(self, analyses: Mapping[int, Mapping[str, Any]]) -> tuple[Board, ...]:
        """The boards with what the joint analyses say; those of one recipe alone as they are there.

        Args:
            analyses: the content of each joint analysis that there is, by part.
        """
        indexes = {at: AnalysisIndex(content) for at, content in analyses.items()}
        return tuple(self._board(group, indexes.get(group.first)) for group in self.groups)

    def _board(self, group: Group, found: AnalysisIndex | None) -> Board:
        first = group.boards[group.first]
        evaluations = tuple(dict.fromkeys(one for board in group.boards.values() for one in board.evaluations))
        rows: dict[Key, Row] = {}
        for at, board in group.boards.items():
            for row in board.rows:
                key = row.kind, self.names[at][row.kind, row.name]
                if key in rows:
                    rows[key] = _with_outcomes(rows[key], row)
                else:
                    rows[key] = self._row(at, row, group.task)
        if found is not None:
            rows = {key: _compared_row(row, found, evaluations) for key, row in rows.items()}
        elif len(group.boards) > 1:  # each was compared with its own recipe's rows alone
            rows = {key: replace(row, differences={}, above={}, places={}) for key, row in rows.items()}
        order = sorted(rows.values(), key=lambda row: (not row.is_setting, row.kind != IMPORTED))
        sizes = [set(board.sizes) for board in group.boards.values() if board.sizes]
        common = set.intersection(*sizes) if sizes else set()
        pool = min((board.pool_size for board in group.boards.values() if board.pool_size), default=0)
        inside = [size for size in common if 1 < size <= pool // AREA_POOL_SHARE]
        return replace(
            first,
            task=group.task,
            evaluations=evaluations,
            sizes=tuple(sorted(set().union(*sizes))),
            key_size=max(inside or common, default=0),
            pool_size=pool,
            baseline=self._baseline(group.first),
            rows=tuple(order),
        )

    def _row(self, at: int, row: Row, task: str) -> Row:
        name = self.names[at][row.kind, row.name]
        label = name.removesuffix(row.name) + row.label if row.is_reference else name
        settings = {own: new for (kind, own), new in self.names[at].items() if kind == SETTING}
        differences = {
            evaluation: replace(one, against=settings.get(one.against, one.against))
            for evaluation, one in row.differences.items()
        }
        return replace(row, task=task, name=name, label=label, differences=differences)

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """Why some recipes are not compared with one another."""
        text = "Rows are compared only where the same problems, and the same candidates or pairs of them, judge."
        return (Caution(title="Boards apart", text=text, items=tuple(self.apart)),) if self.apart else ()


@dataclass(frozen=True)
class _SameRow:
    """A row that one part or several have; `models` are those of a setting, `names` what each part calls it."""

    kind: str
    models: frozenset[str] | None
    judged: dict[tuple[str, str], frozenset[str]]
    names: dict[int, str]

    @property
    def name(self) -> str:
        return ALSO.join(dict.fromkeys(self.names.values()))

    def is_same(self, name: str, models: frozenset[str] | None, judged: Judged) -> bool:
        """Whether another part's row is this one: a setting by its models, any other by its name and what judges it."""
        if models is not None:
            return models == self.models
        return name in self.names.values() and all(
            self.judged[key] == stages for key, stages in judged.items() if key in self.judged
        )


def _models(setting: PlannedSetting) -> frozenset[str]:
    trained = (variant.finetuned or variant.pretrained for variant in setting.variants)
    return frozenset(stage.fingerprint for stage in trained if stage is not None)


def _agree(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    """Whether two have something in common, and are equal on all that both have."""
    both = one.keys() & other.keys()
    return bool(both) and all(one[key] == other[key] for key in both)


def _data(board: Board) -> dict[str, frozenset[str]]:
    """What settings are judged on, by evaluation."""
    found: dict[str, set[str]] = {}
    for outcome in (outcome for row in board.settings for outcome in row.outcomes):
        inputs = outcome.stage.inputs
        judged_on = next(inputs[name].stage.fingerprint for name in JUDGED_ON if name in inputs)
        found.setdefault(evaluation_of(outcome.metric).name, set()).add(judged_on)
    return {evaluation: frozenset(data) for evaluation, data in found.items()}


def _why_apart(one: Board, other: Board) -> str:
    """Why the rows of two boards of a task cannot be compared; "" where they can."""
    first, second = _data(one), _data(other)
    if _agree(first, second):
        return ""
    if one.split != other.split:
        return f"judged on {other.split} and {one.split}"
    differ = [
        headline_label(evaluation)
        for evaluation in first
        if second.get(evaluation, first[evaluation]) != first[evaluation]
    ]
    return f"{listing(differ)} on other data" if differ else "no evaluation in common"


def _with_outcomes(row: Row, other: Row) -> Row:
    """A row that two recipes have, with everything that either judges it by."""
    known = {outcome.stage.fingerprint for outcome in row.outcomes}
    more = tuple(outcome for outcome in other.outcomes if outcome.stage.fingerprint not in known)
    return replace(
        row,
        estimates={**other.estimates, **row.estimates},
        gaps={name: gap for name, gap in {**other.gaps, **row.gaps}.items() if headline(name) not in other.estimates},
        retracted={**other.retracted, **row.retracted},
        outcomes=(*row.outcomes, *(() if row.kind == POOL else more)),
    )


def _compared_row(row: Row, found: AnalysisIndex, evaluations: Sequence[str]) -> Row:
    """A row with what a joint analysis says of it."""
    key = row.task, row.kind, row.name
    estimates = found.estimates(key)
    asked = {evaluation_of(outcome.metric).name for outcome in row.outcomes}
    gaps = {name: gap for name, gap in row.gaps.items() if headline(name) not in estimates}
    for name in evaluations:
        if name not in gaps and headline(name) not in estimates and not row.is_reference:
            gaps[name] = DROPPED if name in asked else NOT_ASKED
    return replace(
        row,
        estimates=estimates,
        differences=found.differences(key),
        above=found.above(key),
        places=found.places(key),
        gaps=gaps,
    )


def joint_name(names: Sequence[str]) -> str:
    """What a report of several recipes is called by default; no recipe can be called so."""
    name = ",".join(names)
    return name if len(name) <= MOST_OF_NAME else f"{names[0]},and {len(names) - 1} more"


MOST_OF_NAME = 120
