"""The training loop against a naive one, and its promises: same bits again, after a resume, and through a trunk."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.errors import (
    CorruptArtifact,
    DataError,
    MissingRequirement,
    RecipeError,
    TrainingDiverged,
    TrainingStopped,
)
from harness.events import Event, Metrics, Progress, Warned
from harness.models.losses import LossWeights
from harness.models.reward_model import RewardModel
from harness.training import checkpoints
from harness.training.checkpoints import MODEL_FOLDER, ResumePoint, TrainingState
from harness.training.loop import TrainingResult, TrainingRuntime, TrainingSettings, train
from harness.training.monitor import PATIENCE_STEPS, Monitor
from harness.training.optimizer import AdamWSettings
from harness.training.schedules import Constant, Wsd, learning_rate
from tests.toys.small_training import small_model

VOCABULARY = 61
GLOBAL_BATCH = 4
STEPS = 8
ORDER = np.random.default_rng(0).permutation(40)[: GLOBAL_BATCH * STEPS]
SETTINGS = TrainingSettings(
    global_batch=GLOBAL_BATCH,
    schedule=Wsd(peak=5e-3, warmup_steps=2, decay_start=5, decay_steps=3),
    loss=LossWeights(rm=1.0, lm=1.0),
    optimizer=AdamWSettings(weight_decay=0.1, clip_norm=0.5),
)
SPEEDS = {"tokens_per_second", "flop_per_second", "matmul_peak_share"}
RUNTIME = TrainingRuntime(row_tokens=64, rows_per_micro_batch=2, log_every=3)


class Memory:
    """Groups held in memory."""

    def __init__(self, groups: list[list[np.ndarray]]) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def group(self, index: int, /) -> list[np.ndarray]:
        return self.groups[index]


def pairs(seed: int = 0, count: int = 40) -> Memory:
    """Pairs with something to learn: a chosen response counts upwards."""
    rng = np.random.default_rng(seed)
    groups = []
    for _ in range(count):
        prompt = rng.integers(0, VOCABULARY, rng.integers(0, 9))
        start, length = int(rng.integers(0, VOCABULARY)), int(rng.integers(2, 12))
        chosen = (start + np.arange(length)) % VOCABULARY
        groups.append([prompt, chosen, rng.integers(0, VOCABULARY, rng.integers(1, 12))])
    return Memory(groups)


def build(*, tie: bool = False) -> RewardModel:
    return small_model("llama", tie=tie)


def run(
    model: RewardModel,
    *,
    stop: int = STEPS,
    settings: TrainingSettings = SETTINGS,
    runtime: TrainingRuntime = RUNTIME,
    emit: Callable[[Event], None] = lambda event: None,
    **others: Any,
) -> TrainingResult:
    return train(model, [pairs()], ORDER, settings=settings, runtime=runtime, stop_step=stop, emit=emit, **others)


def weights(model: RewardModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def without_speed(event: Event) -> dict[str, float] | None:
    if not isinstance(event, Metrics):
        return None
    return {name: value for name, value in event.values.items() if name not in SPEEDS} | {"step": event.step}


@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
def test_training_equals_a_naive_loop(tie: bool) -> None:
    model, naive = build(tie=tie), build(tie=tie)
    run(model)
    matrices = [parameter for parameter in naive.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in naive.parameters() if parameter.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], fused=False
    )
    data = pairs()
    for step in range(STEPS):
        preference, lm_sum, targets = [], torch.zeros(()), 0
        for index in ORDER[step * GLOBAL_BATCH : (step + 1) * GLOBAL_BATCH]:
            prompt, *responses = data.group(int(index))
            rewards = []
            for number, response in enumerate(responses):
                ids = torch.from_numpy(np.concatenate([prompt, response]))[None]
                output = naive.backbone(input_ids=ids, output_hidden_states=True)
                rewards.append(naive.head(output.hidden_states[-1][0, -1])[0])
                if number == 0:
                    first = max(len(prompt), 1)
                    lm_sum = lm_sum + functional.cross_entropy(
                        output.logits[0, first - 1 : -1], ids[0, first:], reduction="sum"
                    )
                    targets += ids.shape[1] - first
            preference.append(-functional.logsigmoid(rewards[0] - rewards[1]))
        optimizer.zero_grad()
        torch.autograd.backward([torch.stack(preference).mean() + lm_sum / targets])
        torch.nn.utils.clip_grad_norm_(naive.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(SETTINGS.schedule, step)
        optimizer.step()
    start = weights(build(tie=tie))
    for name, tensor in model.state_dict().items():
        moved = (naive.state_dict()[name] - start[name]).norm()
        assert moved > 0
        # Adam divides by the gradient's size, so rounding of tiny gradients is felt in the weights
        assert (tensor - naive.state_dict()[name]).norm() < 2e-3 * moved, name


def test_the_same_training_gives_the_same_bits() -> None:
    first, second = build(), build()
    results = [run(first), run(second)]
    assert_same_bits(weights(first), weights(second))
    assert results[0].smoothed == results[1].smoothed
    assert_same_bits(results[0].state.optimizer, results[1].state.optimizer)


def test_training_draws_nothing_at_random() -> None:
    model = build()
    before = torch.get_rng_state()
    run(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_rows_and_micro_batches_change_rounding_only() -> None:
    settings = replace(SETTINGS, schedule=Constant(peak=1e-3))
    reference = build()
    result = run(reference, settings=settings)
    for row_tokens, rows in [(1, 1), (32, 3), (4096, 1)]:
        model = build()
        runtime = replace(RUNTIME, row_tokens=row_tokens, rows_per_micro_batch=rows)
        other = run(model, settings=settings, runtime=runtime)
        assert other.smoothed == pytest.approx(result.smoothed, rel=1e-4)
        assert other.tokens == result.tokens
        for name, tensor in model.state_dict().items():
            assert (tensor - reference.state_dict()[name]).abs().max() < 2e-4, name


def test_metrics_tell_what_happened() -> None:
    events: list[Event] = []
    result = run(build(), emit=events.append)
    metrics = [event for event in events if isinstance(event, Metrics)]
    assert [event.step for event in metrics] == [3, 6, 8]
    assert [(event.done, event.total) for event in events if isinstance(event, Progress)] == [(3, 8), (6, 8), (8, 8)]
    names = {"loss", "loss_rm", "loss_lm", "accuracy", "margin", "reward_mean", "reward_std", "learning_rate"}
    for event in metrics:
        assert set(event.values) == names | {"grad_norm"} | SPEEDS
        assert event.values["loss"] == pytest.approx(event.values["loss_rm"] + event.values["loss_lm"])
        assert event.values["learning_rate"] == learning_rate(SETTINGS.schedule, event.step - 1)
        assert all(event.values[name] > 0 for name in SPEEDS)
    data = pairs()
    assert (result.steps, result.groups) == (STEPS, STEPS * GLOBAL_BATCH)
    assert result.tokens == sum(sum(map(len, data.group(int(index)))) for index in ORDER)


def test_each_losss_gradient_is_measured_outside_the_step() -> None:
    plain, measured, events = build(), build(), []
    run(plain)
    run(measured, runtime=replace(RUNTIME, loss_balance_every=4), emit=events.append)
    assert_same_bits(weights(measured), weights(plain))
    points = {event.step: event.values for event in events if isinstance(event, Metrics)}
    assert sorted(points) == [3, 4, 6, 8]
    assert [step for step, values in points.items() if "grad_norm_rm" in values] == [4, 8]
    # the same step with one loss alone has that loss's gradient
    for name, loss in [("grad_norm_rm", LossWeights(rm=1, lm=0)), ("grad_norm_lm", LossWeights(rm=0, lm=1))]:
        model, alone = build(), []
        at_start = replace(SETTINGS, schedule=Constant(peak=1e-30))
        run(model, settings=at_start, runtime=replace(RUNTIME, loss_balance_every=1), stop=1, emit=alone.append)
        (found,) = [event.values[name] for event in alone if isinstance(event, Metrics)]
        run(build(), settings=replace(at_start, loss=loss), stop=1, emit=alone.append)
        assert found == pytest.approx(alone[-2].values["grad_norm"], rel=1e-5)


def test_a_loss_that_dominates_is_told_once() -> None:
    events: list[Event] = []
    lopsided = replace(SETTINGS, loss=LossWeights(rm=1e-6, lm=1.0))
    run(build(), settings=lopsided, runtime=replace(RUNTIME, loss_balance_every=1), emit=events.append)
    (warning,) = [event for event in events if isinstance(event, Warned)]
    assert "step 3 the LM loss dominates" in warning.message
    events.clear()
    run(build(), runtime=replace(RUNTIME, loss_balance_every=1), emit=events.append)
    assert not [event for event in events if isinstance(event, Warned)]


def test_a_loss_that_dominates_ends_a_training_that_asks_for_it() -> None:
    lopsided = replace(SETTINGS, loss=LossWeights(rm=1e-6, lm=1.0))
    told = "both losses must move the model, but at step 3 the LM loss dominates: .*; raise the weight of the RM loss"
    with pytest.raises(TrainingDiverged, match=told):
        run(build(), settings=lopsided, runtime=replace(RUNTIME, loss_balance_every=1, on_imbalance="stop"))
    run(build(), runtime=replace(RUNTIME, loss_balance_every=1, on_imbalance="stop"))


def test_training_learns() -> None:
    settings = replace(SETTINGS, schedule=Constant(peak=1e-2), global_batch=16)
    model, values = build(), []
    order = np.tile(np.arange(32), 20)
    train(
        model,
        [pairs()],
        order,
        settings=settings,
        runtime=replace(RUNTIME, row_tokens=128, log_every=1),
        stop_step=40,
        emit=lambda event: values.append(event.values) if isinstance(event, Metrics) else None,
    )
    assert values[-1]["loss_lm"] < 0.5 * values[0]["loss_lm"]
    assert values[-1]["loss_rm"] < 0.1
    assert values[-1]["accuracy"] == 1.0


def test_order_may_name_several_sources() -> None:
    texts = Memory([[np.zeros(0, int), group[1]] for group in pairs(seed=5).groups])
    order = np.array([(0, 3), (1, 7), (1, 3), (0, 0)] * 2)
    model, merged = build(), build()
    both = [pairs(), texts]
    train(model, both, order, settings=SETTINGS, runtime=RUNTIME, stop_step=2, emit=lambda event: None)
    flat = Memory([both[source].group(index) for source, index in order.tolist()])
    rows = np.arange(8)
    train(merged, [flat], rows, settings=SETTINGS, runtime=RUNTIME, stop_step=2, emit=lambda event: None)
    assert_same_bits(weights(model), weights(merged))


def test_a_pair_loss_of_ones_own_is_minimised() -> None:
    def hinge(chosen: torch.Tensor, rejected: torch.Tensor, margin: float) -> torch.Tensor:
        return functional.relu(margin - (chosen - rejected)).sum()

    model, values = build(), []
    settings = replace(SETTINGS, loss=LossWeights(rm=1.0, lm=0.0, margin=1000.0, pair_loss=hinge))
    run(
        model, settings=settings, emit=lambda event: values.append(event.values) if isinstance(event, Metrics) else None
    )
    for value in values:
        assert value["loss_rm"] == pytest.approx(1000.0 - value["margin"])


class Killed(Exception):
    """Stands for the end of the process."""


def kill_at(step: int) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        if isinstance(event, Metrics) and event.step == step:
            raise Killed

    return emit


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, at: int, beside: bool) -> None:
    whole, resumed = build(), build()
    every_step = replace(RUNTIME, log_every=1)
    expected = run(whole, runtime=every_step)
    point = ResumePoint(directory=tmp_path / "resume", every_seconds=0, beside=beside)
    with pytest.raises(Killed):
        run(resumed, runtime=every_step, resume=point, emit=kill_at(at))
    resumed = build()
    seen: list[Event] = []
    result = run(resumed, runtime=every_step, resume=point, emit=seen.append)
    assert [event.step for event in seen if isinstance(event, Metrics)] == list(range(at, STEPS + 1))
    assert_same_bits(weights(resumed), weights(whole))
    assert_same_bits(result.state.optimizer, expected.state.optimizer)
    assert (result.smoothed, result.tokens) == (expected.smoothed, expected.tokens)
    assert resumed.has_head


def test_a_state_written_beside_the_training_is_that_of_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is not written before the second step is made, and has the bytes of one that was written at once."""
    every_step, later = replace(RUNTIME, log_every=1), threading.Event()
    save_parts = checkpoints.save_parts

    def wait_and_save(*tensors: Any, **how: Any) -> Any:
        assert later.wait(60)
        return save_parts(*tensors, **how)

    def emit(event: Event) -> None:
        if isinstance(event, Metrics) and event.step == 2:
            later.set()
            raise Killed

    for beside in (False, True):
        if beside:
            later.clear()
            monkeypatch.setattr(checkpoints, "save_parts", wait_and_save)
        point = ResumePoint(directory=tmp_path / str(beside), every_seconds=0, beside=beside)
        with pytest.raises(Killed):
            run(build(), runtime=every_step, resume=point, emit=emit)
    found = digests(tmp_path / "True")
    assert {path.split("/")[0] for path in found} == {"step-1"}
    assert found == digests(tmp_path / "False")


