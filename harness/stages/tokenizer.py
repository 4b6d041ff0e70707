"""tokenizer: byte-level BPE trained on the corpus (all but the held-out packages) and the tasks' base texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer as BPETokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from harness.errors import DataError
from harness.stages.context import StageContext
from harness.store.artifacts import Corpus, Problems, Tokenizer


def run(context: StageContext) -> dict[str, Any]:
    """Train and save; no special tokens, since texts are scored at their last token."""
    vocabulary = context.spec["vocabulary"]
    tokenizer = BPETokenizer(models.BPE())
    # Single digits, so that arithmetic is on digits and not on whatever numbers were frequent.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_texts(context), trainer)
    size = tokenizer.get_vocab_size()
    if size > vocabulary:
        raise DataError("`model.vocabulary` must hold every byte", f"{size} > {vocabulary}", "raise it")
    tokenizer.save(str(Tokenizer(context.directory).path))
    return {"vocabulary": size}


def _texts(context: StageContext) -> Iterator[str]:
    for row in context.input("corpus", Corpus).stream(["split", "description", "text"]):
        if row["split"] != "heldout":
            yield row["description"]
            yield row["text"]
    for _, problems in context.inputs_like("problems", Problems):
        yield from (row["text"] for row in problems.rows() if row["split"] == "base")
