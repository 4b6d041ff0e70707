"""Which stages a row from outside needs: an imported checkpoint scores here, imported scores are aligned."""

from __future__ import annotations

from harness.plan.graph import Stage
from harness.plan.pipeline import Pipeline
from harness.recipe.blocks import ImportedRow
from harness.recipe.schema import Experiment


def checkpoint_best_of_n(pipeline: Pipeline, experiment: Experiment, task: str, name: str, row: ImportedRow) -> Stage:
    """Best-of-N of an imported checkpoint on a task's candidates, in its own tokens."""
    candidates = pipeline.candidates(experiment, task)
    scores = _scores(pipeline, experiment, task, name, row, candidates, "candidates")
    return pipeline.judged_pool(experiment, candidates, scores, f"best-of-N {name} on {task}")


def checkpoint_pair_accuracy(
    pipeline: Pipeline, experiment: Experiment, task: str, name: str, row: ImportedRow
) -> Stage:
    """Pair accuracy of an imported checkpoint on a task's test preferences, in its own tokens."""
    assert experiment.evaluate.pair_accuracy is not None
    pairs = pipeline.preferences(task, experiment.tasks[task], "test", experiment.evaluate.pair_accuracy.samples)
    scores = _scores(pipeline, experiment, task, name, row, pairs, "pairs")
    label = f"pair accuracy {name} on {task}"
    return pipeline.graph.stage("pair_accuracy", {}, {"scores": scores, "pairs": pairs}, label=label)


def scores_best_of_n(pipeline: Pipeline, experiment: Experiment, task: str, name: str, row: ImportedRow) -> Stage:
    """Best-of-N of scores that somebody else made."""
    assert row.scores is not None
    candidates = pipeline.candidates(experiment, task)
    imported = pipeline.imported("scores", row.scores)
    inputs = {"scores": imported, "candidates": candidates}
    label = f"scores {name} on {task}"
    scores = pipeline.graph.stage("aligned_scores", _named_as(pipeline, task, row), inputs, label=label)
    return pipeline.judged_pool(experiment, candidates, scores, f"best-of-N {name} on {task}")


def scores_pair_accuracy(pipeline: Pipeline, experiment: Experiment, task: str, name: str, row: ImportedRow) -> Stage:
    """Pair accuracy of imported scores on the test preferences of an imported pool, whose sides are its candidates."""
    assert row.scores is not None
    assert experiment.evaluate.pair_accuracy is not None
    count = experiment.evaluate.pair_accuracy.samples
    pairs = pipeline.preferences(task, experiment.tasks[task], "test", count)
    inputs = {
        "scores": pipeline.imported("scores", row.scores),
        "candidates": pipeline.candidates(experiment, task),
        "pairs": pairs,
        # Says which pairs fit, and so which ones the arms are judged on.
        "tokens": pipeline.preference_tokens(experiment, task, "test", count),
    }
    label = f"scores {name} on {task} pairs"
    scores = pipeline.graph.stage("aligned_scores", _named_as(pipeline, task, row), inputs, label=label)
    return pipeline.graph.stage(
        "pair_accuracy", {}, {"scores": scores, "pairs": pairs}, label=f"pair accuracy {name} on {task}"
    )


def _named_as(pipeline: Pipeline, task: str, row: ImportedRow) -> dict[str, str]:
    """Which of a file's rows are about a task; all where it names none."""
    assert row.scores is not None
    return {"task": task if pipeline.imports["scores", row.scores].result["tasks"] else ""}


def _scores(
    pipeline: Pipeline, experiment: Experiment, task: str, name: str, row: ImportedRow, source: Stage, content: str
) -> Stage:
    assert row.checkpoint is not None
    checkpoint = pipeline.imported("checkpoint", row.checkpoint)
    tokens = pipeline.encode_with(
        checkpoint,
        source,
        content=content,
        max_tokens=row.max_tokens or experiment.tasks[task].max_tokens,
        limit=None,
        label=f"{content} {task} for {name}",
        text=row.text,
    )
    return pipeline.scored(experiment, checkpoint, tokens, f"{name} on {task} {content}")
