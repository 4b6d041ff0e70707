"""Recipes that take all from a hub, through its own libraries: asked, pinned, cut into files, and refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

from tests.toys.hub import Hub, local_hub
from tests.toys.small_models import save_small_model

AWAY = "http://127.0.0.1:9"
GSM8K = "e53f048856ff4f594e959d75785d2c2d37b678ee"  # the commit that the task names
RECIPE: dict[str, Any] = {
    "name": "from-hub",
    "model": {"source": "hub", "id": "owner/small"},
    "corpus": {
        "kind": "huggingface",
        "id": "owner/code",
        "data_files": ["data/*.parquet"],
        "columns": {"text": "content", "cluster": "repo"},
        "language": "python",
        "max_characters": 2_000,
        "base": 0.2,
        "heldout": 0.2,
        "decontaminate": {"against": ["gsm8k"]},
    },
    "pairs": {
        "count": 16,
        "max_tokens": 128,
        "part_size": 400,
        "prompt": {"from": "docstring"},
        "chosen": {"from": "reference"},
        "rejected": {"from": "mutation"},
    },
    "tasks": {
        "gsm8k": {"kind": "gsm8k", "max_tokens": 128, "problems": {"test": 4}},
        "sorting": {"kind": "number_sorting", "max_tokens": 320, "problems": {"finetune": 8, "dev": 2, "test": 2}},
    },
    "pretrain": {
        "learning_rate": 1e-3,
        "schedule": {"kind": "wsd", "warmup_pairs": 8, "decay": 0.25},
        "global_batch": 8,
    },
    "finetune": {
        "tasks": ["sorting"],
        "samples": 8,
        "learning_rate": 1e-3,
        "schedule": {"kind": "cosine", "warmup": 0.1},
        "global_batch": 8,
    },
    "evaluate": {
        "code_pairs": {"count": 8},
        "best_of_n": {
            "tasks": ["gsm8k"],
            "n": [1, 2],
            "candidates": {
                "engine": "model",
                "samples": 2,
                "writer": {
                    "model": {"source": "hub", "id": "owner/small"},
                    "engine": "transformers",
                    "format": "raw",
                    "precision": "fp32",
                    "max_tokens": 8,
                },
            },
        },
    },
    "runtime": {"tracking": "none", "slots": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    save_small_model(root / "models/owner/small")
    modules = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    write(root / "datasets/owner/code/README.md", b"# Code\n")
    for part in range(2):
        taken = modules[part:60:2]
        rows = [{"content": path.read_text("utf-8"), "repo": path.stem} for path in taken]
        write(root / f"datasets/owner/code/data/part-{part}.parquet", table(rows))
    question = [{"question": f"What is {at} + 1?", "answer": f"It is {at + 1}.\n#### {at + 1}"} for at in range(8)]
    for part in ("train", "test"):
        write(root / f"datasets/openai/gsm8k/main/{part}-00000-of-00001.parquet", table(question))
    with local_hub(root) as made:
        made.commits["datasets/openai/gsm8k"] = GSM8K
        yield made


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def table(rows: list[dict[str, str]]) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


@pytest.fixture(autouse=True)
def nothing_else_is_gated(hub: Hub) -> Iterator[None]:
    yield
    hub.gated.clear()


def harness(folder: Path, hub: Hub, *words: str, code: int = 0, address: str = "") -> str:
    """What a command says of the recipe, in a process of its own: the hub's libraries read their address once."""
    recipe = folder / "recipe.yaml"
    if not recipe.exists():
        recipe.write_text(yaml.safe_dump(RECIPE, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "harness", words[0], str(recipe), *words[1:], "--workdir", str(folder / "w")]
    environment = {**os.environ, **hub.environment(folder / "home"), **({"HF_ENDPOINT": address} if address else {})}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def planned(folder: Path, hub: Hub, **how: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(harness(folder, hub, "plan", "--json", **how))
    return found


def test_fetching_pins_and_brings_what_a_recipe_takes_from_the_hub(tmp_path: Path, hub: Hub) -> None:
    told = harness(tmp_path, hub, "plan")
    for name in ("owner/small@main", "datasets/owner/code@main"):
        assert f"{name} is not resolved to a commit yet" in told
    assert "datasets/owner/code/data/*.parquet counts as one file yet" in told
    assert "would refuse" not in told
    assert "all that from-hub takes from the hub is in" in harness(tmp_path, hub, "fetch")
    model, code = hub.commit("models/owner/small"), hub.commit("datasets/owner/code")
    assert yaml.safe_load((tmp_path / "recipe.lock.yaml").read_text("utf-8")) == {
        "owner/small@main": model,
        "datasets/owner/code@main": code,
        f"datasets/owner/code@{code}": {"data/*.parquet": ["data/part-0.parquet", "data/part-1.parquet"]},
    }
    again = planned(tmp_path, hub, address=AWAY)  # the lock knows all that decides it
    parts = [stage for stage in again["stages"] if stage["kind"] == "corpus_part"]
    assert len(parts) == 2
    assert all(stage["done"] for stage in again["stages"] if stage["kind"] in ("corpus_part", "pretrained"))
    assert not again["unresolved"]
    assert not again["not_fetched"]
    assert not again["lacking"]
    asked = len(hub.asked)
    harness(tmp_path, hub, "fetch")
    assert [one for one in hub.asked[asked:] if "agent-harnesses" not in one] == []  # nothing is fetched twice


def test_terms_that_nobody_has_accepted_are_told_before_anything_runs(tmp_path: Path, hub: Hub) -> None:
    hub.gated.add("datasets/owner/code")
    told = "the data set owner/code must be open to you, but the hub asks for its terms to be accepted"
    assert f"`run` would refuse this: corpus: {told}" in harness(tmp_path, hub, "plan")
    refused = harness(tmp_path, hub, "run", code=2)
    assert f"recipe.yaml:7: {told}" in refused
    assert "Traceback" not in refused
    assert not (tmp_path / "recipe.lock.yaml").exists()
    assert not (tmp_path / "w").exists()


def test_patterns_without_files_and_a_hub_that_is_away_are_told(tmp_path: Path, hub: Hub) -> None:
    refused = harness(tmp_path, hub, "run", "--set", "corpus.data_files=[data/*.json]", code=2)
    assert "`corpus.data_files` must name files of the data set, but owner/code has none like data/*.json" in refused
    away = harness(tmp_path, hub, "plan", address=AWAY)
    assert "`run` would refuse this: corpus: the hub must have the data set owner/code at main, but it says:" in away


def test_models_that_cannot_be_had_or_read_are_told(tmp_path: Path, hub: Hub) -> None:
    """Two at once: one whose terms nobody has accepted, and one whose weights are only there as pickles."""
    small = hub.root / "models/owner/small"
    for name in ("closed", "pickled"):
        shutil.copytree(small, hub.root / "models/owner" / name, dirs_exist_ok=True)
    (hub.root / "models/owner/pickled/model.safetensors").rename(hub.root / "models/owner/pickled/pytorch_model.bin")
    hub.gated.add("models/owner/closed")
    writer = "evaluate.best_of_n.candidates.writer.model.id=owner/closed"
    told = harness(tmp_path, hub, "plan", "--set", "model.id=owner/pickled", "--set", writer)
    assert "the model owner/closed must be open to you" in told
    assert "its weights as safetensors, but owner/pickled at main has no model.safetensors" in told


def test_a_run_asks_the_hub_how_large_a_model_is_before_it_is_held_against_a_budget(tmp_path: Path, hub: Hub) -> None:
    budget = ("--set", "runtime.budget.gpu_hours=1e-12")
    told = harness(tmp_path, hub, "plan", *budget)
    assert "`harness run` asks the hub for their configurations before it starts" in told
    assert "would refuse" not in told
    assert re.search(
        r"the plan must fit `runtime.budget.gpu_hours`, but about .* GPU-hours",
        harness(tmp_path, hub, "run", *budget, code=2),
    )
    assert "the plan must fit" in harness(tmp_path, hub, "plan", *budget)  # the configuration is there now


@pytest.mark.exhaustive("the whole run; CI has what it fetches")
def test_a_recipe_runs_without_a_network_once_it_was_fetched(tmp_path: Path, hub: Hub) -> None:
    harness(tmp_path, hub, "fetch")
    told = harness(tmp_path, hub, "run", address=AWAY)
    assert "held-out code pairs" in told
    after = planned(tmp_path, hub, address=AWAY)
    assert after["to_run"] == 0
    assert not after["lacking"]
