"""A task of lm-evaluation-harness, loaded from its YAML, and a language model's values on its documents.

Only what planning resolved is loaded: the one file, without lm-eval's index of all its tasks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from lm_eval.api.task import Task
from lm_eval.evaluator import simple_evaluate
from lm_eval.evaluator_utils import get_sample_size
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable, hash_string

from harness.errors import NO_SPACE, DataError, HarnessError, reason_of
from harness.sources.lm_eval_tasks import digests_of

T = TypeVar("T")

Sample = Mapping[str, Any]
"""What lm-eval says of a document: `doc_id`, `doc_hash`, `filter`, and a value of each metric."""


def load_task(name: str, path: Path, files: Mapping[str, str]) -> Task:
    """The task that a YAML defines, with its data.

    Args:
        files: those that it was planned with, see `sources.lm_eval_tasks.LmEvalTask`. A training may lie between.

    Raises:
        DataError: they are others now, lm-eval cannot load it, or the file defines another.
    """
    if digests_of(name, path) != sorted(files.values()):
        raise DataError(f"the files of {name!r} must be those of the plan", f"{path} has changed", "run again")

    def load() -> Task:
        tasks: dict[str, Task] = TaskManager(include_defaults=False).load([str(path)])["tasks"]
        return tasks[name]

    return _by_lm_eval(name, load)


def documents(name: str, task: Task, limit: int | None) -> list[tuple[str, str, str]]:
    """(number, lm-eval's digest, JSON) of each document that a task judges by, the first `limit` of them.

    Raises:
        DataError: lm-eval cannot read them, or there are none.
    """

    def read() -> list[tuple[str, str, str]]:
        found = []
        for number, document in task.doc_iterator(limit=get_sample_size(task, limit)):
            # The form that lm-eval's evaluator digests, so that its samples name the same documents.
            text = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
            found.append((str(number), hash_string(text), text))
        return found

    found = _by_lm_eval(name, read)
    if not found:
        raise DataError("a task of lm-eval must have documents", f"{name!r} has none", "name another task")
    return found


def judge(
    name: str,
    task: Task,
    model: torch.nn.Module,
    tokenizer: Any,
    *,
    limit: int | None,
    num_fewshot: int | None,
    bf16: bool,
    batch_size: int,
) -> list[Sample]:
    """lm-eval's samples of a language model, as its own Hugging Face model class makes them.

    Args:
        model: a causal language model of transformers, on its device.
        tokenizer: of transformers.
        bf16: of the matrix products.
        batch_size: of requests; it moves values by rounding only.

    Raises:
        DataError: lm-eval, or code of the task, fails.
    """

    def evaluate() -> list[Sample]:
        asked = HFLM(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            mixed_precision_dtype="bfloat16" if bf16 else None,
        )
        found = simple_evaluate(
            model=asked,
            tasks=[task],
            limit=limit,
            num_fewshot=num_fewshot,
            batch_size=batch_size,
            bootstrap_iters=0,
            task_manager=TaskManager(include_defaults=False),
        )
        samples: list[Sample] = found["samples"][name]
        return samples

    return _by_lm_eval(name, evaluate)


def values_of(name: str, samples: Sequence[Sample], metric: str, filtered: str) -> dict[str, float]:
    """Number of a document -> its value of a metric.

    Raises:
        DataError: a document has none, or one outside 0 to 1.
    """
    found = {}
    for sample in samples:
        if sample["filter"] == filtered:
            value: Any = sample.get(metric)
            try:
                found[str(sample["doc_id"])] = float(value)
            except (TypeError, ValueError):
                raise DataError(*_told(name, metric, sample, value)) from None
            if not 0.0 <= found[str(sample["doc_id"])] <= 1.0:
                raise DataError(*_told(name, metric, sample, value))
    return found


def _told(name: str, metric: str, sample: Sample, value: Any) -> tuple[str, str, str]:
    return (
        f"`{metric}` of {name!r} must be between 0 and 1 of each document",
        f"of document {sample['doc_id']} it is {value!r}",
        "take it out of the task's `metric_list`, in a task of your own that includes this one",
    )


def _by_lm_eval(name: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except HarnessError:
        raise
    except Exception as error:  # whatever lm-eval, a task's code or the library of its data raises
        if isinstance(error, OSError) and error.errno in NO_SPACE:  # the worker says so
            raise
        said = f"{type(error).__name__}: {reason_of(error)}"
        raise DataError(f"lm-eval must be able to run its task {name!r}", f"it says {said}", "see the log") from error
