"""Whether a model can be where a source says it is, seen before anything heavy is loaded.

Reads names, JSON and the heads of safetensors files only: no torch, no network, no code of the model.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from harness.errors import CorruptArtifact, MissingRequirement, reason_of
from harness.sources.models import model_files, read_configuration, weight_files
from harness.store.identity import file_digest

SOURCE_FILE = "source.json"
"""Written last by whatever makes a model's folder: what it was made from, and what was found."""

# Buffers that older versions of transformers saved among the weights, and newer ones make anew.
BUFFERS = re.compile(r"rotary_emb\.inv_freq$|(attn|attention)\.(masked_)?bias$|position_ids$")
FLOATS = ("F64", "F32", "F16", "BF16")  # as safetensors calls them


def require_model(folder: Path) -> None:
    """That a folder holds a model with all its safetensors files.

    Raises:
        MissingRequirement: there is no folder, no configuration, or weights are missing.
    """
    if not folder.is_dir():
        raise MissingRequirement(
            "a model must be a folder",
            f"{folder} is {'a file' if folder.exists() else 'not there'}",
            "correct it, convert a GGUF file, or run `harness model fetch`",
        )
    read_configuration(folder)
    weight_files(folder)


def tensors_of(folder: Path) -> dict[str, Path]:
    """Name of each of a model's tensors -> the file that holds it.

    Raises:
        MissingRequirement: as `weight_files`.
        CorruptArtifact: a file is not whole, two hold a tensor of one name (it depends on the reader which counts), or
            one is quantised: without its scales it would be read as other numbers.
    """
    found: dict[str, Path] = {}
    for path in (folder / name for name in weight_files(folder)):
        try:
            with safe_open(path, framework="numpy") as file:
                types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CorruptArtifact(
                "a model's weights must be whole safetensors", f"{path} is not: {reason_of(error)}", "fetch it again"
            ) from None
        for name, kind in types.items():
            if kind not in FLOATS and not BUFFERS.search(name):
                raise CorruptArtifact(
                    "weights must be floating-point numbers of 16 bits or more",
                    f"{name} of {path} is {kind}",
                    "convert the model to one that is not quantised",
                )
            if name in found:
                raise CorruptArtifact(
                    "a weight must be in one file",
                    f"{found[name]} and {path.name} hold {name}",
                    "fetch the model again",
                )
            found[name] = path
    return found


def is_complete(folder: Path, facts: Mapping[str, str]) -> bool:
    """Whether a folder was made to its end from what `facts` say, and still has its files."""
    try:
        told = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
        require_model(folder)
    except (OSError, ValueError, MissingRequirement):
        return False
    return isinstance(told, dict) and facts.items() <= told.items()


def take_model(place: Path, folder: Path, digests: Mapping[str, str] | None) -> None:
    """Put a model's files into `folder`: hard links where the file system allows, else copies.

    Args:
        place: folder with the model.
        folder: to be made.
        digests: file name -> SHA-256 that must hold, and the files to take; None takes what belongs to a model.

    Raises:
        MissingRequirement: a file is missing, or not the one that was asked for.
    """
    require_model(place)
    folder.mkdir(parents=True)
    names = sorted(digests) if digests is not None else [path.name for path in model_files(place)]
    for name in names:
        source = (place / name).resolve()  # the hub's cache holds links
        if not source.is_file() or (digests is not None and file_digest(source) != digests[name]):
            raise MissingRequirement(
                "a model must stay what it was when the run was planned",
                f"{place / name} is {'another file now' if source.is_file() else 'gone'}",
                "plan and run again",
            )
        try:
            (folder / name).hardlink_to(source)
        except OSError:  # another file system
            shutil.copyfile(source, folder / name)
