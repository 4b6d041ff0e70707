"""The one training loop: base language models, preference pretraining, fine-tuning and linear probes differ in settings
only.

Order, tokens and global batch fix what is learned; rows, micro-batches, device and interruptions do not. The loop reads
no files but its own resume point and writes no others: events go to `emit`, results to the caller.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.nn.utils import clip_grad_norm_

from harness.errors import CorruptArtifact, DataError, RecipeError, TrainingDiverged, TrainingStopped
from harness.events import Event, Metrics, Progress, Warned
from harness.models.distributed import full_tensor, world_size
from harness.models.losses import LossWeights
from harness.models.packing import Group, GroupSource
from harness.models.reward_model import Precision, Recompute, RewardModel
from harness.training.checkpoints import MODEL_FOLDER, ResumePoint, TrainingState
from harness.training.gradients import BatchResult, accumulate_gradients, loss_gradient_norms
from harness.training.monitor import Monitor, dominance, require_finite
from harness.training.optimizer import (
    AdamWSettings,
    new_optimizer,
    optimizer_tensors,
    select_parameters,
    selected_parameters,
)
from harness.training.parallel import Parallel, Sharing
from harness.training.schedules import Schedule, learning_rate
from harness.training.speed import TrainingCost, Work, matmul_peak


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What the researcher chose: changing any of it changes the result.

    Attributes:
        global_batch: groups an update.
        frozen_backbone: train the reward head alone (a linear probe); no gradient enters the backbone.
        precision: "bf16" runs matrix products in bf16 over fp32 weights.
    """

    global_batch: int
    schedule: Schedule
    loss: LossWeights
    optimizer: AdamWSettings
    precision: Precision = "fp32"
    frozen_backbone: bool = False

    def __post_init__(self) -> None:
        if self.frozen_backbone and (self.loss.lm > 0 or self.loss.rm == 0):
            raise RecipeError("a linear probe trains the reward head only: loss rm > 0, lm = 0", f"it is {self.loss}")


