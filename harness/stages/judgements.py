"""judgements: what a model says of pairs, a set's drawn ones or all of a part: which side is the better one."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.engines.transformers_engine import TransformersScorer
from harness.imports.chat import ChatTemplate
from harness.pairs.judging import GeneratorJudge, Judge, ScorerJudge, ask_in_both_orders
from harness.pipeline.judging import JUDGEMENTS, JudgementsSpec, ReadsSpec
from harness.stages.context import StageContext
from harness.stages.drawn import drawn_rows
from harness.stages.tokenise import chat, fit, open_tokenizer, raw
from harness.stages.writer import ALARM, CountsCuts, open_writer, sampling_of
from harness.store.artifacts import ImportedCheckpoint, Judgements, Pairs

BATCH = 256  # pairs asked about at once: it bounds memory and tells how far it is


def run(context: StageContext) -> dict[str, Any]:
    """Ask about each pair in both orders; the result counts questions without an answer, and those read cut."""
    spec = JUDGEMENTS.read(context.spec)
    pairs = context.input("pairs", Pairs)
    drawn = drawn_rows(pairs.count(), spec.most_pairs, spec.seed)
    wanted = frozenset(drawn)
    texts = [row for number, row in enumerate(pairs.stream(["prompt", "chosen", "rejected"])) if number in wanted]
    cut: Counter[str] = context.held.setdefault("cut", Counter())  # a warm worker's judge goes on counting there
    cut.clear()
    judge = _judge(context, spec, cut)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(drawn), BATCH):
        batch = texts[start : start + BATCH]
        sides = ([row[name] for row in batch] for name in ("prompt", "chosen", "rejected"))
        answers = ask_in_both_orders(judge, *sides, seed=spec.seed)
        numbers = drawn[start : start + BATCH]
        found = zip(numbers, answers.chosen_first.tolist(), answers.rejected_first.tolist(), strict=True)
        rows += [{"row": row, "chosen_first": straight, "rejected_first": swapped} for row, straight, swapped in found]
        context.progress(len(rows), len(drawn), "pairs")
    Judgements(context.directory).write(rows)
    unanswered = sum(bool(np.isnan(row[order])) for row in rows for order in ("chosen_first", "rejected_first"))
    if cut["questions"] > ALARM * 2 * len(rows):
        context.warn(
            f"{cut['questions']:,} of {2 * len(rows):,} questions do not fit what the judge can read and were cut; "
            "raise its `max_tokens` or `context`"
        )
    return {"groups": len(rows), "unanswered": unanswered, "cut": cut["questions"]}


def _judge(context: StageContext, spec: JudgementsSpec, cut: Counter[str]) -> Judge:
    """A model asked in words, or an imported reward model; a warm worker has it already."""
    writer = spec.writer
    if writer is not None:
        generator = CountsCuts(generator=open_writer(context, writer, progress=False), cut=cut)
        return GeneratorJudge(generator=generator, template=writer.prompt, sampling=sampling_of(writer))
    if "judge" not in context.held:
        assert spec.reads is not None
        context.held["judge"] = _reward_judge(context, spec.reads, cut)
    judge: Judge = context.held["judge"]
    return judge


def _reward_judge(context: StageContext, reads: ReadsSpec, cut: Counter[str]) -> ScorerJudge:
    checkpoint = context.input("checkpoint", ImportedCheckpoint)
    tokenizer = open_tokenizer(checkpoint.tokenizer)
    if reads.text == "chat":
        read = chat(tokenizer, ChatTemplate.load(checkpoint.chat, checkpoint.tokenizer))
    else:
        read = raw(tokenizer)

    def encode(groups: Sequence[list[str]]) -> list[list[array[int]]]:
        fitted = [fit(prompt, responses, reads.max_tokens) for _, (prompt, *responses) in read(enumerate(groups))]
        cut["questions"] += sum(one.cut > 0 for one in fitted)
        return [one.group for one in fitted]

    scorer = TransformersScorer(
        checkpoint.model,
        precision="fp32",
        row_tokens=context.how.row_tokens,
        rows=context.how.rows_per_micro_batch,
        device=context.how.device,
    )
    return ScorerJudge(scorer=scorer, encode=encode)
