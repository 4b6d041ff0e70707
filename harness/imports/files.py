"""What an import reads: which files, of what size, and their digest. Of a checkpoint's folder the known files only."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Set
from pathlib import Path
from types import MappingProxyType

from harness.errors import HarnessError, RecipeError, reason_of
from harness.sources.models import weight_files
from harness.sources.rows import MOST_BYTES
from harness.store.identity import file_digest, fingerprint

MOST_JSON = 128 << 20  # a checkpoint's tokenizer or configuration

TABLES = (".jsonl", ".jsonl.gz", ".parquet")
FORMATS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"pool": TABLES, "pairs": TABLES, "scores": (*TABLES, ".csv"), "checkpoint": ()}
)
COLUMNS: Mapping[str, Set[str]] = MappingProxyType(
    {
        "pool": {"id", "cluster", "question", "candidates"}
        | {"problem", "index", "prompt", "text", "answer", "correct", "error_type", "seen", "source", "logprob"},
        "pairs": {"id", "cluster", "prompt", "chosen", "rejected", "detail"},
        "scores": {"task", "problem", "candidate", "score"},
    }
)
IN_PARTS = frozenset({"pairs"})
"""Tables that may come in several files, in the order of their names."""
NEEDED_FILES = ("config.json", "tokenizer.json")
OPTIONAL_FILES = (
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "reward_head.safetensors",
    "reward_model.json",
)


def content_files(kind: str, path: Path) -> dict[str, Path]:
    """{name: file} of everything that an import of this kind reads at `path`.

    Raises:
        RecipeError: there is no such file or folder, it has another form, or a link leads out of it.
    """
    if kind == "checkpoint":
        return _checkpoint_files(path)
    if kind in IN_PARTS and path.is_dir():
        parts = sorted(file for file in path.iterdir() if _ending(kind, file))
        if not parts:
            raise _wrong(
                f"a folder of {kind} must hold files of {', '.join(FORMATS[kind])}", "it has none", "correct it", path
            )
        for file in parts:
            _check_table(kind, file)
        return {file.name: file for file in parts}
    _check_table(kind, path)
    return {f"rows{_ending(kind, path)}": path}


def _ending(kind: str, path: Path) -> str:
    return next((one for one in FORMATS[kind] if path.name.endswith(one)), "")


def _check_table(kind: str, path: Path) -> None:
    if not path.is_file():
        value = f"{path} is a folder" if path.is_dir() else f"there is no file {path}"
        raise _wrong("the path must be a file", value, "correct it", path)
    if not _ending(kind, path):
        raise _wrong(f"{kind} must be one of {', '.join(FORMATS[kind])}", f"it is {path.name}", "convert it", path)
    if path.stat().st_size > MOST_BYTES:
        remedy = "split it, and import the folder of its parts" if kind in IN_PARTS else "split it"
        raise _wrong(f"a file may hold {MOST_BYTES:,} bytes", f"it has {path.stat().st_size:,}", remedy, path)


def _checkpoint_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise _wrong("a checkpoint must be a folder", f"there is no folder {folder}", "correct the path", folder)
    names = weight_files(folder)
    absent = [name for name in NEEDED_FILES if not (folder / name).is_file()]
    if absent:
        raise _wrong(
            f"a checkpoint must hold {' and '.join(NEEDED_FILES)}", f"{absent[0]} is missing", "add it", folder
        )
    files = {name: folder / name for name in (*NEEDED_FILES, *names)}
    files |= {name: folder / name for name in OPTIONAL_FILES if (folder / name).is_file()}
    # A hub's cache links the files of a snapshot to its blobs; any other way out of the folder is not one of ours.
    inside = (folder.resolve(), folder.resolve().parent.parent / "blobs")
    for name, file in files.items():
        if not any(file.resolve().is_relative_to(place) for place in inside):
            raise _wrong("a checkpoint's files must lie in its folder", f"{name} links out of it", "copy it", folder)
        if not name.endswith(".safetensors") and file.stat().st_size > MOST_JSON:
            raise _wrong(f"{name} may hold {MOST_JSON:,} bytes", "it is larger", "look at the file", folder)
    return files


def content_digest(kind: str, path: Path) -> str:
    """SHA-256 of a file's bytes; of several, of the names and digests of a checkpoint's files or of the parts' digests.

    Raises:
        RecipeError: as `content_files`, or a file cannot be read.
    """
    try:
        digests = {name: file_digest(file) for name, file in content_files(kind, path).items()}
    except OSError as error:
        value = f"it is not ({error.strerror or reason_of(error)})"
        raise _wrong("what is imported must be readable", value, "correct it", path) from None
    if kind == "checkpoint":
        return fingerprint(digests)
    return fingerprint(list(digests.values())) if path.is_dir() else next(iter(digests.values()))


def copy_content(kind: str, path: Path, target: Path) -> Path:
    """Copy what an import reads into the folder `target`, so that it cannot change while it is read.

    Returns:
        The copy: a file, or for a folder `target` itself.
    """
    files = content_files(kind, path)
    target.mkdir()
    for name, file in files.items():
        shutil.copyfile(file, target / name)
    return target if path.is_dir() else target / next(iter(files))


def _wrong(rule: str, value: str, remedy: str, path: Path) -> HarnessError:
    return RecipeError(rule, value, remedy, str(path))