@dataclass(frozen=True, kw_only=True)
class TrainingRuntime:
    """How it is computed: changes results by rounding at most.

    Attributes:
        device: "cpu" or "cuda".
        sharing: what of the weights each of several processes holds.
        activation_checkpointing: what of each layer is computed again in the backward pass.
        compile: each layer by torch.compile; None with FlexAttention alone.
        row_tokens: budget of a packed row.
        rows_per_micro_batch: rows of one forward and backward pass.
        log_every: steps between metrics; the last step is always logged.
        loss_balance_every: steps between measurements of each loss's own gradient, where there are two losses; 0 makes
            none. One costs about as much as two steps, and its step is logged.
        on_imbalance: what to do where one loss's gradient dominates the other's after warm-up.
    """

    device: str = "cpu"
    sharing: Sharing = "ddp"
    activation_checkpointing: Recompute = False
    compile: bool | None = None
    row_tokens: int
    rows_per_micro_batch: int
    log_every: int = 10
    loss_balance_every: int = 0
    on_imbalance: Literal["warn", "stop"] = "warn"


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Where a training stands after its last step.

    Attributes:
        state: to save, to branch from or to train on; see `TrainingState` for whose tensors it holds.
        steps, groups, tokens: since the very first step, earlier processes included; padding not counted.
        smoothed: loss, loss_rm, loss_lm, accuracy, averaged over about the last 20 steps.
    """

    state: TrainingState
    steps: int
    groups: int
    tokens: int
    smoothed: Mapping[str, float]


def train(
    model: RewardModel,
    sources: Sequence[GroupSource],
    order: NDArray[np.integer],
    *,
    settings: TrainingSettings,
    runtime: TrainingRuntime,
    stop_step: int,
    emit: Callable[[Event], None],
    state: TrainingState | None = None,
    resume: ResumePoint | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    turned: NDArray[np.bool_] | None = None,
) -> TrainingResult:
    """Trains a model in place, from where `state` (or a saved interruption) stands up to `stop_step`.

    Args:
        model: its weights must be those of `state`.
        sources: where groups are read.
        order: int (groups, 2): (source, index) of each group since step 0; or (groups,): indices into the only source.
            Step s uses the entries s · global_batch … (s + 1) · global_batch - 1.
        stop_step: steps made when it returns, counted from the first.
        emit: takes metrics and progress.
        state: to go on from, e.g. a trunk's; None begins at step 0 with fresh moments.
        resume: saves the training from time to time; a state found there that is ahead of `state` is taken up.
        should_stop: asked after every step; when it says so, the training saves itself and raises.
        turned: bool (groups,), of each group of the order, whether the RM loss prefers its second response; None is
            none. Logged accuracy and margin are of the first over the second all the same.

    Raises:
        TrainingStopped: `should_stop` said so.
        TrainingDiverged: loss or gradient is not finite, the loss ran away (see `Monitor.require_stable`), or one loss
            dominates the other with `on_imbalance: stop`.
        DataError: the order is too short, or a batch cannot be learned from.
        CorruptArtifact: a state does not belong to this training.
        MissingRequirement: the device is not there.
    """
    pairs_of = _as_pairs(order)
    if len(pairs_of) < stop_step * settings.global_batch:
        raise DataError(
            "the order must cover every step",
            f"{stop_step} steps of {settings.global_batch} groups need more than its {len(pairs_of)}",
        )
    state = _take_up(model, state, resume)
    step = state.step if state is not None else 0
    if step > stop_step:
        raise CorruptArtifact("a state must not lie past the training's end", f"{step} is after {stop_step}")
    monitor = state.monitor if state is not None else Monitor()

    parallel = Parallel.on(runtime.device, runtime.sharing)
    cost = TrainingCost.of(model, frozen_backbone=settings.frozen_backbone)  # of the whole model: before it is sharded
    model.use_attention_of(parallel.device)
    select_parameters(model, settings.loss, frozen_backbone=settings.frozen_backbone)
    model.train().compute_layers(recompute=runtime.activation_checkpointing, compiled=runtime.compile)
    prepared = parallel.distribute(model, settings.precision)
    parameters = selected_parameters(model)
    optimizer = new_optimizer(parameters, settings.optimizer)
    if state is not None:
        state.restore(optimizer_tensors(optimizer, parameters), parameters)
    accumulate_batch = functools.partial(
        accumulate_gradients,
        row_tokens=runtime.row_tokens,
        rows_per_micro_batch=runtime.rows_per_micro_batch,
        precision=settings.precision,
        parallel=parallel,
    )
    clock = _Clock(cost=cost, peak=world_size() * matmul_peak(parallel.device.type, settings.precision))
    warned = False

    def current() -> TrainingState:
        return TrainingState(step=step, optimizer=optimizer_tensors(optimizer, parameters), monitor=monitor)

    with ExitStack() as at_end:
        if resume is not None:
            at_end.callback(resume.finish)
        while step < stop_step:
            now = slice(step * settings.global_batch, (step + 1) * settings.global_batch)
            groups: list[Group] = [sources[source].group(index) for source, index in pairs_of[now].tolist()]
            accumulate = functools.partial(accumulate_batch, turned=None if turned is None else turned[now])
            optimizer.zero_grad()
            balance: dict[str, float] = {}
            if runtime.loss_balance_every and (step + 1) % runtime.loss_balance_every == 0:
                balance = loss_gradient_norms(
                    prepared, parameters.values(), groups, loss=settings.loss, accumulate=accumulate, parallel=parallel
                )
            result = accumulate(prepared, groups, loss=settings.loss)
            limit = settings.optimizer.clip_norm
            norm = full_tensor(clip_grad_norm_(parameters.values(), float("inf") if limit is None else limit))
            rate = learning_rate(settings.schedule, step)
            values = {
                **_step_values(result, labelled=turned is not None),
                "grad_norm": float(norm),
                **balance,
                "learning_rate": rate,
            }
            require_finite(step + 1, values)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            step += 1
            model.has_head = model.has_head or result.loss_rm is not None
            monitor.observe(_smoothed_values(values), tokens=result.work.tokens, groups=len(groups))
            monitor.require_stable(step, settings.schedule.warmup_steps)
            clock.count(result.work)
            if balance and not warned and step > settings.schedule.warmup_steps and (message := dominance(balance)):
                if runtime.on_imbalance == "stop":
                    raise TrainingDiverged("both losses must move the model", f"at step {step} {message}")
                emit(Warned(message=f"at step {step} {message}"))
                warned = True  # once a run: the curves tell the rest
            if step % runtime.log_every == 0 or step == stop_step or balance:
                emit(Metrics(step=step, values={**values, **clock.speeds()}))
                emit(Progress(done=step, total=stop_step, unit="steps"))
            stop, due = parallel.any(should_stop(), resume is not None and clock.save_is_due(resume.every_seconds))
            if resume is not None and (stop or due):
                with clock.saving():
                    resume.save(current(), model)
            if stop:
                raise TrainingStopped("a training runs to its end", f"it was asked to stop at step {step}", "run again")
    return TrainingResult(
        state=current(), steps=step, groups=monitor.groups, tokens=monitor.tokens, smoothed=monitor.smoothed()
    )


def _take_up(model: RewardModel, state: TrainingState | None, resume: ResumePoint | None) -> TrainingState | None:
    """The state of an interrupted run of this training, if it got further than `state`; the model gets its weights by
    `restore`, when it is known which process holds what."""
    saved = resume.latest() if resume is not None else None
    if saved is None or saved[0] <= (state.step if state is not None else 0):
        return state
    found = TrainingState.load(saved[1])
    if found.has_head is None:  # saved by an earlier version, as trunk states are
        model.restore(saved[1] / MODEL_FOLDER)
    else:
        model.has_head = found.has_head
    return found


MOST_SAVING = 0.1  # of a training's wall time, however large its state is


class _Clock:
    """Work and wall time since the last log, wall time since the end of the last save."""

    def __init__(self, *, cost: TrainingCost, peak: float) -> None:
        self._cost, self._peak = cost, peak
        self._tokens, self._flop = 0, 0.0
        self._logged = self._saved = time.monotonic()
        self._rest = 0.0  # seconds without a save that the last one asks for

    def count(self, work: Work) -> None:
        self._tokens += work.tokens
        self._flop += self._cost.flop(work)

    def speeds(self) -> dict[str, float]:
        now = time.monotonic()
        seconds = max(now - self._logged, 1e-9)
        speeds = {
            "tokens_per_second": self._tokens / seconds,
            "flop_per_second": self._flop / seconds,
            "matmul_peak_share": self._flop / seconds / self._peak,
        }
        self._tokens, self._flop, self._logged = 0, 0.0, now
        return speeds

    def save_is_due(self, every_seconds: float) -> bool:
        return not every_seconds or time.monotonic() - self._saved >= max(every_seconds, self._rest)

    @contextmanager
    def saving(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._saved = time.monotonic()
        self._rest = (self._saved - began) * (1 / MOST_SAVING - 1)


def _as_pairs(order: NDArray[np.integer]) -> NDArray[np.int64]:
    """(groups, 2): (source, index)."""
    if order.ndim == 1:
        order = np.stack([np.zeros_like(order), order], axis=1)
    return order.astype(np.int64)


def _step_values(result: BatchResult, *, labelled: bool) -> dict[str, float]:
    """What is logged of a step; a loss that was not computed is absent.

    Args:
        labelled: whether labels of their own say what the RM loss prefers, so that there is an accuracy by them too.
    """
    values = {"loss": result.loss}
    if result.loss_rm is not None:
        values |= {"loss_rm": result.loss_rm, **result.statistics}
        if not labelled:
            del values["label_accuracy"]
    if result.loss_lm is not None:
        values["loss_lm"] = result.loss_lm
    return values


def _smoothed_values(values: Mapping[str, float]) -> dict[str, float]:
    return {name: values[name] for name in ("loss", "loss_rm", "loss_lm", "accuracy") if name in values}
