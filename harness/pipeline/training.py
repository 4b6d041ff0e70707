"""Training: which stages make the base model, preference-model pretraining, and fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

from harness.pipeline.graph import Input, Stage
from harness.pipeline.kind import NoSpec
from harness.pipeline.optimization import (
    AnnealSpec,
    BranchSpec,
    LossSpec,
    TrunkSpec,
    WsdSpec,
    optimization,
    schedule_of,
    steps_of,
)
from harness.pipeline.order import OrderSpec, OrderStages
from harness.pipeline.tokens import TALLY, EncodeSpec
from harness.pipeline.training_kinds import (
    AVERAGE,
    BASE,
    FINETUNE,
    PRETRAIN,
    TRUNK_STATE,
    BaseSpec,
    FinetuneSpec,
    PretrainSpec,
    ShapeSpec,
    TrunkStateSpec,
)
from harness.recipe.blocks import Averaging, Pretrain, TinyModel
from harness.recipe.fields import CODE
from harness.recipe.schema import Experiment
from harness.recipe.tasks import TaskBlock


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