@pytest.mark.parametrize("stop", [1, STEPS])
def test_a_state_that_cannot_be_written_beside_the_training_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(checkpoints, "save_parts", full)
    with pytest.raises(OSError, match="no space"):
        run(build(), stop=stop, resume=ResumePoint(directory=tmp_path, every_seconds=0, beside=True))


def test_a_state_of_an_earlier_version_with_all_weights_is_taken_up(tmp_path: Path) -> None:
    whole, first, resumed = build(), build(), build()
    run(whole)
    run(first, stop=3).state.save(tmp_path / "step-3", first)
    run(resumed, resume=ResumePoint(directory=tmp_path, every_seconds=3600))
    assert_same_bits(weights(resumed), weights(whole))


def test_a_training_asked_to_stop_saves_itself_and_goes_on_later(tmp_path: Path) -> None:
    whole, stopped = build(), build()
    run(whole)
    point = ResumePoint(directory=tmp_path, every_seconds=3600)
    answers = iter([False, False, True])
    with pytest.raises(TrainingStopped, match="at step 3"):
        run(stopped, resume=point, should_stop=lambda: next(answers))
    latest = point.latest()
    assert latest is not None
    assert latest[0] == 3
    again = build()
    run(again, resume=point)
    assert_same_bits(weights(again), weights(whole))


