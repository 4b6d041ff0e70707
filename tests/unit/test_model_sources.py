"""Models a recipe names: resolved to digests or commits when planning, and told with their place where missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from harness.cli.lock import resolve, unresolved
from harness.cli.run_command import run_command
from harness.errors import CorruptArtifact, MissingRequirement, ProblemList, RecipeError
from harness.models.folder import take_model
from harness.models.reward_model import add_fresh_head
from harness.models.sources import load_causal_model
from harness.pipeline.weights import parameters
from harness.plan.plan import make_plan
from harness.recipe.load import load_recipe
from harness.recipe.lock import NO_LOCK, Lock, lock_of, lock_text, read_lock, together
from harness.recipe.models import FolderModel, GgufModel, HubModel, PackagedModel
from harness.sources.models import resolve_model
from harness.sources.packaged import PACKAGED
from tests.toys.hub import Hub, local_hub
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


@pytest.mark.parametrize("source", ["folder", "gguf"])
def test_a_name_that_no_file_can_have_is_told(source: str) -> None:
    model = {"folder": FolderModel, "gguf": GgufModel}[source].model_validate({"source": source, "path": "a" * 300})
    with pytest.raises(MissingRequirement, match="File name too long"):
        resolve_model(model)


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


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model, of which nobody asks more than its commit."""
    (tmp_path / "hub/models/some/model").mkdir(parents=True)
    with local_hub(tmp_path / "hub") as made:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", made.address)
        made.commits["models/some/model"] = COMMIT
        yield made


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    data = {"extends": str(TINY), "name": "hub", "model": {"source": "hub", "id": "some/model"}}
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def test_the_first_run_locks_the_commit_and_later_plans_agree(recipe: Path, server: Hub) -> None:
    loaded = load_recipe(recipe)
    assert list(unresolved(loaded, NO_LOCK)) == [("some/model", "main")]
    before = make_plan(loaded)
    found = resolve(loaded, read_lock(recipe))
    assert found == read_lock(recipe) == Lock(commits={("some/model", "main"): COMMIT})
    assert not unresolved(loaded, found)
    server.commits["models/some/model"] = OTHER  # the branch moves on; the recipe does not
    assert resolve(loaded, read_lock(recipe)) == found
    after = make_plan(loaded, lock=found)
    models = [stage for stage in after.stages if stage.kind.name == "pretrained"]
    assert [stage.identity["spec"]["revision"] for stage in models] == [COMMIT]
    assert {stage.fingerprint for stage in before.stages} != {stage.fingerprint for stage in after.stages}


def test_a_hub_that_knows_no_such_model_is_told_with_the_place(recipe: Path, server: Hub) -> None:
    (server.root / "models/some/model").rmdir()
    with pytest.raises(ProblemList, match=rf"{recipe}:\d+: the hub must have some/model at main"):
        resolve(load_recipe(recipe), NO_LOCK)
    assert not lock_of(recipe).exists()


def test_a_commit_in_the_recipe_needs_no_lock(recipe: Path) -> None:
    loaded = load_recipe(recipe, [f"model.revision={COMMIT}"])
    assert not unresolved(loaded, NO_LOCK)


def test_recipes_that_extend_a_file_share_the_lock_beside_it(recipe: Path, server: Hub) -> None:
    """A branch that moved between two of them would have everything computed twice."""
    child = recipe.with_name("child.yaml")
    child.write_text("extends: recipe.yaml\nname: child\n", encoding="utf-8")
    loaded = load_recipe(child)
    found = resolve(loaded, NO_LOCK)
    assert found == read_lock(recipe) == Lock(commits={("some/model", "main"): COMMIT})
    assert not lock_of(child).exists()
    server.commits["models/some/model"] = OTHER
    assert not unresolved(load_recipe(recipe), read_lock(recipe))
    assert together(map(read_lock, loaded.files)) == found
    other = load_recipe(child, ["model.revision=v2"])  # what only the command line says stands in the recipe's own
    resolve(other, found)
    assert read_lock(child) == Lock(commits={("some/model", "v2"): OTHER})
    assert read_lock(recipe) == found
    assert together(map(read_lock, other.files)).commits == {
        ("some/model", "main"): COMMIT,
        ("some/model", "v2"): OTHER,
    }


