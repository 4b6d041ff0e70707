"""Stages that bring in and prepare data: models, corpora, problems, candidate pools, tokens.

Everything that enters a `spec` here is identity. Nothing of `runtime` may be read in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from harness.plan import sources
from harness.plan.corpus_stages import corpus_stage
from harness.plan.graph import Graph, Stage
from harness.plan.imports import NO_IMPORTS, STAGE_OF, Imports
from harness.plan.model_sources import resolve_model
from harness.recipe.blocks import AnyTask, PoolTask, TinyModel
from harness.recipe.lock import Commits
from harness.recipe.models import FolderModel, GgufModel, HubModel, PackagedModel, Writer
from harness.recipe.schema import Experiment, identity_of
from harness.store.identity import fingerprint

Key = tuple[Any, ...]

OPENED_BY = ("engine", "format", "precision", "context", "trust_remote_code")
"""What of a writer decides how its model is opened; the rest is said with each request."""


class DataStages:
    """Builds stages into one graph; equal asks are answered from memory.

    Args:
        rows: pair stream -> the most pairs any setting of the recipe asks of it (n_max), from `pair_key`.
        commits: which commit a hub model's revision stands for, as far as that is known.
        imports: what the recipe may name.
    """

    def __init__(
        self,
        graph: Graph,
        data_seed: int,
        rows: Mapping[str, int],
        *,
        imports: Imports = NO_IMPORTS,
        commits: Commits = MappingProxyType({}),
    ) -> None:
        self.graph = graph
        self.commits = commits
        self.data_seed = data_seed
        self.rows = rows
        self.imports = imports
        self._memory: dict[Key, Stage] = {}
        self._texts: dict[tuple[str, int], tuple[object, str]] = {}

    def _text(self, block: BaseModel) -> str:
        return self._once("", block, block.model_dump_json)

    def _once(self, what: str, owner: object, make: Callable[[], str]) -> str:
        """A text made once an object; the object is kept, so that its id stays its own."""
        found = self._texts.get((what, id(owner)))
        if found is None:
            found = self._texts[(what, id(owner))] = (owner, make())
        return found[1]

    def corpus(self, experiment: Experiment) -> Stage:
        """Cleaned documents; with decontamination its identity names the problems it was checked against."""
        block = experiment.corpus
        key = ("corpus", self._corpus_key(experiment))
        if key not in self._memory:
            problems: dict[str, Stage] = {}
            for name, task in experiment.tasks.items() if block.decontaminate is not None else ():
                if isinstance(task, PoolTask):
                    problems[f"splits-{name}"] = self.problems(name, task)
                    problems[f"pool-{name}"] = self.imported("pool", task.imported)
                else:
                    problems[f"problems-{name}"] = self.problems(name, task)
            self._memory[key] = corpus_stage(self.graph, block, problems, self.data_seed)
        return self._memory[key]

    def pretrained(self, model: PackagedModel | FolderModel | GgufModel | HubModel) -> Stage:
        """A model from outside, with its tokenizer."""
        key = ("pretrained", self._text(model))
        if key not in self._memory:
            source = resolve_model(model, self.commits)
            self._memory[key] = self.graph.stage(
                "pretrained", source.spec, label=f"model {source.name}", source_path=source.place
            )
        return self._memory[key]

    def _problems_text(self, task: AnyTask) -> str:
        """What decides a task's problems."""
        if isinstance(task, PoolTask):
            return f"pool {task.imported} {self._text(task.problems)}"
        return f"{task.kind}{self._text(task.problems)}{sorted(task.options.items())}"

    def imported(self, what: str, name: str) -> Stage:
        """The stage that brought in a named asset; its identity is the content's digest, whatever the name."""
        spec = {"digest": self.imports[what, name].digest}
        return self.graph.stage(STAGE_OF[what], spec, label=f"imported {what} {name}")

    def _corpus_key(self, experiment: Experiment) -> str:
        """What decides a setting's corpus: its block and, if it is checked against them, the tasks' problems."""
        return self._once("corpus", experiment, lambda: self._corpus_text(experiment))

    def _corpus_text(self, experiment: Experiment) -> str:
        texts = [self._text(experiment.corpus)]
        if experiment.corpus.decontaminate is not None:
            texts += [f"{name}={self._problems_text(task)}" for name, task in experiment.tasks.items()]
        return "|".join(texts)

    def problems(self, name: str, task: AnyTask) -> Stage:
        key = ("problems", self._text(task))
        if key not in self._memory:
            if isinstance(task, PoolTask):
                spec = {"problems": identity_of(task.problems), "seed": self.data_seed}
                inputs = {"pool": self.imported("pool", task.imported)}
                label = f"problems {name}"
                self._memory[key] = self.graph.stage("pool_problems", spec, inputs, label=label)
                return self._memory[key]
            spec = {
                "task": task.kind,
                "problems": identity_of(task.problems),
                "options": dict(task.options),
                "seed": self.data_seed,
                "source": task_source(task.kind),
            }
            self._memory[key] = self.graph.stage("problems", spec, label=f"problems {name}")
        return self._memory[key]

    def preferences(self, name: str, task: AnyTask, split: str, count: int) -> Stage:
        key = ("preferences", self._text(task), split, count)
        if key not in self._memory:
            spec = {"split": split, "count": count, "seed": self.data_seed}
            inputs = {"problems": self.problems(name, task)}
            kind = "preferences"
            if isinstance(task, PoolTask):
                kind, inputs = "pool_preferences", {**inputs, "pool": self.imported("pool", task.imported)}
            else:
                spec["task"] = task.kind
            self._memory[key] = self.graph.stage(kind, spec, inputs, label=f"preferences {name} {split}")
        return self._memory[key]

    def candidates(self, experiment: Experiment, name: str) -> Stage:
        task, block = experiment.tasks[name], experiment.evaluate.best_of_n.candidates
        if isinstance(task, PoolTask):
            inputs = {"problems": self.problems(name, task), "pool": self.imported("pool", task.imported)}
            return self.graph.stage("pool_candidates", {"split": "test"}, inputs, label=f"candidates {name}")
        assert block is not None
        key = ("candidates", self._text(task), self._text(block))
        if key not in self._memory:
            problems = self.problems(name, task)
            common: dict[str, Any] = {
                "task": task.kind,
                "engine": block.engine,
                "options": dict(block.options),
                "samples": block.samples,
                "accuracy": block.accuracy,
                "split": "test",
                "seed": self.data_seed,
            }
            if ":" in block.engine:
                common["engine_source"] = sources.plugin_digest(block.engine)
            inputs = {"problems": problems}
            affinity = f"{block.engine}:{problems.fingerprint}"
            if block.writer is not None:
                inputs["model"] = self.pretrained(block.writer.model)
                common["writer"] = writer_spec(block.writer)
                common["source"] = inputs["model"].label.removeprefix("model ")
                del common["accuracy"]  # of the simulated engine
                affinity = writer_affinity(inputs["model"], common["writer"])
            parts = {}
            for index, start in enumerate(range(0, task.problems.test, block.part_size)):
                spec = {**common, "start": start, "stop": min(start + block.part_size, task.problems.test)}
                parts[f"part-{index:05d}"] = self.graph.stage(
                    "candidates_part",
                    spec,
                    inputs,
                    label=f"candidates {name} part {index + 1}",
                    affinity=affinity,
                )
            self._memory[key] = self.graph.stage("candidates", {}, parts, label=f"candidates {name}")
        return self._memory[key]

    # -------------------------------------------------------------------------------------------- tokens

    def tokenizer(self, experiment: Experiment) -> Stage:
        if not isinstance(experiment.model, TinyModel):
            return self.pretrained(experiment.model)
        vocabulary = experiment.model.vocabulary
        key = ("tokenizer", vocabulary, self._corpus_key(experiment), self._base_problems(experiment))
        if key not in self._memory:
            inputs = {"corpus": self.corpus(experiment)}
            for name, task in experiment.tasks.items():
                if task.problems.base:
                    inputs[f"problems-{name}"] = self.problems(name, task)
            self._memory[key] = self.graph.stage("tokenizer", {"vocabulary": vocabulary}, inputs, label="tokenizer")
        return self._memory[key]

    def encode(
        self, experiment: Experiment, source: Stage, *, content: str, max_tokens: int, limit: int | None, label: str
    ) -> Stage:
        """Token ids of a source's groups; `limit` cuts to the first groups that fit, and is no part of the stream."""
        return self.encode_with(
            self.tokenizer(experiment), source, content=content, max_tokens=max_tokens, limit=limit, label=label
        )

    def encode_with(
        self,
        tokenizer: Stage,
        source: Stage,
        *,
        content: str,
        max_tokens: int,
        limit: int | None,
        label: str,
        text: str = "raw",
        end_token: str = "none",
    ) -> Stage:
        """As `encode`, by any tokenizer, an imported checkpoint's too; `text` is raw or by its chat template."""
        key = ("encode", tokenizer.fingerprint, source.fingerprint, content, max_tokens, limit, text, end_token)
        if key not in self._memory:
            spec = {"content": content, "max_tokens": max_tokens, "text": text, "end_token": end_token}
            stream = {**spec, "tokenizer": tokenizer.fingerprint, "source": source.stream or source.fingerprint}
            inputs = {"tokenizer": tokenizer, "source": source}
            self._memory[key] = self.graph.stage(
                "encode", {**spec, "limit": limit}, inputs, stream=stream, label=f"encode {label}"
            )
        return self._memory[key]

    def _base_problems(self, experiment: Experiment) -> str:
        return self._once("base problems", experiment, lambda: self._tasks(experiment, only_base=True))

    def _tasks(self, experiment: Experiment, *, only_base: bool = False) -> str:
        tasks = experiment.tasks.items()
        return "|".join(f"{name}={self._text(task)}" for name, task in tasks if task.problems.base or not only_base)

    def preference_tokens(self, experiment: Experiment, name: str, split: str, count: int) -> Stage:
        task = experiment.tasks[name]
        return self.encode(
            experiment,
            self.preferences(name, task, split, count),
            content="pairs",
            max_tokens=task.max_tokens,
            limit=None,
            label=f"preferences {name} {split}",
        )

    def scored(self, experiment: Experiment, model: Stage, tokens: Stage, label: str) -> Stage:
        """Rewards of everything in `tokens`; of a stream of pairs again a stream."""
        spec = {"precision": experiment.finetune.precision}
        stream = {**spec, "checkpoint": model.fingerprint, "tokens": tokens.stream} if tokens.stream else None
        inputs = {"trunk" if model.kind == "trunk_state" else "checkpoint": model, "tokens": tokens}
        return self.graph.stage("score", spec, inputs, stream=stream, label=f"score {label}")

    def _task_key(self, experiment: Experiment) -> str:
        return self._once("tasks", experiment, lambda: self._tasks(experiment))


def writer_spec(writer: Writer) -> dict[str, Any]:
    """How a model is asked for texts, as identity; which model it is stands among the inputs."""
    spec = identity_of(writer)
    for name in ("model", "from", "description_share"):
        spec.pop(name, None)
    return spec | {"trust_remote_code": isinstance(writer.model, HubModel) and writer.model.trust_remote_code}


def writer_affinity(model: Stage, spec: Mapping[str, Any]) -> str:
    """Tasks with this in common need one opened model, however they ask it."""
    return f"{model.fingerprint}:{fingerprint({name: spec[name] for name in OPENED_BY})}"


def task_source(kind: str) -> dict[str, str]:
    """What decides a task's problems beside its settings: the generator's version, or the plugin's source."""
    if ":" in kind:
        return {"plugin": sources.plugin_digest(kind)}
    return sources.resolve_versions(["reasoning-gym"])
