"""A reward model as ordinary checkpoints, for programs that know no head of ours.

<folder>/
  reward_model/     an `AutoModelForSequenceClassification` with one label
  language_model/   the same backbone with its LM head, an `AutoModelForCausalLM`
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast
from transformers.utils import logging

from harness.errors import RecipeError
from harness.models.attention import attention_to_load
from harness.models.reward_model import RewardModel
from harness.models.sources import end_tokens, load_tokenizer

REWARD_FOLDER = "reward_model"
LANGUAGE_FOLDER = "language_model"
CARD_FILE = "README.md"
PAD_TOKEN = "<|reward_pad|>"


def export_checkpoint(
    checkpoint: Path,
    tokenizer: Path,
    folder: Path,
    *,
    special: Mapping[str, str],
    chat_template: str | None,
    told: Mapping[str, Any],
) -> bool:
    """Export what `RewardModel.save` wrote. Where anything fails, nothing is left of it.

    Args:
        tokenizer: a folder that transformers reads, or a tokenizer's JSON, of which `special` names the special tokens
            by role (`eos_token`) and `chat_template` may be the template.
        told: see `export_model`; whether the head was ever trained is added.

    Returns:
        Whether the reward head was ever trained.

    Raises:
        MissingRequirement, CorruptArtifact: model or tokenizer are not whole.
        RecipeError: see `export_classifier`.
    """
    logging.disable_progress_bar()
    model = RewardModel.load(checkpoint)
    words = open_language_tokenizer(tokenizer, special=special, chat_template=chat_template)
    try:
        export_model(model, words, folder, told={**told, "reward_head_trained": model.has_head})
    except BaseException:
        for name in (REWARD_FOLDER, LANGUAGE_FOLDER):
            shutil.rmtree(folder / name, ignore_errors=True)
        raise
    return model.has_head


def open_language_tokenizer(tokenizer: Path, *, special: Mapping[str, str], chat_template: str | None) -> Any:
    """A tokenizer as transformers has it; arguments as in `export_checkpoint`.

    Raises:
        MissingRequirement: the folder holds none.
    """
    if tokenizer.is_dir():
        return load_tokenizer(tokenizer)
    return PreTrainedTokenizerFast(tokenizer_file=str(tokenizer), chat_template=chat_template, **special)


def export_model(model: RewardModel, tokenizer: Any, folder: Path, *, told: Mapping[str, Any]) -> None:
    """Write both forms of a model, each with its tokenizer and a card.

    Args:
        tokenizer: of transformers.
        told: what the card says of how the model was made, e.g. its record's `identity` and `result`.

    Raises:
        RecipeError: see `export_classifier`.
    """
    export_classifier(model, tokenizer, folder / REWARD_FOLDER)
    (folder / REWARD_FOLDER / CARD_FILE).write_text(model_card(model, told), encoding="utf-8")
    model.backbone.save_pretrained(folder / LANGUAGE_FOLDER)
    tokenizer.save_pretrained(folder / LANGUAGE_FOLDER)
    (folder / LANGUAGE_FOLDER / CARD_FILE).write_text(language_card(model, told), encoding="utf-8")


def export_classifier(model: RewardModel, tokenizer: Any, folder: Path) -> None:
    """Write backbone and head as `AutoModelForSequenceClassification` with one label, safetensors.

    The score of a sequence is its reward as long as no activation is applied; the configuration's `problem_type:
    regression` says so to vLLM. transformers reads the score at the last token that is not `pad_token_id`, whatever the
    mask says, so the padding token must be one that no text ends with: where the tokenizer has none, or pads with an
    end token, it gets one of its own, and where the embeddings have no row to spare for it, they get one. The tokenizer
    (of transformers) lies beside the model: vLLM wants one even where it is given token ids.

    Raises:
        RecipeError: the library has no classifier of this architecture with a linear head named `score`.
    """
    configuration = copy.deepcopy(model.backbone.config)
    configuration.num_labels = 1
    configuration.problem_type = "regression"
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten
        try:
            classifier = AutoModelForSequenceClassification.from_config(configuration, dtype=model.backbone.dtype)
        except ValueError:  # the library has none
            classifier = None
        head = getattr(classifier, "score", None)
        fits = isinstance(head, torch.nn.Linear) and head.weight.shape == model.head.weight.shape and head.bias is None
        if not fits:
            raise RecipeError(
                "a model to export must have a classifier with a linear `score` head in transformers",
                f"{configuration.model_type} has none",
                "score it with the transformers engine",
            )
        classifier.base_model.load_state_dict(model.backbone.base_model.state_dict())
        with torch.no_grad():
            classifier.score.weight.copy_(model.head.weight)
        tokenizer = copy.deepcopy(tokenizer)
        _give_padding(
            classifier, tokenizer, ends=end_tokens(tokenizer, configuration, model.backbone.generation_config)
        )
    classifier.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def model_card(model: RewardModel, told: Mapping[str, Any]) -> str:
    """The card of an exported reward model, as Hugging Face's hub shows it."""
    attention = attention_to_load(model.backbone.config)
    argument = f', attn_implementation="{attention}"' if attention else ""
    why = "Its attention is soft-capped, which SDPA leaves out: load it with eager attention.\n" if attention else ""
    return f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, preference-model]
---

# A reward model on {model.backbone.config.model_type}

```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder{argument}).eval()
plain = {{"add_special_tokens": False, "split_special_tokens": True}}
ids = tokenizer.encode(prompt, **plain) + tokenizer.encode(response, **plain)
with torch.inference_mode():
    reward = model(torch.tensor([ids])).logits[0, 0]
```

The reward is the logit itself, read at the last token; only differences between responses to one prompt mean anything.
As in training, prompt and response are tokenised apart and joined, and what looks like a special token in them is text.
{why}
{_how_made(told)}"""


def language_card(model: RewardModel, told: Mapping[str, Any]) -> str:
    """The card of the same backbone with its LM head."""
    return f"""---
library_name: transformers
pipeline_tag: text-generation
---

# The language model under a reward model on {model.backbone.config.model_type}

The backbone of the reward model beside it, with the LM head it was trained with: `AutoModelForCausalLM` loads it.

{_how_made(told)}"""


def _how_made(told: Mapping[str, Any]) -> str:
    return f"""## How it was made

```json
{json.dumps(told, indent=1, sort_keys=True, default=str)}
```
"""


def _give_padding(classifier: Any, tokenizer: Any, *, ends: set[int]) -> None:
    """A padding token that ends no text, told to model and tokenizer."""
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    pad: int = tokenizer.pad_token_id
    embeddings = classifier.get_input_embeddings()
    if pad >= embeddings.weight.shape[0]:
        embeddings = classifier.resize_token_embeddings(pad + 1, mean_resizing=False)
        with torch.no_grad():
            embeddings.weight[pad] = 0.0  # never looked at; fixed, so that an export has the same bytes again
    classifier.config.get_text_config().pad_token_id = pad
    classifier.config.pad_token_id = pad
