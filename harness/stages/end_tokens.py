"""What may end both sides of a pair."""

from __future__ import annotations

import json

from tokenizers import Tokenizer as BPETokenizer

from harness.errors import DataError
from harness.store.artifacts import Tokenizer

END_OF_TEXT = "<|end_of_text|>"
END_OF_CODE = "<|end_of_code|>"
"""Special tokens of tokenizers that are trained here; of others `END_OF_CODE` is the ids of its letters."""


def end_token(tokenizer: BPETokenizer, artifact: Tokenizer, kind: str) -> list[int]:
    """Ids of what ends a response: nothing, the tokenizer's end of text, or `END_OF_CODE`.

    Raises:
        DataError: the tokenizer has no end of text.
    """
    if kind == "none":
        return []
    if kind == "eos":
        text = json.loads(artifact.special.read_text(encoding="utf-8")).get("eos_token")
        number = None if text is None else tokenizer.token_to_id(text)
        if number is None:
            raise DataError(
                "`end_token: eos` needs a tokenizer with an end of text", "this one names none", "use `end_of_code`"
            )
        return [number]
    number = tokenizer.token_to_id(END_OF_CODE)
    return tokenizer.encode(END_OF_CODE, add_special_tokens=False).ids if number is None else [number]
