"""Which model a recipe names, resolved to what decides it: digests of files, a release, a commit of the hub.

Reads files and the hub's local cache; asks no network and imports no library of models.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.errors import MissingRequirement, reason_of
from harness.recipe.lock import Commits
from harness.recipe.models import FolderModel, GgufModel, HubModel, PackagedModel
from harness.sources.known_files import digest_of
from harness.sources.packaged import PACKAGED
from harness.sources.text_files import parse_json

CONFIGURATION, TOKENIZER = "config.json", "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
BESIDE_WEIGHTS = ("*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
FILES = ("*.safetensors", *BESIDE_WEIGHTS)
"""What of a hub's model is fetched. Weights in any other form than safetensors are never read."""

_USUAL_NAME = re.compile(r"(?=.{1,96}$)(?:\w+(?:[-.]\w+)*/)?\w+(?:[-.]\w+)*(?<!\.git)", re.ASCII)
"""Names of models that the hub allows; of any other the hub's own library says what is wrong with it."""

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
MOST_CONFIGURATION = 16 << 20  # bytes
# What no model has: a configuration beyond it would have a library build layers until the memory is full. Families call
# their layers `num_hidden_layers`, `n_layer`, `decoder_layers` or `depth`.
_COUNTS = re.compile(r"(layers?|layer_types|depth|experts|head_dim)$")
_MOST_COUNTED = 2_048
_MOST = {"hidden_size": 1 << 17, "intermediate_size": 1 << 20, "vocab_size": 1 << 24}
_MOST |= {"n_embd": 1 << 17, "d_model": 1 << 17, "n_inner": 1 << 20, "d_ff": 1 << 20}
_MOST |= {"max_position_embeddings": 1 << 27, "n_positions": 1 << 27, "n_ctx": 1 << 27}

FAMILIES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "mistral": "mistral",
}
"""The family of a model type, whose weights `pipeline/weights.py` counts."""

# What a config.json that leaves these out means: transformers' own defaults where they differ from those of a Llama,
# which has as many key-value heads as heads, heads of hidden_size / heads channels, and a head apart from embeddings.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "qwen2": {"num_key_value_heads": 32},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128},
    "gemma2": {"head_dim": 256, "num_key_value_heads": 4, "tie_word_embeddings": True},
    "gemma3": {"head_dim": 256, "num_key_value_heads": 4, "tie_word_embeddings": True},
    "mistral": {"num_key_value_heads": 8},
}