def test_parameters_without_a_gradient_so_far_are_part_of_a_state(tmp_path: Path) -> None:
    texts = Memory([[np.zeros(0, int), group[1]] for group in pairs(seed=5).groups])
    order = np.array([(1, row) for row in range(8)] + [(0, row) for row in range(8)])
    arguments: dict[str, Any] = {"settings": SETTINGS, "runtime": RUNTIME, "emit": lambda event: None}
    whole, first = build(), build()
    train(whole, [pairs(), texts], order, stop_step=4, **arguments)
    train(first, [pairs(), texts], order, stop_step=1, **arguments).state.save(tmp_path / "one", first)
    assert not first.has_head, "texts train no head"
    second, state = RewardModel.load(tmp_path / "one" / MODEL_FOLDER), TrainingState.load(tmp_path / "one")
    train(second, [pairs(), texts], order, stop_step=4, state=state, **arguments)
    assert_same_bits(weights(second), weights(whole))


def test_saving_one_step_twice_keeps_it(tmp_path: Path) -> None:
    point, model = ResumePoint(directory=tmp_path, every_seconds=0), build()
    state = run(model, resume=point).state
    before = digests(tmp_path)
    point.save(state, model)
    assert digests(tmp_path) == before


def test_a_save_cut_off_midway_is_not_taken_up(tmp_path: Path) -> None:
    point = ResumePoint(directory=tmp_path, every_seconds=0)
    with pytest.raises(Killed):
        run(build(), runtime=replace(RUNTIME, log_every=1), resume=point, emit=kill_at(4))
    (tmp_path / "step-7.partial").mkdir()
    assert point.latest() == (3, tmp_path / "step-3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-3", "step-7.partial"], "older states are dropped"


