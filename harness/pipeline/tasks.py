"""Tasks: their problems, preferences and candidate pools, made here or taken from files and imported pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from harness.pipeline.graph import Input, Stage
from harness.pipeline.kind import Basis, Kind, Known, NoSpec, Spec, absent
from harness.pipeline.models import WriterSpec, Writing
from harness.pipeline.planner import Planner
from harness.recipe.evaluate import CandidatesBlock
from harness.recipe.fields import CODE, LM_EVAL_PREFIX, TASKS
from harness.recipe.pairs import ImportedPairs
from harness.recipe.schema import Experiment
from harness.recipe.tasks import AnyTask, PoolTaskBlock, ProblemCounts, TaskBlock
from harness.sources import resolve
from harness.store.artifacts import Artifact, Candidates, Pairs, Problems
from harness.tasks.fixed import FixedTask
from harness.tasks.registry import load_task
from harness.tasks.task import NOT_FETCHED

# --------------------------------------------------------------------------------------------------------- kinds


def task_modules(task: str | None) -> tuple[str, ...]:
    """The file of a built-in task; the code of any other is identity, and a pool has none."""
    return (f"harness.tasks.built_in.{task}",) if task in TASKS else ()


Split = Literal["base", "finetune", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class ProblemsSpec(Spec):
    """The first `count` problems of a split, which do not depend on how many there are, nor on other splits.

    `source` says what decides them beside all that: the generator's version, digests of files, the plugin's source; of
    an imported pool it is an input. `others` are counts of splits that this one's problems do depend on: dev problems
    are those next to fine-tuning's where test shares them, and `count` null is all that the others leave. `left_out`
    are clusters that stand in the published part of a later split as well.
    """

    task: str
    split: Split
    count: int | None
    options: Mapping[str, Any]
    seed: int
    source: Mapping[str, str]
    others: Mapping[str, int] = absent({})
    left_out: tuple[str, ...] = absent(())


class ProblemsKind(Kind[ProblemsSpec]):
    def modules(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        return (*super().modules(spec), *task_modules(spec.get("task")))

    def groups(self, stage: Stage[ProblemsSpec], known: Known) -> float:
        if stage.spec.count is not None:
            return stage.spec.count
        pool = known.record(stage.inputs["pool"].stage)
        return 1.0 if pool is None else pool.result["problems"] - sum(stage.spec.others.values())


class PreferencesSpec(Spec):
    """Of an imported pool `task` is absent: they are its right and wrong candidates."""

    split: str
    count: int
    seed: int
    task: str | None = absent(None)
    task_version: int = absent(1)


class PreferencesKind(Kind[PreferencesSpec]):
    def modules(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        return (*super().modules(spec), *task_modules(spec.get("task")))

    def groups(self, stage: Stage[PreferencesSpec], known: Known) -> float:
        return stage.spec.count


class CandidatesPartSpec(Spec):
    task: str
    task_version: int = absent(1)  # of the simulated engine
    engine: str
    options: Mapping[str, Any]
    samples: int
    accuracy: float | None = absent(None)  # of the simulated engine
    split: str
    seed: int
    engine_source: str | None = absent(None)
    writer: WriterSpec | None = absent(None)
    logprobs: bool = absent(False)
    source: str | None = absent(None)
    start: int
    stop: int


class CandidatesPartKind(Writing[CandidatesPartSpec]):
    def modules(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        return (*super().modules(spec), *task_modules(spec.get("task")))

    def texts(self, stage: Stage[CandidatesPartSpec], known: Known) -> int:
        return (stage.spec.stop - stage.spec.start) * stage.spec.samples


class CandidatesKind(Kind[NoSpec]):
    """Made of its parts' files, which are on disk once; or those of a split's problems out of an imported pool."""

    def groups(self, stage: Stage[NoSpec], known: Known) -> float:
        if "pool" in stage.inputs:
            return PROBLEMS.groups(stage.inputs["problems"].stage, known)
        return float(max(part.stage.spec.stop for part in stage.inputs.values()))

    def responses(self, stage: Stage[NoSpec], known: Known) -> float:
        if "pool" not in stage.inputs:
            return float(next(iter(stage.inputs.values())).stage.spec.samples)
        record = known.record(stage.inputs["pool"].stage)
        return 1.0 if record is None else record.result["candidates"] / record.result["problems"]

    def rows(self, stage: Stage[NoSpec], known: Known) -> float:
        return self.groups(stage, known) * self.responses(stage, known)

    def size(self, stage: Stage[NoSpec], known: Known) -> tuple[float | None, Basis]:
        return super().size(stage, known) if "pool" in stage.inputs else (0.0, "measured")


ASSUMED_OPTIONS = 4.0
"""Of a problem, until they were counted."""


class OptionsSpec(Spec):
    """The task says what responses its problems bring."""

    task: str
    split: str


class OptionsKind(Kind[OptionsSpec]):
    def modules(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        return (*super().modules(spec), *task_modules(spec.get("task")))

    def groups(self, stage: Stage[OptionsSpec], known: Known) -> float:
        return PROBLEMS.groups(stage.inputs["problems"].stage, known)

    def responses(self, stage: Stage[OptionsSpec], known: Known) -> float:
        record = known.record(stage)
        return ASSUMED_OPTIONS if record is None else record.result["candidates"] / record.result["groups"]

    def rows(self, stage: Stage[OptionsSpec], known: Known) -> float:
        return self.groups(stage, known) * self.responses(stage, known)


PROBLEMS = ProblemsKind("problems", 2, ProblemsSpec, Problems, row_bytes=250)
PROBLEM_SPLITS: Kind[NoSpec] = Kind("problem_splits", 1, NoSpec, Artifact)
PREFERENCES = PreferencesKind("preferences", 1, PreferencesSpec, Pairs, row_bytes=250, dataset=True)
CANDIDATES_PART = CandidatesPartKind("candidates_part", 2, CandidatesPartSpec, Candidates, row_bytes=200)
CANDIDATES = CandidatesKind("candidates", 2, NoSpec, Candidates, row_bytes=200, dataset=True)
OPTIONS = OptionsKind("options", 1, OptionsSpec, Candidates, row_bytes=200, dataset=True)


SIMULATED = "simulated"
"""The engine that draws from a task's own right and wrong solutions."""