# Families as the identity of a model's folder has them, which stays although weights are counted by more: the digest of
# config.json beside it says the rest, and another identity would have everything computed anew.
_IDENTITY_FAMILIES = {"llama": "llama", "qwen2": "qwen2", "mistral": "llama", "gemma2": "llama", "qwen3": "llama"}


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A resolved model.

    Attributes:
        spec: identity.
        place: path or hub id to read from; not identity.
        name: what people call it.
    """

    spec: Mapping[str, Any]
    place: str
    name: str


def resolve_model(
    model: PackagedModel | FolderModel | GgufModel | HubModel, commits: Commits = MappingProxyType({})
) -> ModelSource:
    """The source a recipe names.

    A hub revision whose commit is not known stays as it is written.

    Raises:
        MissingRequirement: there is no such folder or file, or it is no model.
    """
    if isinstance(model, PackagedModel):
        packaged = PACKAGED[model.name]
        spec = {"source": "packaged", "name": model.name, "sha256": packaged.sha256, "shape": dict(packaged.shape)}
        return ModelSource(spec=spec, place="", name=model.name)
    if isinstance(model, HubModel):
        trust = {"trust_remote_code": True} if model.trust_remote_code else {}
        spec = {
            "source": "hub",
            "id": model.id,
            "revision": commits.get((model.id, model.revision), model.revision),
            **trust,
        }
        return ModelSource(spec=spec, place=model.id, name=model.id)
    path = Path(model.path)
    try:
        spec = _gguf(path) if isinstance(model, GgufModel) else _folder(path)
    except OSError as error:
        rule, value = "a model's files must be readable", f"{path} is not ({error.strerror or reason_of(error)})"
        raise MissingRequirement(rule, value, "correct the path") from None
    return ModelSource(spec=spec, place=str(path), name=path.name)


def _gguf(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingRequirement("a GGUF model must be a file", f"{path} is none", "correct the path")
    return {"source": "gguf", "sha256": digest_of(path)}


def _folder(path: Path) -> dict[str, Any]:
    return {"source": "folder", "files": _files(path), **_shape(path)}


def model_files(folder: Path) -> list[Path]:
    """The files of a model's folder, by name: its weights, and what belongs to them.

    Raises:
        MissingRequirement: as `weight_files`.
    """
    beside = {path for pattern in BESIDE_WEIGHTS for path in folder.glob(pattern) if path.is_file()}
    return sorted(beside | {folder / name for name in weight_files(folder)})


def weight_files(folder: Path) -> list[str]:
    """Names of the files with a model's weights: those the index names, or the one file where there is no index.

    Whatever reads or digests weights asks here. transformers would prefer the one file, others the index, so a folder
    that holds both could be two models.

    Raises:
        MissingRequirement: a file is missing, the index is none, or the folder holds two sets of weights.
    """
    names = _indexed(folder / INDEX) if (folder / INDEX).is_file() else {WEIGHTS}
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        below = sorted(path.parent.name for path in folder.glob(f"*/{CONFIGURATION}"))  # as `model export` writes them
        raise MissingRequirement(
            "a model's folder must hold its weights as safetensors",
            f"{folder} lacks {', '.join(missing[:3])}",
            f"name one of the models in it: {', '.join(below)}"
            if below
            else "fetch the model again, or convert its weights to safetensors",
        )
    others = sorted(
        path.name
        for path in folder.iterdir()
        if (path.name == WEIGHTS or _SHARD.fullmatch(path.name)) and path.name not in names
    )
    if others:
        raise MissingRequirement(
            "a model's folder must hold one set of weights",
            f"{folder} holds {others[0]} beside {', '.join(sorted(names)[:3])}",
            f"remove the older one (with {INDEX}, if that is the older)",
        )
    return sorted(names)


def _indexed(index: Path) -> set[str]:
    try:
        names = set(parse_json(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MissingRequirement(
            "a model's index must be JSON with a `weight_map`",
            f"{index} is not: {reason_of(error)}",
            "fetch the model again",
        ) from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise MissingRequirement(
                "an index must name files of its folder", f"{index} names {name!r}", "fetch the model again"
            )
    return names


def read_configuration(folder: Path) -> dict[str, Any]:
    """A model's config.json.

    Raises:
        MissingRequirement: there is none, it is no JSON mapping, or it describes what no model is.
    """
    path = folder / CONFIGURATION
    if not path.is_file():
        raise MissingRequirement(
            f"a model's folder must hold {CONFIGURATION}", f"{folder} does not", "name the folder of a model"
        )
    try:
        if path.stat().st_size > MOST_CONFIGURATION:
            raise ValueError(f"it holds more than {MOST_CONFIGURATION:,} bytes")
        configuration = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(configuration, dict):
            raise ValueError("it holds no mapping")
    except (OSError, ValueError, RecursionError) as error:
        raise MissingRequirement(
            "a model's config.json must be one", f"{path} is not: {reason_of(error)}", "fetch the model again"
        ) from None
    parts = [configuration, *(value for value in configuration.values() if isinstance(value, dict))]
    for name, value in (item for part in parts for item in part.items()):
        most = _MOST.get(name, _MOST_COUNTED if _COUNTS.search(name) else None)
        count = len(value) if isinstance(value, list | dict) else value
        if most is not None and isinstance(count, int | float) and count > most:
            raise MissingRequirement(
                f"`{name}` of a model must not exceed {most:,}", f"{path} says {count:,}", "look at the file"
            )
    return configuration


def _files(folder: Path) -> dict[str, str]:
    missing = [name for name in (CONFIGURATION, TOKENIZER) if not (folder / name).is_file()]
    if missing:
        raise MissingRequirement(
            "a model's folder must hold its configuration, tokenizer and safetensors weights",
            f"{folder} lacks {', '.join(missing)}",
            "correct the path, or convert the model",
        )
    return {path.name: digest_of(path) for path in model_files(folder)}


def _shape(folder: Path) -> dict[str, Any]:
    """`{"shape": ...}` as a folder's identity has it (see `_IDENTITY_FAMILIES`), where it has one."""
    shape = _described(folder, _identity_shape, _IDENTITY_FAMILIES)
    return {} if shape is None else {"shape": shape}


