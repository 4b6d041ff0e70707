"""What training stages are: specs and kinds of the base model, PMP as trunk and branches, their means, fine-tuning."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Basis, Kind, Known, NoSpec, S, Spec, Work, absent
from harness.pipeline.optimization import (
    AnnealSpec,
    BranchSpec,
    LossSpec,
    OptimizationSpec,
    TrunkSpec,
    WsdSpec,
)
from harness.pipeline.order import OrderSpec
from harness.pipeline.tokens import ENCODE
from harness.pipeline.weights import BACKWARD_FACTOR, FORWARD, Weights, weights_of
from harness.recipe.blocks import Selection, TinyFamily
from harness.recipe.fields import CODE
from harness.store.artifacts import Checkpoint, TrunkState
from harness.store.identity import fingerprint


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

    trains = resumes = True

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


def trunk_of(identity: Mapping[str, Any]) -> str:
    """What all states of one trunk share: their identity without the step and the rows read up to it."""
    spec = {key: value for key, value in identity["spec"].items() if key != "step"}
    inputs = dict(identity["inputs"])
    tokens = inputs.pop("tokens")
    if "rows" not in spec["order"] and "rows" in tokens:  # of texts all are read
        tokens = {key: value for key, value in tokens.items() if key != "rows"}
    return fingerprint({"spec": spec, "inputs": inputs, "tokens": tokens, "code": identity["code_version"]})
