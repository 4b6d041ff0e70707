"""Training: the base model, preference-model pretraining as trunk and branches, their means, fine-tuning."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.pipeline.graph import Input, Stage
from harness.pipeline.kind import Basis, Kind, Known, NoSpec, S, Spec, Work, absent
from harness.pipeline.optimization import (
    AnnealSpec,
    BranchSpec,
    LossSpec,
    OptimizationSpec,
    TrunkSpec,
    WsdSpec,
    optimization,
    schedule_of,
    steps_of,
)
from harness.pipeline.order import OrderSpec, OrderStages
from harness.pipeline.tokens import ENCODE, TALLY, EncodeSpec
from harness.pipeline.weights import BACKWARD_FACTOR, FORWARD, Weights, weights_of
from harness.recipe.blocks import Averaging, Pretrain, Selection, TinyFamily, TinyModel
from harness.recipe.fields import CODE
from harness.recipe.schema import Experiment
from harness.recipe.tasks import TaskBlock
from harness.store.artifacts import Checkpoint, TrunkState
from harness.store.identity import fingerprint

# --------------------------------------------------------------------------------------------------------- kinds


class TrainingSpec(Spec):
    training: OptimizationSpec


class ShapeSpec(Spec):
    source: Literal["tiny"]
    family: TinyFamily
    vocabulary: int
    hidden_size: int
    layers: int
    heads: int
    key_value_heads: int
    intermediate_size: int
    tie_embeddings: bool


class BaseSpec(TrainingSpec):
    shape: ShapeSpec
    schedule: AnnealSpec
    texts: int
    seed: int


class _RunSpec(TrainingSpec):
    """A run of preference-model pretraining."""

    order: OrderSpec
    warmup_steps: int


class TrunkStateSpec(_RunSpec):
    schedule: TrunkSpec
    step: int


class PretrainSpec(_RunSpec):
    schedule: AnnealSpec | BranchSpec
    start_step: int
    stop_step: int


class FinetuneSpec(TrainingSpec):
    schedule: Annotated[AnnealSpec | WsdSpec, Field(discriminator="kind")]
    tasks: tuple[str, ...]
    samples: int
    replay: int = absent(0)
    epochs: int = absent(1)
    head: Literal["carry", "reinit", "linear_probe"]
    select: Selection | None
    seed: int


def _checkpoint(stage: Stage, known: Known) -> tuple[float | None, Basis]:
    weights = weights_of(stage, known)
    return (None, "assumed") if weights is None else (weights.checkpoint(), "from shape")


class Training(Kind[S]):
    """It reads groups of tokens and moves a model's weights."""

    trains = True

    @abstractmethod
    def reads(self, stage: Stage[S]) -> int:
        """Groups read, repeats counted."""

    def groups_read(self, stage: Stage[S], names: Sequence[str]) -> dict[str, float]:
        """Groups read by input: of each as many."""
        return dict.fromkeys(names, self.reads(stage) / len(names))

    def steps(self, stage: Stage[S]) -> int:
        """Updates at most, the steps of its trunk included."""
        assert isinstance(stage.spec, TrainingSpec)
        return self.reads(stage) // stage.spec.training.global_batch

    def work(self, stage: Stage[S], known: Known) -> Work:
        """6 FLOPs a weight and token; the vocabulary matrix only where tokens are predicted."""
        sources = {name: item.stage for name, item in stage.inputs.items() if name.startswith("tokens")}
        if not sources:  # a state that a fork begins with, whose inputs are not planned
            return Work()
        loss = self._loss(stage)
        groups = self.groups_read(stage, list(sources))
        read = {name: ENCODE.tokens_a_group(source, known) for name, source in sources.items()}
        bases = [basis for _, basis in read.values()]
        basis: Basis = next((one for one in ("assumed", "from characters") if one in bases), "measured")
        chosen = sum(ENCODE.tokens_a_response(source, known) * groups[name] for name, source in sources.items())
        tokens = sum(mean * groups[name] for name, (mean, _) in read.items())
        if not loss.rm and next(iter(sources.values())).spec.content == "pairs":
            tokens -= chosen  # nobody reads the rejected side, here as long as the chosen one
        weights = weights_of(stage, known)
        if weights is None:
            return Work(tokens=tokens, flops=None, basis=basis)
        head = weights.vocabulary * chosen if loss.lm else 0.0
        flops = FORWARD * BACKWARD_FACTOR * (weights.layers * tokens + head)
        return Work(tokens=tokens, flops=flops, basis=basis)

    def payload(self, stage: Stage[S], known: Known) -> tuple[float | None, Basis]:
        return _checkpoint(stage, known)

    def scratch(self, stage: Stage[S], known: Known, size: float) -> float:
        """What a training holds beyond the `size` it leaves, at worst.

        While it saves itself, the old and the new state, and nothing of its result; in the end one state beside the
        result.
        """
        weights = weights_of(stage, known)
        assert weights is not None
        state = weights.checkpoint() + self._moments(stage, weights)
        return max(state, 2 * state - size)

    def _moments(self, stage: Stage[S], weights: Weights) -> float:
        loss = self._loss(stage)
        return weights.moments(rm=loss.rm > 0, lm=loss.lm > 0)

    def _loss(self, stage: Stage[S]) -> LossSpec:
        assert isinstance(stage.spec, TrainingSpec)
        return stage.spec.training.loss


