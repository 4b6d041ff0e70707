"""A tokenizer for which text stays text: only a chat template's own control tokens become control tokens.

A text that spells `<|im_end|>` would otherwise end its turn. The `tokenizers` library can leave special tokens out of a
whole text (`encode_special_tokens`), which would leave out the template's as well, and then a token that is also an
entry of the vocabulary may come back through the model. So the control tokens get other names here, in the vocabulary
too, which no text contains and only a rendered template is given.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from tokenizers import Encoding
from tokenizers import Tokenizer as BPETokenizer

from harness.errors import DataError

_BRACKETED = re.compile(r"[^\w\s].*[^\w\s]", re.DOTALL)  # like <|user|>, unlike words and runs of spaces
# Noncharacters: no interchanged text contains them, and with a digest between them no text that was not made for it.
_TOKEN, _TEXT = "\ufdd0{}\ufdd1", "\ufdd0{}\ufdd2"


class LiteralText:
    """Token ids of texts and of rendered chat templates.

    Control tokens are the tokenizer's special tokens (its unknown token aside), and those that separate the turns of
    a conversation: some templates use tokens that their tokenizer does not call special.

    Args:
        tokenizer: stays as it is.
        turns: renders a conversation in the model's template, if it has one; called only where it can matter.
        named: further control tokens, such as those a published configuration names.

    Raises:
        DataError: the tokenizer has a control token that cannot be told from text.
    """

    def __init__(self, tokenizer: BPETokenizer, *, turns: Callable[[], str] = str, named: Sequence[str] = ()) -> None:
        data: dict[str, Any] = json.loads(tokenizer.to_str())
        digest = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()[:16]
        data["truncation"] = data["padding"] = None
        model = data["model"]
        unknown = model.get("unk_token")
        if model.get("unk_id") is not None:
            unknown = model["vocab"][model["unk_id"]][0]
        added = [token for token in data["added_tokens"] if token["content"] != unknown]
        control = {token["content"]: token["id"] for token in added if token["special"] or token["content"] in named}
        bracketed = {token["content"]: token["id"] for token in added if _BRACKETED.fullmatch(token["content"])}
        if bracketed.keys() - control.keys():
            conversation = turns()
            control |= {text: number for text, number in bracketed.items() if text in conversation}
        self._control = {text: _TOKEN.format(f"{digest}{at}") for at, text in enumerate(control)}
        self._text = {text: _TEXT.format(f"{digest}{at}") for at, text in enumerate(control)}
        for token in added:
            if token["content"] in control:
                token.update(content=self._control[token["content"]], special=False)
        _rename(model, self._control)
        self.tokenizer = BPETokenizer.from_str(json.dumps(data))
        self.tokenizer.encode_special_tokens = True  # there is none left but the unknown token
        for text, number in control.items():
            if self.tokenizer.token_to_id(self._control[text]) != number:
                raise DataError(
                    "control tokens must be told from text", f"{text!r} of this tokenizer cannot", "use another"
                )
        special = [token["id"] for token in data["added_tokens"] if token["content"] in self._control.values()]
        self.blank: int = min(special, default=0)
        self._find_control = _any_of(self._control)
        self._find_either = _any_of([*self._control, *self._text.values()])

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, none of them a control token, but where `of_template` wrote one."""
        return [encoding.ids for encoding in self.encodings(texts)]

    def encodings(self, texts: Sequence[str]) -> list[Encoding]:
        """The same as the library has them, without offsets; meanwhile other threads may go on."""
        found: list[Encoding] = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return found

    def shielded(self, text: str) -> str:
        """The text as a template is to be given it: `of_template` then knows it from the template's own words."""
        return self._find_control.sub(lambda match: self._text[match[0]], text)

    def of_template(self, rendered: str) -> str:
        """A template rendered with shielded texts, to be encoded: its own control tokens are such, texts are texts."""
        back = {name: text for text, name in self._text.items()}
        return self._find_either.sub(lambda match: self._control.get(match[0]) or back[match[0]], rendered)


def _any_of(words: Sequence[str] | dict[str, str]) -> re.Pattern[str]:
    """Any of the words, the longest where several begin at one place, as the library matches; none matches nothing."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _rename(model: dict[str, Any], names: dict[str, str]) -> None:
    """Give entries of a model's vocabulary other names, in place; nothing is merged into them or from them any more."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(text, text): number for text, number in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(text, text), score] for text, score in vocabulary]
    if "merges" in model:
        sides = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [[left, right] for left, right in sides if not {left, right, left + right} & names.keys()]
