"""Assets imported into a workdir, found by name, and what of a recipe does not fit them. Reads records, no payload."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from harness.errors import HarnessError, RecipeError, StoreError
from harness.pipeline.kind import Kind, Spec, absent
from harness.recipe.evaluate import ImportedRow
from harness.recipe.load import LoadedRecipe, Setting
from harness.recipe.models import ImportedRewardModel
from harness.recipe.pairs import ImportedPairs
from harness.recipe.schema import Experiment
from harness.recipe.tasks import PoolTaskBlock
from harness.store.artifacts import Candidates, CandidateScores, ImportedCheckpoint, Pairs
from harness.store.store import Store


class AssetSpec(Spec):
    """The content is the identity, whatever its name."""

    digest: str


class PoolSpec(AssetSpec):
    """Of a pool's content, the candidates that are kept."""

    models: tuple[str, ...] = absent(())  # sorted; () keeps those of all
    first: int | None = absent(None)  # candidates a problem; None keeps all


IMPORTED_CHECKPOINT = Kind("imported_checkpoint", 1, AssetSpec, ImportedCheckpoint)
IMPORTED_PAIRS = Kind("imported_pairs", 1, AssetSpec, Pairs)
IMPORTED_POOL = Kind("imported_pool", 3, PoolSpec, Candidates)
IMPORTED_SCORES = Kind("imported_scores", 2, AssetSpec, CandidateScores)

IMPORTED: Mapping[str, Kind[AssetSpec]] = MappingProxyType(
    {"checkpoint": IMPORTED_CHECKPOINT, "pairs": IMPORTED_PAIRS, "pool": IMPORTED_POOL, "scores": IMPORTED_SCORES}
)
"""What `harness import` calls an asset -> the kind that brings it in."""


@dataclass(frozen=True, kw_only=True)
class Import:
    """An imported asset: `spec` is its identity, `result` is of its record."""

    what: str
    name: str
    spec: AssetSpec
    fingerprint: str
    result: Mapping[str, Any]


Imports = Mapping[tuple[str, str], Import]
"""(what, name) -> the newest import of that name."""

NO_IMPORTS: Imports = MappingProxyType({})

Problem = tuple[str, str, str, str]
"""(path in the recipe, rule, value, remedy)."""


def imports_of(store: Store) -> Imports:
    """Everything a workdir holds; imports that an older code version made count no more, nor do damaged ones."""
    return survey_imports(store)[0]


def survey_imports(store: Store) -> tuple[Imports, list[HarnessError]]:
    """As `imports_of`, and what is wrong with the damaged ones."""
    found: dict[tuple[str, str], tuple[float, Import]] = {}
    damage: list[HarnessError] = []
    for what, kind in IMPORTED.items():
        for record in store.survey(kind.name):
            try:
                if isinstance(record, StoreError):
                    raise record
                if record.identity["code_version"] != kind.code_version:
                    continue
                name = str(record.result["name"])
                made = float(store.run_facts(record)["finished"])
            except StoreError as error:
                damage.append(error)
                continue
            if (what, name) not in found or found[what, name][0] < made:
                found[what, name] = (
                    made,
                    Import(
                        what=what,
                        name=name,
                        spec=kind.read(record.identity["spec"]),
                        fingerprint=record.fingerprint,
                        result=record.result,
                    ),
                )
    return {key: one for key, (_, one) in found.items()}, damage


def command(what: str, name: str) -> str:
    """The line that imports an asset."""
    return f"`harness import {what} PATH --name {name} --licence ... --source ... --workdir ...`"


def import_problems(loaded: LoadedRecipe, imports: Imports) -> list[RecipeError]:
    """Names that the workdir does not know, and numbers that what they name does not hold; each told once."""
    problems: dict[tuple[str, str], RecipeError] = {}
    asked: list[tuple[Setting | None, Experiment]] = [(None, loaded.recipe)]
    asked += [(setting, setting.experiment) for setting in loaded.settings]
    for setting, experiment in asked:
        for path, rule, value, remedy in _problems(experiment, imports):
            error = RecipeError(rule, value, remedy, loaded.where(path, setting))
            problems.setdefault((rule, value), error)
    return list(problems.values())


def _problems(experiment: Experiment, imports: Imports) -> Iterator[Problem]:
    for path, what, name in _names(experiment):
        if (what, name) not in imports:
            known = ", ".join(other for kind, other in imports if kind == what)
            of = f"is not one of {known}" if known else f"is not there, nor any other {what}"
            yield path, f"`{path}` must name an import of the workdir", f"{name!r} {of}", command(what, name)
    for name, task in experiment.tasks.items():
        if isinstance(task, PoolTaskBlock) and ("pool", task.imported) in imports:
            yield from _pool_problems(experiment, name, task, imports["pool", task.imported])
    pairs = experiment.pairs
    if isinstance(pairs, ImportedPairs) and ("pairs", pairs.imported) in imports:
        groups = imports["pairs", pairs.imported].result["groups"]
        if pairs.count > groups:
            value = f"requested {pairs.count:,} of {groups:,}"
            yield "pairs.count", "`pairs.count` must not exceed the imported pairs", value, "lower it"
        elif pairs.count > (left := int(groups * (1 - pairs.heldout - pairs.dev))):
            rule = "`pairs.count` must not exceed the imported pairs that are not held out"
            value = f"requested {pairs.count:,} of {left:,}, since `heldout` and `dev` take the others of {groups:,}"
            yield "pairs.count", rule, value, "lower it, or hold out less"
    for name, row in experiment.evaluate.imported.items():
        path = f"evaluate.imported.{name}"
        if row.scores is not None and ("scores", row.scores) in imports:
            yield from _score_problems(experiment, path, row, imports["scores", row.scores])
        if row.checkpoint is not None and row.text == "chat":
            yield from _chat_problems(path, row.checkpoint, imports)
    for path, model in _reward_models(experiment):
        if model.text == "chat":
            yield from _chat_problems(path, model.checkpoint, imports)