def test_saves_wait_for_their_time(tmp_path: Path) -> None:
    run(build(), resume=ResumePoint(directory=tmp_path, every_seconds=3600))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("every", "cost", "saved"),
    [(2.0, 0.0, [2, 4, 6, 8]), (2.0, 2.0, [2]), (2.0, 0.3, [2, 5, 8]), (0.0, 9.0, list(range(1, STEPS + 1)))],
    ids=["free", "long", "a tenth at most", "every step"],
)
def test_time_between_saves_counts_from_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: float, cost: float, saved: list[int]
) -> None:
    """By a clock that goes on a second a step and `cost` a save."""
    now, found = [0.0], []

    class Costly(ResumePoint):
        def save(self, state: TrainingState, model: RewardModel) -> None:
            now[0] += cost
            found.append(state.step)

    def step() -> bool:
        now[0] += 1.0
        return False

    monkeypatch.setattr("harness.training.loop.time.monotonic", lambda: now[0])
    run(build(), resume=Costly(directory=tmp_path, every_seconds=every), should_stop=step)
    assert found == saved


def test_trunk_and_branch_equal_one_uninterrupted_training(tmp_path: Path) -> None:
    whole = build()
    expected = run(whole)
    trunk = build()
    state = run(trunk, stop=5, settings=replace(SETTINGS, schedule=Wsd(peak=5e-3, warmup_steps=2))).state
    state.save(tmp_path / "trunk", trunk)
    branch = RewardModel.load(tmp_path / "trunk" / MODEL_FOLDER)
    result = run(branch, state=TrainingState.load(tmp_path / "trunk"))
    assert_same_bits(weights(branch), weights(whole))
    assert_same_bits(result.state.optimizer, expected.state.optimizer)
    assert result.smoothed == expected.smoothed


