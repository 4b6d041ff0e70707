"""Which stages a variant needs. The one place that says how CodePMP's stages hang together.

Everything that enters a `spec` here is identity. Nothing of `runtime` may be read in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from harness.plan import sources
from harness.plan.graph import Graph, Input, Stage
from harness.plan.imports import NO_IMPORTS, STAGE_OF, Imports
from harness.plan.model_sources import resolve_model
from harness.recipe.blocks import (
    WSD,
    AnyTask,
    DocstringPrompt,
    ImportedPairs,
    MutationSide,
    Optimization,
    Pairs,
    PluginSide,
    PoolTask,
    Pretrain,
    ReferenceSide,
    TinyModel,
)
from harness.recipe.lock import Commits
from harness.recipe.models import (
    DescriptionPrompt,
    FolderModel,
    GgufModel,
    HubModel,
    ModelSide,
    PackagedModel,
    Writer,
)
from harness.recipe.schema import Experiment, identity_of
from harness.store.identity import fingerprint

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


class Pipeline:
    """Builds stages of settings into one graph; equal asks are answered from memory.

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

    # ---------------------------------------------------------------------------------------------- data

    def corpus(self, experiment: Experiment) -> Stage:
        """Cleaned documents; with decontamination its identity names the problems it was checked against."""
        block = experiment.corpus
        key = ("corpus", self._corpus_key(experiment))
        if key not in self._memory:
            spec = {**identity_of(block), **sources.resolve_corpus(block), "seed": self.data_seed}
            inputs: dict[str, Stage] = {}
            for name, task in experiment.tasks.items() if block.decontaminate is not None else ():
                if isinstance(task, PoolTask):
                    inputs[f"splits-{name}"] = self.problems(name, task)
                    inputs[f"pool-{name}"] = self.imported("pool", task.imported)
                else:
                    inputs[f"problems-{name}"] = self.problems(name, task)
            self._memory[key] = self.graph.stage("corpus", spec, inputs, label="corpus")
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

    def pair_key(self, experiment: Experiment) -> str:
        """What a setting's pairs have in common with another's, whatever their count."""
        pairs = experiment.pairs
        if isinstance(pairs, ImportedPairs):
            made = [pairs.imported, str(pairs.heldout), str(pairs.max_tokens)]
        else:
            made = [self._text(block) for block in (pairs.prompt, pairs.chosen, pairs.rejected)]
            made += [str(pairs.part_size), str(pairs.spare), str(pairs.max_tokens)]
        common = [self._corpus_key(experiment), self._text(experiment.model)]
        return self._once("pair_key", experiment, lambda: "|".join([*common, *made]))

    def pairs(self, experiment: Experiment, split: str, count: int) -> Stage:
        block = experiment.pairs
        if isinstance(block, ImportedPairs):
            spec = {"split": split, "heldout": block.heldout, "seed": self.data_seed}
            imported = self.imported("pairs", block.imported)
            return self.graph.stage("split_pairs", spec, {"pairs": imported}, label=f"pairs {split}")
        key = ("pairs", self.pair_key(experiment), split, count)
        if key not in self._memory:
            sides = {"prompt": _prompt(block.prompt), "chosen": _side(block.chosen), "rejected": _side(block.rejected)}
            common = {**sides, "split": split, "seed": self.data_seed}
            corpus = self.corpus(experiment)
            slots = -(-round(count * (1 + block.spare)) // block.part_size) * block.part_size
            parts = {}
            for index, start in enumerate(range(0, slots, block.part_size)):
                span = {"split": split, "seed": self.data_seed, "start": start, "stop": start + block.part_size}
                inputs = {"corpus": corpus, **self._writings(block, corpus, span)}
                label = f"pairs {split} part {index + 1}"
                parts[f"part-{index:05d}"] = self.graph.stage("pairs_part", {**common, **span}, inputs, label=label)
            stream = {**common, "part_size": block.part_size, "corpus": corpus.fingerprint, **self._who_wrote(block)}
            self._memory[key] = self.graph.stage("pairs", {}, parts, stream=stream, label=f"pairs {split}")
        return self._memory[key]

    def _writings(self, block: Pairs, corpus: Stage, span: Mapping[str, Any]) -> dict[str, Stage]:
        """What models write for a range of slots: the descriptions, and each side of theirs."""
        found: dict[str, Stage] = {}
        described: dict[str, Stage] = {"corpus": corpus}
        mutates = any(isinstance(side, MutationSide) for side in (block.chosen, block.rejected))
        span = {**span, "only_functions": mutates}  # so that a slot has the same function everywhere
        if isinstance(block.prompt, DescriptionPrompt):
            found["descriptions"] = self._written("descriptions_part", block.prompt.describer, described, span)
            described["descriptions"] = found["descriptions"]
        for name, side in (("chosen", block.chosen), ("rejected", block.rejected)):
            if isinstance(side, ModelSide):
                spec = {**span, "prompt": _prompt(block.prompt), "description_share": side.description_share}
                found[name] = self._written("writings_part", side, described, spec)
        return found

    def _who_wrote(self, block: Pairs) -> dict[str, Any]:
        """What of a pair stream stands among the inputs of its parts and not in their specs."""
        writers: dict[str, Writer] = {
            name: side
            for name, side in (("chosen", block.chosen), ("rejected", block.rejected))
            if isinstance(side, ModelSide)
        }
        if isinstance(block.prompt, DescriptionPrompt):
            writers["descriptions"] = block.prompt.describer
        if not writers:
            return {}
        told = {
            name: {
                "model": self.pretrained(writer.model).fingerprint,
                "writer": writer_spec(writer),
                "description_share": writer.description_share if isinstance(writer, ModelSide) else 1.0,
            }
            for name, writer in writers.items()
        }
        return {"writers": told}

    def _written(self, kind: str, writer: Writer, inputs: Mapping[str, Stage], spec: Mapping[str, Any]) -> Stage:
        model = self.pretrained(writer.model)
        asked = writer_spec(writer)
        return self.graph.stage(
            kind,
            {**spec, "writer": asked},
            {**inputs, "model": model},
            label=f"{kind.partition('_')[0]} {model.label.removeprefix('model ')} {spec['split']} {spec['start']:,}",
            affinity=f"{model.fingerprint}:{fingerprint(asked)}",
        )

    def pair_quality(self, experiment: Experiment) -> Stage:
        """What the training pairs are worth. Read by no training, so that looking changes nothing trained."""
        block = experiment.pairs.quality
        key = ("pair_quality", self.pair_key(experiment), *block.judges, block.min_consistency, block.most_pairs)
        if key not in self._memory:
            spec = {
                "judges": list(block.judges),
                "min_consistency": block.min_consistency,
                "most_pairs": block.most_pairs,
                "seed": self.data_seed,
            }
            pairs = self.pairs(experiment, "train", self.rows[self.pair_key(experiment)])
            self._memory[key] = self.graph.stage("pair_quality", spec, {"pairs": pairs}, label="quality of pairs train")
        return self._memory[key]

    def pair_gate(self, experiment: Experiment) -> Stage:
        """Fails where the training pairs are found wanting; pretraining waits for it without reading it."""
        quality = self.pair_quality(experiment)
        key = ("pair_gate", quality.fingerprint)
        if key not in self._memory:
            self._memory[key] = self.graph.stage("pair_gate", {}, {"quality": quality}, label="gate of pairs train")
        return self._memory[key]

    def checks(self, experiment: Experiment) -> tuple[Stage, ...]:
        """What looks at a setting's training pairs: their quality, and with `on_fail: stop` the gate."""
        if experiment.pretrain is None:
            return ()
        quality = self.pair_quality(experiment)
        return (quality, self.pair_gate(experiment)) if experiment.pairs.quality.on_fail == "stop" else (quality,)

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
                affinity = f"{inputs['model'].fingerprint}:{fingerprint(common['writer'])}"
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
    ) -> Stage:
        """As `encode`, by any tokenizer, an imported checkpoint's too; `text` is raw or by its chat template."""
        key = ("encode", tokenizer.fingerprint, source.fingerprint, content, max_tokens, limit, text)
        if key not in self._memory:
            spec = {"content": content, "max_tokens": max_tokens} | ({} if text == "raw" else {"text": text})
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
        if experiment.pairs.quality.on_fail == "stop":
            self._hold_back(self._memory[key], self.pair_gate(experiment))
        return self._memory[key]

    def _hold_back(self, pretrained: Stage, gate: Stage) -> None:
        """Let no step on the pairs be made before the gate has passed."""
        trunk = pretrained.inputs.get("trunk")
        for stage in (pretrained, *([trunk.stage] if trunk else [])):
            if gate not in stage.gates:
                stage.gates.append(gate)

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
        count = experiment.evaluate.pair_accuracy.samples
        pairs = self.preferences(name, experiment.tasks[name], "test", count)
        scores = self.scored(
            experiment, model, self.preference_tokens(experiment, name, "test", count), f"{label} on {name} pairs"
        )
        return self.graph.stage(
            "pair_accuracy", {}, {"scores": scores, "pairs": pairs}, label=f"pair accuracy {label} on {name}"
        )

    def code_pair_accuracy(self, experiment: Experiment, model: Stage, label: str) -> Stage:
        pairs = self._heldout_pairs(experiment)
        scores = self.scored(experiment, model, self._heldout_tokens(experiment), f"{label} on held-out code")
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

    def scored(self, experiment: Experiment, model: Stage, tokens: Stage, label: str) -> Stage:
        spec = {"precision": experiment.finetune.precision}
        return self.graph.stage("score", spec, {"checkpoint": model, "tokens": tokens}, label=f"score {label}")

    def judged_pool(self, experiment: Experiment, candidates: Stage, scores: Stage, label: str) -> Stage:
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


