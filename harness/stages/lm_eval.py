"""lm_eval: how well a model without its reward head does on a task of lm-evaluation-harness, by document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import DataError
from harness.evaluation.lm_eval_task import judge, load_task, values_of
from harness.models.export import open_language_tokenizer
from harness.models.sources import load_causal_model
from harness.pipeline.evaluations.retention import LM_EVAL, LmEval
from harness.stages.context import StageContext
from harness.stages.pools import Values
from harness.store.artifacts import Checkpoint, LmEvalDocuments, ProblemValues, Tokenizer


def run(context: StageContext) -> dict[str, Any]:
    """Every metric of every filter; the first metric of the first filter is the main one and stands for itself too.

    Raises:
        DataError: lm-eval fails, the task's files are no longer those of the plan, or its data that of `documents`.
    """
    spec = LM_EVAL.read(context.spec)
    samples = judge(
        spec.task,
        load_task(spec.task, Path(context.how.source_path), spec.files),
        load_causal_model(context.input("checkpoint", Checkpoint).model).to(context.how.device).eval(),
        _tokenizer(context),
        limit=spec.limit,
        num_fewshot=spec.num_fewshot,
        bf16=spec.precision == "bf16",
        batch_size=context.how.rows_per_micro_batch,
    )
    documents = {row["id"]: row["digest"] for row in context.input("documents", LmEvalDocuments).rows()}
    if {str(sample["doc_id"]): sample["doc_hash"] for sample in samples} != documents:
        raise DataError(
            f"the documents of {spec.task!r} must stay as they were read",
            "its data, or its code, gives others now",
            "discard its `lm_eval_task` stage, or keep the data as it was",
        )
    values = Values(context)
    for filtered in spec.filters:
        for metric in spec.metrics:
            found = values_of(spec.task, samples, metric, filtered)
            names = [f"{LmEval.headline}_{metric}" + (f".{filtered}" if len(spec.filters) > 1 else "")]
            if not values.rows:
                names.insert(0, LmEval.headline)
            for name in names:
                values.add(name, list(found), list(found), np.array(list(found.values())))
    values.write(ProblemValues(context.directory))
    return {"documents": len(documents), "means": values.means()}


def _tokenizer(context: StageContext) -> Any:
    """Of the model's folder, or the one trained here."""
    directory = context.inputs["tokenizer"].directory
    folder = Checkpoint(directory).model
    if folder.is_dir():
        return open_language_tokenizer(folder, special={}, chat_template=None)
    trained = context.input("tokenizer", Tokenizer)
    special = json.loads(trained.special.read_bytes())
    return open_language_tokenizer(trained.path, special=special, chat_template=None)
