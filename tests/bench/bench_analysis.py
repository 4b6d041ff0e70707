"""How long the analysis of many variants takes: `python -m tests.bench.bench_analysis` writes
tests/bench/results/analysis.json.

The first: 500 settings of five fine-tuning seeds, each with the values of 1,000 problems on every metric that Best-of-N
has at nine N, read from Parquet as the stage reads them. The second: 10,000 resamples of 1,000 problems at nine N.
Times are processor seconds, with wall time beside them, and no test: a slow machine is no error.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from harness.evaluation.statistics import cluster_bootstrap_means
from harness.events import EventLog
from harness.pipeline.comparing import AnalysisSpec, OutcomeSpec
from harness.pipeline.evaluations.best_of_n import DETAILS, area_of, point
from harness.stages import analysis
from harness.stages.context import Given, StageContext
from harness.store.artifacts import ProblemValues

RESULT = Path(__file__).parent / "results" / "analysis.json"
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
METRICS = (
    *(point(curve, size) for curve in ("", *DETAILS) for size in SIZES),
    *(area_of(curve) for curve in ("", *DETAILS)),
    *(f"right_over_wrong{kind}" for kind in ("", "_seen", "_unseen")),
)
SETTINGS, SEEDS, PROBLEMS = 500, 5, 1_000
RESAMPLES = 10_000


def write_values(folder: Path, seed: int, level: float, problems: int) -> None:
    """Values of one variant, in steps of a thousandth; every third problem shares its cluster with the one before."""
    rng = np.random.default_rng(seed)
    difficulty = np.random.default_rng(0).normal(0, 0.3, problems)
    noise = rng.normal(level, 0.1, (len(METRICS), problems))
    names = [f"problem-{number:05d}" for number in range(problems)]
    clusters = [f"cluster-{number - (number % 3 == 2):05d}" for number in range(problems)]
    folder.mkdir()
    columns = {
        "metric": np.repeat(METRICS, problems),
        "problem": names * len(METRICS),
        "cluster": clusters * len(METRICS),
        "value": np.round(np.clip(difficulty + noise, 0, 1), 3).ravel(),
    }
    ProblemValues(folder).write_table(pa.table(columns))


def context_of(folder: Path, settings: int, seeds: int, problems: int) -> StageContext:
    """An analysis of so many settings, its inputs written."""
    rows, inputs = [], {}
    for setting in range(settings):
        for seed in range(seeds):
            name = f"values-{setting:04d}-{seed}"
            write_values(folder / name, setting * seeds + seed, 0.5 + 0.2 * setting / settings, problems)
            inputs[name] = Given(directory=folder / name)
            rows.append(
                OutcomeSpec(
                    pretrain_seed=None,
                    finetune_seed=seed,
                    input=name,
                    row=f"setting {setting}",
                    kind=analysis.SETTING_KIND,
                    task="arithmetic",
                    evaluation="best_of_n",
                    data="pool",
                )
            )
    out = folder / "analysis"
    out.mkdir()
    spec = AnalysisSpec(rows=tuple(rows), baseline="setting 0", seed=0)
    return StageContext(spec=spec.identity(), inputs=inputs, directory=out, events=EventLog(out / "events.jsonl"))


def timed(work: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"cpu_seconds": round(time.process_time() - cpu, 2), "wall_seconds": round(time.perf_counter() - wall, 2)}


def variants(folder: Path, settings: int, seeds: int, problems: int) -> dict[str, Any]:
    context = context_of(folder, settings, seeds, problems)
    seconds = timed(lambda: analysis.run(context))
    context.events.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sizes = {"settings": settings, "seeds": seeds, "problems": problems, "metrics": len(METRICS)}
    return {**sizes, **seconds, "peak_gib": round(peak, 2)}


def resamples(problems: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    values = rng.random((problems, len(SIZES)))
    clusters = np.arange(problems)
    seconds = timed(lambda: cluster_bootstrap_means(values, clusters, resamples=RESAMPLES, seed=0))
    return {"problems": problems, "sizes": len(SIZES), "resamples": RESAMPLES, **seconds}


def main() -> None:
    """Measure both and write the results; `bench_analysis.py SETTINGS` takes fewer and writes none."""
    settings = int(sys.argv[1]) if len(sys.argv) > 1 else SETTINGS
    with tempfile.TemporaryDirectory() as folder:
        told = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "resamples": resamples(PROBLEMS),
            "variants": variants(Path(folder), settings, SEEDS, PROBLEMS),
        }
    print(json.dumps(told, indent=1))  # noqa: T201
    if len(sys.argv) == 1:
        RESULT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