def test_a_lock_is_never_written_where_one_cannot(recipe: Path, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    child = recipe.with_name("own") / "child.yaml"
    child.parent.mkdir()
    child.write_text("extends: ../recipe.yaml\nname: child\n", encoding="utf-8")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).resolve() == child.parent)
    found = resolve(load_recipe(child), NO_LOCK)
    assert found == read_lock(child)
    assert not lock_of(recipe).exists()


def test_the_first_lock_that_knows_it_counts() -> None:
    first = Lock(commits={("a", "main"): COMMIT}, files={("datasets/a", COMMIT): {"*": ("x",)}})
    more = Lock(
        commits={("a", "main"): OTHER, ("b", "main"): OTHER},
        files={("datasets/a", COMMIT): {"*": ("y",), "?": ("z",)}, ("datasets/a", OTHER): {"*": ("w",)}},
    )
    assert together([first, more, NO_LOCK]) == Lock(
        commits={("a", "main"): COMMIT, ("b", "main"): OTHER},
        files={("datasets/a", COMMIT): {"*": ("x",), "?": ("z",)}, ("datasets/a", OTHER): {"*": ("w",)}},
    )


DAMAGED = [
    "- a list", "some/model@main: short", "{", "some/model@main: 3", "datasets/a/b@main: {x: []}",
    "datasets/a/b@main: {x: file}", "datasets/a/b@main: {x: [1]}", "3: {x: [a]}",
]  # fmt: skip


def test_a_lock_is_read_as_it_was_written(recipe: Path) -> None:
    lock = Lock(
        commits={("some/model", "main"): COMMIT, ("datasets/a/b", "v1@x"): OTHER},
        files={("datasets/a/b", OTHER): {"data/*.parquet": ("data/1.parquet", "data/2.parquet"), "**": ("README.md",)}},
    )
    lock_of(recipe).write_text(lock_text(lock), encoding="utf-8")
    assert read_lock(recipe) == lock


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_lock_is_told(recipe: Path, text: str) -> None:
    lock_of(recipe).write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="delete it"):
        read_lock(recipe)


# --------------------------------------------------------------------------------- what is seen when a model is taken


def change_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def in_shards(folder: Path) -> None:
    """The same weights once more, in a shard with its index."""
    shard = "model-00001-of-00001.safetensors"
    shutil.copyfile(folder / "model.safetensors", folder / shard)
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(folder / shard), shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def configure(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


LAYER = "model.layers.1.mlp.up_proj.weight"
LORA = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "two sets of weights": (in_shards, "one set of weights"),
    "shards without index": (
        lambda folder: shutil.copyfile(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors"),
        "one set of weights",
    ),
    "a weight less": (lambda folder: change_weights(folder, lambda some: some.pop(LAYER)), LAYER),
    "an adapter": (lambda folder: change_weights(folder, lambda some: some.update({LORA: torch.ones(2)})), "lora_A"),
    "a layer more": (lambda folder: configure(folder, "config.json", num_hidden_layers=1), r"model\.layers\.1"),
    "100,000 layers": (lambda folder: configure(folder, "config.json", num_hidden_layers=100_000), "num_hidden_layers"),
    "a type of its own": (lambda folder: configure(folder, "config.json", model_type="nobody-knows"), "nobody-knows"),
    "100,000 layers by another name": (lambda folder: configure(folder, "config.json", n_layer=100_000), "n_layer"),
    "a size that is not that of its weights": (
        lambda folder: configure(folder, "config.json", intermediate_size=97),
        r"is \(64, 96\) instead of \(64, 97\)",
    ),
    "a padding token of nowhere": (lambda folder: configure(folder, "config.json", pad_token_id=9_999), "Padding_idx"),
    "a score layer": (
        lambda folder: change_weights(folder, lambda some: some.update({"score.weight": torch.ones(1, 64)})),
        "score layer",
    ),
    "whole numbers for weights": (
        lambda folder: change_weights(folder, lambda some: some.update({LAYER: some[LAYER].to(torch.int8)})),
        "floating-point",
    ),
    "a tokenizer that is none": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "needs its tokenizer"),
    "a token that the model does not know": (
        lambda folder: configure(folder, "tokenizer_config.json", eos_token="<|new|>"),
        "the id 160 of 160 rows",
    ),
    "special tokens that are numbers": (
        lambda folder: configure(folder, "tokenizer_config.json", eos_token=3),
        "Special token eos_token",
    ),
    "a wrong type of value": (lambda folder: configure(folder, "config.json", hidden_size="64"), "hidden_size"),
    "a list for a configuration": (lambda folder: (folder / "config.json").write_text("[]"), "mapping"),
}


