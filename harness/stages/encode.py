"""encode: texts, pairs or candidate pools as memory-mapped tokens, shared by every variant that reads them.

Prompt and response are tokenised apart and joined, so that a response's tokens never depend on its prompt's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from harness.errors import DataError
from harness.imports.chat import ChatTemplate
from harness.stages.context import StageContext
from harness.stages.end_tokens import end_token
from harness.stages.tokenise import TextGroup, TokenGroup, chat, cut, open_tokenizer, raw
from harness.store.artifacts import Candidates, Corpus, ImportedCheckpoint, Pairs, Problems, Tokenizer, Tokens


def run(context: StageContext) -> dict[str, Any]:
    """Tokenise and write; the result gives exact token counts and what did not fit.

    A prompt that is too long loses its beginning. A text or response that still does not fit is cut where it must
    count (texts, candidates), and a pair is dropped for the next one: cutting would make its sides alike.

    Raises:
        DataError: fewer groups fit than the recipe asks for.
    """
    spec = context.spec
    tokenizer = open_tokenizer(context.input("tokenizer", Tokenizer).path)
    counts: Counter[str] = Counter()
    limit = spec["limit"]
    if spec["text"] == "chat":
        checkpoint = context.input("tokenizer", ImportedCheckpoint)
        tokenised = chat(tokenizer, ChatTemplate.load(checkpoint.chat, checkpoint.tokenizer), _groups(context))
    else:
        end = end_token(tokenizer, context.input("tokenizer", Tokenizer), spec["end_token"])
        tokenised = raw(tokenizer, _groups(context), end)
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


def _fitting(groups: Iterator[TokenGroup], most: int, content: str, counts: Counter[str]) -> Iterator[TokenGroup]:
    for row, (prompt, *responses) in groups:
        # A pair keeps something of its prompt, and its responses whole.
        if content == "pairs" and max(map(len, responses)) + bool(prompt) > most:
            counts["too_long_dropped"] += 1
            continue
        fitting = cut(prompt, responses, most)
        counts["prompts_cut"] += len(fitting[0]) < len(prompt)
        counts["responses_cut"] += sum(len(old) != len(new) for old, new in zip(responses, fitting[1:], strict=True))
        yield row, fitting


def _first(groups: Iterator[TokenGroup], limit: int | None, counts: Counter[str]) -> Iterator[TokenGroup]:
    for row, (prompt, *responses) in groups:
        if limit is not None and counts["groups"] == limit:
            return
        counts["groups"] += 1
        counts["prompt_tokens"] += len(prompt)
        counts["response_tokens"] += sum(map(len, responses))
        counts["tokens"] += len(prompt) + sum(map(len, responses))
        yield row, [prompt, *responses]
