"""A plan's price on stated GPUs: hours, wall time, memory, what sharing saves, what nobody knows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import gpus
from harness.cli.price import pairs_of_documents
from harness.cli.workspace import open_workspace, trainings_at_once
from harness.execution.runner import make_task
from harness.models.reward_model import Recompute
from harness.pipeline.kind import Known
from harness.pipeline.weights import weights_of
from harness.plan.cost import estimate
from harness.plan.plan import Plan
from harness.plan.price import (
    FP32,
    KEPT_HIDDEN,
    KEPT_INTERMEDIATE,
    LOGITS,
    PRODUCTS_HIDDEN,
    PRODUCTS_INTERMEDIATE,
    Price,
    hours_alone,
    memory_of,
    price_of,
)
from harness.recipe.runtime import Gpus, Runtime, TrainingRuntime
from harness.store.store import Snapshot, Store
from tests.toys.kept import kept

ROOT = Path(__file__).parents[2]
MakePlan = Callable[..., Plan]
Finish = Callable[..., Any]
EIGHT = Runtime(gpus=Gpus(kind="a100-80gb", count=8, utilisation=0.5, writing_utilisation=0.1))


def price(plan: Plan, store: Store, runtime: Runtime = EIGHT) -> Price:
    known = Known(Snapshot(store), plan.stages)
    return price_of(estimate(plan.stages, plan.stages, store, 1, known).costs, known, runtime)


def test_hours_are_flops_over_the_share_of_the_peak(recipe: dict[str, Any], planned: MakePlan, store: Store) -> None:
    plan = planned(recipe)
    flops = estimate(plan.stages, plan.stages, store, 1).flops
    assert price(plan, store).gpu_hours == pytest.approx(flops / (312e12 * 0.5) / 3600)
    assert price(plan, store).unknown == 0


def test_wall_time_lies_between_all_at_once_and_one_after_another(
    recipe: dict[str, Any], planned: MakePlan, store: Store
) -> None:
    recipe["ablations"] = {"axes": {"pretrain.learning_rate": [0.001, 0.002, 0.004, 0.008]}}
    plan = planned(recipe)
    one, many = (price(plan, store, Runtime(gpus=Gpus(count=count))) for count in (1, 64))
    on_gpus, others = 3600 * one.gpu_hours, sum(stage.seconds or 0.0 for stage in one.stages if not stage.gpus)
    assert on_gpus <= one.wall <= on_gpus + others
    assert many.wall <= one.wall
    together = price(plan, store, Runtime(gpus=Gpus(count=64), training=TrainingRuntime(processes=8)))
    assert together.gpu_hours == pytest.approx(one.gpu_hours)
    assert {stage.gpus for stage in together.stages if stage.stage.kind.trains} == {8}


def test_alone_every_variant_trains_its_own_trunk(recipe: dict[str, Any], planned: MakePlan, store: Store) -> None:
    recipe["ablations"] = {"axes": {"pairs.count": [80, 160, 400, 800]}}
    plan = planned(recipe)
    found = price(plan, store)
    hours = {stage.stage.fingerprint: stage.gpu_hours or 0.0 for stage in found.stages}
    alone = 0.0
    for variant in plan.variants:
        needed, stack = set[str](), list(variant.targets)
        while stack:
            stage = stack.pop()
            if stage.fingerprint not in needed:
                needed.add(stage.fingerprint)
                stack += [*(item.stage for item in stage.inputs.values()), *stage.after]
        alone += sum(hours[one] for one in needed)
    assert hours_alone(plan, found) == pytest.approx(alone)
    assert alone > found.gpu_hours


def test_alone_fewer_pairs_need_fewer_texts(recipe: dict[str, Any], planned: MakePlan, store: Store) -> None:
    model = {"source": "packaged", "name": "smollm2-135m-instruct"}
    recipe["pairs"]["rejected"] = {"from": "model", "model": model, "engine": "transformers"}
    alone = []
    for counts in ([80, 800], [80], [800]):
        recipe["ablations"] = {"axes": {"pairs.count": counts}}
        plan = planned(recipe)
        alone.append(hours_alone(plan, price(plan, store)))
    both, small, large = alone
    assert both == pytest.approx(small + large, rel=0.05)  # but for whole parts
    assert small < 0.2 * large


def test_a_model_that_nobody_has_looked_into_has_no_price(
    recipe: dict[str, Any], planned: MakePlan, store: Store
) -> None:
    recipe["model"] = {"source": "hub", "id": "nobody/knows-this", "revision": "0" * 40}
    plan = planned(recipe)
    found = price(plan, store)
    asked = [stage for stage in found.stages if stage.gpus]
    assert found.unknown == len(asked) > 3
    assert found.gpu_hours == 0.0
    assert {stage.memory for stage in asked} == {None}


def test_where_a_model_writes_a_gpu_is_held(recipe: dict[str, Any], planned: MakePlan, store: Store) -> None:
    model = {"source": "packaged", "name": "smollm2-135m-instruct"}
    writer = {"engine": "model", "samples": 8, "part_size": 6, "writer": {"model": model, "engine": "transformers"}}
    recipe["evaluate"]["best_of_n"]["candidates"] = writer
    plan = planned(recipe)
    parts = [one for one in price(plan, store).stages if one.stage.kind.name == "candidates_part"]
    assert {one.gpus for one in parts} == {1}
    assert all(one.gpu_hours for one in parts)
    assert all(make_task(one.stage, store, {}).accelerated for one in parts)


def test_pairs_of_each_document_once_the_corpus_is_read(
    recipe: dict[str, Any], planned: MakePlan, store: Store, finish: Finish
) -> None:
    plan = planned(recipe)
    (before,) = pairs_of_documents(plan.stages, Known(Snapshot(store)))
    assert (before.pairs, before.each) == (240, None)  # 160 and the half to spare
    (corpus,) = [stage for stage in plan.stages if stage.kind.name == "corpus"]
    finish(corpus, result={"kept": {"train": 12, "heldout": 4}, "groups": 8, "characters": 80})
    (after,) = pairs_of_documents(plan.stages, Known(Snapshot(store)))
    assert (after.documents, after.each) == (12, 20.0)


# ---------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize(("hidden", "intermediate"), [(128, 704), (256, 512)])
@pytest.mark.parametrize("recompute", [False, True, "selective"])
def test_what_a_token_leaves_in_a_layer_is_what_autograd_keeps(
    recompute: Recompute, hidden: int, intermediate: int
) -> None:
    long, short = (
        kept(recompute, hidden, intermediate, 3, tokens) - kept(recompute, hidden, intermediate, 1, tokens)
        for tokens in (512, 256)
    )
    formula = KEPT_HIDDEN * hidden + KEPT_INTERMEDIATE * intermediate
    if recompute:
        formula = FP32 * hidden
    if recompute == "selective":
        formula += PRODUCTS_HIDDEN * hidden + PRODUCTS_INTERMEDIATE * intermediate
    assert (long - short) / 2 / 256 == pytest.approx(formula, rel=0.12)  # the rest is attention's, by its pieces


def test_the_table_of_memory_is_worked_out(tmp_path: Path) -> None:
    table = re.findall(r"^\| (Qwen\S+) \| (.*) \|$", (ROOT / "docs" / "training.md").read_text(), re.MULTILINE)
    assert len(table) == 3
    for model, cells in table:
        asking = [f"model.id=Qwen/{model}", "pairs.part_size=50_000_000", "seeds.finetune=1"]
        plan = open_workspace(ROOT / "recipes" / "paper" / "main.yaml", asking, tmp_path, fetches=False).plan
        known = Known(Snapshot(Store(tmp_path / "store")), plan.stages)
        pretrain = next(stage for stage in plan.stages if stage.label.startswith("pretrain rm=1 lm=1"))
        found = []
        for row_tokens in (2_048, 8_192):
            for sharing, processes, nodes in (("ddp", 1, 1), ("fsdp", 8, 1), ("fsdp", 8, 4)):
                pair = []
                for again in (False, "selective", True):
                    training = TrainingRuntime.model_validate(
                        {"sharing": sharing, "processes": processes, "nodes": nodes, "launch": ["srun"]}
                        | {"activation_checkpointing": again}
                    )
                    runtime = Runtime(row_tokens=row_tokens, rows_per_micro_batch=1, training=training)
                    pair.append(f"{(memory_of(pretrain, known, runtime) or 0) / 1e9:.0f}")
                found.append(", ".join(pair))
        assert cells == " | ".join(found)


def test_memory_of_a_training_is_its_state_and_its_tokens(
    recipe: dict[str, Any], planned: MakePlan, store: Store
) -> None:
    recipe["pretrain"]["precision"] = "bf16"
    plan = planned(recipe)
    known = Known(Snapshot(store))
    pretrain = next(stage for stage in plan.stages if stage.kind.name == "pretrain")
    weights, shape = weights_of(pretrain, known), recipe["model"]
    assert weights is not None
    token = shape["layers"] * (KEPT_HIDDEN * shape["hidden_size"] + KEPT_INTERMEDIATE * shape["intermediate_size"])

    def memory(rows: int = 4, **how: Any) -> float:
        found = memory_of(pretrain, known, Runtime(rows_per_micro_batch=rows, training=TrainingRuntime(**how)))
        assert found is not None
        return found

    assert memory(8) - memory(4) == pytest.approx(4 * 256 * token)
    state = 16 * weights.count + 2 * weights.layers  # weights, gradients, two moments; and bf16 copies
    assert memory() - 4 * 256 * token - LOGITS == pytest.approx(state)
    assert memory(activation_checkpointing=True) < memory(activation_checkpointing="selective") < memory()
    sharded = weights.count * 16 / 8 + 8 * (weights.vocabulary + weights.layers / shape["layers"])  # no copies
    assert memory(sharing="fsdp", processes=8) - 4 * 256 * token - LOGITS == pytest.approx(sharded)
    assert memory(sharing="fsdp", processes=8) < memory(sharing="fsdp", processes=2)


@pytest.mark.parametrize(
    ("visible", "runtime", "trainings", "priced"),
    [
        (0, {"device": "cuda"}, 1, 1),
        (0, {"device": "cuda", "gpus": {"count": 16}}, 16, 16),
        (0, {"device": "cuda", "training": {"processes": 8}}, 1, 8),
        (
            0,
            {"device": "cuda", "gpus": {"count": 64}, "training": {"processes": 8, "nodes": 2, "launch": ["srun"]}},
            4,
            64,
        ),
        (8, {"device": "cuda", "gpus": {"count": 64}}, 8, 64),
        (8, {"training": {"processes": 4}}, 2, 4),
        (8, {"device": "cpu", "slots": 3}, 3, 1),
        (0, {"slots": 3}, 3, 1),
    ],
)
def test_how_many_trainings_run_at_once_and_gpus_are_priced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: int, runtime: dict[str, Any], trainings: int, priced: int
) -> None:
    for number in range(visible):
        (tmp_path / str(number)).touch()
    monkeypatch.setattr(gpus, "GPUS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    asked = Runtime.model_validate(runtime)
    assert trainings_at_once(asked) == trainings
    assert asked.priced_gpus.count == priced
