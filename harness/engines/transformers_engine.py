"""Engines on transformers: texts decoded in batches with a key-value cache, and rewards on packed rows.

They run wherever torch does and need no other library; on a GPU vLLM is many times faster. Their draws are their own
(`sampling.py`): the library's sampling takes one random source for a whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from harness.engines.base import Completion, Dtype, Request
from harness.engines.prompts import Format, Prompt, PromptReader
from harness.engines.sampling import draw
from harness.models.reward_model import Precision, RewardModel
from harness.models.scoring import score_groups
from harness.models.sources import context_tokens, end_tokens, load_causal_model, load_tokenizer

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(kw_only=True)
class _Text:
    """A text in the making."""

    request: Request
    prompt: Prompt
    random: Random
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    ended: bool = False


class TransformersGenerator:
    """A Generator on a causal language model of transformers.

    Requests of similar length are decoded together, the prompts padded on the left; a text that has ended leaves the
    batch. A text ends with a token that the tokenizer, the model's or its generation configuration names as end.

    Args:
        model: folder.
        prompt_format: raw text, or the user's message in the model's chat template.
        dtype: of weights and products.
        context: tokens the model may see, prompt and completion together; None is all it can.
        device: torch's name of it.
        batch: texts decoded together.
        trust_remote_code: run code shipped with the model.

    Raises:
        MissingRequirement: there is no such model, or its weights or tokenizer are missing.
        CorruptArtifact: a weight is missing.
        RecipeError: chat prompts without a chat template, or a context the model does not have.
    """

    def __init__(
        self,
        model: str,
        *,
        prompt_format: Format,
        dtype: Dtype,
        context: int | None = None,
        device: str = "cpu",
        batch: int = 32,
        trust_remote_code: bool = False,
    ) -> None:
        self._tokenizer = load_tokenizer(model, trust_remote_code=trust_remote_code)
        loaded = load_causal_model(model, trust_remote_code=trust_remote_code, dtype=TORCH_DTYPES[dtype])
        self._prompts = PromptReader(
            self._tokenizer, prompt_format=prompt_format, context=context_tokens(loaded.config, context)
        )
        self._ends = end_tokens(self._tokenizer, loaded.config, loaded.generation_config)
        self._model = loaded.to(device).eval()
        self._batch = batch

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        prompts = self._prompts.read(requests)
        texts = [
            _Text(request=request, prompt=prompt, random=Random(request.seed))
            for request, prompt in zip(requests, prompts, strict=True)
        ]
        ordered = sorted(texts, key=lambda text: (len(text.prompt.tokens), text.request.sampling.max_tokens))
        with torch.inference_mode():
            for start in range(0, len(ordered), self._batch):
                self._decode(ordered[start : start + self._batch])
        return [self._completion(text) for text in texts]

    def _decode(self, texts: list[_Text]) -> None:
        """Write these texts to their ends, one token of each at a time."""
        cache = DynamicCache(config=self._model.config)
        inputs, seen = _left_padded([text.prompt.tokens for text in texts], self._model.device)
        positions = (seen.cumsum(-1) - 1).clamp(min=0)
        while True:
            logits = self._model(
                input_ids=inputs,
                attention_mask=seen,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            self._write(texts, logits)
            going = [row for row, text in enumerate(texts) if not text.ended]
            if not going:
                return
            if len(going) < len(texts):
                rows = torch.tensor(going, device=self._model.device)
                cache.batch_select_indices(rows)
                seen, positions = seen[rows], positions[rows]
                texts = [texts[row] for row in going]
            inputs = torch.tensor([text.tokens[-1:] for text in texts], device=self._model.device)
            seen = torch.cat([seen, seen.new_ones(len(texts), 1)], -1)
            positions = positions[:, -1:] + 1

    def _write(self, texts: Sequence[_Text], logits: torch.Tensor) -> None:
        samplings = [text.request.sampling for text in texts]
        tokens, logprobs = draw(logits, samplings, [text.random.random() for text in texts])
        for text, token, logprob in zip(texts, tokens, logprobs, strict=True):
            text.tokens.append(token)
            text.logprob += logprob
            text.ended = token in self._ends or len(text.tokens) == text.request.sampling.max_tokens

    def _completion(self, text: _Text) -> Completion:
        stopped = text.tokens[-1] in self._ends
        return Completion(
            id=text.request.id,
            text=self._tokenizer.decode(text.tokens[:-1] if stopped else text.tokens, skip_special_tokens=True),
            finish_reason="stop" if stopped else "length",
            logprob=text.logprob,
            metadata={"tokens": len(text.tokens), **text.prompt.facts()},
        )


def _left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), both int64 (prompts, longest): every prompt ends at the right edge, padding is masked out."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


class TransformersScorer:
    """A Scorer on a reward model of ours, see `harness.models.scoring`.

    Args:
        model: folder that `RewardModel.save` wrote.
        precision: of the matrix products; weights and head are fp32.
        row_tokens, rows: size of a packed batch; they move rewards by rounding only.
        device: torch's name of it.

    Raises:
        MissingRequirement, CorruptArtifact: there is no reward model, or not a whole one.
    """

    def __init__(
        self, model: Path, *, precision: Precision, row_tokens: int = 512, rows: int = 4, device: str = "cpu"
    ) -> None:
        self._model = RewardModel.load(model)
        self._how: dict[str, Any] = {
            "row_tokens": row_tokens,
            "rows_per_micro_batch": rows,
            "device": device,
            "precision": precision,
        }

    def score(self, groups: Sequence[Sequence[NDArray[np.integer[Any]]]]) -> list[NDArray[np.float64]]:
        return score_groups(self._model, InMemory(groups), range(len(groups)), **self._how)


class InMemory(list[Sequence[NDArray[np.integer[Any]]]]):
    """Groups given as they are, where scoring expects a numbered source."""

    def group(self, index: int, /) -> list[NDArray[np.integer[Any]]]:
        return list(self[index])
