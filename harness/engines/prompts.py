"""A request's prompt as token ids: raw or by the model's chat template, cut where the model's context is too short.

One rule for every engine that holds a model, so that engines read the same tokens. Imports no model library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.engines.base import Request
from harness.engines.literal_text import LiteralText
from harness.engines.templates import render, require_reproducible
from harness.errors import DataError, RecipeError, reason_of

Format = Literal["raw", "chat"]

ROUNDS = 8
"""Tries to cut a chat prompt: joining and tokenising anew may give a few tokens more than were left."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the model reads for one request: token ids, and how many tokens of the prompt were left out."""

    tokens: list[int]
    cut: int

    def facts(self) -> dict[str, int]:
        """For a completion's metadata."""
        return {"prompt_tokens": len(self.tokens), "prompt_tokens_cut": self.cut}


class PromptReader:
    """Makes prompts for one model.

    A prompt that leaves no room for `max_tokens` loses its beginning, as everywhere in this project: raw text keeps its
    last tokens and a beginning-of-text token if the model has one; in a chat the user's message is cut and the
    template stays whole. What looks like a special token in a prompt is text.

    Args:
        tokenizer: a fast one of transformers.
        prompt_format: "raw" hands the text to the model as it is, "chat" as the user's message of a conversation.
        context: tokens the model can see, prompt and completion together.

    Raises:
        RecipeError: "chat" is asked of a model without a chat template, or the tokenizer is not a fast one.
        DataError: the template draws at random, see `templates.require_reproducible`.
    """

    def __init__(self, tokenizer: Any, *, prompt_format: Format, context: int) -> None:
        if prompt_format == "chat" and not tokenizer.chat_template:
            raise RecipeError(
                "prompts in chat form need a model with a chat template",
                f"{tokenizer.name_or_path} has none",
                "choose an instruct model, or raw prompts",
            )
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise RecipeError(
                "a model that reads text needs a fast tokenizer",
                f"{tokenizer.name_or_path} has a {type(tokenizer).__name__}",
                "convert it to a tokenizer.json",
            )
        if prompt_format == "chat":
            require_reproducible(_template(tokenizer))
        self._tokenizer = tokenizer
        self._literal = LiteralText(
            tokenizer.backend_tokenizer,
            turns=lambda: self._applied("a", "b", "c", asks=False) if prompt_format == "chat" else "",
            named=tokenizer.all_special_tokens,
        )
        self._format = prompt_format
        self._context = context
        self._before = [] if prompt_format == "chat" else _added_before(tokenizer)

    def read(self, requests: Sequence[Request]) -> list[Prompt]:
        """Prompts in the order of the requests.

        Raises:
            DataError: a prompt is empty, or its request leaves no room for one.
        """
        return [self._read(request) for request in requests]

    def _read(self, request: Request) -> Prompt:
        room = self._context - request.sampling.max_tokens
        if room <= len(self._before):
            raise DataError(
                "a prompt and its completion must fit the model's context",
                f"request {request.id!r} wants {request.sampling.max_tokens} tokens of {self._context}",
                "lower `max_tokens`",
            )
        prompt = self._chat(request, room) if self._format == "chat" else self._raw(request.prompt, room)
        if not prompt.tokens:
            raise DataError("a prompt must have a token", f"request {request.id!r} has an empty prompt", "leave it out")
        return prompt

    def _raw(self, text: str, room: int) -> Prompt:
        tokens = self._encode(text)
        cut = max(0, len(self._before) + len(tokens) - room)
        return Prompt(tokens=self._before + tokens[cut:], cut=cut)

    def _chat(self, request: Request, room: int) -> Prompt:
        message, left_out = request.prompt, 0
        for _ in range(ROUNDS):
            tokens = self._encode(self._rendered(message))
            over = len(tokens) - room
            if over <= 0:
                return Prompt(tokens=tokens, cut=left_out)
            said = self._encode(message)
            if over >= len(said):
                break
            left_out += over
            message = self._tokenizer.decode(said[over:])
        raise DataError(
            "a chat prompt must fit the model's context beside its template",
            f"request {request.id!r} leaves {room} tokens for it",
            "lower `max_tokens`",
        )

    def _rendered(self, message: str) -> str:
        """The message as the user's turn, for `_encode`: the template's special tokens are the only ones."""
        return self._literal.of_template(self._applied(self._literal.shielded(message)))

    def _applied(self, *turns: str, asks: bool = True) -> str:
        """A conversation, which the user begins; `asks` for an answer."""
        said = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(turns)]
        return render(self._tokenizer, said, asks=asks)

    def _encode(self, text: str) -> list[int]:
        return self._literal.encode([text])[0]


def _template(tokenizer: Any) -> str:
    """The chat template that transformers takes where a tokenizer has several.

    Raises:
        DataError: none of them is the default.
    """
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise DataError("one chat template must be the default", reason_of(error), "use raw prompts") from None


def _added_before(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text (a beginning-of-text token, or nothing); what it puts after is not for us:
    an end token before the completion would end the text."""
    probe = "x"
    bare = list(tokenizer.encode(probe, add_special_tokens=False))
    whole = list(tokenizer.encode(probe, add_special_tokens=True))
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start]
    return []
