"""The one training loop: base language models, preference pretraining, fine-tuning and linear probes differ in settings
only.

Order, tokens and global batch fix what is learned; rows, micro-batches, device and interruptions do not. The loop reads
no files but its own resume point and writes no others: events go to `emit`, results to the caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from numpy.typing import NDArray

from harness.errors import CorruptArtifact, DataError, RecipeError
from harness.events import Event, Metrics, Progress
from harness.models.losses import LossWeights, pair_statistics
from harness.models.packing import Group, GroupSource
from harness.models.reward_model import Precision, RewardModel
from harness.training.checkpoints import MODEL_FOLDER, ResumePoint, TrainingState
from harness.training.gradients import BatchResult, accumulate_gradients
from harness.training.monitor import Monitor, require_finite
from harness.training.schedules import Schedule, learning_rate


@dataclass(frozen=True, kw_only=True)
class AdamWSettings:
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101); the learning rate is the schedule's.

    Attributes:
        weight_decay: of tensors with two or more dimensions (matrices, embeddings, heads). Norm weights and biases
            never decay, the usual practice (nanoGPT; transformers' Trainer).
        betas, epsilon: of the moments.
        clip_norm: the whole gradient is scaled down to this L2 norm; None leaves it.
    """

    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    clip_norm: float | None = 1.0


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
        row_tokens: budget of a packed row.
        rows_per_micro_batch: rows of one forward and backward pass.
        log_every: steps between metrics; the last step is always logged.
    """

    device: str = "cpu"
    row_tokens: int
    rows_per_micro_batch: int
    log_every: int = 10


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
) -> TrainingResult:
    """Trains a model in place, from where `state` (or a saved interruption) stands up to `stop_step`.

    Args:
        model: its weights must be those of `state`.
        sources: where groups are read.
        order: int (groups, 2): (source, index) of each group since step 0; or (groups,): indices into the only source.
            Step s uses the entries s · global_batch … (s + 1) · global_batch - 1.
        settings, runtime: see there.
        stop_step: steps made when it returns, counted from the first.
        emit: takes metrics and progress.
        state: to go on from, e.g. a trunk's; None begins at step 0 with fresh moments.
        resume: saves the training from time to time; a state found there that is ahead of `state` is taken up.

    Raises:
        TrainingDiverged: loss or gradient is not finite, or the loss ran away (see `Monitor.require_stable`).
        DataError: the order is too short, or a batch cannot be learned from.
        CorruptArtifact: a state does not belong to this training.
    """
    pairs_of = _as_pairs(order)
    if len(pairs_of) < stop_step * settings.global_batch:
        raise DataError(
            "the order must cover every step",
            f"{stop_step} steps of {settings.global_batch} groups need more than its {len(pairs_of)}",
        )
    if resume is not None and (saved := resume.latest()) is not None and saved[0] > (state.step if state else 0):
        state = TrainingState.load(saved[1])
        model.restore(saved[1] / MODEL_FOLDER)
    if state is not None and state.step > stop_step:
        raise CorruptArtifact("a state must not lie past the training's end", f"{state.step} is after {stop_step}")

    parameters = _select_parameters(model, settings)
    # Precision is set by autocast around each forward: accelerate's own is fixed once for the whole process.
    accelerator = Accelerator(cpu=runtime.device == "cpu", mixed_precision="no")
    prepared, optimizer = accelerator.prepare(model.train(), _new_optimizer(parameters, settings.optimizer))
    if state is not None:
        _restore_optimizer(optimizer, parameters, state.optimizer)
    step = state.step if state is not None else 0
    monitor = state.monitor if state is not None else Monitor()
    clock = _Clock(tokens=monitor.tokens)

    def current() -> TrainingState:
        return TrainingState(step=step, optimizer=_optimizer_tensors(optimizer, parameters), monitor=monitor)

    while step < stop_step:
        batch = pairs_of[step * settings.global_batch : (step + 1) * settings.global_batch]
        groups: list[Group] = [sources[source].group(index) for source, index in batch.tolist()]
        optimizer.zero_grad()
        result = accumulate_gradients(
            prepared,
            groups,
            loss=settings.loss,
            row_tokens=runtime.row_tokens,
            rows_per_micro_batch=runtime.rows_per_micro_batch,
            device=accelerator.device,
            precision=settings.precision,
            backward=accelerator.backward,
        )
        limit = settings.optimizer.clip_norm
        norm = accelerator.clip_grad_norm_(parameters.values(), float("inf") if limit is None else limit)
        values = {**_step_values(result), "grad_norm": float(norm)}
        require_finite(step + 1, values)
        rate = learning_rate(settings.schedule, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        step += 1
        model.has_head = model.has_head or settings.loss.rm > 0
        monitor.observe(_smoothed_values(values), tokens=result.tokens, groups=len(groups))
        monitor.require_stable(step, settings.schedule.warmup_steps)
        if step % runtime.log_every == 0 or step == stop_step:
            speed = clock.tokens_per_second(monitor.tokens)
            emit(Metrics(step=step, values={**values, "learning_rate": rate, "tokens_per_second": speed}))
            emit(Progress(done=step, total=stop_step, unit="steps"))
        if resume is not None and clock.save_is_due(resume.every_seconds):
            resume.save(current(), model)
    return TrainingResult(
        state=current(), steps=step, groups=monitor.groups, tokens=monitor.tokens, smoothed=monitor.smoothed()
    )


class _Clock:
    """Wall time since the last log and the last save."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._logged = self._saved = time.monotonic()

    def tokens_per_second(self, tokens: int) -> float:
        now = time.monotonic()
        speed = (tokens - self._tokens) / max(now - self._logged, 1e-9)
        self._tokens, self._logged = tokens, now
        return speed

    def save_is_due(self, every_seconds: float) -> bool:
        now = time.monotonic()
        if now - self._saved < every_seconds:
            return False
        self._saved = now
        return True