def writer_spec(writer: Writer) -> dict[str, Any]:
    """How a model is asked for texts, as identity; which model it is stands among the inputs."""
    spec = identity_of(writer)
    for name in ("model", "from", "description_share"):
        spec.pop(name, None)
    return spec | {"trust_remote_code": isinstance(writer.model, HubModel) and writer.model.trust_remote_code}


def _prompt(prompt: DocstringPrompt | DescriptionPrompt) -> dict[str, Any]:
    """What pairs take of a prompt: who described stands among the inputs, and clipped texts only their writers see."""
    return {"from": prompt.origin, "max_characters": prompt.max_characters}


def _side(side: ReferenceSide | MutationSide | ModelSide | PluginSide) -> dict[str, Any]:
    """What pairs take of a side: what a model wrote stands among the inputs."""
    if isinstance(side, ModelSide):
        return {"from": side.origin}
    spec = identity_of(side)
    if isinstance(side, PluginSide):
        spec["source"] = sources.plugin_digest(side.origin)
    return spec


def _shape(model: TinyModel) -> dict[str, Any]:
    shape = identity_of(model)
    del shape["base"]
    return shape


def task_source(kind: str) -> dict[str, str]:
    """What decides a task's problems beside its settings: the generator's version, or the plugin's source."""
    if ":" in kind:
        return {"plugin": sources.plugin_digest(kind)}
    return sources.resolve_versions(["reasoning-gym"])
