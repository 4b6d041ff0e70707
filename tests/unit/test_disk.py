"""Disk estimates: checkpoints as they are really written, what is there counted from files, better bases later."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.plan import disk_warning
from harness.models.losses import LossWeights
from harness.models.reward_model import RewardModel
from harness.models.sources import tiny_model
from harness.pipeline.graph import Graph, Stage
from harness.pipeline.kind import TABLE
from harness.pipeline.training_kinds import BASE, PRETRAIN, TRUNK_STATE
from harness.pipeline.weights import FP32, MOMENT_HEADERS, MOMENTS
from harness.plan.disk import (
    CURVES,
    FILES_BESIDE,
    Disk,
    StageDisk,
    disk_of,
    free_bytes,
)
from harness.plan.plan import Plan
from harness.recipe.blocks import TinyFamily
from harness.store.store import Store
from harness.training.optimizer import select_parameters, selected_parameters

MakePlan = Callable[..., Plan]
Finish = Callable[..., Any]

SHAPE: dict[str, Any] = {
    "family": "llama",
    "vocabulary": 600,
    "hidden_size": 64,
    "layers": 2,
    "heads": 4,
    "key_value_heads": 2,
    "intermediate_size": 96,
    "tie_embeddings": True,
}
RM_LM = {"rm": 1.0, "lm": 1.0}


def trained(shape: dict[str, Any], loss: dict[str, float]) -> dict[str, Stage]:
    """A base model, a trunk state and a branch from it, as far as disk is concerned."""
    graph = Graph()
    common: dict[str, Any] = {
        "learning_rate": 0.1,
        "global_batch": 4,
        "precision": "fp32",
        "weight_decay": 0.0,
        "clip_norm": 1.0,
    }
    common["betas"] = (0.9, 0.95)
    run = {"training": {**common, "loss": {**loss, "margin": 0.0}}, "order": {"seed": 0}, "warmup_steps": 0}
    base_spec = {
        "shape": {"source": "tiny", **shape},
        "training": {**common, "loss": {"rm": 0.0, "lm": 1.0, "margin": 0.0}},
        "schedule": {"kind": "constant", "warmup": 0.0},
        "texts": 8,
        "seed": 0,
    }
    trunk_spec = {**run, "schedule": {"kind": "trunk"}, "step": 1}
    branch_spec = {**run, "schedule": {"kind": "wsd"}, "start_step": 1, "stop_step": 2}
    base = graph.stage(BASE, BASE.read(base_spec))
    trunk = graph.stage(TRUNK_STATE, TRUNK_STATE.read(trunk_spec), {"base": base})
    branch = graph.stage(PRETRAIN, PRETRAIN.read(branch_spec), {"trunk": trunk})
    return {"base": base, "trunk": trunk, "branch": branch}


def of(stages: dict[str, Stage], store: Store, slots: int = 1) -> dict[str, StageDisk]:
    disk = disk_of(list(stages.values()), list(stages.values()), store, slots)
    return dict(zip(stages, disk.stages, strict=True))


def size(one: StageDisk) -> float:
    assert one.size is not None
    return one.size


@pytest.fixture
def plan(recipe: dict[str, Any], planned: MakePlan) -> Plan:
    return planned(recipe)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# -------------------------------------------------------------------------------------------------------- trainings


@pytest.mark.parametrize("family", get_args(TinyFamily))
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layers", [1, 6])
def test_a_checkpoint_takes_what_is_really_written(
    tmp_path: Path, store: Store, family: Any, tied: bool, layers: int
) -> None:
    shape = {**SHAPE, "family": family, "tie_embeddings": tied, "layers": layers}
    backbone = tiny_model(**shape, max_positions=64, seed=0)
    RewardModel(backbone, head_seed=0).save(tmp_path / "model")
    estimated = of(trained(shape, RM_LM), store)["base"]
    assert estimated.basis == "from shape"
    beside = FILES_BESIDE + CURVES  # record and events, which are not written here
    assert size(estimated) - beside == pytest.approx(folder_bytes(tmp_path / "model"), rel=0.01)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("loss", [RM_LM, {"rm": 1.0, "lm": 0.0}, {"rm": 0.0, "lm": 1.0}])
def test_moments_are_of_the_weights_that_the_losses_move(store: Store, tied: bool, loss: dict[str, float]) -> None:
    shape = {**SHAPE, "tie_embeddings": tied}
    model = RewardModel(tiny_model(**shape, max_positions=64, seed=0), head_seed=0)
    select_parameters(model, LossWeights(**loss), frozen_backbone=False)
    moved = sum(parameter.numel() for parameter in selected_parameters(model).values())
    found = of(trained(shape, loss), store)
    headers = MOMENT_HEADERS * len(dict(model.backbone.named_parameters()))
    assert size(found["trunk"]) - size(found["branch"]) == pytest.approx(MOMENTS * FP32 * moved + headers)


@given(
    layers=st.integers(1, 80),
    heads=st.integers(1, 64),
    head_width=st.sampled_from([8, 64, 128]),
    vocabulary=st.integers(300, 200_000),
    tied=st.booleans(),
    loss=st.sampled_from([RM_LM, {"rm": 1.0, "lm": 0.0}, {"rm": 0.0, "lm": 1.0}]),
)
def test_the_trunk_keeps_the_optimizer_and_branches_weights_alone(
    layers: int, heads: int, head_width: int, vocabulary: int, tied: bool, loss: dict[str, float]
) -> None:
    width = heads * head_width
    shape = {
        **SHAPE,
        **{"layers": layers, "heads": heads, "key_value_heads": heads, "hidden_size": width},
        **{"intermediate_size": 3 * width, "vocabulary": vocabulary, "tie_embeddings": tied},
    }
    found = of(trained(shape, loss), Store(Path("there-is-none")))
    assert size(found["trunk"]) > 1.5 * size(found["branch"])
    for one in found.values():  # a state is saved beside the one before it, or beside the result
        assert one.scratch >= size(found["branch"])


def test_trainings_that_run_at_once_hold_their_states_at_once(plan: Plan, store: Store) -> None:
    scratch = sorted((one.scratch for one in disk_of(plan.stages, plan.stages, store, 1).stages), reverse=True)
    trainings = sum(value > 0 for value in scratch)
    assert trainings == sum(stage.kind.name in ("base", "trunk_state", "pretrain", "finetune") for stage in plan.stages)
    for slots in (1, 2, trainings, 64):
        disk = disk_of(plan.stages, plan.stages, store, slots)
        assert disk.running == pytest.approx(sum(scratch[:slots]))
        assert disk.peak == disk.needed == pytest.approx(disk.added + disk.running)


def test_selecting_holds_every_checkpoint_that_may_be_the_best(recipe: dict[str, Any], planned: MakePlan) -> None:
    store = Store(Path("there-is-none"))
    scratch = {}
    for every in (1, 6):
        recipe["finetune"]["select"]["every_steps"] = every
        plan = planned(recipe)
        (one,) = [
            one for one in disk_of(plan.stages, plan.stages, store, 1).stages if one.stage.kind.name == "finetune"
        ]
        scratch[every] = one.scratch
    # 48 samples in batches of 8: six checkpoints, or one
    assert scratch[1] - scratch[6] == pytest.approx(5 * size(one), rel=0.1)


def test_a_model_that_nobody_has_looked_into_is_not_counted_and_said(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["model"] = {"source": "hub", "id": "someone/something"}
    plan = planned(recipe)
    disk = disk_of(plan.stages, plan.stages, Store(Path("there-is-none")), 1)
    kinds = {one.stage.kind.name for one in disk.stages if one.size is None}
    assert kinds == {"pretrained", "trunk_state", "pretrain", "finetune"}
    assert disk.unknown == sum(stage.kind.name in kinds for stage in plan.stages)
    assert disk.running == 0


# ---------------------------------------------------------------------------------------------------- other stages


def test_sizes_of_rows_are_means_of_what_is_finished(plan: Plan, store: Store, finish: Finish) -> None:
    parts = [stage for stage in plan.stages if stage.kind.name == "pairs_part"]
    before = disk_of(parts[1:], plan.stages, store, 1).stages
    assert {one.basis for one in before} == {"assumed"}
    record = finish(parts[0])
    after = disk_of(parts[1:], plan.stages, store, 1).stages
    assert {one.basis for one in after} == {"measured"}
    (payload,) = [size for _, size in record.files.values()]
    rows = parts[0].spec.slots
    for was, one in zip(before, after, strict=True):
        mine = int(one.stage.identity["spec"]["stop"]) - int(one.stage.identity["spec"]["start"])
        assert size(was) - size(one) == pytest.approx((300.0 - max(0.0, payload - TABLE) / rows) * mine)


def test_tokens_take_two_bytes_or_four(recipe: dict[str, Any], planned: MakePlan, store: Store) -> None:
    found = []
    for vocabulary in (512, 70_000):
        recipe["model"]["vocabulary"] = vocabulary
        plan = planned(recipe)
        (encode,) = [stage for stage in plan.stages if stage.kind.name == "encode" and "pairs train" in stage.label]
        found += disk_of([encode], plan.stages, store, 1).stages
    small, large = map(size, found)
    tokens = 160 * 3 * 128 / 4  # pairs x (prompt and two sides) x assumed tokens
    assert large - small == pytest.approx(2 * tokens)


def test_what_is_there_is_counted_from_files(plan: Plan, store: Store, finish: Finish) -> None:
    stage, other, *_ = [stage for stage in plan.stages if stage.kind.name == "pairs_part"]
    record = finish(stage)
    finish(other)
    left = [one for one in plan.stages if one not in (stage, other)]
    disk = disk_of(left, plan.stages, store, 1)
    assert disk.now == {
        one.fingerprint: folder_bytes(store.directory(one.kind.name, one.fingerprint)) for one in (stage, other)
    }
    assert disk.peak == disk.finished + disk.needed
    # a file that another stage links is on disk once
    source = store.directory(stage.kind.name, stage.fingerprint) / "payload.json"
    os.link(source, store.directory(other.kind.name, other.fingerprint) / "linked.json")
    assert disk_of(left, plan.stages, store, 1).finished == disk.finished
    # dropped payloads are gone, and come back at their size where something needs them
    store.drop_payload(record)
    again = disk_of([*left, stage], plan.stages, store, 1)
    assert stage.fingerprint not in again.now
    (remade,) = [one for one in again.stages if one.stage is stage]
    assert remade.basis == "measured"


# --------------------------------------------------------------------------------------------------- what is free


def test_too_little_space_is_told(plan: Plan, store: Store, tmp_path: Path) -> None:
    disk = disk_of(plan.stages, plan.stages, store, 2)
    assert disk_warning(disk, round(disk.needed) + 1, tmp_path) is None
    told = disk_warning(disk, round(disk.needed) - 1, tmp_path)
    assert told is not None
    assert str(tmp_path) in told
    assert disk_warning(Disk(now={"a": 10}, stages=(), running=0.0), 0, tmp_path) is None, "nothing left needs nothing"


def test_free_space_is_that_of_where_a_folder_will_be(tmp_path: Path) -> None:
    there = free_bytes(tmp_path)
    assert there > 0
    assert free_bytes(tmp_path / "not" / "yet") == pytest.approx(there, rel=0.1)
