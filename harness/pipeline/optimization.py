"""How a training moves weights, as identity: its losses, optimizer and schedule, and its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.pipeline.kind import Spec, absent
from harness.pipeline.tokens import Precision
from harness.recipe.blocks import WSD, Optimization, Pretrain, PretrainLoss
from harness.sources import resolve


class LossSpec(Spec):
    """Weights of the losses; `lm_normalization` counts where there is a language-model loss, `kind` where pairs are.

    `coin` is the seed of the coin that labels pairs; None where the data do.
    """

    rm: float
    lm: float
    lm_normalization: Literal["token", "sequence"] = absent("token")
    margin: float
    kind: str | None = absent(None)
    coin: int | None = absent(None)


class OptimizationSpec(Spec):
    """What every training has in common, without its schedule. `loss_source` is the digest of a loss's own code."""

    learning_rate: float
    global_batch: int
    precision: Precision
    weight_decay: float
    clip_norm: float
    betas: tuple[float, float]
    loss: LossSpec
    loss_source: str | None = absent(None)


class AnnealSpec(Spec):
    kind: Literal["cosine", "linear", "constant"]
    warmup: float


class WsdSpec(Spec):
    """Of a whole run."""

    kind: Literal["wsd"]
    warmup_pairs: int
    decay: float


class BranchSpec(Spec):
    """Of a branch, whose steps say the rest."""

    kind: Literal["wsd"]


class TrunkSpec(Spec):
    kind: Literal["trunk"] = "trunk"


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


def optimization(block: Optimization, loss: LossSpec | None = None, *, data_seed: int = 0) -> OptimizationSpec:
    """The optimization settings as identity; with the block's own loss unless another is given.

    Args:
        data_seed: of the coin, where one labels the pairs.
    """
    own = getattr(block, "loss", None)
    source = None
    if loss is None:
        assert own is not None
        kind = own.kind if own.rm else "bradley_terry"  # without a weight nothing of the pair loss is used
        source = resolve.plugin_digest(kind) if ":" in kind else None
        loss = LossSpec(
            rm=own.rm,
            lm=own.lm,
            lm_normalization=own.lm_normalization if own.lm else "token",
            margin=own.margin if own.rm else 0.0,
            kind=kind,
            coin=data_seed if isinstance(own, PretrainLoss) and own.labels == "coin" and own.rm else None,
        )
    return OptimizationSpec(
        learning_rate=block.learning_rate,
        global_batch=block.global_batch,
        precision=block.precision,
        weight_decay=block.weight_decay,
        clip_norm=block.clip_norm,
        betas=block.betas,
        loss=loss,
        loss_source=source,
    )


def schedule_of(block: Optimization) -> AnnealSpec | WsdSpec:
    """The schedule as identity: without permissions, which change nothing once they are given."""
    schedule = block.schedule
    if isinstance(schedule, WSD):
        return WsdSpec(kind="wsd", warmup_pairs=schedule.warmup_pairs, decay=schedule.decay)
    return AnnealSpec(kind=schedule.kind, warmup=schedule.warmup)