# ------------------------------------------------------------------------------------------------------ planning


def unused_split(experiment: Experiment) -> Split | None:
    """The split that nothing may be made of: test, where dev problems judge."""
    return "test" if experiment.evaluate.split == "dev" else None


def judging_split(experiment: Experiment, task: str) -> Split:
    """The split that judges on a task; on code pairs dev only where the recipe keeps code for it.

    Documents of lm-eval's tasks, which train and choose nothing, are all of them test documents.
    """
    if task.startswith(LM_EVAL_PREFIX):
        return "test"
    split, pairs = experiment.evaluate.split, experiment.pairs
    if task == CODE and not (pairs.dev if isinstance(pairs, ImportedPairs) else experiment.corpus.dev):
        return "test"
    return split


class TaskStages(Planner):
    """Adds tasks to what every recipe has."""

    def asked(self, experiment: Experiment, name: str, split: Split) -> int:
        """Problems that a recipe takes of a task for what it trains on or chooses by."""
        count = experiment.tasks[name].problems.of(split)
        assert count is not None  # `all` became a number when the recipe was taken in
        return count

    def tuning_pairs(self, experiment: Experiment, name: str) -> int:
        """Fine-tuning pairs that are made of a task: one a problem, or what fine-tuning takes where that is more."""
        return max(self.asked(experiment, name, "finetune"), experiment.finetune.share)

    def problems(self, name: str, task: AnyTask, split: Split) -> Stage[ProblemsSpec]:
        """A stream: more problems begin with these."""
        return self._remember(("problems", self._text(task), split), lambda: self._problems(name, task, split))

    def _problems(self, name: str, task: AnyTask, split: Split) -> Stage[ProblemsSpec]:
        inputs: dict[str, Stage] = {}
        options: Mapping[str, Any] = {}
        source: Mapping[str, str] = {}
        sharing: Sequence[str] = SPLITS
        place = ""
        left_out: tuple[str, ...] = ()
        if isinstance(task, PoolTaskBlock):
            inputs["pool"] = self.imported("pool", task.imported)
        else:
            source, place = task_source(task, split)
            made = load_task(task.kind)
            options, sharing = task.options, made.sharing(split)
            left_out = made.left_out(split, task.path) if isinstance(made, FixedTask) else ()
        return self._problems_stage(
            f"problems {name} {split}",
            ProblemsSpec(
                task=task.kind,
                split=split,
                count=task.problems.of(split),
                options=options,
                seed=self.data_seed,
                source=source,
                others=_others(task.problems, split, sharing),
                left_out=left_out,
            ),
            inputs,
            place,
        )

    def _problems_stage(
        self, label: str, spec: ProblemsSpec, inputs: Mapping[str, Stage], place: str
    ) -> Stage[ProblemsSpec]:
        stream = spec.identity() | {key: item.fingerprint for key, item in inputs.items()}
        del stream["count"]
        return self.graph.stage(PROBLEMS, spec, inputs, stream=stream, label=label, source_path=place)

    def fixed_problems(self, name: str, task: TaskBlock) -> Stage[ProblemsSpec]:
        """All test problems of a task with a fixed number of them, whatever a recipe takes."""
        source, place = task_source(task, "test")
        spec = ProblemsSpec(
            task=task.kind,
            split="test",
            count=problems_there(task, "test"),
            options=task.options,
            seed=self.data_seed,
            source=source,
        )
        return self._problems_stage(f"problems {name} test", spec, {}, place)

    def problem_splits(self, experiment: Experiment, name: str) -> Stage[NoSpec]:
        """Fails where a problem or a cluster is in two splits; trainings wait for it without reading it."""
        task, untouched = experiment.tasks[name], unused_split(experiment)

        def build() -> Stage[NoSpec]:
            asked = [split for split in SPLITS if split in task.problems.asked and split != untouched]
            inputs = {f"problems-{split}": self.problems(name, task, split) for split in asked}
            return self.graph.stage(PROBLEM_SPLITS, NoSpec(), inputs, label=f"splits {name}")

        return self._remember(("splits", self._text(task), untouched), build)

    def preferences(self, name: str, task: AnyTask, split: Split, count: int) -> Stage[PreferencesSpec]:
        key = ("preferences", self._text(task), split, count)
        return self._remember(key, lambda: self._preferences(name, task, split, count))

    def _preferences(self, name: str, task: AnyTask, split: Split, count: int) -> Stage[PreferencesSpec]:
        inputs: dict[str, Stage] = {"problems": self.problems(name, task, split)}
        if isinstance(task, PoolTaskBlock):
            spec = PreferencesSpec(split=split, count=count, seed=self.data_seed)
            inputs["pool"] = self.imported("pool", task.imported)
        else:
            version = load_task(task.kind).code_version
            spec = PreferencesSpec(split=split, count=count, seed=self.data_seed, task=task.kind, task_version=version)
        return self.graph.stage(PREFERENCES, spec, inputs, label=f"preferences {name} {split}")

    def sources(self, task: AnyTask) -> tuple[str, ...]:
        """Who wrote the candidates of an imported pool, where it says so; () of any other task."""
        if not isinstance(task, PoolTaskBlock):
            return ()
        return tuple(self.imports["pool", task.imported].result["sources"])

    def knows_logprobs(self, experiment: Experiment, name: str) -> bool:
        """Whether a task's candidates come with their generator's log-probability."""
        task, block = experiment.tasks[name], experiment.evaluate.candidates
        if isinstance(task, PoolTaskBlock):
            return bool(self.imports["pool", task.imported].result.get("logprobs"))
        return block is not None and block.writer is not None

    def candidates(self, experiment: Experiment, name: str, split: Split) -> Stage:
        task, block = experiment.tasks[name], experiment.evaluate.candidates
        if isinstance(task, PoolTaskBlock):
            pool: dict[str, Stage] = {"problems": self.problems(name, task, split)}
            pool["pool"] = self.imported("pool", task.imported)
            return self.graph.stage(CANDIDATES, NoSpec(), pool, label=_label("candidates", name, split))
        assert block is not None
        key = ("candidates", self._text(task), self._text(block), split)
        return self._remember(key, lambda: self._candidates(name, task, block, split))

    def options(self, experiment: Experiment, name: str, split: Split) -> Stage:
        """The responses that a task's problems bring, or all candidates of an imported pool."""
        task = experiment.tasks[name]
        if isinstance(task, PoolTaskBlock):
            return self.candidates(experiment, name, split)
        inputs = {"problems": self.problems(name, task, split)}
        spec = OptionsSpec(task=task.kind, split=split)
        return self.graph.stage(OPTIONS, spec, inputs, label=_label("options", name, split))

    def _candidates(self, name: str, task: TaskBlock, block: CandidatesBlock, split: Split) -> Stage[NoSpec]:
        problems = self.problems(name, task, split)
        affinity = f"{block.engine}:{problems.fingerprint}"
        chosen: dict[str, Any] = {"accuracy": block.accuracy}
        if block.engine == SIMULATED:
            chosen["task_version"] = load_task(task.kind).code_version
        models: dict[str, Stage] = {}
        if ":" in block.engine:
            chosen["engine_source"] = resolve.plugin_digest(block.engine)
        if block.writer is not None:
            model = self.pretrained(block.writer.model)
            models["model"] = model
            writer = WriterSpec.of(block.writer)
            source = model.label.removeprefix("model ")
            chosen = {"writer": writer, "source": source, "logprobs": True}
            affinity = writer.affinity(model)
        assert problems.spec.count is not None  # of `all` it is known since the recipe was taken in
        parts = {}
        for index, start in enumerate(range(0, problems.spec.count, block.part_size)):
            spec = CandidatesPartSpec(
                task=task.kind,
                engine=block.engine,
                options=block.options,
                samples=block.samples,
                split=split,
                seed=self.data_seed,
                start=start,
                stop=min(start + block.part_size, problems.spec.count),
                **chosen,
            )
            label = f"{_label('candidates', name, split)} part {index + 1}"
            # of its problems alone, so that more problems add parts and make none anew
            inputs: dict[str, Stage | Input] = {"problems": Input(stage=problems, rows=spec.stop), **models}
            parts[f"part-{index:05d}"] = self.graph.stage(CANDIDATES_PART, spec, inputs, label=label, affinity=affinity)
        return self.graph.stage(CANDIDATES, NoSpec(), parts, label=_label("candidates", name, split))