def _as_pairs(order: NDArray[np.integer]) -> NDArray[np.int64]:
    """(groups, 2): (source, index)."""
    if order.ndim == 1:
        order = np.stack([np.zeros_like(order), order], axis=1)
    return order.astype(np.int64)


def _select_parameters(model: RewardModel, settings: TrainingSettings) -> dict[str, torch.nn.Parameter]:
    """The parameters the losses can move, by name; all others stop requiring a gradient."""
    lm_head = model.backbone.get_output_embeddings()
    # A tied LM head is the input embedding under another name: `named_parameters` lists it once, as the latter.
    only_lm = {f"backbone.{name}" for name, module in model.backbone.named_modules() if module is lm_head}
    selected: dict[str, torch.nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        in_head = name.startswith("head.")
        in_lm_head = name.rpartition(".")[0] in only_lm
        trained = settings.loss.rm > 0 if in_head else not settings.frozen_backbone
        trained = trained and (settings.loss.lm > 0 or not in_lm_head)
        parameter.requires_grad_(trained)
        if trained:
            selected[name] = parameter
    return selected


def _new_optimizer(parameters: Mapping[str, torch.nn.Parameter], settings: AdamWSettings) -> torch.optim.AdamW:
    """Fused AdamW in one parameter group for each decay, parameters in their given order within it."""
    decaying = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    others = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    groups = [{"params": decaying, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    # The rate given here is never used: every step sets its own.
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=0.0, betas=settings.betas, eps=settings.epsilon, fused=True
    )


def _optimizer_tensors(
    optimizer: AcceleratedOptimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    return {
        f"{moment}/{name}": tensor
        for name, parameter in parameters.items()
        for moment, tensor in optimizer.optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(
    optimizer: AcceleratedOptimizer, parameters: Mapping[str, torch.nn.Parameter], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Puts saved moments back.

    Raises:
        CorruptArtifact: they are not those of these parameters.
    """
    by_name: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        moment, _, name = key.partition("/")
        by_name.setdefault(name, {})[moment] = tensor
    if by_name.keys() != parameters.keys():
        strangers = sorted(by_name.keys() ^ parameters.keys())
        raise CorruptArtifact(
            "a training goes on with the loss weights and the model it began with", f"moments differ in {strangers[:3]}"
        )
    name_of = {parameter: name for name, parameter in parameters.items()}
    listed = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = {place: by_name[name_of[parameter]] for place, parameter in enumerate(listed)}
    optimizer.optimizer.load_state_dict(
        {"state": saved, "param_groups": optimizer.optimizer.state_dict()["param_groups"]}
    )


def _step_values(result: BatchResult) -> dict[str, float]:
    """What is logged of a step; a loss that was not computed is absent."""
    values = {"loss": result.loss}
    if result.loss_rm is not None:
        values |= {"loss_rm": result.loss_rm, **pair_statistics(result.chosen, result.rejected)}
    if result.loss_lm is not None:
        values["loss_lm"] = result.loss_lm
    return values


def _smoothed_values(values: Mapping[str, float]) -> dict[str, float]:
    return {name: values[name] for name in ("loss", "loss_rm", "loss_lm", "accuracy") if name in values}