def _chat_problems(path: str, checkpoint: str, imports: Imports) -> Iterator[Problem]:
    found = imports.get(("checkpoint", checkpoint))
    if found is not None and not found.result["chat"]:
        rule = f"`{path}.text: chat` needs a chat template"
        yield f"{path}.text", rule, f"{checkpoint!r} came without one", "use `text: raw`"


def _reward_models(experiment: Experiment) -> Iterator[tuple[str, ImportedRewardModel]]:
    """(path in the recipe, reward model) of those that look at pairs."""
    pairs = experiment.pairs
    if pairs.order is not None:
        yield "pairs.order", pairs.order
    for name, judge in pairs.judges.items():
        if isinstance(judge, ImportedRewardModel):
            yield f"pairs.judges.{name}", judge


def _names(experiment: Experiment) -> Iterator[tuple[str, str, str]]:
    """(path in the recipe, what, name) of every import an experiment names."""
    if isinstance(experiment.pairs, ImportedPairs):
        yield "pairs.import", "pairs", experiment.pairs.imported
    for path, model in _reward_models(experiment):
        yield f"{path}.checkpoint", "checkpoint", model.checkpoint
    for name, task in experiment.tasks.items():
        if isinstance(task, PoolTaskBlock):
            yield f"tasks.{name}.import", "pool", task.imported
    check = experiment.corpus.decontaminate
    for name in () if check is None else check.against:
        if name not in experiment.tasks:
            yield "corpus.decontaminate.against", "pool", name
    for name, row in experiment.evaluate.imported.items():
        if row.checkpoint is not None:
            yield f"evaluate.imported.{name}.checkpoint", "checkpoint", row.checkpoint
        if row.scores is not None:
            yield f"evaluate.imported.{name}.scores", "scores", row.scores


def _pool_problems(experiment: Experiment, name: str, task: PoolTaskBlock, pool: Import) -> Iterator[Problem]:
    counts = task.problems
    asked, held = sum(counts.of(split) or 1 for split in counts.asked), int(pool.result["problems"])
    if asked > held:
        path = f"tasks.{name}.problems"
        value = f"requested {asked:,} of {held:,}"
        yield path, f"`{path}` must not exceed the problems of pool {pool.name!r}", value, "lower a count"
    elif len(counts.asked) > int(pool.result["clusters"]):
        path = f"tasks.{name}.problems"
        rule = f"each split of `{path}` needs a cluster of pool {pool.name!r}"
        value = f"it has {pool.result['clusters']:,}, since near-equal questions are one"
        yield path, rule, value, "ask for fewer splits, or import it with `cluster` keys of your own"
    block, largest = experiment.evaluate.best_of_n, int(pool.result["largest_pool"])
    if block is not None and name in block.tasks and min(block.n) > largest:
        path = "evaluate.best_of_n.n"
        rule = f"`{path}` must have an N within the pools of {pool.name!r}"
        yield (
            path,
            rule,
            f"they hold {largest} candidates at most, and the least N is {min(block.n)}",
            "add a smaller N",
        )


def scored_tasks(experiment: Experiment, row: ImportedRow, scores: Import) -> tuple[str, ...]:
    """The tasks that imported scores are of: as the row says, else their file, else the only one there is."""
    asked = experiment.evaluate.asked.items()
    judged = tuple(
        dict.fromkeys(name for evaluation, tasks in asked if evaluation != "pair_accuracy" for name in tasks)
    )
    named = row.tasks or scores.result["tasks"] or (judged if len(judged) == 1 else ())
    return tuple(name for name in judged if name in named)


def _score_problems(experiment: Experiment, path: str, row: ImportedRow, scores: Import) -> Iterator[Problem]:
    held = scores.result["tasks"]
    unknown = [name for name in row.tasks or () if held and name not in held]
    if unknown:
        value = f"{unknown[0]!r} is not one of {', '.join(held)}"
        yield f"{path}.tasks", f"`{path}.tasks` must name tasks of scores {scores.name!r}", value, "correct the name"
    elif not scored_tasks(experiment, row, scores):
        of = f"they are of {', '.join(held)}" if held else "their file names no task, and there are several"
        rule = f"`{path}` must have scores of an evaluated task"
        yield f"{path}.scores", rule, of, f"name them as `{path}.tasks`"
