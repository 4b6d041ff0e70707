"""Which stages a variant needs. The one place that says how CodePMP's stages hang together.

Everything that enters a `spec` here is identity. Nothing of `runtime` may be read in this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from harness.plan import sources
from harness.plan.graph import Graph, Input, Stage
from harness.plan.imports import NO_IMPORTS, Imports
from harness.plan.pair_stages import PairStages
from harness.recipe.blocks import WSD, Averaging, Optimization, Pretrain, TinyModel
from harness.recipe.fields import CODE
from harness.recipe.lock import Commits
from harness.recipe.schema import Experiment, identity_of
from harness.store.record import Record

GRADING = ("math-verify", "latex2sympy2-extended", "sympy")
"""Packages whose versions decide which answers are equal; `tasks/grading.py` says so (a test holds them equal)."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A training run in whole steps: `decay_start` is where a WSD branch leaves its trunk (0 without a trunk)."""

    total: int
    decay_start: int
    warmup: int
    batch: int
    epochs: int

    @property
    def pairs(self) -> int:
        """Different pairs read, each once an epoch."""
        return self.total // self.epochs * self.batch


def steps_of(pretrain: Pretrain, count: int) -> Steps:
    """Whole global batches of `count` pairs an epoch, and the whole step at which the decay starts."""
    batch, epochs = pretrain.global_batch, pretrain.epochs
    total = count // batch * epochs
    schedule = pretrain.schedule
    if isinstance(schedule, WSD):
        decay = max(1, round(schedule.decay * total))
        warmup = -(-schedule.warmup_pairs // batch)
        return Steps(total=total, decay_start=total - decay, warmup=warmup, batch=batch, epochs=epochs)
    return Steps(total=total, decay_start=0, warmup=round(schedule.warmup * total), batch=batch, epochs=epochs)


def training_spec(block: Optimization) -> dict[str, Any]:
    """The optimization settings as identity, without the schedule (whose form differs by stage)."""
    spec = identity_of(block)
    keys = ("learning_rate", "global_batch", "precision", "weight_decay", "clip_norm", "betas")
    chosen = {key: spec[key] for key in keys}
    if "loss" in spec:
        chosen["loss"] = dict(spec["loss"])
        if not spec["loss"]["lm"] or spec["loss"]["lm_normalization"] == "token":
            del chosen["loss"]["lm_normalization"]  # the default, or of no use
        if not spec["loss"]["rm"]:  # then nothing of the pair loss is used
            chosen["loss"] |= {"margin": 0.0, "kind": "bradley_terry"}
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


class Pipeline(PairStages):
    """Adds training and evaluation.

    Args:
        forks: records of the trunk states that `pretrain.from` names.
    """

    def __init__(
        self,
        graph: Graph,
        data_seed: int,
        rows: Mapping[str, int],
        *,
        imports: Imports = NO_IMPORTS,
        commits: Commits = MappingProxyType({}),
        forks: Mapping[str, Record] = MappingProxyType({}),
    ) -> None:
        super().__init__(graph, data_seed, rows, imports=imports, commits=commits)
        self.forks = forks
        self._fitted: dict[tuple[str, ...], dict[str, Stage]] = {}

    # ------------------------------------------------------------------------------------------ training

    def base(self, experiment: Experiment) -> Stage:
        """What every arm starts from: a tiny model trained here, or one from outside as it is."""
        model = experiment.model
        if not isinstance(model, TinyModel):
            return self.pretrained(model)
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
        if block.average is None:
            return self._run(experiment, block, seed)
        key = ("average", self._text(experiment), seed)
        if key not in self._memory:
            self._memory[key] = self._average(experiment, block, block.average, seed)
        return self._memory[key]

    def _average(self, experiment: Experiment, block: Pretrain, average: Averaging, seed: int) -> Stage:
        """The mean of runs, each average with seeds of its own; or of the last states of one run's stable path."""
        inputs: dict[str, Stage | Input] = {}
        if average.over == "seeds":
            alone = block.model_copy(update={"average": None})
            for place in range(average.count):
                inputs[f"checkpoint-{place}"] = self._run(experiment, alone, seed * average.count + place)
        else:
            assert average.every_pairs is not None
            steps = steps_of(block, experiment.pairs.count)
            for place in range(average.count):
                step = steps.total - place * (average.every_pairs // steps.batch)
                inputs[f"trunk-{place}"] = self._trunk_state(experiment, block, seed, step)
        loss = block.loss
        what = f"{average.count} {average.over}"
        return self.graph.stage(
            "average", {}, inputs, label=f"average of {what} rm={loss.rm:g} lm={loss.lm:g} seed {seed}"
        )

    def _run(self, experiment: Experiment, block: Pretrain, seed: int) -> Stage:
        """One training to its end."""
        base, tokens = self.base(experiment), self.pair_tokens(experiment)
        order = experiment.pairs.order
        asked = (self._text(block), "" if order is None else self._text(order), experiment.pairs.count, seed)
        key = ("pretrain", base.fingerprint, tokens.fingerprint, *asked)
        if key not in self._memory:
            steps = steps_of(block, experiment.pairs.count)
            spec, read = self._reading(experiment, block, seed, steps.pairs)
            forked, start = self._forked_at(block), self._start(experiment, block)
            if steps.decay_start > forked:
                start = {"trunk": self._trunk_state(experiment, block, seed, steps.decay_start)}
            inputs: dict[str, Stage | Input] = {**start, **read}
            loss = block.loss
            epochs = f" × {block.epochs} epochs" if block.epochs > 1 else ""
            self._memory[key] = self.graph.stage(
                "pretrain",
                {
                    **spec,
                    # of WSD, the steps below say it all
                    "schedule": {"kind": "wsd"} if isinstance(block.schedule, WSD) else schedule_spec(block),
                    "start_step": max(steps.decay_start, forked),
                    "stop_step": steps.total,
                    "warmup_steps": steps.warmup,
                },
                inputs,
                label=f"pretrain rm={loss.rm:g} lm={loss.lm:g} n={steps.pairs:,}{epochs} seed {seed}",
            )
        pretrained = self._memory[key]
        self._gate(experiment, pretrained)
        if "trunk" in pretrained.inputs:
            self._gate(experiment, pretrained.inputs["trunk"].stage)
        return pretrained

    def _gate(self, experiment: Experiment, stage: Stage) -> None:
        """Let no step on the pairs be made before they were found good, where a recipe wants that."""
        if experiment.pairs.quality.on_fail == "stop":
            gate = self.pair_gate(experiment)
            if gate not in stage.gates:
                stage.gates.append(gate)

    def _trunk_state(self, experiment: Experiment, block: Pretrain, seed: int, step: int) -> Stage:
        """The stable path at a step: names neither the decay nor the count, so that all counts share it."""
        steps = steps_of(block, experiment.pairs.count)
        common, read = self._reading(experiment, block, seed, min(step * steps.batch, steps.pairs))
        spec = {**common, "schedule": {"kind": "trunk"}, "warmup_steps": steps.warmup, "step": step}
        loss = block.loss
        state = self.graph.stage(
            "trunk_state",
            spec,
            {**self._start(experiment, block), **read},
            label=f"trunk rm={loss.rm:g} lm={loss.lm:g} step {step} seed {common['order']['seed']}",
        )
        self._gate(experiment, state)
        return state

    def _reading(
        self, experiment: Experiment, block: Pretrain, seed: int, rows: int
    ) -> tuple[dict[str, Any], dict[str, Input]]:
        """What every stage of a run has in common: how it trains and in which order, and the first rows it reads."""
        pairs = steps_of(block, experiment.pairs.count).pairs
        ordered, scores = self.pair_order(experiment, seed, pairs, block.epochs)
        tokens = Input(stage=self.pair_tokens(experiment), rows=ordered.get("rows", rows))
        return {"training": training_spec(block), "order": ordered}, {"tokens": tokens, **scores}

    def _start(self, experiment: Experiment, block: Pretrain) -> dict[str, Stage]:
        """What a run begins with: the base model and, if it goes on from another run, that run's state."""
        base = self.base(experiment)
        if block.start is None:
            return {"base": base}
        return {"base": base, "fork": self.graph.recorded(self.forks[block.start], label=f"fork of {block.start}")}

    def _forked_at(self, block: Pretrain) -> int:
        """The step a run goes on from another at; 0 where it begins with the base model."""
        return 0 if block.start is None else int(self.forks[block.start].identity["spec"]["step"])

    def probes(self, experiment: Experiment, seed: int) -> list[tuple[int, str, Stage]]:
        """(pairs read, task, pair accuracy) of states along a run's stable path, as they are.

        On held-out code pairs, and on dev preferences of the tasks that fine-tuning takes. A mean over seeds has no
        path of its own.
        """
        block, asked = experiment.pretrain, experiment.evaluate.probes
        if asked is None or block is None or not trains_head(experiment) or not isinstance(block.schedule, WSD):
            return []
        if block.average is not None and block.average.over == "seeds":
            return []
        steps = steps_of(block, experiment.pairs.count)
        every = max(1, asked.every_pairs // steps.batch)
        found = []
        for step in range(every, steps.decay_start + 1, every):
            if step > self._forked_at(block):
                state = self._trunk_state(experiment, block, seed, step)
                found += [(step * steps.batch, task, stage) for task, stage in self._probe(experiment, state)]
        return found

    def _probe(self, experiment: Experiment, state: Stage) -> Iterator[tuple[str, Stage]]:
        if experiment.evaluate.code_pairs is not None:
            yield CODE, self.code_pair_accuracy(experiment, state, state.label)
        for name in experiment.finetune.tasks:
            dev = experiment.tasks[name].problems.dev
            if dev:
                yield name, self._accuracy_on(experiment, name, "dev", dev, state, state.label)

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

    # ---------------------------------------------------------------------------------------- evaluation

    def best_of_n(self, experiment: Experiment, name: str, model: Stage, label: str) -> Stage:
        candidates = self.candidates(experiment, name)
        tokens = self._candidate_tokens(experiment, name)
        scores = self.scored(experiment, model, tokens, f"{label} on {name} candidates")
        return self.judged_pool(experiment, candidates, scores, f"best-of-N {label} on {name}")

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
        return self._accuracy_on(experiment, name, "test", experiment.evaluate.pair_accuracy.samples, model, label)

    def _accuracy_on(
        self, experiment: Experiment, name: str, split: str, count: int, model: Stage, label: str
    ) -> Stage:
        of = f"{name}{'' if split == 'test' else f' {split}'}"
        pairs = self.preferences(name, experiment.tasks[name], split, count)
        tokens = self.preference_tokens(experiment, name, split, count)
        scores = self.scored(experiment, model, tokens, f"{label} on {of} pairs")
        return self.graph.stage(
            "pair_accuracy", {}, {"scores": scores, "pairs": pairs}, label=f"pair accuracy {label} on {of}"
        )

    def code_pair_accuracy(self, experiment: Experiment, model: Stage, label: str) -> Stage:
        pairs = self.heldout_pairs(experiment)
        scores = self.scored(experiment, model, self.heldout_tokens(experiment), f"{label} on held-out code")
        return self.graph.stage(
            "pair_accuracy", {}, {"scores": scores, "pairs": pairs}, label=f"pair accuracy {label} on held-out code"
        )

    def judged_pool(self, experiment: Experiment, candidates: Stage, scores: Stage, label: str) -> Stage:
        spec = {"n": list(experiment.evaluate.best_of_n.n)}
        return self.graph.stage("best_of_n", spec, {"scores": scores, "candidates": candidates}, label=label)

    # ---------------------------------------------------------------------------------- reference scorers

    def pool_baselines(self, experiment: Experiment, name: str) -> Stage:
        """Random pick, majority vote and oracle of a pool."""
        spec = {"n": list(experiment.evaluate.best_of_n.n), "grading": sources.resolve_versions(GRADING)}
        inputs = {"candidates": self.candidates(experiment, name)}
        return self.graph.stage("pool_baselines", spec, inputs, label=f"baselines of the {name} pool")

    def reference_best_of_n(self, experiment: Experiment, name: str, scorer: str, seed: int) -> Stage:
        candidates = self.candidates(experiment, name)
        target = {"target": candidates, "target_tokens": self._candidate_tokens(experiment, name)}
        scores = self._shallow_on_tasks(experiment, scorer, seed, target, "candidates", name)
        return self.judged_pool(experiment, candidates, scores, f"best-of-N {scorer} on {name}")

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
        pairs = self.heldout_pairs(experiment)
        most = self.rows[self.pair_key(experiment)]
        count = min(steps_of(experiment.pretrain, experiment.pairs.count).pairs, most)  # an axis may ask for less
        stream = self.pairs(experiment, "train", most)
        inputs: dict[str, Stage | Input] = {
            "pairs-code": stream,
            "tokens-code": Input(stage=self.pair_tokens(experiment), rows=count),
            "target": pairs,
            "target_tokens": self.heldout_tokens(experiment),
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
        inputs: dict[str, Stage | Input] = {**target, **self._fitted_on(experiment)}
        spec = {
            "scorer": scorer,
            "content": content,
            "tasks": list(block.tasks),
            "samples": block.samples,
            "seed": seed,
        }
        return self.graph.stage("shallow_score", spec, inputs, label=f"score {scorer} on {name} {content} seed {seed}")

    def _fitted_on(self, experiment: Experiment) -> dict[str, Stage]:
        """The fine-tuning pairs and tokens of all tasks; found once, since every evaluated task asks for them."""
        tasks = experiment.finetune.tasks
        key = (self.tokenizer(experiment).fingerprint, self._task_key(experiment), *tasks)
        if key not in self._fitted:
            found = self._fitted[key] = {}
            for name in tasks:
                task, count = experiment.tasks[name], experiment.tasks[name].problems.finetune
                found[f"pairs-{name}"] = self.preferences(name, task, "finetune", count)
                found[f"tokens-{name}"] = self.preference_tokens(experiment, name, "finetune", count)
        return self._fitted[key]


def _shape(model: TinyModel) -> dict[str, Any]:
    shape = identity_of(model)
    del shape["base"]
    return shape
