"""`harness lm-eval`: lm-evaluation-harness with a reward model of a workdir, or of a folder."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.console import clipped
from harness.cli.model import MODEL_KINDS, model_record, require_files, tokenizer_record
from harness.cli.show import find_stage
from harness.cli.workspace import STORE, open_store
from harness.errors import MissingRequirement, StoreError
from harness.imports.files import content_files
from harness.pipeline.kinds import KINDS
from harness.sources.lm_eval_tasks import INSTALL
from harness.store.artifacts import Candidates, ImportedCheckpoint, Tokenizer

if TYPE_CHECKING:
    from harness.lm_eval.rewards import ModelFiles

REWARD_FOLDER = "reward_model"  # of an export, see `models/export.py`


def run(name: str, arguments: Sequence[str], workdir: Path) -> None:
    """Run lm-eval's command with a reward model.

    Args:
        name: a folder that is there, or a stage of the workdir.
        arguments: lm-eval's own.

    Raises:
        MissingRequirement: lm-eval is not installed.
        StoreError: no stage or several match, it is not finished or no model, or its files were dropped.
        HarnessError: the folder holds no reward model, or see `harness.lm_eval.command`.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingRequirement("`harness lm-eval` needs lm_eval", "it is not installed", f"`{INSTALL}`")
    with _files(name, workdir) as files:
        from harness.lm_eval.command import run_lm_eval

        run_lm_eval(files, arguments, stored=lambda stage: _stored(stage, workdir))


@contextmanager
def _files(name: str, workdir: Path) -> Iterator[ModelFiles]:
    folder = Path(name)
    if not folder.is_dir():
        if not (workdir / STORE).is_dir():
            value = f"there is no folder {clipped(name)} and no store in {workdir}"
            raise StoreError("a reward model is a stage of a workdir, or a folder", value, "correct it, or --workdir")
        yield _files_of_stage(name, workdir)
        return
    inner = folder / REWARD_FOLDER
    source = inner if inner.is_dir() else folder
    content_files("checkpoint", source)
    with tempfile.TemporaryDirectory(prefix="harness-lm-eval-") as place:
        from harness.lm_eval.rewards import ModelFiles

        yield ModelFiles.of_folder(name, source, Path(place))


def _files_of_stage(name: str, workdir: Path) -> ModelFiles:
    from harness.lm_eval.rewards import ModelFiles

    store = open_store(workdir)
    record = model_record(name, store, workdir)
    artifact = MODEL_KINDS[record.kind](store.directory(record.kind, record.fingerprint))
    require_files(store, record, artifact.model)
    source = tokenizer_record(store, record)
    directory = store.directory(source.kind, source.fingerprint)
    require_files(store, source, Tokenizer(directory).path)
    return ModelFiles(
        name=f"{record.kind}/{record.fingerprint[:12]}",
        model=artifact.model,
        tokenizer=Tokenizer(directory).path,
        chat=ImportedCheckpoint(directory).chat,
    )


def _stored(name: str, workdir: Path) -> Mapping[str, Sequence[str]]:
    """Candidates of a stage by their prompt."""
    store = open_store(workdir)
    found = find_stage(name, store, workdir)
    holding = [kind.name for kind in KINDS.values() if kind.artifact is Candidates]
    if found.kind not in holding:
        raise StoreError(
            "`candidates` must name a stage of candidates",
            f"{found.name} holds none",
            f"name one of {', '.join(holding)}",
        )
    if found.record is None or not store.has_payload(found.record):
        raise StoreError(f"{found.name} is not finished, or its files were deleted", "", "run its recipe or import it")
    by_prompt: dict[str, list[str]] = {}
    for row in Candidates(store.directory(found.kind, found.fingerprint)).stream(["prompt", "text"]):
        by_prompt.setdefault(row["prompt"].strip(), []).append(row["text"])
    return by_prompt
