"""Tasks: their problems, preferences and candidate pools, made here or dealt from an imported pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from harness.pipeline.graph import Input, Stage
from harness.pipeline.kind import Basis, Kind, Known, NoSpec, Spec, absent
from harness.pipeline.models import WriterSpec, Writing
from harness.pipeline.planner import Planner
from harness.recipe.blocks import AnyTask, PoolCounts, PoolTask, Task
from harness.recipe.blocks import Candidates as CandidatesBlock
from harness.recipe.schema import Experiment
from harness.sources import resolve
from harness.store.artifacts import Artifact, Candidates, Pairs, PoolSplits, Problems

# --------------------------------------------------------------------------------------------------------- kinds


def task_modules(task: str | None) -> tuple[str, ...]:
    """The file of a built-in task; the code of any other is identity."""
    return () if task is None or ":" in task else (f"harness.tasks.built_in.{task}",)


Split = Literal["base", "finetune", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class ProblemsSpec(Spec):
    """The first `count` problems of a split, which do not depend on how many there are, nor on other splits.

    `source` says what decides them beside all that: the generator's version, or the plugin's source.
    """

    task: str
    split: Split
    count: int
    options: Mapping[str, Any]
    seed: int
    source: Mapping[str, str]


class ProblemsKind(Kind[ProblemsSpec]):
    def modules(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        return (*super().modules(spec), *task_modules(spec.get("task")))

    def groups(self, stage: Stage[ProblemsSpec], known: Known) -> float:
        return stage.spec.count


class PoolProblemsSpec(Spec):
    problems: PoolCounts
    seed: int


class PoolProblemsKind(Kind[PoolProblemsSpec]):
    def rows(self, stage: Stage[PoolProblemsSpec], known: Known) -> float:
        counts = stage.spec.problems
        return counts.finetune + counts.dev + counts.test


class PreferencesSpec(Spec):
    split: str
    count: int
    seed: int
    task: str | None = absent(None)


class PreferencesKind(Kind[PreferencesSpec]):
    def modules(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        return (*super().modules(spec), *task_modules(spec.get("task")))

    def groups(self, stage: Stage[PreferencesSpec], known: Known) -> float:
        return stage.spec.count


class CandidatesPartSpec(Spec):
    task: str
    engine: str
    options: Mapping[str, Any]
    samples: int
    accuracy: float | None = absent(None)  # of the simulated engine
    split: str
    seed: int
    engine_source: str | None = absent(None)
    writer: WriterSpec | None = absent(None)
    source: str | None = absent(None)
    start: int
    stop: int


class CandidatesPartKind(Writing[CandidatesPartSpec]):
    def modules(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        return (*super().modules(spec), *task_modules(spec.get("task")))

    def texts(self, stage: Stage[CandidatesPartSpec], known: Known) -> int:
        return (stage.spec.stop - stage.spec.start) * stage.spec.samples


class CandidatesKind(Kind[NoSpec]):
    """Made of its parts' files, which are on disk once."""

    def groups(self, stage: Stage[NoSpec], known: Known) -> float:
        return float(max(part.stage.spec.stop for part in stage.inputs.values()))

    def responses(self, stage: Stage[NoSpec], known: Known) -> float:
        return float(next(iter(stage.inputs.values())).stage.spec.samples)

    def size(self, stage: Stage[NoSpec], known: Known) -> tuple[float | None, Basis]:
        return 0.0, "measured"


class PoolCandidatesSpec(Spec):
    split: str


class PoolCandidatesKind(Kind[PoolCandidatesSpec]):
    def groups(self, stage: Stage[PoolCandidatesSpec], known: Known) -> float:
        return float(getattr(stage.inputs["problems"].stage.spec.problems, stage.spec.split))

    def responses(self, stage: Stage[PoolCandidatesSpec], known: Known) -> float:
        record = known.record(stage.inputs["pool"].stage)
        return 1.0 if record is None else record.result["candidates"] / record.result["problems"]

    def rows(self, stage: Stage[PoolCandidatesSpec], known: Known) -> float:
        return self.groups(stage, known) * self.responses(stage, known)


PROBLEMS = ProblemsKind("problems", 2, ProblemsSpec, Problems, row_bytes=250)
PROBLEM_SPLITS: Kind[NoSpec] = Kind("problem_splits", 1, NoSpec, Artifact)
PREFERENCES = PreferencesKind("preferences", 1, PreferencesSpec, Pairs, row_bytes=250, dataset=True)
CANDIDATES_PART = CandidatesPartKind("candidates_part", 2, CandidatesPartSpec, Candidates, row_bytes=200)
CANDIDATES = CandidatesKind("candidates", 2, NoSpec, Candidates, dataset=True)
POOL_PROBLEMS = PoolProblemsKind("pool_problems", 1, PoolProblemsSpec, PoolSplits, row_bytes=50)
POOL_PREFERENCES = PreferencesKind("pool_preferences", 1, PreferencesSpec, Pairs, row_bytes=250, dataset=True)
POOL_CANDIDATES = PoolCandidatesKind("pool_candidates", 1, PoolCandidatesSpec, Candidates, row_bytes=200, dataset=True)


