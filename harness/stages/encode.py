"""encode: texts, pairs or candidate pools as memory-mapped tokens, shared by every variant that reads them.

Prompt and response are tokenised apart and joined, so that a response's tokens never depend on its prompt's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any

from harness.errors import DataError
from harness.imports.chat import ChatTemplate
from harness.pipeline.tokens import ENCODE, Content, EncodeSpec
from harness.stages.context import StageContext
from harness.stages.end_tokens import end_token
from harness.stages.tokenise import TextGroup, TokenGroup, chat, fit, open_tokenizer, raw
from harness.store.artifacts import Candidates, Corpus, ImportedCheckpoint, Pairs, Problems, Tokenizer, Tokens

RESULT = (
    *("groups", "responses", "tokens", "prompt_tokens", "response_tokens"),
    *("too_long_dropped", "prompts_cut", "responses_cut", "cut", "longest"),
)
"""Counts in the record: of responses whose prompt, which themselves, and of which either was cut; `longest` is the
`max_tokens` that would fit all that was read."""

SHOWN_EVERY = 10_000


def run(context: StageContext) -> dict[str, Any]:
    """Tokenise and write; the result gives exact token counts and what did not fit.

    A text or candidate that is too long is cut (see `tokenise.fit`) and counted, since each must count. A response of a
    pair is never cut, which would make its sides alike. A task's pair is read whole or left out, so that no side's
    score depends on the other's length. A pair for pretraining, of which `limit` takes the first that fit, is one
    example and shares what both sides leave of its prompt; it is dropped for the next one where that is nothing.

    Raises:
        DataError: fewer groups fit than the recipe asks for, or none at all.
    """
    spec = ENCODE.read(context.spec)
    tokenizer = open_tokenizer(context.input("tokenizer", Tokenizer).path)
    counts: Counter[str] = Counter()
    most, limit = spec.max_tokens, spec.limit
    if spec.text == "chat":
        checkpoint = context.input("tokenizer", ImportedCheckpoint)
        read = chat(tokenizer, ChatTemplate.load(checkpoint.chat, checkpoint.tokenizer))
    else:
        read = raw(tokenizer, end_token(tokenizer, context.input("tokenizer", Tokenizer), spec.end_token))
    groups = _shown(context, _groups(context, spec.content), spec.limit or 0)
    encoded = _fitting(read(groups), spec, counts)
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    Tokens(context.directory).write(islice(encoded, limit), max(ids) + 1)
    if limit is not None and counts["groups"] < limit:
        long = counts["too_long_dropped"]
        raise DataError(
            "there must be as many pairs as requested",
            f"requested {limit:,}, and there are {counts['groups']:,}"
            + (f" beside {long:,} of more than {most:,} tokens (up to {counts['longest']:,})" if long else ""),
            "lower the count, "
            + ("raise `pairs.max_tokens`, " if long else "")
            + "make more pairs (`pairs.spare`, a larger corpus), or hold out less or more of imported ones",
        )
    if counts["too_long_dropped"] and not counts["groups"]:
        raise DataError(
            "prompt and response of a pair must fit `max_tokens`",
            f"none of {counts['too_long_dropped']:,} pairs fits {most:,} tokens: the shortest has"
            f" {counts['shortest']:,}, the longest {counts['longest']:,}",
            f"`max_tokens: {counts['longest']}` would fit all",
        )
    if not counts["groups"]:
        raise DataError("tokens need texts", "there is none", "look at the stages this one reads")
    return {key: counts[key] for key in RESULT}


def _groups(context: StageContext, content: Content) -> Iterator[TextGroup]:
    """(row in the source, [prompt, response, ...])."""
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


def _shown(context: StageContext, groups: Iterator[TextGroup], total: int) -> Iterator[TextGroup]:
    """The groups, with progress."""
    for number, group in enumerate(groups, start=1):
        if number % SHOWN_EVERY == 0:
            context.progress(number, total, "groups")
        yield group


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


def _fitting(groups: Iterator[TokenGroup], spec: EncodeSpec, counts: Counter[str]) -> Iterator[TokenGroup]:
    most, pairs = spec.max_tokens, spec.content == "pairs"
    for row, (prompt, *responses) in groups:
        longest = max(map(len, responses))
        length = len(prompt) + longest
        counts["longest"] = max(counts["longest"], length)
        counts["shortest"] = min(counts["shortest"] or length, length)
        if pairs and length > most:
            least = len(prompt) if spec.limit is None else min(len(prompt), 1)
            if least + longest > most:
                counts["too_long_dropped"] += 1
                continue
            prompt = prompt[length - most :]
            counts.update(prompts_cut=len(responses), cut=len(responses))
        fitted = fit(prompt, responses, most)
        tokens = sum(map(len, fitted.group))
        counts.update(
            groups=1,
            responses=len(responses),
            tokens=tokens,
            prompt_tokens=fitted.prompt_tokens,
            response_tokens=tokens - fitted.prompt_tokens,
            prompts_cut=fitted.prompts_cut,
            responses_cut=fitted.responses_cut,
            cut=fitted.cut,
        )
        yield row, fitted.group
