"""Sizes of models: as transformers builds every family, and where they are known from before a model is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import BaseModel
from transformers import AutoModelForCausalLM, PreTrainedConfig

from harness.errors import MissingRequirement
from harness.models.sources import CONFIGURATIONS, tiny_configuration
from harness.pipeline.kind import Known
from harness.pipeline.shapes import published_shapes
from harness.pipeline.weights import ShapeSource, Weights, model_shape, shape_source, weights_of
from harness.plan.plan import Plan
from harness.recipe.blocks import TinyFamily
from harness.recipe.load import load_recipe
from harness.recipe.models import FolderModel, HubModel
from harness.sources.models import FAMILIES, resolve_model, shape_of
from harness.store.store import Snapshot, Store

ROOT = Path(__file__).parents[2]
COMMIT = "a" * 40
SIZES: dict[str, Any] = {
    "vocabulary": 300,
    "hidden_size": 48,
    "layers": 3,
    "heads": 4,
    "key_value_heads": 2,
    "intermediate_size": 130,
    "max_positions": 64,
}
ODD: dict[str, dict[str, Any]] = {  # a family's settings that move its weights
    "llama": {"head_dim": 20, "attention_bias": True, "mlp_bias": True},
    "qwen2": {"head_dim": 20},
    **{family: {"head_dim": 20, "attention_bias": True} for family in ("qwen3", "gemma2", "gemma3")},
    "mistral": {"head_dim": 20},
}

# ------------------------------------------------------------------------------------------------------- formula


def counted(configuration: PreTrainedConfig) -> tuple[int, int, int]:
    """(weights, tensors, weights of embeddings) of a model that is never filled."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(configuration)
    weights = [parameter.numel() for parameter in model.parameters()]
    return sum(weights), len(weights), model.get_input_embeddings().weight.numel()


