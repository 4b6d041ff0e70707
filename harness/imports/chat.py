"""A published chat template: a prompt and its response as the text that the template's model was trained on.

Rendered by transformers in its sandbox, from the template's text alone: no code of the folder is run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from harness.engines.templates import render
from harness.errors import DataError, reason_of
from harness.sources.text_files import parse_json

SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A template, its special tokens, and the tokenizer file they belong to.

    Attributes:
        tokenizer: path of the tokenizer's JSON; needed only to render.
    """

    template: str
    tokens: dict[str, str]
    tokenizer: Path | None = None

    @classmethod
    def of_folder(cls, folder: Path) -> Self | None:
        """The template of a published folder: its own file, or a key of `tokenizer_config.json`; None without one.

        Raises:
            DataError: the configuration is no JSON mapping, or the template no UTF-8.
        """
        settings = _settings(folder / "tokenizer_config.json")
        own = folder / "chat_template.jinja"
        try:
            template = own.read_text(encoding="utf-8") if own.is_file() else _default(settings.get("chat_template"))
        except UnicodeDecodeError as error:
            value = f"{own.name} is not ({reason_of(error)})"
            raise DataError("a chat template must be UTF-8", value, "fetch it again") from None
        return None if template is None else cls(template=template, tokens=_tokens(settings))

    @classmethod
    def load(cls, path: Path, tokenizer: Path) -> Self:
        """What `save` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(template=data["template"], tokens=data["tokens"], tokenizer=tokenizer)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"template": self.template, "tokens": self.tokens}, indent=1) + "\n", "utf-8")

    def render(self, prompt: str, response: str) -> tuple[str, str]:
        """(user turn with the generation prompt, what the answered conversation adds to it).

        The prompt loses the spaces around it, which belong to our plain form. A response without a letter that a
        template leaves out, turn and all, adds nothing.

        Raises:
            DataError: the template fails, or renders an answer otherwise than as a continuation.
        """
        asked = [{"role": "user", "content": prompt.strip()}]
        before = self._rendered(asked, add_generation_prompt=True)
        whole = self._rendered([*asked, {"role": "assistant", "content": response}], add_generation_prompt=False)
        if not whole.startswith(before):
            if not response.strip():
                return before, ""
            raise DataError(
                "a chat template must render an answer as a continuation of its prompt",
                f"the prompt ends in {before[-40:]!r}, and the whole conversation goes otherwise",
                "use `text: raw`",
            )
        return before, whole[len(before) :]

    def turns(self) -> str:
        """A conversation of three turns: it holds every token by which the template separates turns.

        Raises:
            DataError: the template fails.
        """
        said = [("user", "a"), ("assistant", "b"), ("user", "c")]
        return self._rendered([{"role": role, "content": text} for role, text in said], add_generation_prompt=False)

    def _rendered(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        return render(self._tokenizer, messages, asks=add_generation_prompt)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(tokenizer_file=str(self.tokenizer), chat_template=self.template, **self.tokens)


def special_tokens(folder: Path) -> dict[str, str]:
    """Special tokens that a published folder names, by role, such as `eos_token`.

    Raises:
        DataError: the configuration is no JSON mapping.
    """
    return _tokens(_settings(folder / "tokenizer_config.json"))


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        settings: Any = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            "tokenizer_config.json must be JSON", f"it is not ({reason_of(error)})", "fetch it again"
        ) from None
    if not isinstance(settings, dict):
        raise DataError("tokenizer_config.json must be a mapping", "it is not", "fetch it again")
    return settings


def _default(found: Any) -> str | None:
    """The template, or of several named ones the one called `default`."""
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _tokens(settings: dict[str, Any]) -> dict[str, str]:
    """Special tokens that templates may name; they stand as texts or as mappings with `content`."""
    found = {}
    for name in SPECIAL:
        value = settings.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            found[name] = value
    return found
