"""Rewards of texts: a reward model with its tokenizer, reading a prompt and its responses as the `score` stage does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from transformers.utils import logging

from harness.engines.transformers_engine import InMemory
from harness.errors import RecipeError
from harness.imports.chat import ChatTemplate
from harness.imports.checkpoint import convert_checkpoint
from harness.imports.files import copy_content
from harness.models.reward_model import Precision, RewardModel
from harness.models.scoring import score_groups
from harness.models.sources import context_tokens
from harness.stages.tokenise import Read, chat, fit, open_tokenizer, raw
from harness.store.artifacts import ImportedCheckpoint

ROW_TOKENS = 512
"""Of a packed row; it moves rewards by rounding only."""

Rewards = Sequence[NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A reward model on disk.

    Attributes:
        name: what results call it.
        model: folder that `RewardModel.save` wrote.
        tokenizer: JSON of the tokenizers library.
        chat: what `ChatTemplate.save` wrote; there may be no such file.
    """

    name: str
    model: Path
    tokenizer: Path
    chat: Path

    @classmethod
    def of_folder(cls, name: str, folder: Path, place: Path) -> Self:
        """A folder's model, exported or published, in our own form, made in `place` as an import is.

        Raises:
            RecipeError, DataError: the folder holds no such reward model.
        """
        made = ImportedCheckpoint(place)
        copy = copy_content("checkpoint", folder, place / "copy")
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()  # a score layer is no layer of a language model, of which it would tell twice
        logging.disable_progress_bar()
        try:
            convert_checkpoint(copy, model=made.model, tokenizer=made.tokenizer, chat=made.chat)
        finally:
            logging.set_verbosity(verbosity)
        return cls(name=name, model=made.model, tokenizer=made.tokenizer, chat=made.chat)


class TextRewards:
    """Gives rewards to responses as texts.

    Args:
        files: read by `open`, or at the first use.
        text: "raw" reads prompt and response as they are, "chat" through the model's own chat template.
        precision: of the matrix products.
        max_tokens: most tokens of prompt and response together, see `tokenise.fit`; None is all the model can see.
        device: torch's name of it.
        rows: packed rows computed together.

    Attributes:
        cut: responses of which, or of whose prompts, something was left out so far.
    """

    def __init__(
        self,
        files: ModelFiles,
        *,
        text: Literal["raw", "chat"],
        precision: Precision,
        max_tokens: int | None,
        device: str,
        rows: int,
    ) -> None:
        self._files = files
        self._text = text
        self._precision: Precision = precision
        self._max_tokens = max_tokens
        self._device = device
        self._rows = rows
        self.cut = 0

    def open(self) -> None:
        """Load model and tokenizer, on the CPU.

        Raises:
            RecipeError: the reward head was never trained, there is no chat template to read by, or `max_tokens` is
                more than the model can see.
            MissingRequirement, CorruptArtifact: the model is not whole.
        """
        _ = self._model, self._read, self._most

    def score(
        self, groups: Sequence[tuple[str, Sequence[str]]], progress: Callable[[int, int], None] | None = None
    ) -> Rewards:
        """Rewards of the responses of each (prompt, responses), shape (responses,).

        Args:
            progress: called with (groups done, groups in all).
        """
        texts = ((number, [prompt, *responses]) for number, (prompt, responses) in enumerate(groups))
        tokens = InMemory()
        for _, (prompt, *responses) in self._read(texts):
            fitted = fit(prompt, responses, self._most)
            self.cut += fitted.cut
            tokens.append([np.asarray(segment, dtype=np.int64) for segment in fitted.group])
        return score_groups(
            self._model,
            tokens,
            range(len(tokens)),
            row_tokens=ROW_TOKENS,
            rows_per_micro_batch=self._rows,
            device=self._device,
            precision=self._precision,
            progress=progress,
        )

    @cached_property
    def _model(self) -> RewardModel:
        model = RewardModel.load(self._files.model)
        if not model.has_head:
            raise RecipeError(
                "a reward model must have a trained reward head",
                f"that of {self._files.name} was never trained, so its rewards mean nothing",
                "name a fine-tuned checkpoint, or one pretrained with the reward loss",
            )
        return model

    @cached_property
    def _read(self) -> Read:
        tokenizer = open_tokenizer(self._files.tokenizer)
        if self._text == "raw":
            return raw(tokenizer)
        if not self._files.chat.is_file():
            raise RecipeError("`text=chat` needs a chat template", f"{self._files.name} has none", "use `text=raw`")
        return chat(tokenizer, ChatTemplate.load(self._files.chat, self._files.tokenizer))

    @cached_property
    def _most(self) -> int:
        return context_tokens(self._model.backbone.config, self._max_tokens)
