"""Which stages a variant needs. The one place that says how CodePMP's stages hang together.

Everything that enters a `spec` here is identity. Nothing of `runtime` may be read in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from harness.plan import sources
from harness.plan.graph import Graph, Input, Stage
from harness.recipe.blocks import WSD, Optimization, Pretrain, Task, TinyModel
from harness.recipe.schema import Experiment, identity_of

Key = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A training run in whole steps: `decay_start` is where a WSD branch leaves its trunk (0 without a trunk)."""

    total: int
    decay_start: int
    warmup: int
    batch: int

    @property
    def pairs(self) -> int:
        return self.total * self.batch


def steps_of(pretrain: Pretrain, count: int) -> Steps:
    """Whole global batches of `count` pairs, and the whole step at which the decay starts."""
    batch = pretrain.global_batch
    total = count // batch
    schedule = pretrain.schedule
    if isinstance(schedule, WSD):
        decay = max(1, round(schedule.decay * total))
        return Steps(total=total, decay_start=total - decay, warmup=-(-schedule.warmup_pairs // batch), batch=batch)
    return Steps(total=total, decay_start=0, warmup=round(schedule.warmup * total), batch=batch)


def training_spec(block: Optimization) -> dict[str, Any]:
    """The optimization settings as identity, without the schedule (whose form differs by stage)."""
    spec = identity_of(block)
    keys = ("learning_rate", "global_batch", "precision", "weight_decay", "clip_norm", "betas")
    chosen = {key: spec[key] for key in keys}
    if "loss" in spec:
        chosen["loss"] = spec["loss"]
        if not spec["loss"]["rm"]:  # then nothing of the pair loss is used
            chosen["loss"] = {**spec["loss"], "margin": 0.0, "kind": "bradley_terry"}
        elif ":" in spec["loss"]["kind"]:
            chosen["loss_source"] = sources.plugin_digest(spec["loss"]["kind"])
    return chosen


def schedule_spec(block: Optimization) -> dict[str, Any]:
    """The schedule as identity: without permissions, which change nothing once they are given."""
    spec = identity_of(block.schedule)
    spec.pop("allow_decay_inside_warmup", None)
    return spec


def trains_head(experiment: Experiment) -> bool:
    """Whether PMP leaves a trained scalar head, to be carried on and to be judged."""
    return experiment.pretrain is not None and experiment.pretrain.loss.rm > 0


class Pipeline:
    """Builds stages of settings into one graph; equal asks are answered from memory.

    Args:
        rows: pair stream -> the most pairs any setting of the recipe asks of it (n_max), from `pair_key`.
    """

    def __init__(self, graph: Graph, data_seed: int, rows: Mapping[str, int]) -> None:
        self.graph = graph
        self.data_seed = data_seed
        self.rows = rows
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

    # ---------------------------------------------------------------------------------------------- data

    def corpus(self, experiment: Experiment) -> Stage:
        """Cleaned documents; with decontamination its identity names the problems it was checked against."""
        block = experiment.corpus
        key = ("corpus", self._corpus_key(experiment))
        if key not in self._memory:
            spec = {**identity_of(block), **sources.resolve_corpus(block), "seed": self.data_seed}
            inputs = {}
            if block.decontaminate is not None:
                inputs = {f"problems-{name}": self.problems(name, task) for name, task in experiment.tasks.items()}
            self._memory[key] = self.graph.stage("corpus", spec, inputs, label="corpus")
        return self._memory[key]

    def _corpus_key(self, experiment: Experiment) -> str:
        """What decides a setting's corpus: its block and, if it is checked against them, the tasks' problems."""
        return self._once("corpus", experiment, lambda: self._corpus_text(experiment))

    def _corpus_text(self, experiment: Experiment) -> str:
        texts = [self._text(experiment.corpus)]
        if experiment.corpus.decontaminate is not None:
            texts += [
                f"{name}={task.kind}{self._text(task.problems)}{sorted(task.options.items())}"
                for name, task in experiment.tasks.items()
            ]
        return "|".join(texts)

    def problems(self, name: str, task: Task) -> Stage:
        key = ("problems", self._text(task))
        if key not in self._memory:
            spec = {
                "task": task.kind,
                "problems": identity_of(task.problems),
                "options": dict(task.options),
                "seed": self.data_seed,
                "source": task_source(task.kind),
            }
            self._memory[key] = self.graph.stage("problems", spec, label=f"problems {name}")
        return self._memory[key]

    def preferences(self, name: str, task: Task, split: str, count: int) -> Stage:
        key = ("preferences", self._text(task), split, count)
        if key not in self._memory:
            spec = {"task": task.kind, "split": split, "count": count, "seed": self.data_seed}
            inputs = {"problems": self.problems(name, task)}
            self._memory[key] = self.graph.stage("preferences", spec, inputs, label=f"preferences {name} {split}")
        return self._memory[key]

    def pair_key(self, experiment: Experiment) -> str:
        """What a setting's pairs have in common with another's, whatever their count."""
        pairs = experiment.pairs
        return self._once(
            "pair_key",
            experiment,
            lambda: "|".join(
                [self._corpus_key(experiment), self._text(experiment.model)]
                + [self._text(block) for block in (pairs.prompt, pairs.chosen, pairs.rejected)]
                + [str(pairs.part_size), str(pairs.spare), str(pairs.max_tokens)]
            ),
        )

    def pairs(self, experiment: Experiment, split: str, count: int) -> Stage:
        block = experiment.pairs
        key = ("pairs", self.pair_key(experiment), split, count)
        if key not in self._memory:
            sides = {name: identity_of(getattr(block, name)) for name in ("prompt", "chosen", "rejected")}
            for side in ("chosen", "rejected"):
                if ":" in sides[side]["from"]:
                    sides[side]["source"] = sources.plugin_digest(sides[side]["from"])
            common = {**sides, "split": split, "seed": self.data_seed}
            corpus = self.corpus(experiment)
            slots = -(-round(count * (1 + block.spare)) // block.part_size) * block.part_size
            parts = {}
            for index, start in enumerate(range(0, slots, block.part_size)):
                spec = {**common, "start": start, "stop": start + block.part_size}
                label = f"pairs {split} part {index + 1}"
                parts[f"part-{index:05d}"] = self.graph.stage("pairs_part", spec, {"corpus": corpus}, label=label)
            stream = {**common, "part_size": block.part_size, "corpus": corpus.fingerprint}
            self._memory[key] = self.graph.stage("pairs", {}, parts, stream=stream, label=f"pairs {split}")
        return self._memory[key]

    def candidates(self, experiment: Experiment, name: str) -> Stage:
        task, block = experiment.tasks[name], experiment.evaluate.best_of_n.candidates
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
            parts = {}
            for index, start in enumerate(range(0, task.problems.test, block.part_size)):
                spec = {**common, "start": start, "stop": min(start + block.part_size, task.problems.test)}
                parts[f"part-{index:05d}"] = self.graph.stage(
                    "candidates_part",
                    spec,
                    {"problems": problems},
                    label=f"candidates {name} part {index + 1}",
                    affinity=f"{block.engine}:{problems.fingerprint}",
                )
            self._memory[key] = self.graph.stage("candidates", {}, parts, label=f"candidates {name}")
        return self._memory[key]

    # -------------------------------------------------------------------------------------------- tokens

    def tokenizer(self, experiment: Experiment) -> Stage:
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
        tokenizer = self.tokenizer(experiment)
        key = ("encode", tokenizer.fingerprint, source.fingerprint, content, max_tokens, limit)
        if key not in self._memory:
            spec = {"content": content, "max_tokens": max_tokens}
            stream = {**spec, "tokenizer": tokenizer.fingerprint, "source": source.stream or source.fingerprint}
            inputs = {"tokenizer": tokenizer, "source": source}
            self._memory[key] = self.graph.stage(
                "encode", {**spec, "limit": limit}, inputs, stream=stream, label=f"encode {label}"
            )
        return self._memory[key]

    def pair_tokens(self, experiment: Experiment) -> Stage:
        count = self.rows[self.pair_key(experiment)]
        return self.encode(
            experiment,
            self.pairs(experiment, "train", count),
            content="pairs",
            max_tokens=experiment.pairs.max_tokens,
            limit=count,
            label="pairs train",
        )

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

    # ------------------------------------------------------------------------------------------ training

    def base(self, experiment: Experiment) -> Stage:
        model = experiment.model
        length = experiment.pairs.max_tokens
        key = ("base", self._text(model), self._corpus_key(experiment), self._base_problems(experiment), length)
        if key not in self._memory:
            inputs = {"tokenizer": self.tokenizer(experiment)}
            inputs["tokens-corpus"] = self.encode(
                experiment, self.corpus(experiment), content="texts", max_tokens=length, limit=None, label="base code"
            )
            for name, task in experiment.tasks.items():
                if task.problems.base:
                    inputs[f"tokens-{name}"] = self.encode(
                        experiment,
                        self.problems(name, task),
                        content="texts",
                        max_tokens=task.max_tokens,
                        limit=None,
                        label=f"base {name}",
                    )
            spec = {
                "shape": _shape(model),
                "training": {**training_spec(model.base), "loss": {"rm": 0.0, "lm": 1.0, "margin": 0.0}},
                "schedule": schedule_spec(model.base),
                "texts": model.base.texts,
                "seed": self.data_seed,
            }
            self._memory[key] = self.graph.stage("base", spec, inputs, label="base")
        return self._memory[key]

    def pretrain(self, experiment: Experiment, seed: int) -> Stage | None:
        """The PMP checkpoint of a setting and pretrain seed; None for an arm without PMP."""
        block = experiment.pretrain
        if block is None:
            return None
        base, tokens = self.base(experiment), self.pair_tokens(experiment)
        key = ("pretrain", base.fingerprint, tokens.fingerprint, self._text(block), experiment.pairs.count, seed)
        if key not in self._memory:
            steps = steps_of(block, experiment.pairs.count)
            order: dict[str, Any] = {"seed": seed}
            if seed:  # seed 0 is row order, whose prefixes agree; others draw from the recipe's most rows
                order["rows"] = self.rows[self.pair_key(experiment)]
            spec = {"training": training_spec(block), "order": order}
            start: dict[str, Stage | Input] = {"base": base}
            if steps.decay_start:
                start = {"trunk": self._trunk_state(block, steps, spec, base, tokens)}
            inputs: dict[str, Stage | Input] = {**start, "tokens": self._prefix(tokens, order, steps.pairs)}
            loss = block.loss
            self._memory[key] = self.graph.stage(
                "pretrain",
                {
                    **spec,
                    # of WSD, the steps below say it all
                    "schedule": {"kind": "wsd"} if isinstance(block.schedule, WSD) else schedule_spec(block),
                    "start_step": steps.decay_start,
                    "stop_step": steps.total,
                    "warmup_steps": steps.warmup,
                },
                inputs,
                label=f"pretrain rm={loss.rm:g} lm={loss.lm:g} n={steps.pairs:,} seed {seed}",
            )
        return self._memory[key]

    def _trunk_state(
        self, block: Pretrain, steps: Steps, common: Mapping[str, Any], base: Stage, tokens: Stage
    ) -> Stage:
        """The stable path at a step: names neither the decay nor the count, so that all counts share it."""
        spec = {**common, "schedule": {"kind": "trunk"}, "warmup_steps": steps.warmup, "step": steps.decay_start}
        rows = steps.decay_start * steps.batch
        inputs: dict[str, Stage | Input] = {"base": base, "tokens": self._prefix(tokens, common["order"], rows)}
        loss = block.loss
        return self.graph.stage(
            "trunk_state",
            spec,
            inputs,
            label=f"trunk rm={loss.rm:g} lm={loss.lm:g} step {steps.decay_start} seed {common['order']['seed']}",
        )

    def _prefix(self, tokens: Stage, order: Mapping[str, Any], rows: int) -> Input:
        return Input(stage=tokens, rows=order.get("rows", rows))

    def finetune(self, experiment: Experiment, start: Stage, seed: int, label: str) -> Stage:
        block = experiment.finetune
        head = "reinit" if block.head == "carry" and not trains_head(experiment) else block.head  # the same there
        key = ("finetune", start.fingerprint, self._text(block), head, self._task_key(experiment), seed)
        if key not in self._memory:
            inputs: dict[str, Stage | Input] = {"start": start}
            for name in block.tasks:
                count = experiment.tasks[name].problems.finetune
                inputs[f"tokens-{name}"] = self.preference_tokens(experiment, name, "finetune", count)
                if block.select is not None:
                    dev = experiment.tasks[name].problems.dev
                    inputs[f"dev-{name}"] = self.preference_tokens(experiment, name, "dev", dev)
            spec = {
                "training": training_spec(block),
                "schedule": schedule_spec(block),
                "tasks": list(block.tasks),
                "samples": block.samples,
                "head": head,
                "select": None if block.select is None else identity_of(block.select),
                "seed": seed,
            }
            self._memory[key] = self.graph.stage("finetune", spec, inputs, label=f"finetune {label} seed {seed}")
        return self._memory[key]

    def _task_key(self, experiment: Experiment) -> str:
        return self._once("tasks", experiment, lambda: self._tasks(experiment))

    # ---------------------------------------------------------------------------------------- evaluation

    def best_of_n(self, experiment: Experiment, name: str, model: Stage, label: str) -> Stage:
        candidates = self.candidates(experiment, name)
        tokens = self._candidate_tokens(experiment, name)
        scores = self._score(experiment, model, tokens, f"{label} on {name} candidates")
        return self._best_of_n(experiment, candidates, scores, f"best-of-N {label} on {name}")

    def _candidate_tokens(self, experiment: Experiment, name: str) -> Stage:
        return self.encode(
            experiment,
            self.candidates(experiment, name),
            content="candidates",
            max_tokens=experiment.tasks[name].max_tokens,
            limit=None,
            label=f"candidates {name}",
        )

    def pair_accuracy(self, experiment: Experiment, name: str, model: Stage, label: str) -> Stage:
        assert experiment.evaluate.pair_accuracy is not None
        count = experiment.evaluate.pair_accuracy.samples
        pairs = self.preferences(name, experiment.tasks[name], "test", count)
        scores = self._score(
            experiment, model, self.preference_tokens(experiment, name, "test", count), f"{label} on {name} pairs"
        )
        return self.graph.stage(
            "pair_accuracy", {}, {"scores": scores, "pairs": pairs}, label=f"pair accuracy {label} on {name}"
        )

    def code_pair_accuracy(self, experiment: Experiment, model: Stage, label: str) -> Stage:
        pairs = self._heldout_pairs(experiment)
        scores = self._score(experiment, model, self._heldout_tokens(experiment), f"{label} on held-out code")
        return self.graph.stage(
            "pair_accuracy", {}, {"scores": scores, "pairs": pairs}, label=f"pair accuracy {label} on held-out code"
        )

    def _heldout_pairs(self, experiment: Experiment) -> Stage:
        return self.pairs(experiment, "heldout", self._code_pairs(experiment))

    def _heldout_tokens(self, experiment: Experiment) -> Stage:
        return self.encode(
            experiment,
            self._heldout_pairs(experiment),
            content="pairs",
            max_tokens=experiment.pairs.max_tokens,
            limit=self._code_pairs(experiment),
            label="pairs heldout",
        )

    def _code_pairs(self, experiment: Experiment) -> int:
        assert experiment.evaluate.code_pairs is not None
        return experiment.evaluate.code_pairs.count

    def _score(self, experiment: Experiment, model: Stage, tokens: Stage, label: str) -> Stage:
        spec = {"precision": experiment.finetune.precision}
        return self.graph.stage("score", spec, {"checkpoint": model, "tokens": tokens}, label=f"score {label}")

    def _best_of_n(self, experiment: Experiment, candidates: Stage, scores: Stage, label: str) -> Stage:
        spec = {"n": list(experiment.evaluate.best_of_n.n)}
        return self.graph.stage("best_of_n", spec, {"scores": scores, "candidates": candidates}, label=label)

    # ---------------------------------------------------------------------------------- reference scorers

    def pool_baselines(self, experiment: Experiment, name: str) -> Stage:
        """Random pick, majority vote and oracle of a pool."""
        spec = {"n": list(experiment.evaluate.best_of_n.n)}
        inputs = {"candidates": self.candidates(experiment, name)}
        return self.graph.stage("pool_baselines", spec, inputs, label=f"baselines of the {name} pool")

    def reference_best_of_n(self, experiment: Experiment, name: str, scorer: str, seed: int) -> Stage:
        candidates = self.candidates(experiment, name)
        target = {"target": candidates, "target_tokens": self._candidate_tokens(experiment, name)}
        scores = self._shallow_on_tasks(experiment, scorer, seed, target, "candidates", name)
        return self._best_of_n(experiment, candidates, scores, f"best-of-N {scorer} on {name}")

    def reference_pair_accuracy(self, experiment: Experiment, name: str, scorer: str, seed: int) -> Stage:
        assert experiment.evaluate.pair_accuracy is not None
        count = experiment.evaluate.pair_accuracy.samples
        pairs = self.preferences(name, experiment.tasks[name], "test", count)
        target = {"target": pairs, "target_tokens": self.preference_tokens(experiment, name, "test", count)}
        scores = self._shallow_on_tasks(experiment, scorer, seed, target, "pairs", name)
        return self.graph.stage(
            "pair_accuracy", {}, {"scores": scores, "pairs": pairs}, label=f"pair accuracy {scorer} on {name}"
        )

    def reference_code_pairs(self, experiment: Experiment, scorer: str) -> Stage:
        assert experiment.pretrain is not None
        pairs = self._heldout_pairs(experiment)
        most = self.rows[self.pair_key(experiment)]
        count = min(steps_of(experiment.pretrain, experiment.pairs.count).pairs, most)  # an axis may ask for less
        stream = self.pairs(experiment, "train", most)
        inputs: dict[str, Stage | Input] = {
            "pairs-code": stream,
            "tokens-code": Input(stage=self.pair_tokens(experiment), rows=count),
            "target": pairs,
            "target_tokens": self._heldout_tokens(experiment),
        }
        spec = {"scorer": scorer, "content": "pairs", "tasks": ["code"], "samples": count, "seed": None}
        scores = self.graph.stage("shallow_score", spec, inputs, label=f"score {scorer} on held-out code")
        return self.graph.stage(
            "pair_accuracy", {}, {"scores": scores, "pairs": pairs}, label=f"pair accuracy {scorer} on held-out code"
        )

    def _shallow_on_tasks(
        self, experiment: Experiment, scorer: str, seed: int, target: Mapping[str, Stage], content: str, name: str
    ) -> Stage:
        """A shallow scorer fitted on exactly the pairs that fine-tuning with this seed sees."""
        block = experiment.finetune
        inputs: dict[str, Stage | Input] = {**target}
        for task in block.tasks:
            count = experiment.tasks[task].problems.finetune
            inputs[f"pairs-{task}"] = self.preferences(task, experiment.tasks[task], "finetune", count)
            inputs[f"tokens-{task}"] = self.preference_tokens(experiment, task, "finetune", count)
        spec = {
            "scorer": scorer,
            "content": content,
            "tasks": list(block.tasks),
            "samples": block.samples,
            "seed": seed,
        }
        return self.graph.stage("shallow_score", spec, inputs, label=f"score {scorer} on {name} {content} seed {seed}")


def _shape(model: TinyModel) -> dict[str, Any]:
    shape = identity_of(model)
    del shape["base"]
    return shape


def task_source(kind: str) -> dict[str, str]:
    """What decides a task's problems beside its settings: the generator's version, or the plugin's source."""
    if ":" in kind:
        return {"plugin": sources.plugin_digest(kind)}
    return sources.resolve_versions(["reasoning-gym"])