def _label(what: str, name: str, split: str) -> str:
    return f"{what} {name}" if split == "test" else f"{what} {name} {split}"


# ------------------------------------------------------------------------------------ what a task's own file says


def task_source(task: TaskBlock, split: Split) -> tuple[dict[str, str], str]:
    """What decides a split's problems beside the settings of a recipe, and the file that they are read from.

    Raises:
        MissingRequirement, RecipeError: as `load_task` and the task's own `origin`.
    """
    plugin = {"plugin": resolve.plugin_digest(task.kind)} if ":" in task.kind else {}
    source, place = load_task(task.kind).origin(split, task.path)
    return {**plugin, **source}, place


def _others(counts: ProblemCounts, split: Split, sharing: Sequence[str]) -> dict[str, int]:
    """Counts of the other splits that decide which problems a split has, see `dealt`."""
    if counts.of(split) is None:
        return {other: count for other in sharing if other != split and (count := counts.of(other))}
    return {"finetune": counts.of("finetune") or 0} if split == "dev" and "test" in sharing else {}


def problems_there(task: TaskBlock, split: Split) -> int:
    """How many problems the part of a published data set holds, with the task's options, that a split is taken from.

    Raises:
        HarnessError: as `task_source`, or the file does not hold what it should.
    """
    made = load_task(task.kind)
    assert isinstance(made, FixedTask)
    part = made.parts[split]
    if task.path == NOT_FETCHED:
        return made.hub.problems[part]
    return len(made.available(made.files(part, task.path), part, task.options))
