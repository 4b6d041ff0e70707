"""tokenizer: byte-level BPE trained on the corpus (all but the held-out packages) and the tasks' base texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer as BPETokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from harness.errors import DataError
from harness.pipeline.tokens import TOKENIZER
from harness.stages.context import StageContext
from harness.stages.end_tokens import END_OF_CODE, END_OF_TEXT
from harness.store.artifacts import Corpus, Problems, Tokenizer


def run(context: StageContext) -> dict[str, Any]:
    """Train and save, with tokens of their own for the ends that pairs may be given."""
    vocabulary = TOKENIZER.read(context.spec).vocabulary
    tokenizer = BPETokenizer(models.BPE())
    # Single digits, so that arithmetic is on digits and not on whatever numbers were frequent.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, END_OF_CODE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(context), trainer)
    size = tokenizer.get_vocab_size()
    if size > vocabulary:
        raise DataError("`model.vocabulary` must hold every byte", f"{size} > {vocabulary}", "raise it")
    made = Tokenizer(context.directory)
    tokenizer.save(str(made.path))
    made.special.write_text(json.dumps({"eos_token": END_OF_TEXT}) + "\n", encoding="utf-8")
    return {"vocabulary": size}


def _texts(context: StageContext) -> Iterator[str]:
    for row in context.input("corpus", Corpus).stream(["split", "description", "text"]):
        if row["split"] not in ("heldout", "dev"):
            yield row["description"]
            yield row["text"]
    for _, problems in context.inputs_like("problems", Problems):
        yield from (row["text"] for row in problems.rows() if row["split"] == "base")