@pytest.mark.parametrize("odd", [False, True], ids=["plain", "odd"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", get_args(TinyFamily))
def test_weights_are_those_of_transformers(family: TinyFamily, tied: bool, odd: bool) -> None:
    configuration = tiny_configuration(family, **SIZES, tie_embeddings=tied, **(ODD[family] if odd else {}))
    weights = Weights.of(shape_of(configuration.to_dict()))
    assert (weights.count, weights.tensors, weights.vocabulary) == counted(configuration)
    assert weights.only_lm == (0 if tied else weights.vocabulary)


@pytest.mark.parametrize("family", get_args(TinyFamily))
def test_what_a_configuration_leaves_out_is_what_the_library_says(family: TinyFamily) -> None:
    stated = {"vocab_size": 64, "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 64}
    stated["intermediate_size"] = 32
    full = CONFIGURATIONS[family][0](**stated).to_dict()
    assert FAMILIES[full["model_type"]] == family
    assert shape_of({"model_type": full["model_type"], **stated}) == shape_of(full)


def test_published_shapes_have_the_weights_that_are_published() -> None:
    """In millions, as model cards and reports round them."""
    said = {
        "Qwen/Qwen2-1.5B": 1_540,
        "Qwen/Qwen2.5-Coder-3B-Instruct": 3_090,
        "Qwen/Qwen2.5-Coder-7B-Instruct": 7_610,
        "google/gemma-2-2b": 2_610,
        "meta-llama/Llama-3.2-1B": 1_240,
        "deepseek-ai/deepseek-coder-1.3b-instruct": 1_350,
        "ibm-granite/granite-3b-code-instruct-128k": 3_483,
    }
    found = {name: Weights.of(published_shapes()[name].shape).count / 1e6 for name in said}
    assert found == pytest.approx(said, rel=0.005)
    assert Weights.of(published_shapes()["ibm-granite/granite-8b-code-instruct-128k"].shape).tensors == 578


# ------------------------------------------------------------------------------------------------ where from


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's local cache, empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(cache: Path, model: str, configuration: dict[str, Any]) -> None:
    snapshot = cache / f"models--{model.replace('/', '--')}" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (snapshot / "config.json").write_text(json.dumps(configuration))


@pytest.fixture
def base(recipe: dict[str, Any], planned: Callable[..., Plan]) -> Callable[[str], Any]:
    """The stage of a model of the hub."""

    def stage(model: str, revision: str = COMMIT) -> Any:
        recipe["model"] = {"source": "hub", "id": model, "revision": revision}
        [found] = [one for one in planned(recipe).stages if one.kind.name == "pretrained"]
        return found

    return stage


def told(stage: Any, store: Store) -> tuple[int | None, ShapeSource | None]:
    known = Known(Snapshot(store))
    weights = weights_of(stage, known)
    return None if weights is None else weights.layers, shape_source(stage, known)


def test_a_shape_is_the_record_s_then_the_cache_s_then_the_table_s(
    base: Callable[[str], Any], cache: Path, store: Store, finish: Callable[..., Any]
) -> None:
    name = "google/gemma-2-2b"
    published = Weights.of(published_shapes()[name].shape).layers
    assert told(base(name), store) == (published, "shapes.yaml")
    assert told(base("meta-math/MetaMath-Mistral-7B"), store)[1] == "shapes.yaml, unverified"
    assert told(base("nobody/nothing"), store) == (None, None)

    other = tiny_configuration("gemma2", **SIZES, tie_embeddings=True)
    small = Weights.of(shape_of(other.to_dict())).layers
    for model in (name, "nobody/nothing"):
        put(cache, model, other.to_dict())
        assert told(base(model), store) == (small, "cached config")
    assert told(base(name, "another-revision"), store) == (published, "shapes.yaml")

    shape = shape_of({**other.to_dict(), "num_hidden_layers": 7})
    finish(base(name), result={"parameters": 1, "shape": shape})
    assert told(base(name), store) == (Weights.of(shape).layers, "record")


def test_a_cached_configuration_that_is_none_is_told(base: Callable[[str], Any], cache: Path, store: Store) -> None:
    put(cache, "some/model", {"model_type": "llama", "hidden_size": "wide"})
    with pytest.raises(MissingRequirement, match=r"config\.json lacks .*num_attention_heads"):
        told(base("some/model"), store)
    sizes = dict.fromkeys(("num_attention_heads", "vocab_size", "num_hidden_layers", "intermediate_size"), 8)
    put(cache, "some/model", {"model_type": "llama", "hidden_size": "wide", **sizes})
    with pytest.raises(MissingRequirement, match="`hidden_size` must be a whole number above 0, not 'wide'"):
        told(base("some/model"), store)
    with pytest.raises(MissingRequirement, match="a name that the hub allows"):
        told(base("some/model--"), store)


def test_a_folder_is_counted_by_its_configuration_and_named_as_ever(
    recipe: dict[str, Any], planned: Callable[..., Plan], store: Store, tmp_path: Path
) -> None:
    """Its identity keeps the coarse shape that it began with."""
    configuration = tiny_configuration("qwen3", **SIZES, tie_embeddings=True, head_dim=20)
    configuration.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("of no interest here")
    recipe["model"] = {"source": "folder", "path": str(tmp_path)}
    [stage] = [one for one in planned(recipe).stages if one.kind.name == "pretrained"]
    shape = model_shape(stage, Known(Snapshot(store)))
    assert shape == shape_of(configuration.to_dict())
    assert (shape["family"], shape["head_size"]) == ("qwen3", 20)
    assert resolve_model(FolderModel.model_validate(recipe["model"])).spec["shape"] == {
        "family": "llama",
        "vocabulary": 300,
        "hidden_size": 48,
        "layers": 3,
        "heads": 4,
        "key_value_heads": 2,
        "intermediate_size": 130,
        "tie_embeddings": True,
    }


def hub_models(value: Any) -> Iterator[str]:
    if isinstance(value, HubModel):
        yield value.id
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from hub_models(getattr(value, name))
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from hub_models(one)


def test_every_model_of_the_hub_that_a_recipe_names_has_a_shape() -> None:
    named = {
        model
        for path in sorted((ROOT / "recipes").rglob("*.yaml"))
        if "cpu" not in path.parts  # tiny models
        for setting in load_recipe(path).settings
        for model in hub_models(setting.experiment)
    }
    assert len(named) > 10
    assert not named - set(published_shapes())
    assert not set(published_shapes()) - named, "shapes that no recipe names any more"
