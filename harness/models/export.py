"""A reward model as an ordinary sequence-classification checkpoint, for engines that know no head of ours."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from harness.errors import RecipeError
from harness.models.reward_model import RewardModel


def export_classifier(model: RewardModel, tokenizer: Any, folder: Path) -> None:
    """Write backbone and head as `AutoModelForSequenceClassification` with one label, safetensors.

    The score of a sequence is its reward if it is read at the last token and no activation is applied; the
    configuration's `problem_type: regression` says so to vLLM. transformers itself reads the last token that is not
    `pad_token_id`, so a caller that pads must set one that no text ends with. The tokenizer (of transformers) lies
    beside it: vLLM wants one even where it is given token ids.

    Raises:
        RecipeError: the library has no classifier of this architecture with a linear head named `score`.
    """
    configuration = copy.deepcopy(model.backbone.config)
    configuration.num_labels = 1
    configuration.problem_type = "regression"
    try:
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten
            classifier = AutoModelForSequenceClassification.from_config(configuration, dtype=model.backbone.dtype)
    except ValueError as error:
        raise _unknown(configuration.model_type) from error
    head = getattr(classifier, "score", None)
    if not isinstance(head, torch.nn.Linear) or head.weight.shape != model.head.weight.shape or head.bias is not None:
        raise _unknown(configuration.model_type)
    classifier.base_model.load_state_dict(model.backbone.base_model.state_dict())
    with torch.no_grad():
        head.weight.copy_(model.head.weight)
    classifier.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _unknown(architecture: str) -> RecipeError:
    return RecipeError(
        "a model to export must have a classifier with a linear `score` head in transformers",
        f"{architecture} has none",
        "score it with the transformers engine",
    )