def folder_shape(folder: Path) -> dict[str, Any] | None:
    """The shape of the decoder in a folder; None where its weights cannot be counted.

    Raises:
        MissingRequirement: as `read_configuration`, or its configuration lacks what its family has.
    """
    return _described(folder, shape_of, FAMILIES)


def cached_shape(model: str, revision: str) -> dict[str, Any] | None:
    """The same of a model of the hub whose config.json lies in the hub's local cache. Asks no network.

    Raises:
        MissingRequirement: as `folder_shape`, or the hub can have no model of this name.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    if _USUAL_NAME.fullmatch(model) and not Path(HF_HUB_CACHE, f"models--{model.replace('/', '--')}").is_dir():
        return None  # nothing is cached, and the rest of the library takes a third of a second to import
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, CONFIGURATION, revision=revision)
    except HFValidationError as error:
        raise MissingRequirement(
            "a model of the hub must have a name that the hub allows", reason_of(error), "correct the model's `id`"
        ) from None
    return folder_shape(Path(found).parent) if isinstance(found, str) else None


def _described(
    folder: Path, describe: Callable[[Mapping[str, Any]], dict[str, Any]], known: Mapping[str, str]
) -> dict[str, Any] | None:
    config = read_configuration(folder)
    try:
        return describe(config) if config.get("model_type") in known else None
    except (KeyError, TypeError, ValueError) as error:
        raise MissingRequirement(
            "a model's config.json must be one",
            f"{folder / CONFIGURATION} {'lacks' if isinstance(error, KeyError) else 'is not:'} {reason_of(error)}",
            "fetch the model again",
        ) from None


def _identity_shape(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "family": _IDENTITY_FAMILIES[config["model_type"]],
        "vocabulary": config["vocab_size"],
        "hidden_size": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "key_value_heads": config.get("num_key_value_heads", config["num_attention_heads"]),
        "intermediate_size": config["intermediate_size"],
        "tie_embeddings": bool(config.get("tie_word_embeddings", False)),
    }


def shape_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of a decoder from its config.json: what `pipeline.weights.parameters` counts its weights by.

    `head_size`, `attention_bias` and `mlp_bias` stand in it only where they are not what most models have.

    Args:
        config: of a model type in `FAMILIES`.

    Raises:
        KeyError: it lacks a size.
        ValueError: a size is no whole number above 0.
    """
    family = FAMILIES[config["model_type"]]
    config = {**_DEFAULTS[family], **config}
    heads = _whole(config, "num_attention_heads")
    width = _whole(config, "hidden_size")
    shape = {
        "family": family,
        "vocabulary": _whole(config, "vocab_size"),
        "hidden_size": width,
        "layers": _whole(config, "num_hidden_layers"),
        "heads": heads,
        "key_value_heads": heads if _absent(config, "num_key_value_heads") else _whole(config, "num_key_value_heads"),
        "intermediate_size": _whole(config, "intermediate_size"),
        "tie_embeddings": bool(config.get("tie_word_embeddings", False)),
    }
    if not _absent(config, "head_dim") and _whole(config, "head_dim") * heads != width:
        shape["head_size"] = config["head_dim"]
    shape |= {name: True for name in ("attention_bias", "mlp_bias") if config.get(name)}
    return shape


def _absent(config: Mapping[str, Any], name: str) -> bool:
    return config.get(name) is None


def _whole(config: Mapping[str, Any], name: str) -> int:
    value = config[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` must be a whole number above 0, not {value!r}")
    return value
