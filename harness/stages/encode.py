"""encode: texts, pairs or candidate pools as memory-mapped tokens, shared by every variant that reads them.

Prompt and response are tokenised apart and joined, so that a response's tokens never depend on its prompt's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from tokenizers import Tokenizer as BPETokenizer

from harness.errors import DataError
from harness.imports.chat import ChatTemplate
from harness.stages.context import StageContext
from harness.store.artifacts import Candidates, Corpus, ImportedCheckpoint, Pairs, Problems, Tokenizer, Tokens

TextGroup = tuple[int, list[str]]
BATCH = 1_000  # groups tokenised at once


def run(context: StageContext) -> dict[str, Any]:
    """Tokenise and write; the result gives exact token counts and what did not fit.

    A prompt that is too long loses its beginning. A text or response that still does not fit is cut where it must
    count (texts, candidates), and a pair is dropped for the next one: cutting would make its sides alike.

    Raises:
        DataError: fewer groups fit than the recipe asks for.
    """
    spec = context.spec
    tokenizer = BPETokenizer.from_file(str(context.input("tokenizer", Tokenizer).path))
    tokenizer.no_padding()  # a published tokenizer may be set to either
    tokenizer.no_truncation()
    counts: Counter[str] = Counter()
    limit = spec["limit"]
    tokenised = _chat(context, tokenizer) if spec.get("text") == "chat" else _raw(context, tokenizer)
    encoded = _fitting(tokenised, spec["max_tokens"], spec["content"], counts)
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    Tokens(context.directory).write(_first(encoded, limit, counts), max(ids) + 1)
    if limit is not None and counts["groups"] < limit:
        raise DataError(
            "there must be as many pairs as asked for",
            f"asked for {limit:,}, and {counts['groups']:,} of those constructed fit {spec['max_tokens']} tokens",
            "lower the count, raise `pairs.spare` or `pairs.max_tokens`, or add packages to the corpus",
        )
    if not counts["groups"]:
        raise DataError("tokens need texts", "there is none", "look at the stages this one reads")
    keys = ("groups", "tokens", "prompt_tokens", "response_tokens", "too_long_dropped", "prompts_cut", "responses_cut")
    return {key: counts[key] for key in keys}


def _groups(context: StageContext) -> Iterator[TextGroup]:
    """(row in the source, [prompt, response, ...]) of what the spec's content names."""
    content = context.spec["content"]
    if content == "pairs":
        columns = ["prompt", "chosen", "rejected"]
        for index, row in enumerate(context.input("source", Pairs).stream(columns)):
            yield index, [row[name] for name in columns]
    elif content == "candidates":
        rows = context.input("source", Candidates).stream(["problem", "prompt", "text"])
        for index, (_, pool) in enumerate(groupby(rows, key=lambda row: row["problem"])):
            candidates = list(pool)
            yield index, [candidates[0]["prompt"], *(row["text"] for row in candidates)]
    else:
        yield from _texts(context)


def _texts(context: StageContext) -> Iterator[TextGroup]:
    """What the base language model reads: whole texts without a prompt."""
    directory = context.inputs["source"].directory
    if (directory / Corpus.file).exists():
        for index, row in enumerate(Corpus(directory).stream(["split", "description", "text"])):
            if row["split"] == "base":
                comment = "".join(f"# {line}\n" for line in row["description"].splitlines())
                yield index, ["", comment + row["text"]]
    else:
        for index, row in enumerate(Problems(directory).stream(["split", "text"])):
            if row["split"] == "base":
                yield index, ["", row["text"]]


def _raw(context: StageContext, tokenizer: BPETokenizer) -> Iterator[tuple[int, list[list[int]]]]:
    """Prompt and responses as they are, between the special tokens that the tokenizer puts around a text, if any."""
    encoding = tokenizer.encode("a")
    special = encoding.special_tokens_mask
    first = special.index(0) if 0 in special else len(special)
    last = len(special) - special[::-1].index(0) if 0 in special else len(special)
    before, after = encoding.ids[:first], encoding.ids[last:]
    for row, (prompt, *responses) in _tokenised(tokenizer, _groups(context)):
        yield row, [[*before, *prompt], *([*response, *after] for response in responses)]


def _chat(context: StageContext, tokenizer: BPETokenizer) -> Iterator[tuple[int, list[list[int]]]]:
    """Prompt and responses through the model's own chat template, whose special tokens are all there are."""
    checkpoint = context.input("tokenizer", ImportedCheckpoint)
    template = ChatTemplate.load(checkpoint.chat, checkpoint.tokenizer)

    def rendered() -> Iterator[TextGroup]:
        for row, (prompt, *responses) in _groups(context):
            pairs = [template.render(prompt, response) for response in responses]
            yield row, [pairs[0][0], *(response for _, response in pairs)]

    return _tokenised(tokenizer, rendered())


def _tokenised(tokenizer: BPETokenizer, groups: Iterator[TextGroup]) -> Iterator[tuple[int, list[list[int]]]]:
    while batch := [group for _, group in zip(range(BATCH), groups, strict=False)]:
        flat = [text for _, texts in batch for text in texts]
        distinct = list(dict.fromkeys(flat))
        ids = dict(
            zip(
                distinct, (item.ids for item in tokenizer.encode_batch(distinct, add_special_tokens=False)), strict=True
            )
        )
        for row, texts in batch:
            yield row, [ids[text] for text in texts]


def _fitting(
    groups: Iterator[tuple[int, list[list[int]]]], most: int, content: str, counts: Counter[str]
) -> Iterator[tuple[int, list[list[int]]]]:
    for row, (prompt, *responses) in groups:
        longest = max(len(response) for response in responses)
        room = max(0, most - longest)
        if len(prompt) > room:
            if content == "pairs" and longest >= most:
                counts["too_long_dropped"] += 1
                continue
            counts["prompts_cut"] += 1
            prompt = prompt[len(prompt) - room :]
        elif content == "pairs" and longest > most:
            counts["too_long_dropped"] += 1
            continue
        cut = [response[:most] for response in responses]
        counts["responses_cut"] += sum(len(old) != len(new) for old, new in zip(responses, cut, strict=True))
        yield row, [prompt, *cut]


def _first(
    groups: Iterator[tuple[int, list[list[int]]]], limit: int | None, counts: Counter[str]
) -> Iterator[tuple[int, list[list[int]]]]:
    for row, (prompt, *responses) in groups:
        if limit is not None and counts["groups"] == limit:
            return
        counts["groups"] += 1
        counts["prompt_tokens"] += len(prompt)
        counts["response_tokens"] += sum(map(len, responses))
        counts["tokens"] += len(prompt) + sum(map(len, responses))
        yield row, [prompt, *responses]
