"""Every candidate's score as Parquet files beside the report, one an evaluation: written once, read with any tool.

A file stays as it is until what it was made from changes; files of evaluations that are asked for no more are removed.
One evaluation is in memory at a time. What a pool gives without a scorer has no scores and no file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import CorruptArtifact
from harness.pipeline.graph import Stage
from harness.pipeline.tasks import CANDIDATES, POOL_CANDIDATES
from harness.plan.plan import POOL, Plan
from harness.recipe.fields import CODE
from harness.report.status import Statuses
from harness.store.artifacts import Candidates, Pairs, Scores
from harness.store.identity import SHORT
from harness.store.record import replacing, write_text
from harness.store.store import Store

SCORES, WRITTEN = "scores", "written.json"
COLUMNS = (
    "problem",
    "candidate",
    "source",
    "length",
    "correct",
    "score",
    "row",
    "pretrain_seed",
    "finetune_seed",
    "task",
)
POOLS = (CANDIDATES, POOL_CANDIDATES)
FORMAT = 1  # raised when files written before would have to be written again


@dataclass(frozen=True, kw_only=True)
class ScoreFiles:
    """What became of the files of one recipe: how many there are, and how many evaluations' scores cannot be read."""

    directory: Path
    there: int
    dropped: int


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """One evaluation with every row that it judges: a checkpoint before fine-tuning may be judged for several."""

    task: str
    stage: Stage
    rows: tuple[tuple[str, int | None, int | None], ...]

    @property
    def file(self) -> str:
        return f"{self.task}/{self.stage.fingerprint[:SHORT]}.parquet"

    @property
    def scores(self) -> Stage:
        return self.stage.inputs["scores"].stage

    @property
    def source(self) -> Stage:
        return self.stage.inputs["pairs" if "pairs" in self.stage.inputs else "candidates"].stage


def write_scores(plan: Plan, statuses: Statuses, store: Store, directory: Path) -> ScoreFiles:
    """Write what is done and not there yet into `directory`/scores, and remove what is asked for no more.

    Args:
        directory: the recipe's folder of reports.
    """
    folder = directory / SCORES
    there = {path.relative_to(folder).as_posix() for path in folder.glob("*/*.parquet")}
    written = _read_written(folder)
    kept: dict[str, str] = {}
    dropped = 0
    source: _Source | None = None
    for one in sorted(_evaluations(plan, statuses), key=lambda one: (one.source.fingerprint, one.file)):
        made_from = _made_from(one, statuses)
        if one.file in there and written.get(one.file) == made_from:
            kept[one.file] = made_from
        elif not all(_is_whole(needed, statuses, store) for needed in (one.scores, one.source)):
            dropped += 1
        else:
            if source is None or source.stage is not one.source:
                source = _Source.read(one.source, store)
            _write(one, source, store, folder / one.file)
            kept[one.file] = made_from
    for file in there - kept.keys():
        (folder / file).unlink(missing_ok=True)
    if kept != written:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / WRITTEN, json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return ScoreFiles(directory=folder, there=len(kept), dropped=dropped)


def _evaluations(plan: Plan, statuses: Statuses) -> Iterator[_Evaluation]:
    """The finished evaluations of a plan that have scores."""
    rows: dict[tuple[str, str], dict[tuple[str, int | None, int | None], None]] = {}
    named = [(setting.name, variant) for setting in plan.settings for variant in setting.variants]
    others = (*plan.references, *plan.imported)
    named += [(variant.setting, variant) for variant in others if variant.setting != POOL]
    for name, variant in named:
        for outcome in variant.outcomes:
            seed = None if outcome.task == CODE else variant.finetune_seed
            of_stage = rows.setdefault((outcome.task, outcome.stage.fingerprint), {})
            of_stage[(name, variant.pretrain_seed, seed)] = None
    for (task, fingerprint), names in rows.items():
        status = statuses[fingerprint]
        if status.record is not None:
            yield _Evaluation(task=task, stage=status.stage, rows=tuple(names))


