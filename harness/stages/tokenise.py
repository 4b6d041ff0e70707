"""How prompts and responses become tokens: one rule for everything that is trained on or scored.

Prompt and response are tokenised apart and joined, so that a response's tokens never depend on its prompt's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer as BPETokenizer

from harness.imports.chat import ChatTemplate

TextGroup = tuple[int, list[str]]
"""(row in the source, [prompt, response, ...])."""

TokenGroup = tuple[int, list[list[int]]]
"""The same as token ids."""

BATCH = 1_000  # groups tokenised at once


def open_tokenizer(path: Path) -> BPETokenizer:
    """A tokenizer that leaves texts as long as they are; a published one may be set to pad or to cut."""
    tokenizer = BPETokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def raw(tokenizer: BPETokenizer, groups: Iterator[TextGroup], end: Sequence[int] = ()) -> Iterator[TokenGroup]:
    """Prompt and responses as they are, between the special tokens that the tokenizer puts around a text, if any.

    What looks like a special token in a text is text.

    Args:
        end: ids at the end of each response; not twice where the tokenizer puts them there itself.
    """
    encoding = tokenizer.encode("a")
    special = encoding.special_tokens_mask
    first = special.index(0) if 0 in special else len(special)
    last = len(special) - special[::-1].index(0) if 0 in special else len(special)
    before, after = encoding.ids[:first], encoding.ids[last:]
    if after[-len(end) :] != list(end):
        after = [*after, *end]
    tokenizer.encode_special_tokens = True
    for row, (prompt, *responses) in _tokenised(tokenizer, groups):
        yield row, [[*before, *prompt], *([*response, *after] for response in responses)]


def chat(tokenizer: BPETokenizer, template: ChatTemplate, groups: Iterator[TextGroup]) -> Iterator[TokenGroup]:
    """Prompt and responses through a model's own chat template, whose special tokens are all there are."""

    def rendered() -> Iterator[TextGroup]:
        for row, (prompt, *responses) in groups:
            pairs = [template.render(prompt, response) for response in responses]
            yield row, [pairs[0][0], *(response for _, response in pairs)]

    return _tokenised(tokenizer, rendered())


def cut(prompt: list[int], responses: Sequence[list[int]], most: int) -> list[list[int]]:
    """The group, at most `most` tokens with each response: a prompt loses its beginning, then a response its end."""
    room = max(0, most - max(map(len, responses)))
    return [prompt[max(0, len(prompt) - room) :], *(response[:most] for response in responses)]


def _tokenised(tokenizer: BPETokenizer, groups: Iterator[TextGroup]) -> Iterator[TokenGroup]:
    while batch := list(islice(groups, BATCH)):
        distinct = list(dict.fromkeys(text for _, texts in batch for text in texts))
        encodings = tokenizer.encode_batch(distinct, add_special_tokens=False)
        ids = dict(zip(distinct, (encoding.ids for encoding in encodings), strict=True))
        for row, texts in batch:
            yield row, [ids[text] for text in texts]