@pytest.mark.parametrize("how", UNFIT)
def test_what_no_training_could_use_is_refused_when_it_is_taken(folder: Path, tmp_path: Path, how: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    damage, told = UNFIT[how]
    damage(copy)
    with pytest.raises((MissingRequirement, CorruptArtifact), match=told):
        taken(copy, tmp_path / "taken")


def taken(source: Path, folder: Path) -> dict[str, Any]:
    """What the stage does with a model's folder."""
    take_model(source, folder, None)
    return add_fresh_head(folder)


def test_shards_alone_are_the_same_model(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    in_shards(copy)
    (copy / "model.safetensors").unlink()
    count = sum(one.numel() for one in load_causal_model(folder).parameters())
    assert taken(copy, tmp_path / "taken")["parameters"] == count


def test_sampling_values_that_contradict_one_another_do_not_stop_a_save(folder: Path, tmp_path: Path) -> None:
    """As published with Llama 2: values for sampling, and no sampling. transformers refuses to save them."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    ends = json.loads((copy / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    configure(copy, "generation_config.json", temperature=0.9, top_p=0.6, do_sample=False)
    model = load_causal_model(copy)
    model.save_pretrained(tmp_path / "saved")
    assert load_causal_model(tmp_path / "saved").generation_config.eos_token_id == ends


def test_files_beside_the_weights_are_not_the_model(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = resolve_model(from_folder(copy)).spec
    save_file({"other": torch.zeros(2)}, copy / "adapter_model.safetensors")
    assert resolve_model(from_folder(copy)).spec == before
    take_model(copy, tmp_path / "taken", None)
    assert not (tmp_path / "taken" / "adapter_model.safetensors").exists()


def test_a_cache_that_lacks_a_file_is_not_the_model(
    folder: Path, tmp_path: Path, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch that was broken off: with the hub away this must be seen before anything is computed."""
    from harness.models.hub import require_hub_model

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--some--model" / "snapshots" / COMMIT
    (server.root / "models/some/model").rmdir()
    shutil.copytree(folder, snapshot)
    require_hub_model("some/model", COMMIT)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(MissingRequirement, match="the hub must have some/model"):
        require_hub_model("some/model", COMMIT)


ASK_A_HUB = """
import time
time.sleep = lambda seconds: None  # the hub's library tries several times, and waits in between
from harness.errors import MissingRequirement
from harness.models.hub import fetch_hub_model, require_hub_model
for ask in (require_hub_model, fetch_hub_model):
    try:
        ask("some/model", "a" * 40)
    except MissingRequirement as error:
        print(error)
"""


def test_a_hub_that_is_away_is_one_line(tmp_path: Path) -> None:
    """In a process of its own: the library reads its address when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", ASK_A_HUB]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout
    assert all(line.startswith("the hub must have some/model") for line in lines)
    assert all("source: folder" in line for line in lines)