def test_a_trunk_state_has_the_same_bytes_by_any_route(tmp_path: Path) -> None:
    settings = replace(SETTINGS, schedule=Wsd(peak=5e-3, warmup_steps=2))
    direct = build()
    run(direct, stop=6, settings=settings).state.save(tmp_path / "direct", direct)

    first = build()
    run(first, stop=2, settings=settings).state.save(tmp_path / "two", first)
    second = RewardModel.load(tmp_path / "two" / MODEL_FOLDER)
    state = run(second, stop=6, settings=settings, state=TrainingState.load(tmp_path / "two")).state
    state.save(tmp_path / "through-two", second)

    in_memory = build()
    state = run(in_memory, stop=3, settings=settings).state
    run(in_memory, stop=6, settings=settings, state=state).state.save(tmp_path / "in-memory", in_memory)

    found = digests(tmp_path / "direct")
    assert len(found) >= 6
    assert digests(tmp_path / "through-two") == found
    assert digests(tmp_path / "in-memory") == found
    assert digests(tmp_path / "two") != found
    assert {path.suffix for path in (tmp_path / "direct").rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_states_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = build()
    state = run(model, stop=2, settings=replace(SETTINGS, loss=LossWeights(rm=0, lm=1))).state
    with pytest.raises(CorruptArtifact, match="loss weights"):
        run(model, state=state)
    with pytest.raises(CorruptArtifact, match="past the training's end"):
        run(model, stop=1, state=state)
    state.save(tmp_path / "state", model)
    (tmp_path / "state" / "state.json").write_text(json.dumps({"step": 2}))
    with pytest.raises(CorruptArtifact, match="complete"):
        TrainingState.load(tmp_path / "state")


def test_weights_a_loss_does_not_touch_stay_as_they_are() -> None:
    start = weights(build())
    lm_only, rm_only = build(), build()
    lm_result = run(lm_only, settings=replace(SETTINGS, loss=LossWeights(rm=0, lm=1)))
    rm_result = run(rm_only, settings=replace(SETTINGS, loss=LossWeights(rm=1, lm=0)))
    assert torch.equal(lm_only.head.weight, start["head.weight"])
    assert not lm_only.has_head
    assert not torch.equal(rm_only.head.weight, start["head.weight"])
    assert rm_only.has_head
    assert torch.equal(rm_only.backbone.lm_head.weight, start["backbone.lm_head.weight"])
    data = pairs()
    chosen_only = sum(sum(map(len, data.group(int(index))[:2])) for index in ORDER)
    assert (lm_result.tokens, set(lm_result.smoothed)) == (chosen_only, {"loss", "loss_lm"})
    assert set(rm_result.smoothed) == {"loss", "loss_rm", "accuracy"}


def test_a_linear_probe_moves_the_head_only() -> None:
    settings = replace(SETTINGS, loss=LossWeights(rm=1, lm=0), frozen_backbone=True)
    start, model = weights(build()), build()
    graphs: list[bool] = []
    model.backbone.model.register_forward_hook(lambda *call: graphs.append(call[2].last_hidden_state.requires_grad))
    run(model, settings=settings)
    assert [name for name, tensor in weights(model).items() if not torch.equal(tensor, start[name])] == ["head.weight"]
    assert graphs
    assert not any(graphs), "no gradient enters the backbone"
    run(model, settings=replace(SETTINGS))
    assert not torch.equal(model.backbone.lm_head.weight, start["backbone.lm_head.weight"]), "and it thaws again"
    with pytest.raises(RecipeError, match="linear probe"):
        replace(settings, loss=LossWeights(rm=1, lm=1))


def test_bf16_trains_close_to_fp32_with_fp32_weights() -> None:
    exact, rounded = build(), build()
    results = [run(exact), run(rounded, settings=replace(SETTINGS, precision="bf16"))]
    assert results[1].smoothed["loss"] == pytest.approx(results[0].smoothed["loss"], rel=0.02)
    assert results[1].smoothed["loss"] != results[0].smoothed["loss"]
    assert {tensor.dtype for tensor in rounded.state_dict().values()} == {torch.float32}


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    model = build()
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match=r"at step 1 loss = nan, loss_rm = nan") as caught:
        run(model)
    assert "learning rate" in caught.value.remedy


