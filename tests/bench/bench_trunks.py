"""What trunks and branches save: `python -m tests.bench.bench_trunks` writes tests/bench/results/trunks.json.

Twelve pair counts a factor apart, as the paper's 0.1M to 28M, on one trunk against twelve runs of their own. Planned in
groups trained on, for the paper's counts and for the small ones that are run here; measured in seconds of the training
stages of a tiny model, one process of one thread, both in this run.
"""

from __future__ import annotations

import json
import math
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.cli.workspace import Workspace
from harness.pipeline.graph import Stage
from tests.integration.pipelines import record_of, run_up_to, tiny

HERE = Path(__file__).parent
POINTS = 12
PAPER = (100_000, 28_000_000)
SMALL = (8, 2_240)  # in the same proportion
COMMON = (  # a model so large that starting a stage and loading it is little beside training
    "model.hidden_size=256",
    "model.intermediate_size=640",
    "model.layers=4",
    "model.heads=4",
    "corpus.packages=[email, unittest, logging, http, pandas, sklearn, numpy]",
    "corpus.max_characters=600",
    "ablations.axes.loss=null",
    "evaluate.code_pairs.count=8",
    "pairs.quality.on_fail=warn",
    "runtime.checkpoint_seconds=3600",
    "runtime.loss_balance_every=0",
)
WSD = "pretrain.schedule={kind: wsd, decay: 0.1, warmup_pairs: %d}"
PAPER_SETTINGS = ("pretrain.global_batch=256", WSD % 10_000, "pairs.part_size=1000000")
SMALL_SETTINGS = ("pretrain.global_batch=4", WSD % 4, "pairs.part_size=500")


def counts(first: int, last: int) -> list[int]:
    factor = (last / first) ** (1 / (POINTS - 1))
    return sorted({round(first * factor**point) for point in range(POINTS)})


def planned(workdir: Path, sizes: Sequence[int], settings: Sequence[str]) -> Workspace:
    return tiny(workdir, *COMMON, *settings, f"pairs.count={max(sizes)}", f"ablations.axes={{pairs.count: {[*sizes]}}}")


def trainings(workspace: Workspace) -> list[Stage]:
    return [stage for stage in workspace.plan.stages if stage.kind.name in ("trunk_state", "pretrain")]


def groups(workspace: Workspace) -> int:
    return sum(stage.kind.reads(stage) for stage in trainings(workspace))


def of_plan(folder: Path, sizes: Sequence[int], settings: Sequence[str]) -> dict[str, Any]:
    """Groups trained on: all counts in one plan, and each in its own."""
    together = groups(planned(folder / "plan", sizes, settings))
    apart = sum(groups(planned(folder / "plan", [size], settings)) for size in sizes)
    return {"counts": list(sizes), "together": together, "apart": apart, "share": round(together / apart, 4)}


def seconds(workspace: Workspace) -> float:
    """Of the training stages, run here and now; what they read is made before."""
    stages = trainings(workspace)
    run_up_to(workspace, [item.stage for stage in stages for item in stage.inputs.values() if item.stage not in stages])
    run_up_to(workspace, stages, slots=1)
    return sum(float(workspace.store.run_facts(record_of(workspace.store, stage))["seconds"]) for stage in stages)


def of_run(folder: Path, sizes: Sequence[int], settings: Sequence[str]) -> dict[str, Any]:
    together = seconds(planned(folder / "together", sizes, settings))
    apart = {}
    for size in sizes:
        workdir = folder / "apart"
        shutil.copytree(folder / "together", workdir)
        for kind in ("trunk_state", "pretrain"):
            shutil.rmtree(workdir / "store" / kind)
        apart[size] = round(seconds(planned(workdir, [size], settings)), 2)
        shutil.rmtree(workdir)
    total = sum(apart.values())
    return {
        "together_seconds": round(together, 2),
        "apart_seconds": round(total, 2),
        "apart_by_count": apart,
        "share": round(together / total, 4),
    }


def make(small: tuple[int, int]) -> dict[str, Any]:
    sizes = counts(*small)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "points": len(sizes),
            "factor": math.exp(math.log(small[1] / small[0]) / (POINTS - 1)),
            "planned_paper": of_plan(folder, counts(*PAPER), PAPER_SETTINGS),
            "planned_small": of_plan(folder, sizes, SMALL_SETTINGS),
            "measured_small": of_run(folder, sizes, SMALL_SETTINGS),
        }


if __name__ == "__main__":
    told = {"python": platform.python_version(), "machine": platform.machine(), **make(SMALL)}
    if len(sys.argv) == 1:
        (HERE / "results" / "trunks.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))  # noqa: T201