class BaseKind(Training[BaseSpec]):
    def reads(self, stage: Stage[BaseSpec]) -> int:
        return stage.spec.texts


class TrunkStateKind(Training[TrunkStateSpec]):
    def reads(self, stage: Stage[TrunkStateSpec]) -> int:
        """Those since the state before it."""
        forks = [stage.inputs["fork"].stage] if "fork" in stage.inputs else []
        before = max((int(other.spec.step) for other in (*stage.after, *forks)), default=0)
        return (stage.spec.step - before) * stage.spec.training.global_batch

    def payload(self, stage: Stage[TrunkStateSpec], known: Known) -> tuple[float | None, Basis]:
        """A checkpoint with its moments."""
        weights = weights_of(stage, known)
        if weights is None:
            return None, "assumed"
        return weights.checkpoint() + self._moments(stage, weights), "from shape"


class PretrainKind(Training[PretrainSpec]):
    def reads(self, stage: Stage[PretrainSpec]) -> int:
        return (stage.spec.stop_step - stage.spec.start_step) * stage.spec.training.global_batch

    def steps(self, stage: Stage[PretrainSpec]) -> int:
        return stage.spec.stop_step


class FinetuneKind(Training[FinetuneSpec]):
    def reads(self, stage: Stage[FinetuneSpec]) -> int:
        return (stage.spec.samples + stage.spec.replay) * stage.spec.epochs

    def groups_read(self, stage: Stage[FinetuneSpec], names: Sequence[str]) -> dict[str, float]:
        """Of each task as many, and what is replayed."""
        spec = stage.spec
        tasks = dict.fromkeys(names, spec.epochs * spec.samples / len(spec.tasks))
        return tasks | ({f"tokens-{CODE}": spec.epochs * spec.replay} if spec.replay else {})

    def scratch(self, stage: Stage[FinetuneSpec], known: Known, size: float) -> float:
        """With `select`, every checkpoint that was the best so far as well."""
        spec, weights = stage.spec, weights_of(stage, known)
        assert weights is not None
        best = 0.0
        if spec.select is not None:
            best = -(-self.steps(stage) // spec.select.every_steps) * weights.checkpoint()
        return super().scratch(stage, known, size) + best

    def _moments(self, stage: Stage[FinetuneSpec], weights: Weights) -> float:
        loss = stage.spec.training.loss
        return weights.moments(rm=loss.rm > 0, lm=loss.lm > 0, backbone=stage.spec.head != "linear_probe")


class AverageKind(Kind[NoSpec]):
    def payload(self, stage: Stage[NoSpec], known: Known) -> tuple[float | None, Basis]:
        return _checkpoint(stage, known)


BASE = BaseKind("base", 2, BaseSpec, Checkpoint, accelerated=True)
TRUNK_STATE = TrunkStateKind("trunk_state", 3, TrunkStateSpec, TrunkState, accelerated=True)
PRETRAIN = PretrainKind("pretrain", 2, PretrainSpec, Checkpoint, accelerated=True)
AVERAGE = AverageKind("average", 1, NoSpec, Checkpoint)
FINETUNE = FinetuneKind("finetune", 2, FinetuneSpec, Checkpoint, accelerated=True)


# ------------------------------------------------------------------------------------------------------ planning


def trunk_of(identity: Mapping[str, Any]) -> str:
    """What all states of one trunk share: their identity without the step and the rows read up to it."""
    spec = {key: value for key, value in identity["spec"].items() if key != "step"}
    inputs = dict(identity["inputs"])
    tokens = inputs.pop("tokens")
    if "rows" not in spec["order"] and "rows" in tokens:  # of texts all are read
        tokens = {key: value for key, value in tokens.items() if key != "rows"}
    return fingerprint({"spec": spec, "inputs": inputs, "tokens": tokens, "code": identity["code_version"]})


def trains_head(experiment: Experiment) -> bool:
    """Whether PMP leaves a trained scalar head, to be carried on and to be judged."""
    return experiment.pretrain is not None and experiment.pretrain.loss.rm > 0


def _losses(block: Pretrain) -> str:
    """What a run learns from, for labels."""
    told = f"rm={block.loss.rm:g} lm={block.loss.lm:g}"
    told += " coin labels" if block.loss.labels == "coin" and block.loss.rm else ""
    return told + (" on corpus" if block.on == "corpus" else "")


class TrainingStages(OrderStages):
    """Adds trainings to data."""

    def base(self, experiment: Experiment) -> Stage:
        """What every arm starts from: a tiny model trained here, or one from outside as it is."""
        model = experiment.model
        if not isinstance(model, TinyModel):
            return self.pretrained(model)
        length = experiment.pairs.max_tokens
        key = ("base", self._text(model), self._corpus_key(experiment), self._base_problems(experiment), length)
        return self._remember(key, lambda: self._base(experiment, model))

    def base_code(self, experiment: Experiment) -> Stage[EncodeSpec]:
        """The documents of the corpus' `base` split, as the texts that a tiny base model reads."""
        length = experiment.pairs.max_tokens
        return self.encode(experiment, self.corpus(experiment), content="texts", max_tokens=length, label="base code")

    def _base(self, experiment: Experiment, model: TinyModel) -> Stage[BaseSpec]:
        inputs: dict[str, Stage] = {
            "tokenizer": self.tokenizer(experiment),
            "tokens-corpus": self.base_code(experiment),
        }
        for name, task in experiment.tasks.items():
            if isinstance(task, TaskBlock) and task.problems.base:
                problems = self.problems(name, task, "base")
                inputs[f"tokens-{name}"] = self.encode(
                    experiment, problems, content="texts", max_tokens=task.max_tokens, label=f"base {name}"
                )
        spec = BaseSpec(
            shape=ShapeSpec.model_validate(model.model_dump(exclude={"base"})),
            training=optimization(model.base, LossSpec(rm=0.0, lm=1.0, margin=0.0)),
            schedule=AnnealSpec(kind=model.base.schedule.kind, warmup=model.base.schedule.warmup),
            texts=model.base.texts,
            seed=self.data_seed,
        )
        base = self.graph.stage(BASE, spec, inputs, label="base")
        base.gates.extend(
            self._splits(experiment, [name for name, task in experiment.tasks.items() if task.problems.base])
        )
        return base

    def pretrain(self, experiment: Experiment, seed: int) -> Stage | None:
        """The PMP checkpoint of a setting and pretrain seed; None for an arm without PMP."""
        block = experiment.pretrain
        if block is None:
            return None
        if block.average is None:
            return self._run(experiment, block, seed)
        average = block.average
        key = ("average", self._text(experiment), seed)
        return self._remember(key, lambda: self._average(experiment, block, average, seed))

    def _average(self, experiment: Experiment, block: Pretrain, average: Averaging, seed: int) -> Stage[NoSpec]:
        """The mean of runs, each average with seeds of its own; or of the last states of one run's stable path."""
        inputs: dict[str, Stage] = {}
        if average.over == "seeds":
            alone = block.model_copy(update={"average": None})
            for place in range(average.count):
                inputs[f"checkpoint-{place}"] = self._run(experiment, alone, seed * average.count + place)
        else:
            assert average.every_pairs is not None
            steps = steps_of(block, experiment.pairs.count)
            for place in range(average.count):
                step = steps.total - place * (average.every_pairs // steps.batch)
                inputs[f"trunk-{place}"] = self.trunk_state(experiment, block, seed, step)
        what = f"{average.count} {average.over}"
        label = f"average of {what} {_losses(block)} seed {seed}"
        return self.graph.stage(AVERAGE, NoSpec(), inputs, label=label)

    def _run(self, experiment: Experiment, block: Pretrain, seed: int) -> Stage[PretrainSpec]:
        """One training to its end."""
        base, order = self.base(experiment), experiment.pairs.order
        tokens = self.pair_tokens(experiment) if block.on == "pairs" else self.base_code(experiment)
        asked = (self._text(block), "" if order is None else self._text(order), experiment.pairs.count, seed)
        key = ("pretrain", base.fingerprint, tokens.fingerprint, *asked)
        pretrained = self._remember(key, lambda: self._branch(experiment, block, seed))
        if block.on == "corpus":
            return pretrained
        self._gate(experiment, pretrained)
        if "trunk" in pretrained.inputs:
            self._gate(experiment, pretrained.inputs["trunk"].stage)
        return pretrained

    def tally(self, experiment: Experiment) -> Stage[NoSpec]:
        """Counts the tokens that a setting's PMP reads."""
        block = experiment.pretrain
        assert block is not None
        tokens = self.pair_tokens(experiment) if block.on == "pairs" else self.base_code(experiment)
        return self.graph.stage(TALLY, NoSpec(), {"tokens": tokens}, label=f"tokens of {tokens.label}")

    def _branch(self, experiment: Experiment, block: Pretrain, seed: int) -> Stage[PretrainSpec]:
        steps = steps_of(block, experiment.pairs.count)
        order, read = self._reading(experiment, block, seed, steps.pairs)
        forked, start = self.forked_at(block), self._start(experiment, block)
        if steps.decay_start > forked:
            start = {"trunk": self.trunk_state(experiment, block, seed, steps.decay_start)}
        schedule = schedule_of(block)
        spec = PretrainSpec(
            training=optimization(block, data_seed=self.data_seed),
            order=order,
            schedule=BranchSpec(kind="wsd") if isinstance(schedule, WsdSpec) else schedule,
            start_step=max(steps.decay_start, forked),
            stop_step=steps.total,
            warmup_steps=steps.warmup,
        )
        epochs = f" × {block.epochs} epochs" if block.epochs > 1 else ""
        label = f"pretrain {_losses(block)} n={steps.pairs:,}{epochs} seed {seed}"
        return self.graph.stage(PRETRAIN, spec, {**start, **read}, label=label)

    def _gate(self, experiment: Experiment, stage: Stage) -> None:
        """Let no step on the pairs be made before they were found good, where a recipe wants that."""
        if experiment.pairs.quality.on_fail == "stop":
            gate = self.pair_gate(experiment)
            if gate not in stage.gates:
                stage.gates.append(gate)

    def trunk_state(self, experiment: Experiment, block: Pretrain, seed: int, step: int) -> Stage[TrunkStateSpec]:
        """The stable path at a step: names neither the decay nor the count, so that all counts share it."""
        steps = steps_of(block, experiment.pairs.count)
        order, read = self._reading(experiment, block, seed, min(step * steps.batch, steps.pairs))
        spec = TrunkStateSpec(
            training=optimization(block, data_seed=self.data_seed),
            order=order,
            schedule=TrunkSpec(),
            warmup_steps=steps.warmup,
            step=step,
        )
        label = f"trunk {_losses(block)} step {step} seed {order.seed}"
        state = self.graph.stage(TRUNK_STATE, spec, {**self._start(experiment, block), **read}, label=label)
        if block.on == "pairs":
            self._gate(experiment, state)
        return state

    def _reading(
        self, experiment: Experiment, block: Pretrain, seed: int, rows: int
    ) -> tuple[OrderSpec, dict[str, Input]]:
        """In which order a run reads, and the first rows it reads; of texts, of which any may come first, all."""
        if block.on == "corpus":
            return OrderSpec(seed=seed, on="corpus"), {"tokens": Input(stage=self.base_code(experiment))}
        pairs = steps_of(block, experiment.pairs.count).pairs
        order, scores = self.pair_order(experiment, seed, pairs, block.epochs)
        tokens = Input(stage=self.pair_tokens(experiment), rows=rows if order.rows is None else order.rows)
        return order, {"tokens": tokens, **scores}

    def _start(self, experiment: Experiment, block: Pretrain) -> dict[str, Stage | Input]:
        """What a run begins with: the base model and, if it goes on from another run, that run's state."""
        base = self.base(experiment)
        if block.start is None:
            return {"base": base}
        fork = self.graph.recorded(TRUNK_STATE, self.forks[block.start], label=f"fork of {block.start}")
        return {"base": base, "fork": fork}

    def forked_at(self, block: Pretrain) -> int:
        """The step a run goes on from another at; 0 where it begins with the base model."""
        return 0 if block.start is None else TRUNK_STATE.read(self.forks[block.start].identity["spec"]).step

    def _splits(self, experiment: Experiment, names: Sequence[str]) -> list[Stage[NoSpec]]:
        """What must have passed before tasks are trained on: none of their problems is in two splits."""
        return [self.problem_splits(experiment, name) for name in names]

    def checks(self, experiment: Experiment) -> tuple[Stage, ...]:
        return (*self._splits(experiment, list(experiment.tasks)), *super().checks(experiment))

    def finetune(self, experiment: Experiment, start: Stage, seed: int, label: str) -> Stage[FinetuneSpec]:
        block, end_token = experiment.finetune, experiment.pairs.end_token
        head = "reinit" if block.head == "carry" and not trains_head(experiment) else block.head  # the same there
        spec = FinetuneSpec(
            training=optimization(block),
            schedule=schedule_of(block),
            tasks=block.tasks,
            samples=block.samples,
            replay=block.replay,
            epochs=block.epochs,
            head=head,
            select=block.select,
            seed=seed,
        )

        def build() -> Stage[FinetuneSpec]:
            inputs: dict[str, Stage | Input] = {"start": start}
            if block.replay:
                inputs[f"tokens-{CODE}"] = self.replayed_tokens(experiment)
            for name in block.tasks:
                count = self.tuning_pairs(experiment, name)
                inputs[f"tokens-{name}"] = self.preference_tokens(experiment, name, "finetune", count)
                if block.select is not None:
                    dev = self.asked(experiment, name, "dev")
                    inputs[f"dev-{name}"] = self.preference_tokens(experiment, name, "dev", dev)
            stage = self.graph.stage(FINETUNE, spec, inputs, label=f"finetune {label} seed {seed}")
            stage.gates.extend(gate for gate in self._splits(experiment, block.tasks) if gate not in stage.gates)
            if block.replay:
                self._gate(experiment, stage)
            return stage

        replayed = (self.pair_key(experiment), experiment.pairs.count, end_token) if block.replay else ()
        key = ("finetune", start.fingerprint, self._text(block), head, self._task_key(experiment), replayed, seed)
        return self._remember(key, build)
