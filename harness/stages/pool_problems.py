"""pool_problems: which problem of an imported pool is in which split; no cluster and no question is in two."""

from __future__ import annotations

from typing import Any

from harness.errors import DataError
from harness.imports.deal import SPLITS, split_problems
from harness.pipeline.tasks import POOL_PROBLEMS
from harness.stages.context import StageContext
from harness.store.artifacts import Candidates, PoolSplits


def run(context: StageContext) -> dict[str, Any]:
    """Deal the clusters out by the data seed; check that questions do not cross."""
    spec = POOL_PROBLEMS.read(context.spec)
    rows = context.input("pool", Candidates).read().select(["problem", "cluster", "prompt", "index"]).to_pylist()
    first = {row["problem"]: row for row in rows if row["index"] == 0}
    clusters = {problem: row["cluster"] for problem, row in first.items()}
    splits = split_problems(clusters, spec.problems.model_dump(), spec.seed)
    where: dict[str, str] = {}
    for split, problems in splits.items():
        for problem in problems:
            prompt = first[problem]["prompt"]
            if where.setdefault(prompt, split) != split:
                raise DataError(
                    "no question may be in two splits",
                    f"{prompt[:80]!r} is in {where[prompt]} and {split}",
                    "give its problems one `cluster` in the file",
                )
    PoolSplits(context.directory).write(
        [
            {"problem": problem, "cluster": clusters[problem], "split": split}
            for split in SPLITS
            for problem in splits[split]
        ]
    )
    return {
        "problems": {split: len(splits[split]) for split in SPLITS},
        "clusters": {split: len({clusters[problem] for problem in splits[split]}) for split in SPLITS},
    }
