"""Perplexity on a fixed text: whether a converted model still knows the language it knew.

A wrongly permuted or scaled tensor loads without an error and raises it many times over.
"""

from __future__ import annotations

import importlib.resources
import math
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel

MOST_PERPLEXITY = 100.0
"""A working model of 100 million parameters has about 10 to 20 on the fixed text, a wrongly loaded one thousands."""


def fixed_text() -> str:
    """English prose and Python, written for this purpose, so that no model has read it."""
    return importlib.resources.files("harness.models").joinpath("fixed_text.txt").read_text(encoding="utf-8")


def perplexity(model: PreTrainedModel, tokenizer: Any, text: str) -> float:
    """exp of the mean cross-entropy (nats) of all tokens but the first, each given those before it, in fp32.

    A text longer than the model's context is cut.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    ids = torch.tensor([tokenizer.encode(text)[:limit]], device=model.device)
    with torch.inference_mode():
        logits = model.eval()(input_ids=ids, use_cache=False).logits[0, :-1].float()
    return math.exp(functional.cross_entropy(logits, ids[0, 1:]).item())
