"""What a finished stage's outputs come down to, so that two runs on different machines can be compared.

Texts, numbers that are counted and token ids are digested; what comes out of floating-point training is described by
statistics that the last bits do not move.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from harness.store.artifacts import (
    Analysis,
    Candidates,
    CandidateScores,
    Checkpoint,
    Comparison,
    Corpus,
    CorpusPart,
    ImportedCheckpoint,
    Judgements,
    PairQuality,
    Pairs,
    PoolSplits,
    Problems,
    ProblemValues,
    Scores,
    Table,
    Tokenizer,
    Tokens,
    TrunkState,
    Writings,
)
from harness.store.record import Record

Summary = dict[str, Any]


def digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def table(kind: type[Table]) -> Callable[[Path, bool], Summary]:
    def summary(directory: Path, exact: bool) -> Summary:
        rows = kind(directory).rows()
        return {"rows": len(rows), "digest": digest(rows)}

    return summary


def tokenizer(directory: Path, exact: bool) -> Summary:
    content = json.loads(Tokenizer(directory).path.read_text(encoding="utf-8"))
    return {"digest": digest(content["model"])}


def tokens(directory: Path, exact: bool) -> Summary:
    reader = Tokens(directory).open()
    groups = [[segment.tolist() for segment in group] for group in reader]
    return {"groups": len(groups), "digest": digest([reader.rows.tolist(), groups])}


def weights(model: Path) -> Summary:
    """Root mean square and mean of every tensor."""
    found: Summary = {}
    for file in sorted(model.glob("*.safetensors")):
        for name, tensor in sorted(load_file(file).items()):
            values = tensor.astype(np.float64)
            found[f"{file.stem}/{name}"] = {"rms": float(np.sqrt((values**2).mean())), "mean": float(values.mean())}
    return found


def checkpoint(directory: Path, exact: bool) -> Summary:
    return weights(Checkpoint(directory).model)


def imported_checkpoint(directory: Path, exact: bool) -> Summary:
    made = ImportedCheckpoint(directory)
    chat = json.loads(made.chat.read_text(encoding="utf-8"))
    return {**weights(made.model), **tokenizer(directory, exact), "chat": chat}


def trunk_state(directory: Path, exact: bool) -> Summary:
    state = TrunkState(directory)
    (moments,) = (load_file(path) for path in (state.state / "optimizer").iterdir())
    return {**weights(state.model), "moments": float(np.mean([np.abs(moment).mean() for moment in moments.values()]))}


def scores(directory: Path, exact: bool) -> Summary:
    found = Scores(directory).read()
    values = found["score"].to_numpy()
    which = [found["group"].to_pylist(), found["response"].to_pylist()]
    if exact:
        return {"which": digest(which), "digest": digest(values.tolist())}
    return {"which": digest(which), "mean": float(values.mean()), "deviation": float(values.std())}


def values(directory: Path, exact: bool) -> Summary:
    """Of a trained scorer only which values there are: a last bit may swap two candidates."""
    rows = ProblemValues(directory).rows()
    if exact:
        return {"rows": len(rows), "digest": digest([{**row, "value": round(row["value"], 9)} for row in rows])}
    return {"rows": len(rows), "metrics": sorted({row["metric"] for row in rows})}


def analysis(directory: Path, exact: bool) -> Summary:
    """All rows counted; the numbers of those that no trained scorer enters."""
    content = json.loads(Analysis(directory).path.read_text(encoding="utf-8"))
    untrained = [
        {key: value for key, value in row.items() if isinstance(value, str | int | float)}
        for row in content["estimates"]
        if row["row"] in ("pool", "mean", "majority", "oracle", "length")
    ]
    return {**{name: len(rows) for name, rows in content.items()}, "untrained": untrained}


def comparison(directory: Path, exact: bool) -> Summary:
    """What was compared; the numbers are a trained scorer's."""
    content = json.loads(Comparison(directory).path.read_text(encoding="utf-8"))
    compared = [
        {"task": one["task"], "metric": one["metric"], "problems": one["problems"], "keys": sorted(one)}
        for one in content["compared"]
    ]
    return {"compared": compared, "refused": content["refused"]}


def pair_quality(directory: Path, exact: bool) -> Summary:
    """Numbers within rounding (a last bit moves a held-out area by less), and which examples are shown."""
    content = json.loads(PairQuality(directory).path.read_text(encoding="utf-8"))
    return {"numbers": content["numbers"], "examples": digest(content["examples"])}


def corpus_part(directory: Path, exact: bool) -> Summary:
    rows = [{**row, "shingles": row["shingles"].hex()} for row in CorpusPart(directory).rows()]
    return {"rows": len(rows), "digest": digest(rows)}


def nothing(directory: Path, exact: bool) -> Summary:
    """Of a stage that hands nothing on."""
    return {}


SUMMARIES: dict[str, Callable[[Path, bool], Summary]] = {
    "imported_checkpoint": imported_checkpoint,
    "imported_pairs": table(Pairs),
    "imported_pool": table(Candidates),
    "imported_scores": table(CandidateScores),
    "corpus_part": corpus_part,
    "corpus": table(Corpus),
    "pretrained": checkpoint,
    "descriptions_part": table(Writings),
    "writings_part": table(Writings),
    "pairs_part": table(Pairs),
    "pairs": table(Pairs),
    "split_pairs": table(Pairs),
    "judgements": table(Judgements),
    "consistent_part": table(Pairs),
    "pair_quality": pair_quality,
    "pair_gate": nothing,
    "problems": table(Problems),
    "preferences": table(Pairs),
    "candidates_part": table(Candidates),
    "candidates": table(Candidates),
    "pool_problems": table(PoolSplits),
    "pool_preferences": table(Pairs),
    "pool_candidates": table(Candidates),
    "tokenizer": tokenizer,
    "encode": tokens,
    "base": checkpoint,
    "trunk_state": trunk_state,
    "pretrain": checkpoint,
    "average": checkpoint,
    "finetune": checkpoint,
    "score": scores,
    "shallow_score": scores,
    "aligned_scores": scores,
    "best_of_n": values,
    "pool_baselines": values,
    "pair_accuracy": values,
    "analysis": analysis,
    "comparison": comparison,
}


def summarise(record: Record, directory: Path, *, exact: bool) -> Summary:
    """A stage's outputs and, where no floating-point training enters, its result.

    Args:
        exact: no trained scorer enters, so everything can be compared in full.
    """
    found: Summary = {"outputs": SUMMARIES[record.kind](directory, exact)}
    if exact:
        found["result"] = record.result
    elif "last" in record.result:  # a training: how many steps, and where its losses ended
        names = ("steps", "groups_trained", "tokens_trained", "last")
        found["result"] = {name: record.result[name] for name in names}
    return found
