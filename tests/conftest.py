"""What tests of recipes, plans and stores share: a small recipe as plain data, and ways to load, plan and finish it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.pipeline.code import source_digest
from harness.pipeline.graph import Stage
from harness.plan.plan import Plan, make_plan
from harness.recipe.load import LoadedRecipe, load_recipe
from harness.store.record import Record
from harness.store.store import Store
from tests.toys.shared import once_a_session

# Every key of an experiment stands here, defaults included, so that tests can change each of them.
OPTIMIZATION: dict[str, Any] = {
    "learning_rate": 0.001,
    "schedule": {"kind": "cosine", "warmup": 0.05},
    "global_batch": 8,
    "precision": "fp32",
    "weight_decay": 0.1,
    "clip_norm": 1.0,
    "betas": [0.9, 0.95],
}
LOSS: dict[str, Any] = {"rm": 1.0, "lm": 1.0, "lm_normalization": "token", "margin": 0.0, "kind": "bradley_terry"}
RECIPE: dict[str, Any] = {
    "name": "small",
    "model": {
        "source": "tiny",
        "family": "llama",
        "vocabulary": 512,
        "hidden_size": 32,
        "layers": 2,
        "heads": 4,
        "key_value_heads": 2,
        "intermediate_size": 64,
        "tie_embeddings": True,
        "base": {**OPTIMIZATION, "texts": 64},
    },
    "corpus": {
        "kind": "python_packages",
        "packages": ["email", "logging", "http", "json"],
        "heldout": ["http"],
        "dev": [],
        "base": ["logging"],
        "min_characters": 80,
        "max_characters": 600,
        "min_docstring_characters": 20,
        "near_duplicate": 0.8,
        "decontaminate": None,
    },
    "pairs": {
        "count": 160,
        "prompt": {"from": "docstring", "max_characters": 200},
        "chosen": {"from": "reference"},
        "rejected": {"from": "mutation", "edits": [1, 3], "kinds": ["arithmetic", "comparison", "boolean"]},
        "part_size": 80,
        "spare": 0.5,
        "max_tokens": 128,
        "train_rejected": None,
        "match_length": None,
        "flip_rate": 0.0,
        "filter": None,
        "order": None,
        "end_token": "none",
        "judges": {},
        "quality": {"judges": ["static"], "min_consistency": 0.7, "on_fail": "warn", "most_pairs": 2000},
    },
    "tasks": {
        "sums": {
            "kind": "gsm_symbolic",
            "problems": {"base": 8, "finetune": 32, "dev": 8, "test": 12},
            "path": None,
            "options": {},
            "max_tokens": 256,
        },
        "logic": {
            "kind": "circuit_logic",
            "problems": {"base": 0, "finetune": 32, "dev": 8, "test": 12},
            "path": None,
            "options": {},
            "max_tokens": 256,
        },
    },
    "pretrain": {
        "on": "pairs",
        "epochs": 1,
        "match": None,
        "average": None,
        "from": None,
        **OPTIMIZATION,
        "loss": {**LOSS, "labels": "data"},
        "schedule": {"kind": "wsd", "warmup_pairs": 16, "decay": 0.2, "allow_decay_inside_warmup": False},
    },
    "finetune": {
        **OPTIMIZATION,
        "tasks": ["sums", "logic"],
        "samples": 48,
        "replay": 0,
        "epochs": 1,
        "loss": {**LOSS, "lm": 0.0},
        "head": "carry",
        "select": {"metric": "pair_accuracy", "split": "dev", "every_steps": 2},
        "tune": None,
    },
    "evaluate": {
        "best_of_n": {
            "tasks": ["sums", "logic"],
            "n": [1, 2, 4],
            "candidates": {"engine": "simulated", "writer": None, "samples": 8, "accuracy": 0.4, "part_size": 6},
        },
        "pair_accuracy": {"tasks": ["sums", "logic"], "samples": 16},
        "code_pairs": {"count": 40},
        "retention": False,
        "failures": "scores",
        "overlap": {"n": 13, "threshold": 0.0, "near_equal": 0.5, "masked": False},
        "probes": None,
        "split": "test",
        "reference_scorers": ["length", "ngrams"],
        "imported": {},
    },
}

Load = Callable[..., LoadedRecipe]
MakePlan = Callable[..., Plan]
Finish = Callable[..., Record]


@pytest.fixture
def recipe() -> dict[str, Any]:
    """A valid recipe as plain data, the test's own."""
    data: dict[str, Any] = json.loads(json.dumps(RECIPE))  # unlike a deep copy, no block stands in two places
    return data


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write plain data as a recipe file and load it."""

    def load(data: Mapping[str, Any], *assignments: str) -> LoadedRecipe:
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(data), encoding="utf-8")  # JSON is YAML
        return load_recipe(path, assignments)

    return load


@pytest.fixture
def planned(load: Load) -> MakePlan:
    """Load plain data and plan it."""

    def planned(data: Mapping[str, Any], *assignments: str) -> Plan:
        return make_plan(load(data, *assignments))

    return planned


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.create()
    return store


@pytest.fixture
def finish(store: Store) -> Finish:
    """Put a finished stage into the store, with one payload file."""

    def finish(
        stage: Stage, *, result: Mapping[str, Any] | None = None, seconds: float = 1.0, digest: str | None = None
    ) -> Record:
        with store.build(stage.kind.name, stage.fingerprint, resumable=False) as building:
            assert building is not None
            (building.directory / "payload.json").write_text(json.dumps(stage.label), encoding="utf-8")
            return building.publish(
                kind=stage.kind.name,
                identity=stage.identity,
                result=result or {},
                environment={"source_digest": source_digest(stage) if digest is None else digest},
                run={"seconds": seconds},
            )

    return finish


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, made once a session. To be copied, see `tests/toys/mlflow_servers.py`."""
    from tests.toys.mlflow_servers import DATABASE, migrated_database

    return once_a_session(tmp_path_factory, "migrated", migrated_database) / DATABASE


MLFLOW_SERVER = "mlflow_server"


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> str:
    """Address of the session's one MLflow server. Each test uses an experiment of its own."""
    from tests.toys.mlflow_servers import shared_uri, start_shared

    return shared_uri(once_a_session(tmp_path_factory, MLFLOW_SERVER, lambda folder: start_shared(folder, migrated)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The server ends with the session, not with the worker that started it."""
    if hasattr(session.config, "workerinput"):
        return
    folder = session.config._tmp_path_factory.getbasetemp() / MLFLOW_SERVER  # type: ignore[attr-defined]
    if folder.exists():
        from tests.toys.mlflow_servers import kill_shared

        kill_shared(folder)
