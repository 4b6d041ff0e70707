"""How fast pair quality is looked at, by hand: `python -m tests.bench.bench_quality` writes results/quality.json.

Pairs are mutations of installed packages, looked at by the whole stage as a worker runs it, in a process of its own a
size. Times are processor seconds of one core, and no test: a slow machine is no error. Memory is the process' peak.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.corpus.python_packages import read_functions
from harness.events import EventLog
from harness.pairs.construct import Mutated, Reference, by_docstring, construct
from harness.pairs.surface import Surface
from harness.recipe.pairs import USUAL_KINDS
from harness.stages import pair_quality
from harness.stages.context import Given, StageContext
from harness.store.artifacts import Pairs

HERE = Path(__file__).parent
PACKAGES = ("stdlib", "numpy", "pandas", "scipy", "matplotlib", "networkx")
SIZES = (5_000, 20_000)
SPEC = {"static": True, "min_consistency": 0.7, "most_pairs": 2_000, "seed": 0}


def make(folder: Path, count: int, packages: Sequence[str] = PACKAGES) -> None:
    """Write so many mutation pairs."""
    fit = [f for f in read_functions(packages) if 80 <= len(f.source) <= 600 and len(f.docstring) >= 20]
    functions = list({f.source: f for f in fit}.values())
    pairs, _ = construct(
        functions, start=0, stop=round(1.2 * count), seed=0, chosen=Reference(), rejected=Mutated(kinds=USUAL_KINDS),
        descriptions=by_docstring(200),
    )  # fmt: skip
    rows = [
        {
            "id": f"train-{pair.slot}",
            "cluster": pair.module,
            "prompt": pair.prompt,
            "chosen": pair.chosen,
            "rejected": pair.rejected,
            "detail": "; ".join(pair.edits),
        }
        for pair in pairs[:count]
    ]
    assert len(rows) == count, len(rows)
    Pairs(folder).write(rows)


def measure(folder: Path) -> dict[str, Any]:
    """Look at the pairs of a folder, here and now."""
    with tempfile.TemporaryDirectory() as directory:
        events = EventLog(Path(directory) / "events.jsonl")
        context = StageContext(
            spec=SPEC, inputs={"pairs": Given(directory=folder)}, directory=Path(directory), events=events
        )
        begun = time.process_time()
        numbers = pair_quality.run(context)
        seconds = time.process_time() - begun
        events.close()
    surface = Surface()
    begun = time.process_time()
    for row in Pairs(folder).stream():
        surface.add(row)
    counting = time.process_time() - begun
    return {
        "pairs": numbers["pairs"],
        "seconds": round(seconds, 2),
        "pairs_per_second": round(numbers["pairs"] / seconds),
        "seconds_of_counting_all": round(counting, 2),
        "pairs_counted_per_second": round(numbers["pairs"] / counting),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000),
        "numbers": numbers,
    }


def main() -> None:
    """Make the pairs, measure each size in a process of its own, write the results."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    results = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), size)
            done = subprocess.run(
                [sys.executable, __file__, folder], env=environment, capture_output=True, text=True, check=True
            )
        results[f"{size:,} pairs"] = json.loads(done.stdout)
    content = {"python": platform.python_version(), "machine": platform.machine(), "threads": 1, "sizes": results}
    target = HERE / "results" / "quality.json"
    target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(measure(Path(sys.argv[1]))))
    else:
        main()