def test_a_gradient_that_is_not_finite_leaves_the_weights_alone() -> None:
    model = build()
    model.head.weight.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]
    start = weights(model)
    with pytest.raises(TrainingDiverged, match=r"grad_norm = (inf|nan)"):
        run(model)
    assert_same_bits(weights(model), start)


@pytest.mark.parametrize("name", ["loss_rm", "loss_lm"])
def test_a_runaway_loss_stops_the_training_but_only_after_the_warm_up(name: str) -> None:
    def observe(losses: list[float], warmup_steps: int) -> None:
        monitor = Monitor()
        for step, loss in enumerate(losses, start=1):
            monitor.observe({"loss": loss, name: loss}, tokens=1, groups=1)
            monitor.require_stable(step, warmup_steps)

    with pytest.raises(TrainingDiverged, match=rf"smoothed {name} must .* = 3.1, but at step {PATIENCE_STEPS + 1} it"):
        observe([0.7, *[9.0] * 30], warmup_steps=0)
    with pytest.raises(TrainingDiverged, match=r"at step 36 it is"):
        observe([0.7, *[9.0] * 39], warmup_steps=35)
    observe([0.7, *[3.0] * 100], warmup_steps=0)
    observe([*[0.7] * 20, 20.0, *[0.7] * 20], warmup_steps=0)


def test_a_sum_of_losses_does_not_hide_a_runaway() -> None:
    monitor = Monitor()
    for step in range(1, 30):
        monitor.observe({"loss": 10.0, "loss_rm": 0.7 * step, "loss_lm": 9.0}, tokens=1, groups=1)
    with pytest.raises(TrainingDiverged, match="loss_rm"):
        monitor.require_stable(30, warmup_steps=0)


def test_a_blown_up_training_is_noticed() -> None:
    settings = replace(
        SETTINGS,
        schedule=Constant(peak=30.0),
        optimizer=AdamWSettings(weight_decay=0.0, clip_norm=None),
        global_batch=1,
    )
    with pytest.raises(TrainingDiverged):
        run(build(), stop=32, settings=settings)


def test_an_order_that_is_too_short_is_refused() -> None:
    with pytest.raises(DataError, match="more than its 32"):
        run(build(), stop=STEPS + 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_device_is_not_replaced_silently() -> None:
    with pytest.raises(MissingRequirement, match="cuda was asked for and cpu found"):
        run(build(), runtime=replace(RUNTIME, device="cuda"))
