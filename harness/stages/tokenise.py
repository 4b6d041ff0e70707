"""How prompts and responses become tokens: one rule for everything that is trained on or scored.

Prompt and response are tokenised apart and joined, so that a response's tokens never depend on its prompt's.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Generic, TypeVar

from tokenizers import Encoding
from tokenizers import Tokenizer as BPETokenizer

from harness.engines.literal_text import LiteralText
from harness.imports.chat import ChatTemplate

TextGroup = tuple[int, list[str]]
"""(row in the source, [prompt, response, ...])."""

Ids = TypeVar("Ids", list[int], "array[int]")
"""Token ids; in arrays they take 4 bytes each, and are cut and joined without a look at each."""

TokenGroup = tuple[int, list["array[int]"]]
"""The same as token ids; where the prompt is empty, no response is."""

Read = Callable[[Iterator[TextGroup]], Iterator[TokenGroup]]
"""How one model reads groups."""

BATCH = 1_000  # groups tokenised at once


def open_tokenizer(path: Path) -> BPETokenizer:
    """A tokenizer that leaves texts as long as they are; a published one may be set to pad or to cut."""
    tokenizer = BPETokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def raw(tokenizer: BPETokenizer, end: Sequence[int] = ()) -> Read:
    """Prompt and responses as they are, between the special tokens that the tokenizer puts around a text, if any.

    What looks like a special token in a text is text.

    Args:
        end: ids at the end of each response; not twice where the tokenizer puts them there itself.
    """
    encoding = tokenizer.encode("a")
    special = encoding.special_tokens_mask
    first = special.index(0) if 0 in special else len(special)
    last = len(special) - special[::-1].index(0) if 0 in special else len(special)
    before, after = _ids(encoding.ids[:first]), _ids(encoding.ids[last:])
    if after[-len(end) :] != _ids(end):
        after += _ids(end)
    literal = LiteralText(tokenizer)

    def read(groups: Iterator[TextGroup]) -> Iterator[TokenGroup]:
        for row, (prompt, *responses) in _tokenised(literal, groups):
            yield row, _scorable(before + prompt, [response + after for response in responses], literal.blank)

    return read


def chat(tokenizer: BPETokenizer, template: ChatTemplate) -> Read:
    """Prompt and responses through a model's own chat template, whose special tokens are all there are."""
    literal = LiteralText(tokenizer, turns=template.turns, named=list(template.tokens.values()))

    def rendered(groups: Iterator[TextGroup]) -> Iterator[TextGroup]:
        for row, (prompt, *responses) in groups:
            question = literal.shielded(prompt)
            pairs = [template.render(question, literal.shielded(response)) for response in responses]
            yield row, [literal.of_template(text) for text in (pairs[0][0], *(response for _, response in pairs))]

    def read(groups: Iterator[TextGroup]) -> Iterator[TokenGroup]:
        for row, (prompt, *responses) in _tokenised(literal, rendered(groups)):
            yield row, _scorable(prompt, responses, literal.blank)

    return read


@dataclass(frozen=True, kw_only=True)
class Fitted(Generic[Ids]):
    """A group of which no prompt and response together are longer than `max_tokens`.

    Attributes:
        group: [prompt, response, ...]; where one response leaves less of the prompt than another, each response
            follows its own prompt and the group's is empty.
        prompt_tokens: of all prompts in it.
        prompts_cut, responses_cut, cut: responses whose prompt, which themselves, and of which either was cut.
    """

    group: list[Ids]
    prompt_tokens: int
    prompts_cut: int
    responses_cut: int
    cut: int


def fit(prompt: Ids, responses: Sequence[Ids], most: int) -> Fitted[Ids]:
    """Cut what does not fit, each response for itself, so that no score depends on a group's other responses.

    Where prompt and response together are too long, the prompt loses its beginning, but keeps half of `most`; then
    the response loses its end.
    """
    kept = [min(len(prompt), max(most - most // 2, most - len(response))) for response in responses]
    prompts: list[Ids] = [prompt[len(prompt) - length :] for length in kept]
    ends: list[Ids] = [response[: most - length] for response, length in zip(responses, kept, strict=True)]
    shared = len(set(kept)) == 1
    lost = [
        (length < len(prompt), len(end) < len(response))
        for length, end, response in zip(kept, ends, responses, strict=True)
    ]
    return Fitted(
        group=[prompts[0], *ends] if shared else [prompt[:0], *map(operator.add, prompts, ends)],
        prompt_tokens=kept[0] if shared else sum(kept),
        prompts_cut=sum(of_prompt for of_prompt, _ in lost),
        responses_cut=sum(of_response for _, of_response in lost),
        cut=sum(map(any, lost)),
    )


def _ids(ids: Sequence[int] = ()) -> array[int]:
    return array("I", ids)


def _scorable(prompt: array[int], responses: list[array[int]], blank: int) -> list[array[int]]:
    """The group; nothing at all is read as one token, since a score is read at one."""
    return [prompt, *(response or _ids([] if prompt else [blank]) for response in responses)]


def _tokenised(literal: LiteralText, groups: Iterator[TextGroup]) -> Iterator[TokenGroup]:
    """The groups as token ids. While a batch is handed on, the library is at the next: it lets go of Python's lock."""

    def begun() -> Iterator[tuple[list[TextGroup], list[str], Future[list[Encoding]]]]:
        while batch := list(islice(groups, BATCH)):
            distinct = list(dict.fromkeys(text for _, texts in batch for text in texts))
            yield batch, distinct, library.submit(literal.encodings, distinct)

    with ThreadPoolExecutor(1) as library:
        for (batch, distinct, encodings), _ in pairwise(chain(begun(), [([], [], Future())])):
            ids = {text: _ids(found.ids) for text, found in zip(distinct, encodings.result(), strict=True)}
            for row, texts in batch:
                yield row, [ids[text] for text in texts]
