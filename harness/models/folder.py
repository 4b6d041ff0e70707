"""Whether a model can be where a source says it is, seen before anything heavy is loaded.

Reads names and JSON only: no torch, no network, no code of the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from harness.errors import MissingRequirement

CONFIGURATION = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SOURCE_FILE = "source.json"
"""Written last by whatever makes a model's folder: what it was made from, and what was found."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w-][\w.-]*")


def require_model(source: str) -> None:
    """That a folder holds a model with all its safetensors files, or else that `source` may be a hub id.

    Raises:
        MissingRequirement: unknown model, no configuration, or missing weights.
    """
    folder = Path(source)
    if folder.is_dir():
        _require_files(folder)
    elif folder.exists():
        raise MissingRequirement(
            "a model must be a folder or a hub id", f"{source} is a file", "convert a GGUF file, or name the folder"
        )
    elif not HUB_ID.fullmatch(source):
        raise MissingRequirement(
            "a model must be a folder or a hub id",
            f"{source} is neither",
            "mend the path, or run `harness model fetch`",
        )


def _require_files(folder: Path) -> None:
    if not (folder / CONFIGURATION).is_file():
        raise MissingRequirement(
            f"a model's folder must hold {CONFIGURATION}", f"{folder} does not", "name the folder of a model"
        )
    missing = sorted(name for name in _weight_files(folder) if not (folder / name).is_file())
    if missing:
        raise MissingRequirement(
            "a model's folder must hold its weights as safetensors",
            f"{folder} lacks {', '.join(missing)}",
            "fetch the model again, or convert its weights to safetensors",
        )


def _weight_files(folder: Path) -> set[str]:
    index = folder / INDEX
    if not index.is_file():
        return {WEIGHTS}
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingRequirement(
            "a model's index must be JSON with a `weight_map`", f"{index} is not: {error}", "fetch the model again"
        ) from error


def is_complete(folder: Path, facts: Mapping[str, str]) -> bool:
    """Whether a folder was made to its end from what `facts` say, and still has its files."""
    try:
        told = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
        _require_files(folder)
    except (OSError, ValueError, MissingRequirement):
        return False
    return isinstance(told, dict) and facts.items() <= told.items()