def _made_from(one: _Evaluation, statuses: Statuses) -> str:
    """Changes with anything a file holds: scores, candidates and the names of rows."""
    digests = [statuses[stage.fingerprint].record for stage in (one.scores, one.source)]
    facts = [FORMAT, one.rows, [record and record.output_digest for record in digests]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _is_whole(stage: Stage, statuses: Statuses, store: Store) -> bool:
    """Whether a stage's files can be read and are what its record says; a run makes again what is not."""
    record = statuses[stage.fingerprint].record
    if record is None or not any(file.endswith(".parquet") for file in record.files) or not store.has_payload(record):
        return False
    try:
        store.verify(record)
    except CorruptArtifact:
        return False
    return True


def _read_written(folder: Path) -> Mapping[str, str]:
    try:
        written: dict[str, str] = json.loads((folder / WRITTEN).read_bytes())
    except (OSError, ValueError):
        return {}  # never written, or the note is damaged: then the files are written again
    return written if isinstance(written, dict) else {}


# ------------------------------------------------------------------------------------------------- one file


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What all scorers of one pool, or of one set of pairs, have in common: a table with a row a response.

    `starts` is (problems + 1,): where each problem's responses begin.
    """

    stage: Stage
    table: Any
    starts: Any

    @classmethod
    def read(cls, stage: Stage, store: Store) -> _Source:
        directory = store.directory(stage.kind.name, stage.fingerprint)
        if stage.kind in POOLS:
            return cls._of_candidates(stage, Candidates(directory))
        return cls._of_pairs(stage, Pairs(directory))

    @classmethod
    def _of_candidates(cls, stage: Stage, artifact: Candidates) -> _Source:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        from harness.stages.scored_rows import pool_starts

        rows = artifact.read()
        starts = pool_starts(rows["problem"].to_pylist())
        candidate = np.arange(len(rows)) - np.repeat(starts[:-1], np.diff(starts))
        has_source = "source" in rows.column_names
        source = rows["source"] if has_source else pa.array([_engine(stage)] * len(rows), pa.string())
        table = pa.table(
            {
                "problem": rows["problem"],
                "candidate": pa.array(candidate, pa.int64()),
                "source": source,
                "length": pc.cast(pc.utf8_length(rows["text"]), pa.int64()),
                "correct": rows["correct"],
            }
        )
        return cls(stage=stage, table=table, starts=starts)

    @classmethod
    def _of_pairs(cls, stage: Stage, artifact: Pairs) -> _Source:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        from harness.stages.scored_rows import pair_starts

        rows = artifact.read(columns=["id", "chosen", "rejected"])
        count = len(rows)
        lengths = [pc.cast(pc.utf8_length(rows[side]), pa.int64()).to_numpy() for side in ("chosen", "rejected")]
        table = pa.table(
            {
                "problem": rows["id"].take(pa.array(np.repeat(np.arange(count), 2))),
                "candidate": pa.array(np.tile(np.arange(2), count), pa.int64()),
                "source": pa.nulls(2 * count, pa.string()),
                "length": pa.array(np.stack(lengths, axis=1).ravel()),
                "correct": pa.array(np.tile([True, False], count)),
            }
        )
        return cls(stage=stage, table=table, starts=pair_starts(count))


def _engine(candidates: Stage) -> str | None:
    """Who wrote a pool, where its rows do not say so."""
    parts = [getattr(item.stage.spec, "engine", None) for item in candidates.inputs.values()]
    return parts[0] if parts else None


def _write(one: _Evaluation, source: _Source, store: Store, path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet

    from harness.stages.scored_rows import scores_by_row

    directory = store.directory(one.scores.kind.name, one.scores.fingerprint)
    scores = scores_by_row(Scores(directory), source.starts)
    scored = ~np.isnan(scores)  # pairs that did not fit were not
    table = source.table.append_column("score", pa.array(scores)).filter(pa.array(scored))
    pieces = [_named(table, one.task, *row) for row in one.rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pa.concat_tables(pieces), temporary, compression="zstd")


def _named(table: Any, task: str, row: str, pretrain_seed: int | None, finetune_seed: int | None) -> Any:
    """A table with the same row, seeds and task in every line."""
    import pyarrow as pa

    constants: Sequence[tuple[str, Any, Any]] = (
        ("row", row, pa.string()),
        ("pretrain_seed", pretrain_seed, pa.int64()),
        ("finetune_seed", finetune_seed, pa.int64()),
        ("task", task, pa.string()),
    )
    for name, value, kind in constants:
        table = table.append_column(name, pa.repeat(pa.scalar(value, kind), len(table)))
    assert tuple(table.column_names) == COLUMNS
    return table