# ------------------------------------------------------------------------------------------------------ planning


class TaskStages(Planner):
    """Adds tasks to what every recipe has."""

    def problems(self, name: str, task: Task, split: Split) -> Stage[ProblemsSpec]:
        """A stream: more problems begin with these."""
        count = int(getattr(task.problems, split))

        def build() -> Stage[ProblemsSpec]:
            spec = ProblemsSpec(
                task=task.kind,
                split=split,
                count=count,
                options=task.options,
                seed=self.data_seed,
                source=task_source(task.kind),
            )
            stream = spec.identity()
            del stream["count"]
            return self.graph.stage(PROBLEMS, spec, stream=stream, label=f"problems {name} {split}")

        return self._remember(("problems", self._text(task), split), build)

    def pool_problems(self, name: str, task: PoolTask) -> Stage[PoolProblemsSpec]:
        """An imported pool's problems, dealt out to splits."""
        spec = PoolProblemsSpec(problems=task.problems, seed=self.data_seed)
        inputs = {"pool": self.imported("pool", task.imported)}
        return self.graph.stage(POOL_PROBLEMS, spec, inputs, label=f"problems {name}")

    def _of_pool(self, name: str, task: PoolTask) -> dict[str, Stage]:
        return {"problems": self.pool_problems(name, task), "pool": self.imported("pool", task.imported)}

    def problem_splits(self, name: str, task: Task) -> Stage[NoSpec]:
        """Fails where a problem or a cluster is in two splits; trainings wait for it without reading it."""
        asked = [split for split in SPLITS if getattr(task.problems, split)]
        inputs = {f"problems-{split}": self.problems(name, task, split) for split in asked}
        return self.graph.stage(PROBLEM_SPLITS, NoSpec(), inputs, label=f"splits {name}")

    def preferences(self, name: str, task: AnyTask, split: Split, count: int) -> Stage[PreferencesSpec]:
        key = ("preferences", self._text(task), split, count)
        return self._remember(key, lambda: self._preferences(name, task, split, count))

    def _preferences(self, name: str, task: AnyTask, split: Split, count: int) -> Stage[PreferencesSpec]:
        label = f"preferences {name} {split}"
        if isinstance(task, PoolTask):
            inputs = self._of_pool(name, task)
            spec = PreferencesSpec(split=split, count=count, seed=self.data_seed)
            return self.graph.stage(POOL_PREFERENCES, spec, inputs, label=label)
        spec = PreferencesSpec(split=split, count=count, seed=self.data_seed, task=task.kind)
        return self.graph.stage(PREFERENCES, spec, {"problems": self.problems(name, task, split)}, label=label)

    def candidates(self, experiment: Experiment, name: str, split: Split = "test") -> Stage:
        task, block = experiment.tasks[name], experiment.evaluate.best_of_n.candidates
        if isinstance(task, PoolTask):
            inputs = self._of_pool(name, task)
            return self.graph.stage(
                POOL_CANDIDATES, PoolCandidatesSpec(split=split), inputs, label=_label("candidates", name, split)
            )
        assert block is not None
        key = ("candidates", self._text(task), self._text(block), split)
        return self._remember(key, lambda: self._candidates(name, task, block, split))

    def _candidates(self, name: str, task: Task, block: CandidatesBlock, split: Split) -> Stage[NoSpec]:
        problems = self.problems(name, task, split)
        affinity = f"{block.engine}:{problems.fingerprint}"
        chosen: dict[str, Any] = {"accuracy": block.accuracy}
        models: dict[str, Stage] = {}
        if ":" in block.engine:
            chosen["engine_source"] = resolve.plugin_digest(block.engine)
        if block.writer is not None:
            model = self.pretrained(block.writer.model)
            models["model"] = model
            writer = WriterSpec.of(block.writer)
            chosen = {"writer": writer, "source": model.label.removeprefix("model ")}
            affinity = writer.affinity(model)
        problem_count = int(getattr(task.problems, split))
        parts = {}
        for index, start in enumerate(range(0, problem_count, block.part_size)):
            spec = CandidatesPartSpec(
                task=task.kind,
                engine=block.engine,
                options=block.options,
                samples=block.samples,
                split=split,
                seed=self.data_seed,
                start=start,
                stop=min(start + block.part_size, problem_count),
                **chosen,
            )
            label = f"{_label('candidates', name, split)} part {index + 1}"
            # of its problems alone, so that more problems add parts and make none anew
            inputs: dict[str, Stage | Input] = {"problems": Input(stage=problems, rows=spec.stop), **models}
            parts[f"part-{index:05d}"] = self.graph.stage(CANDIDATES_PART, spec, inputs, label=label, affinity=affinity)
        return self.graph.stage(CANDIDATES, NoSpec(), parts, label=_label("candidates", name, split))


def _label(what: str, name: str, split: str) -> str:
    return f"{what} {name}" if split == "test" else f"{what} {name} {split}"


def task_source(kind: str) -> dict[str, str]:
    """What decides a task's problems beside its settings: the generator's version, or the plugin's source."""
    if ":" in kind:
        return {"plugin": resolve.plugin_digest(kind)}
    return resolve.resolve_versions(["reasoning-gym"])
