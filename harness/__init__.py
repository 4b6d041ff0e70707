"""Benchmark harness for code-preference-model pretraining (CodePMP, arXiv 2410.02229)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__version__ = "0.1.0"


def results(workdir: str | Path = "workdir", recipe: str | None = None) -> pd.DataFrame:
    """Every result of a workdir as a tidy table: a line a row of the board, seed, task and metric.

    Columns: recipe, kind (`setting` or `reference`), row, `axis.<name>` for every ablation axis, pretrain_seed and
    finetune_seed (Int64, missing where there is none), task, split (whose problems judge: `test`, `dev`, or `heldout`
    for code pairs), evaluation, metric, value (the mean over problems), problems, stage (kind/fingerprint, for
    `harness show`), done, retracted (why it counts no more, else ""). What is requested and not done yet has one line
    with the headline metric and no value. Reads records only.

    Example: the mean over seeds of every setting's BoN area

        table = harness.results("workdir", recipe="quickstart")
        area = table[(table.metric == "area") & (table.kind == "setting") & table.done]
        area.groupby(["task", "row"]).value.mean().unstack()

    Args:
        workdir: where a recipe was run.
        recipe: only this recipe, by name.

    Raises:
        StoreError: there is no report in the workdir, or none of this recipe.
    """
    from harness.report.results import results as read

    return read(workdir, recipe)


def scores(workdir: str | Path, recipe: str, task: str | None = None) -> pd.DataFrame:
    """Every candidate's score by every row of a recipe: a line a row of the board, seed, problem and candidate.

    Columns: problem, candidate (from 0; of pairs 0 is the chosen and 1 the rejected side), source (who wrote it,
    missing for pairs), length (characters), correct, score, row, pretrain_seed, finetune_seed, task. Of a large recipe
    read one task at a time; `to_parquet` keeps a table for other tools. Where all candidates of a problem are
    right, or all are wrong, models score none: `score` is missing. Scores that `gc` dropped are left out with a
    warning.

    Example: what each row picks from whole pools

        table = harness.scores("workdir", "quickstart", task="sorting")
        best = table.sort_values("score").groupby(["row", "finetune_seed", "problem"]).tail(1)
        best.groupby("row").correct.mean()

    Args:
        workdir: where a recipe was run.
        recipe: its name.
        task: only this task; `code` are the held-out code pairs.

    Raises:
        StoreError: there is no report of the recipe, or none of its evaluations is done.
        CorruptArtifact: scores, candidates or pairs are not as their record has them.
    """
    from harness.report.results import scores as read

    return read(workdir, recipe, task)
