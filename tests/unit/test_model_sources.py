"""Models a recipe names: resolved to digests or commits when planning, and told with their place where missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from harness.cli.app import run_command
from harness.cli.lock import resolve, unresolved
from harness.errors import MissingRequirement, ProblemList, RecipeError
from harness.plan.cost import parameters
from harness.plan.model_sources import resolve_model, shape_of
from harness.plan.packaged import PACKAGED
from harness.plan.plan import make_plan
from harness.recipe.load import load_recipe
from harness.recipe.lock import lock_of, read_lock
from harness.recipe.models import FolderModel, GgufModel, HubModel, PackagedModel
from tests.toys.small_models import save_small_model

COMMIT, OTHER = "a" * 40, "b" * 40
TINY = Path(__file__).parents[1] / "recipes" / "tiny.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


def from_folder(path: Path) -> FolderModel:
    return FolderModel.model_validate({"source": "folder", "path": str(path)})


def hub(**more: Any) -> HubModel:
    return HubModel.model_validate({"source": "hub", "id": "some/model", **more})


# ------------------------------------------------------------------------------------------------- identity


def test_a_folder_is_its_files_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    one, other = resolve_model(from_folder(folder)), resolve_model(from_folder(copy))
    assert one.spec == other.spec
    assert (one.place, other.place) == (str(folder), str(copy))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(one.spec["files"])
    (copy / "README.md").write_text("not of the model")
    assert resolve_model(from_folder(copy)).spec == one.spec
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rope_theta": 123.0}))
    assert resolve_model(from_folder(copy)).spec != one.spec


def test_the_shape_of_a_folder_counts_its_weights(folder: Path) -> None:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        held = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    layers, vocabulary = parameters(resolve_model(from_folder(folder)).spec["shape"])
    assert layers + 2 * vocabulary == held  # embeddings and head, which are not tied here


def test_a_packaged_model_is_its_release() -> None:
    found = resolve_model(PackagedModel.model_validate({"source": "packaged", "name": "smollm2-135m-instruct"}))
    assert found.spec["sha256"] == PACKAGED["smollm2-135m-instruct"].sha256
    layers, vocabulary = parameters(found.spec["shape"])
    assert layers + vocabulary == 134_515_008  # its model card says 135M


def test_a_hub_model_is_its_commit_as_soon_as_that_is_known() -> None:
    assert resolve_model(hub()).spec == {"source": "hub", "id": "some/model", "revision": "main"}
    assert resolve_model(hub(), {("some/model", "main"): COMMIT}).spec["revision"] == COMMIT
    assert resolve_model(hub(revision="v2"), {("some/model", "main"): COMMIT}).spec["revision"] == "v2"
    assert resolve_model(hub(trust_remote_code=True)).spec["trust_remote_code"] is True


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_lacks_something_is_no_model(folder: Path, tmp_path: Path, missing: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / missing).unlink()
    with pytest.raises(MissingRequirement, match=r"lacks .*" + missing.partition(".")[2]):
        resolve_model(from_folder(copy))


def test_files_that_are_not_there_or_damaged_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingRequirement, match="must be a file"):
        resolve_model(GgufModel.model_validate({"source": "gguf", "path": str(tmp_path / "none.gguf")}))
    with pytest.raises(MissingRequirement):
        resolve_model(from_folder(tmp_path))
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(MissingRequirement, match=r"config\.json"):
        resolve_model(from_folder(copy))


def test_the_shape_of_a_configuration_has_the_librarys_defaults() -> None:
    config = {
        "model_type": "qwen2",
        "vocab_size": 100,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 32,
    }
    shape = shape_of(config)
    assert (shape["key_value_heads"], shape["tie_embeddings"]) == (4, False)


def test_missing_models_are_told_together_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = {"from": "model", "engine": "transformers"}
    recipe = tmp_path / "recipe.yaml"
    data = {
        "extends": str(TINY),
        "name": "writes",
        "pairs": {
            "chosen": {**writer, "model": {"source": "folder", "path": "nowhere"}},
            "rejected": {**writer, "model": {"source": "gguf", "path": "neither.gguf"}},
        },
    }
    recipe.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    assert run_command(["plan", str(recipe), "--workdir", str(tmp_path / "w")]) == 2
    told = capsys.readouterr().err
    assert "nowhere" in told
    assert "neither.gguf" in told
    assert told.count(f"{recipe}:") == 2


# ------------------------------------------------------------------------------------------------ the hub's commits


class Hub(BaseHTTPRequestHandler):
    """Answers what a hub says of a model's revision."""

    commits: dict[str, str] = {}  # noqa: RUF012  set by the test

    def do_GET(self) -> None:
        commit = self.commits.get(self.path.partition("?")[0])
        body = json.dumps({"id": "some/model", "sha": commit, "siblings": []} if commit else {"error": "no"}).encode()
        self.send_response(200 if commit else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  its own name there
        return None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    import huggingface_hub.constants
    import huggingface_hub.hf_api

    made = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=made.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{made.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    Hub.commits = {"/api/models/some/model/revision/main": COMMIT}
    yield Hub
    made.shutdown()
    made.server_close()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    data = {"extends": str(TINY), "name": "hub", "model": {"source": "hub", "id": "some/model"}}
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def test_the_first_run_locks_the_commit_and_later_plans_agree(recipe: Path, server: type[Hub]) -> None:
    loaded = load_recipe(recipe)
    assert list(unresolved(loaded, {})) == [("some/model", "main")]
    before = make_plan(loaded)
    found = resolve(recipe, loaded, read_lock(recipe))
    assert found == read_lock(recipe) == {("some/model", "main"): COMMIT}
    assert not unresolved(loaded, found)
    server.commits["/api/models/some/model/revision/main"] = OTHER  # the branch moves on; the recipe does not
    assert resolve(recipe, loaded, read_lock(recipe)) == found
    after = make_plan(loaded, commits=found)
    models = [stage for stage in after.stages if stage.kind == "pretrained"]
    assert [stage.spec["revision"] for stage in models] == [COMMIT]
    assert {stage.fingerprint for stage in before.stages} != {stage.fingerprint for stage in after.stages}


def test_a_hub_that_knows_no_such_model_is_told_with_the_place(recipe: Path, server: type[Hub]) -> None:
    server.commits.clear()
    with pytest.raises(ProblemList, match=rf"{recipe}:\d+: the hub must have some/model at main"):
        resolve(recipe, load_recipe(recipe), {})
    assert not lock_of(recipe).exists()


def test_a_commit_in_the_recipe_needs_no_lock(recipe: Path) -> None:
    loaded = load_recipe(recipe, [f"model.revision={COMMIT}"])
    assert not unresolved(loaded, {})


@pytest.mark.parametrize("text", ["- a list", "some/model@main: short", "{", "some/model@main: 3"])
def test_a_damaged_lock_is_told(recipe: Path, text: str) -> None:
    lock_of(recipe).write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="delete it"):
        read_lock(recipe)
