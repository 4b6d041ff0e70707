"""A workdir's results as pandas tables, for notebooks: from indexes, records and artifacts. Computes nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import CorruptArtifact, StoreError
from harness.pipeline.evaluations import evaluation_of, headline
from harness.pipeline.tasks import CANDIDATES
from harness.pipeline.tokens import LIKELIHOOD
from harness.recipe.fields import CODE
from harness.report.index import INDEX, Index, OutcomeEntry, read_index, read_indexes
from harness.report.rows import Row, retraction, rows_of
from harness.report.words import plural
from harness.store.artifacts import Candidates, Pairs, Scores
from harness.store.identity import SHORT
from harness.store.record import Record
from harness.store.retractions import Retraction, read_retractions
from harness.store.store import Snapshot, Store

if TYPE_CHECKING:
    import pandas as pd

STORE, REPORTS = "store", "reports"
SEEDS = ("pretrain_seed", "finetune_seed")


def results(workdir: str | Path = "workdir", recipe: str | None = None) -> pd.DataFrame:
    """See `harness.results`."""
    import pandas as pd

    folder = Path(workdir)
    indexes = read_all(folder) if recipe is None else [_index(folder, recipe)]
    axes = list(dict.fromkeys(axis for index in indexes for entry in index.outcomes for axis in entry.axes))
    axes = list(dict.fromkeys([*(axis.name for index in indexes for axis in index.axes), *axes]))
    snapshot, retractions = Snapshot(Store(folder / STORE)), read_retractions(folder / STORE)
    lines = [line for index in indexes for row in rows_of(index) for line in _lines(row, axes, snapshot, retractions)]
    columns = [
        *("recipe", "kind", "row"),
        *(f"axis.{axis}" for axis in axes),
        *(*SEEDS, "task", "split", "evaluation", "metric", "value", "problems", "stage", "done", "retracted"),
    ]
    table = pd.DataFrame(lines, columns=columns)
    whole = {name: "Int64" for name in (*SEEDS, "problems")}
    return table.astype({**whole, **_numeric(indexes, axes), "value": "float64", "done": "bool"})


def _numeric(indexes: list[Index], axes: list[str]) -> dict[str, str]:
    """Types of the columns of axes that are numbers in every recipe that has them."""
    found = {}
    for name in axes:
        values = [
            value.number for index in indexes for axis in index.axes if axis.name == name for value in axis.values
        ]
        old = any(name in entry.axes for index in indexes if not index.axes for entry in index.outcomes)
        if None not in values and not old:
            found[f"axis.{name}"] = "Int64" if all(isinstance(one, int) for one in values) else "float64"
    return found


def read_all(workdir: Path) -> list[Index]:
    """The index of every recipe of a workdir.

    Raises:
        StoreError: there is none, or one is unreadable.
    """
    found = list(read_indexes(workdir / REPORTS))
    if not found:
        raise StoreError("a workdir needs a report", f"{workdir} has none", "run `harness report` on a recipe")
    return found


def _index(workdir: Path, recipe: str) -> Index:
    """The index of one recipe of a workdir.

    Raises:
        StoreError: the workdir has no report of it, or its index is unreadable.
    """
    found = sorted(path.parent.name for path in (workdir / REPORTS).glob(f"*/{INDEX}"))
    if found and recipe not in found:
        raise StoreError(f"no recipe {recipe!r} in {workdir}", "", f"reported here: {', '.join(found)}")
    return read_index(workdir / REPORTS / recipe)


def _lines(
    row: Row, axes: list[str], snapshot: Snapshot, retractions: Mapping[str, Retraction]
) -> Iterator[tuple[Any, ...]]:
    known = {axis.name: axis for axis in row.index.axes}
    for entry in row.outcomes:
        evaluation = evaluation_of(entry.evaluation).name
        kind = row.index.stages[entry.stage].kind
        record = snapshot.record(kind, entry.stage)
        head = (
            *(row.index.recipe, row.kind, row.name),
            *(known[axis].plain(entry.axes) if axis in known else entry.axes.get(axis) for axis in axes),
            *(entry.pretrain_seed, entry.finetune_seed, entry.task, row.index.split_of(entry.task), evaluation),
        )
        tail = (f"{kind}/{entry.stage[:SHORT]}", record is not None, retraction(row, entry, retractions))
        if record is None:
            yield (*head, headline(evaluation), None, None, *tail)
            continue
        problems = record.result.get("problems", record.result.get("pairs"))
        for metric, value in record.result["means"].items():
            if not row.pool:
                yield (*head, metric, value, problems, *tail)
            elif metric.startswith(f"{row.pool}/"):  # the pools' table holds every baseline
                yield (*head, metric.removeprefix(f"{row.pool}/"), value, problems, *tail)


# -------------------------------------------------------------------------------------------------- scores


def scores(workdir: str | Path, recipe: str, task: str | None = None) -> pd.DataFrame:
    """See `harness.scores`."""
    import pandas as pd

    store = Store(Path(workdir) / STORE)
    index, snapshot = _index(Path(workdir), recipe), Snapshot(store)
    responses: dict[tuple[str, ...], tuple[pd.DataFrame, Any]] = {}  # by what is judged on, which rows share
    tables: list[pd.DataFrame] = []
    dropped: set[str] = set()
    for row, entry, pretrain_seed, finetune_seed in _scored(index, task):
        inputs = index.stages[entry.stage].inputs
        judged_on = tuple(inputs[name] for name in ("pairs", "candidates") if name in inputs)  # pairs of a pool: both
        needed = [snapshot.record(index.stages[key].kind, key) for key in (entry.stage, inputs["scores"], judged_on[0])]
        evaluation, scored, source = needed
        if evaluation is None:  # not done yet
            continue
        if scored is None or source is None or not (store.has_payload(scored) and store.has_payload(source)):
            dropped.add(entry.stage)
            continue
        if judged_on not in responses:
            _must_be_whole(source, store)
            pool = snapshot.record(CANDIDATES.name, judged_on[1]) if len(judged_on) > 1 else None
            responses[judged_on] = _responses(source, store, snapshot, index, pool)
        _must_be_whole(scored, store)
        table = _with_scores(*responses[judged_on], Scores(store.directory(scored.kind, scored.fingerprint)))
        told = {"row": row, "pretrain_seed": pretrain_seed, "finetune_seed": finetune_seed, "task": entry.task}
        tables.append(table.assign(**told, evaluation=evaluation_of(entry.evaluation).name))
    if dropped:
        left_out = f"scores of {plural(len(dropped), 'evaluation')} were dropped and are left out"
        warnings.warn(left_out, stacklevel=3)
    if not tables:
        what = f"{recipe!r} has none" + ("" if task is None else f" on {task!r}") + f" in {workdir}"
        raise StoreError("there must be scores to read", what, "run the recipe")
    return pd.concat(tables, ignore_index=True).astype({name: "Int64" for name in SEEDS})


def _must_be_whole(record: Record, store: Store) -> None:
    damage = store.damage(record)
    if damage:
        directory = store.directory(record.kind, record.fingerprint)
        raise CorruptArtifact(
            "an artifact must match its record", damage, f"delete {directory} and run its recipe again"
        )


def _scored(index: Index, task: str | None) -> Iterator[tuple[str, OutcomeEntry, int | None, int | None]]:
    """Every (row, evaluation, seeds) with rewards, once: code pairs are judged before any fine-tuning seed."""
    seen = set()
    for entry in index.outcomes:
        finetune_seed = None if entry.task == CODE else entry.finetune_seed
        one = (entry.row, entry.kind, entry.stage, entry.pretrain_seed, finetune_seed)
        scores = index.stages[entry.stage].inputs.get("scores")
        rewards = scores is not None and index.stages[scores].kind != LIKELIHOOD.name
        if task in (None, entry.task) and rewards and one not in seen:
            seen.add(one)
            yield entry.row, entry, entry.pretrain_seed, finetune_seed


def _responses(
    source: Record, store: Store, snapshot: Snapshot, index: Index, pool: Record | None
) -> tuple[pd.DataFrame, Any]:
    """A pool or a set of pairs with a line a response, and (problems + 1,): where each problem's responses begin.

    Args:
        pool: the pool whose candidates pairs are made of, which knows who wrote them.
    """
    import numpy as np
    import pandas as pd

    from harness.stages.pools import side_facts
    from harness.stages.scored_rows import pair_starts, pool_starts

    directory = store.directory(source.kind, source.fingerprint)
    if source.kind == CANDIDATES.name:
        rows = Candidates(directory).read().to_pandas()
        starts = pool_starts(rows["problem"])
        rows["candidate"] = np.arange(len(rows)) - np.repeat(starts[:-1], np.diff(starts))
        if "source" not in rows:
            parts = [
                snapshot.record(index.stages[key].kind, key) for key in index.stages[source.fingerprint].inputs.values()
            ]
            rows["source"] = next((part.identity["spec"].get("engine") for part in parts if part is not None), None)
    else:
        pairs = Pairs(directory).read(columns=["id", "chosen", "rejected"]).to_pandas()
        starts = pair_starts(len(pairs))
        rows = pd.DataFrame(
            {
                "problem": pairs["id"].repeat(2),
                "candidate": np.tile([0, 1], len(pairs)),
                "source": None,
                "pool": pairs["id"].str.rpartition("#")[0].repeat(2),
                "text": pairs[["chosen", "rejected"]].to_numpy().ravel(),
                "correct": np.tile([True, False], len(pairs)),
            }
        )
        if pool is not None and store.has_payload(pool):
            _must_be_whole(pool, store)
            writers = side_facts(Candidates(store.directory(pool.kind, pool.fingerprint)), "source")
            rows["source"] = [writers.get(one) for one in zip(rows["pool"], rows["text"], strict=True)]
    rows["length"] = rows["text"].str.len()
    return rows[["problem", "candidate", "source", "length", "correct"]].reset_index(drop=True), starts


def _with_scores(responses: pd.DataFrame, starts: Any, artifact: Scores) -> pd.DataFrame:
    """Without pairs that did not fit. A problem whose candidates are all right or all wrong counts without scores."""
    from harness.stages.scored_rows import scores_by_row

    table = responses.assign(score=scores_by_row(artifact, starts))
    decided = table.groupby("problem").correct.transform("nunique") == 1
    return table[table.score.notna() | decided]
