"""Which result belongs to which setting: written beside each report, so that results are found without the recipe.

Also keeps the recipe as it was resolved, to plan the same again. Reads and writes plain files; knows no numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from harness.errors import StoreError
from harness.pipeline.graph import Input, Stage
from harness.pipeline.kinds import noted_stage
from harness.pipeline.tasks import judging_split
from harness.plan.plan import Plan
from harness.plan.rows import Variant
from harness.recipe.axes import Axis
from harness.recipe.lock import NO_LOCK, lock_of, lock_text
from harness.recipe.schema import Recipe
from harness.report.words import split_name
from harness.store.record import read_json, write_text

INDEX, RECIPE = "outcomes.json", "recipe.yaml"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class StageEntry:
    """A stage of a plan: what it is and what it reads, each input by its fingerprint."""

    kind: str
    label: str
    inputs: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class OutcomeEntry:
    """One evaluation of one variant or reference scorer.

    Attributes:
        row: the setting's or reference's name; `names` are all names of a setting whose stages coincide with others'.
        kind: `setting`, `reference` for what understands nothing, `imported` for what was not trained here.
        axes: axis -> value name, of a setting, where it depends on the axis.
        stage: fingerprint of the evaluation.
    """

    row: str
    names: tuple[str, ...]
    kind: str
    axes: Mapping[str, str]
    pretrain_seed: int | None
    finetune_seed: int | None
    task: str
    evaluation: str
    stage: str


@dataclass(frozen=True, kw_only=True)
class Index:
    """All outcomes a recipe asks for, done or not, and every stage they are made from.

    Attributes:
        own_tracking: its runs are tracked in the workdir, not at an address of the recipe's own.
        seed: the recipe's data seed, which also resamples problems.
        splits: task -> the split that judges on it.
        axes: what the recipe's settings differ on; an index without them is older than they are.
    """

    recipe: str
    own_tracking: bool
    seed: int
    outcomes: tuple[OutcomeEntry, ...]
    stages: Mapping[str, StageEntry]
    splits: Mapping[str, str] = field(default_factory=dict)
    axes: tuple[Axis, ...] = ()

    def split_of(self, task: str) -> str:
        """The split that judges on a task; an index that names none is older than the choice."""
        return self.splits.get(task, split_name(task, "test"))

    def made_from(self, fingerprint: str) -> frozenset[str]:
        """A stage and everything it was made from, directly or not."""
        found: set[str] = set()
        waiting = [fingerprint]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting.extend(self.stages[one].inputs.values())
        return frozenset(found)


def index_of(plan: Plan) -> Index:
    """The index of a plan."""
    tasks = [outcome.task for outcome in plan.outcomes]
    return Index(
        recipe=plan.loaded.recipe.name,
        own_tracking=plan.loaded.recipe.runtime.tracking_uri is None,
        seed=plan.loaded.recipe.seeds.data,
        outcomes=tuple(_entries(plan)),
        stages={stage.fingerprint: _stage_entry(stage) for stage in plan.stages},
        axes=plan.loaded.axes,
        splits={task: split_name(task, judging_split(plan.loaded.recipe, task)) for task in dict.fromkeys(tasks)},
    )


def write_index(plan: Plan, directory: Path) -> None:
    """Write the index and the resolved recipe of a plan into its folder of reports, where they are not these already.

    The address of a tracking server is left out: it may hold a password, and folders of reports are passed on.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _keep(
        directory / INDEX, json.dumps({"schema": SCHEMA, **vars(index_of(plan))}, sort_keys=True, default=vars) + "\n"
    )
    _keep(directory / RECIPE, _resolved(plan.loaded.recipe))
    if plan.lock != NO_LOCK:
        _keep(lock_of(directory / RECIPE), lock_text(plan.lock))


def read_indexes(reports: Path) -> Iterator[Index]:
    """The index of every recipe that has run in a workdir, by recipe name.

    Raises:
        StoreError: one is unreadable or of another schema.
    """
    for path in sorted(reports.glob(f"*/{INDEX}")):
        yield read_index(path.parent)


def read_index(directory: Path) -> Index:
    """The index in a recipe's folder of reports.

    Raises:
        StoreError: it is not there, unreadable or of another schema.
    """
    path = directory / INDEX
    try:
        data: dict[str, Any] = read_json(path)
        if data["schema"] == SCHEMA:
            index = TypeAdapter(Index).validate_python(data)
            named = [key for entry in index.stages.values() for key in entry.inputs.values()]
            if index.stages.keys() >= {*named, *(entry.stage for entry in index.outcomes)}:
                return index
        found = f"{path} has schema {data['schema']}" if data["schema"] != SCHEMA else f"{path} names stages it lacks"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        found = f"{path} is unreadable"
    raise StoreError(
        f"this version reads outcomes of schema {SCHEMA}", found, "`harness report` of the recipe writes it anew"
    )


def stages_of(indexes: Iterable[Index]) -> dict[str, Stage]:
    """Every stage that recipes ask for, by fingerprint: enough of it to be found and read, not to be run."""
    found: dict[str, Stage] = {}

    def stage(index: Index, fingerprint: str) -> Stage:
        if fingerprint not in found:
            entry = index.stages[fingerprint]
            inputs = {name: Input(stage=stage(index, key)) for name, key in entry.inputs.items()}
            found[fingerprint] = noted_stage(entry.kind, fingerprint, entry.label, inputs)
        return found[fingerprint]

    for index in indexes:
        for fingerprint in index.stages:
            stage(index, fingerprint)
    return found


def _entries(plan: Plan) -> Iterator[OutcomeEntry]:
    rows: list[tuple[Variant, str, str, tuple[str, ...], Mapping[str, str]]] = [
        (variant, "setting", setting.name, setting.names, setting.values)
        for setting in plan.settings
        for variant in setting.variants
    ]
    for kind, variants in (("imported", plan.imported), ("reference", plan.references)):
        rows += [(variant, kind, variant.setting, (variant.setting,), {}) for variant in variants]
    for variant, kind, row, names, axes in rows:
        for outcome in variant.outcomes:
            yield OutcomeEntry(
                row=row,
                names=names,
                kind=kind,
                axes=dict(axes),
                pretrain_seed=variant.pretrain_seed,
                finetune_seed=variant.finetune_seed,
                task=outcome.task,
                evaluation=outcome.metric,
                stage=outcome.stage.fingerprint,
            )


def _stage_entry(stage: Stage) -> StageEntry:
    inputs = {name: item.stage.fingerprint for name, item in stage.inputs.items()}
    return StageEntry(kind=stage.kind.name, label=stage.label, inputs=inputs)


def _resolved(recipe: Recipe) -> str:
    data = recipe.model_dump(mode="json", by_alias=True, exclude={"runtime": {"tracking_uri"}})
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _keep(path: Path, text: str) -> None:
    """Write a file, unless it holds this text already."""
    if not path.is_file() or path.read_bytes() != text.encode("utf-8"):
        write_text(path, text)
