"""A published reward model in our own form, so that everything that scores with a `RewardModel` scores with it.

Reads a sequence-classification folder of transformers with one label, or what `RewardModel.save` wrote: configuration,
safetensors, tokenizer JSON. Runs none of the folder's code.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer

from harness.engines.templates import chat_day, require_reproducible
from harness.errors import DataError, HarnessError, reason_of
from harness.imports.chat import ChatTemplate
from harness.models.folder import tensors_of
from harness.models.reward_model import DESCRIPTION_FILE, HEAD_FILE, SCORE, RewardModel
from harness.models.sources import NOT_LOADED, load_causal_model
from harness.sources.models import read_configuration

CLASSIFIER, BIAS = "ForSequenceClassification", "score.bias"


def convert_checkpoint(folder: Path, *, model: Path, tokenizer: Path, chat: Path) -> dict[str, Any]:
    """Check a folder's reward model and write it as `RewardModel.save` does, its tokenizer and chat template beside it.

    The backbone keeps its precision; the language-model head, which scoring does not use, is tied to the embeddings.

    Args:
        folder: a private copy of the known files; its configuration is changed.
        model, tokenizer, chat: what to write; `chat` is written only where the folder has a template.

    Returns:
        Facts for the record: family, sizes, parameters.

    Raises:
        DataError: the folder holds no such reward model, or its parts do not fit each other.
    """
    dtype = torch.float32  # what `RewardModel.save` writes
    try:
        configuration = _configuration(folder)
        tensors = tensors_of(folder)
        if not (folder / HEAD_FILE).is_file():
            dtype = _as_own_form(folder, configuration, tensors)
        elif SCORE in tensors:
            value = f"it holds {HEAD_FILE} and `{SCORE}`"
            raise DataError("a checkpoint must have one head", value, "remove the one that is not meant")
        load_causal_model(folder, weights=False)  # before memory is taken for what its configuration says
        reward_model = RewardModel.load(folder, dtype=dtype)
    except HarnessError as error:
        raise DataError(error.rule, error.value.replace(str(folder), "it"), error.remedy) from None
    except (*NOT_LOADED, SafetensorError) as error:
        value = f"it says: {reason_of(error)}"
        raise DataError("a checkpoint must load as a reward model", value, "look at its files") from None
    words = _read_tokenizer(folder / "tokenizer.json")
    rows = reward_model.backbone.get_input_embeddings().weight.shape[0]
    largest = max(words.get_vocab(with_added_tokens=True).values(), default=-1)
    if not 0 <= largest < rows:
        raise DataError("the tokenizer must fit the embeddings", f"id {largest} of {rows} rows", "use the model's own")
    reward_model.save(model)
    shutil.copyfile(folder / "tokenizer.json", tokenizer)
    template = ChatTemplate.of_folder(folder)
    if template is not None:
        require_reproducible(template.template)
        replace(template, tokenizer=tokenizer).turns()  # or every stage that reads by it would fail
        template.save(chat)
    text = reward_model.backbone.config.get_text_config()
    layers = sum(one.numel() for one in reward_model.backbone.base_model.parameters())
    return {
        "family": configuration["model_type"],
        "hidden_size": text.hidden_size,
        "vocabulary": rows,
        "parameters": layers,
        "layer_parameters": layers - rows * text.hidden_size,
        "precision": str(reward_model.backbone.dtype).removeprefix("torch."),
        "chat": template is not None,
        **(chat_day(template.template) if template is not None else {}),
    }


def _configuration(folder: Path) -> dict[str, Any]:
    configuration = read_configuration(folder)
    if not isinstance(configuration.get("model_type"), str):
        raise DataError("config.json must name a model_type", "it does not", "use a checkpoint of transformers")
    for key, what in (("auto_map", "code of its own"), ("quantization_config", "quantised weights")):
        if configuration.get(key):
            raise DataError(f"a checkpoint with {what} is not read", f"config.json has `{key}`", "convert it first")
    return configuration


def _as_own_form(folder: Path, configuration: dict[str, Any], tensors: Mapping[str, Path]) -> torch.dtype:
    """Make a classifier's folder one that `RewardModel.load` reads: its score layer becomes the head file.

    Returns:
        The precision of the weights.
    """
    kinds = configuration.get("architectures") or []
    if not (isinstance(kinds, list) and kinds and str(kinds[0]).endswith(CLASSIFIER)):
        value = f"`architectures` is {kinds!r}"
        raise DataError(f"a checkpoint must be a {CLASSIFIER} or our own", value, "use a reward model")
    weight = _score_weight(tensors)
    if weight.ndim != 2 or weight.shape[0] != 1:
        raise DataError("a reward model must have one label", f"`{SCORE}` is {tuple(weight.shape)}", "use another")
    save_file({"weight": weight.to(torch.float32).contiguous()}, folder / HEAD_FILE)
    (folder / DESCRIPTION_FILE).write_text(json.dumps({"has_head": True}) + "\n", encoding="utf-8")
    configuration = {**configuration, "tie_word_embeddings": True}  # a classifier has no language-model head
    (folder / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
    return weight.dtype


def _score_weight(tensors: Mapping[str, Path]) -> torch.Tensor:
    if BIAS in tensors:
        raise DataError("a score layer must have no bias", f"there is a `{BIAS}`", "use another checkpoint")
    if SCORE not in tensors:
        raise DataError(f"a checkpoint must hold `{SCORE}`", "it does not", "use a reward model of transformers")
    with safe_open(tensors[SCORE], framework="pt") as file:
        weight: torch.Tensor = file.get_tensor(SCORE)
    return weight


def _read_tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001  the library raises plain Exception for a file it cannot read
        rule, told = "tokenizer.json must be one of the tokenizers library", reason_of(error)
        raise DataError(rule, told, "convert the tokenizer") from None
