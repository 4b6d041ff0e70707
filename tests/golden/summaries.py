"""What a finished stage's outputs come down to: at most five values, so that two runs on different machines compare.

Texts, counts and token ids enter a digest. What floating-point training computes enters by means that the last bits do
not move.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from harness.pipeline.kinds import KINDS
from harness.store.artifacts import (
    Analysis,
    Artifact,
    Checkpoint,
    Comparison,
    CorpusPart,
    Effects,
    Failures,
    ImportedCheckpoint,
    PairQuality,
    ProblemValues,
    Scores,
    Table,
    Tokenizer,
    Tokens,
    TrunkState,
)
from harness.store.record import Record

Summary = dict[str, int | float | str]
Content = Callable[[Path, bool], Any]
"""A stage's folder, and whether no trained scorer enters, so that every value is exact -> plain data."""

ANSWERS = ("mean", "majority", "oracle", "length")
TRAINED = ("steps", "groups_trained", "tokens_trained", "last")


def digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def table(kind: type[Artifact]) -> Content:
    assert issubclass(kind, Table)

    def content(directory: Path, exact: bool) -> Any:
        rows = kind(directory).rows()
        return {"rows": len(rows), "digest": digest(rows)}

    return content


def tokenizer(directory: Path, exact: bool) -> Any:
    return json.loads(Tokenizer(directory).path.read_text(encoding="utf-8"))["model"]


def tokens(directory: Path, exact: bool) -> Any:
    reader = Tokens(directory).open()
    return [reader.rows.tolist(), [[segment.tolist() for segment in group] for group in reader]]


def weights(model: Path) -> dict[str, Any]:
    """Logarithm of the root mean square, and mean, of every tensor."""
    found = {}
    for file in sorted(model.glob("*.safetensors")):
        for name, tensor in sorted(load_file(file).items()):
            values = tensor.astype(np.float64)
            rms = float(np.sqrt((values**2).mean()))
            found[f"{file.stem}/{name}"] = [float(np.log(rms)) if rms else 0.0, float(values.mean())]
    return found


def checkpoint(directory: Path, exact: bool) -> Any:
    return weights(Checkpoint(directory).model)


def imported_checkpoint(directory: Path, exact: bool) -> Any:
    imported = ImportedCheckpoint(directory)
    return [weights(imported.model), tokenizer(directory, exact), json.loads(imported.chat.read_text(encoding="utf-8"))]


def trunk_state(directory: Path, exact: bool) -> Any:
    state = TrunkState(directory)
    (moments,) = (load_file(path) for path in (state.state / "optimizer").iterdir())
    return [weights(state.model), [float(np.log(np.abs(moment).mean() + 1e-12)) for moment in moments.values()]]


def scores(directory: Path, exact: bool) -> Any:
    found = Scores(directory).read()
    values = found["score"].to_numpy()
    which = [found["group"].to_pylist(), found["response"].to_pylist()]
    return [which, digest(values.tolist()) if exact else [float(values.mean()), float(values.std())]]


def values(directory: Path, exact: bool) -> Any:
    """Of a trained scorer only which values there are: a last bit may swap two candidates."""
    rows = ProblemValues(directory).rows()
    if exact:
        return [len(rows), digest([{**row, "value": round(row["value"], 9)} for row in rows])]
    return [len(rows), sorted({row["metric"] for row in rows})]


def analysis(directory: Path, exact: bool) -> Any:
    """All rows counted; the numbers of those that no trained scorer enters."""
    content = json.loads(Analysis(directory).path.read_text(encoding="utf-8"))
    untrained = [
        {key: value for key, value in row.items() if isinstance(value, str | int | float)}
        for row in content["estimates"]
        if row["row"] in ANSWERS
    ]
    return [{name: len(rows) for name, rows in content.items() if isinstance(rows, list)}, untrained]


def comparison(directory: Path, exact: bool) -> Any:
    """What was compared; the numbers are a trained scorer's."""
    content = json.loads(Comparison(directory).path.read_text(encoding="utf-8"))
    compared = [[one["task"], one["metric"], one["problems"], sorted(one)] for one in content["compared"]]
    return [compared, content["refused"]]


def effects(directory: Path, exact: bool) -> Any:
    """Which contrasts there are; the numbers are a trained scorer's."""
    content = json.loads(Effects(directory).path.read_text(encoding="utf-8"))
    return [
        [one["key"], one["why"], one.get("lacking"), one.get("problems"), sorted(one)] for one in content["contrasts"]
    ]


def failures(directory: Path, exact: bool) -> Any:
    """Which numbers there are; what they are is a trained scorer's."""
    content = json.loads(Failures(directory).path.read_text(encoding="utf-8"))
    return [
        sorted(content),
        [one["feature"] for one in content["bias"]],
        [one["name"] for one in content["calibration"]],
        [one["over"] for one in content["ensembles"]],
        content["key_size"],
    ]


def pair_quality(directory: Path, exact: bool) -> Any:
    content = json.loads(PairQuality(directory).path.read_text(encoding="utf-8"))
    return [content["numbers"], content["examples"]]


def corpus_part(directory: Path, exact: bool) -> Any:
    return [{**row, "shingles": row["shingles"].hex()} for row in CorpusPart(directory).rows()]


def nothing(directory: Path, exact: bool) -> Any:
    """Of a stage that hands nothing on."""
    return None


CONTENTS: dict[type[Artifact], Content] = {
    Artifact: nothing,
    ImportedCheckpoint: imported_checkpoint,
    CorpusPart: corpus_part,
    Failures: failures,
    PairQuality: pair_quality,
    Tokenizer: tokenizer,
    Tokens: tokens,
    Checkpoint: checkpoint,
    TrunkState: trunk_state,
    Scores: scores,
    ProblemValues: values,
    Analysis: analysis,
    Comparison: comparison,
    Effects: effects,
}
"""What there is of artifacts that are no tables of texts, counts and answers."""


def content_of(kind: str) -> Content:
    artifact = KINDS[kind].artifact
    return CONTENTS[artifact] if artifact in CONTENTS else table(artifact)


def floats(data: Any) -> Iterator[float]:
    """Every float of plain data, in order."""
    if isinstance(data, float):
        yield data
    elif isinstance(data, dict):
        for key in sorted(data):
            yield from floats(data[key])
    elif isinstance(data, list | tuple):
        for one in data:
            yield from floats(one)


def without_floats(data: Any) -> Any:
    if isinstance(data, float):
        return None
    if isinstance(data, dict):
        return {key: without_floats(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [without_floats(one) for one in data]
    return data


def condense(data: Any) -> Summary:
    """Plain data in at most three values: a digest of all but its floats, and two means over those."""
    numbers = np.array(list(floats(data)))
    numbers = np.arcsinh(numbers[np.isfinite(numbers)])  # so that one large number does not hide the others
    found: Summary = {"digest": digest(without_floats(data))}
    if numbers.size:
        found.update(mean=float(numbers.mean()), rms=float(np.sqrt((numbers**2).mean())))
    return found


def summarise(record: Record, directory: Path, *, exact: bool) -> Summary:
    """A stage's outputs and, where no floating-point training enters, its result.

    Args:
        exact: no trained scorer enters, so everything can be compared in full.
    """
    result: Any = None
    if exact:
        result = record.result
    elif "last" in record.result:  # a training: how many steps, and where its losses ended
        result = {name: record.result[name] for name in TRAINED}
    return condense([content_of(record.kind)(directory, exact), result])
