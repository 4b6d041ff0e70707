"""How fast mutation pairs are made, by hand: `python -m tests.bench.bench_mutation` writes results/mutation.json.

Functions of the standard library of the quickstart's lengths, one to three edits each, as a `pairs_part` makes them, in
as many processes as there are cores. `pairs_per_processor_second` is of one core and does not show a busy machine.
"""

from __future__ import annotations

import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from harness.corpus.python_packages import read_functions
from harness.pairs.construct import Mutated, Reference, by_docstring, construct
from harness.recipe.pairs import USUAL_KINDS

HERE = Path(__file__).parent
SLOTS = 10_000  # a process
TARGET = 2_000  # pairs a second on two cores


def make(start: int) -> dict[str, float]:
    """The pairs of a range of slots, reading not counted."""
    functions = [f for f in read_functions(["stdlib"]) if 80 <= len(f.source) <= 600 and len(f.docstring) >= 20]
    begun, processor = time.perf_counter(), time.process_time()
    _, counts = construct(
        functions,
        start=start,
        stop=start + SLOTS,
        seed=0,
        chosen=Reference(),
        rejected=Mutated(kinds=USUAL_KINDS),
        descriptions=by_docstring(200),
    )
    return {
        "pairs": counts["pairs"],
        "slots": SLOTS,
        "seconds": round(time.perf_counter() - begun, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
    }


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores) as pool:
        found = list(pool.map(make, range(0, cores * SLOTS, SLOTS)))
    pairs = sum(one["pairs"] for one in found)
    processor = sum(one["processor_seconds"] for one in found)
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": cores,
        "processes": found,
        "pairs_per_second": round(pairs / max(one["seconds"] for one in found)),
        "pairs_per_processor_second": round(pairs / processor),
        "target_on_two_cores": TARGET,
        "on_two_cores": round(2 * pairs / processor),
    }
    (HERE / "results" / "mutation.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
