"""Which model a recipe names, resolved to what decides it: digests of files, a release, a commit of the hub.

Reads files and the hub's local cache; asks no network and imports no library of models.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.errors import MissingRequirement
from harness.plan.packaged import PACKAGED
from harness.recipe.lock import Commits
from harness.recipe.models import FolderModel, GgufModel, HubModel, PackagedModel
from harness.store.identity import file_digest

CONFIGURATION, TOKENIZER = "config.json", "tokenizer.json"
FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""What of a folder belongs to a model. Weights in any other form than safetensors are never read."""

FAMILIES = {"llama": "llama", "qwen2": "qwen2", "mistral": "llama", "gemma2": "llama", "qwen3": "llama"}
"""Which formula counts a model type's weights (`plan/cost.py`)."""


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
    if isinstance(model, GgufModel):
        if not path.is_file():
            raise MissingRequirement("a GGUF model must be a file", f"{path} is none", "correct the path")
        spec = {"source": "gguf", "sha256": _digest(path)}
        return ModelSource(spec=spec, place=str(path), name=path.name)
    spec = {"source": "folder", "files": _files(path), **_shape(path)}
    return ModelSource(spec=spec, place=str(path), name=path.name)


def model_files(folder: Path) -> list[Path]:
    """The files of a model's folder, by name."""
    return sorted({path for pattern in FILES for path in folder.glob(pattern) if path.is_file()})


def _files(folder: Path) -> dict[str, str]:
    files = model_files(folder)
    names = {path.name for path in files}
    missing = [name for name in (CONFIGURATION, TOKENIZER) if name not in names]
    if not any(name.endswith(".safetensors") for name in names):
        missing.append("*.safetensors")
    if missing:
        raise MissingRequirement(
            "a model's folder must hold its configuration, tokenizer and safetensors weights",
            f"{folder} lacks {', '.join(missing)}",
            "correct the path, or convert the model",
        )
    return {path.name: _digest(path) for path in files}


def _digest(path: Path) -> str:
    facts = path.stat()
    return _digest_of(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=1_024)
def _digest_of(path: Path, size: int, modified: int) -> str:
    """A file's digest, made once for as long as the file stays as it is."""
    return file_digest(path)


def _shape(folder: Path) -> dict[str, Any]:
    """`{"shape": ...}` where the configuration names a decoder whose weights can be counted; else nothing."""
    try:
        config: dict[str, Any] = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
        return {"shape": shape_of(config)} if config.get("model_type") in FAMILIES else {}
    except (ValueError, KeyError, TypeError) as error:
        raise MissingRequirement(
            "a model's config.json must be one", f"{folder / CONFIGURATION} is not: {error}", "fetch the model again"
        ) from None


def shape_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of a decoder from its config.json."""
    return {
        "family": FAMILIES[config["model_type"]],
        "vocabulary": config["vocab_size"],
        "hidden_size": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "key_value_heads": config.get("num_key_value_heads", config["num_attention_heads"]),
        "intermediate_size": config["intermediate_size"],
        "tie_embeddings": bool(config.get("tie_word_embeddings", False)),
    }
