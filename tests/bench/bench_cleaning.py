"""How fast a corpus is made, by hand: `python -m tests.bench.bench_cleaning` writes tests/bench/results/cleaning.json.

End to end, with two worker processes of one thread, as `harness run` does it: the planned stages are run from lease to
record, so digests of inputs and records are in the time; starting the workers and importing the questions are not.

- `table`: a Parquet file of functions in normal form with their docstrings, checked against 600 questions. They are
  functions of installed packages, told apart by renaming most of their names at random, with one in ten an exact and
  one in ten a near copy (another name).
- `packages`: the very files of installed packages, where every line is parsed, documented or not.
- `copies`: finding copies alone, of made-up texts with random shingles, at a size where the index is far beyond any
  cache; memory is what the process grew by.

Rates are of all functions read, a wall second, and a processor second of the workers; on a machine with other work
only the latter say much. Beside it stands how long 28 million functions would take on 16 cores: reading is divided,
gathering (finding copies, writing) is one process after it.
"""

from __future__ import annotations

import json
import os
import platform
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from harness.corpus.clean import Copies
from harness.corpus.python_packages import read_functions
from harness.execution.executor import Outcome
from harness.execution.local import LocalExecutor
from harness.execution.runner import Runner, how_of
from harness.imports.files import content_digest
from harness.pipeline.corpus import corpus_stage
from harness.pipeline.graph import Graph, Stage
from harness.pipeline.imports import IMPORTED_POOL, AssetSpec
from harness.pipeline.kinds import KINDS
from harness.recipe.corpus import CorpusSource, Parquet, PythonPackages
from harness.recipe.runtime import Runtime
from harness.store.store import Store
from harness.tasks.registry import load_task

HERE = Path(__file__).parent
FUNCTIONS = 150_000
TEXTS = 1_000_000
SHINGLES = 55  # of a function of 243 characters
FILES = 28_000_000
CORES = 16
QUESTIONS = 600
CHECKED = {"decontaminate": {"against": ["asked"]}}
WORKERS = 2
PACKAGES = (
    "stdlib",
    "numpy",
    "pandas",
    "scipy",
    "matplotlib",
    "networkx",
    "sympy",
    "sklearn",
    "transformers",
    "mlflow",
)
_NAME = re.compile(r"\b[a-z_]{3,}\b")
_KEYWORDS = {"def", "for", "not", "and", "return", "while", "else", "elif", "yield", "self", "None", "raise", "try",
             "except", "with", "from", "import", "lambda", "pass", "break", "continue", "global", "nonlocal", "del",
             "assert", "async", "await", "class", "finally", "is", "in", "or", "as", "if"}  # fmt: skip


def renamed(source: str, chance: random.Random) -> str:
    """The function with most of its names replaced: another function to any duplicate finder."""
    names = sorted(set(_NAME.findall(source)) - _KEYWORDS)
    new = {name: f"{name[0]}{chance.randrange(16**5):x}" for name in names if chance.random() < 0.8}
    return _NAME.sub(lambda found: new.get(found.group(), found.group()), source)


def synthesised(count: int) -> list[tuple[str, str]]:
    """(docstring, source) of that many functions, copies among them."""
    known = [f for f in read_functions(["stdlib", "pandas", "scipy"]) if 80 <= len(f.source) <= 600]
    known = [f for f in known if len(f.docstring) >= 20]
    chance = random.Random(0)
    made: list[tuple[str, str]] = []
    while len(made) < count:
        function = known[len(made) % len(known)]
        draw = chance.random()
        if made and draw < 0.1:
            made.append(made[chance.randrange(len(made))])
        elif made and draw < 0.2:
            docstring, source = made[chance.randrange(len(made))]
            made.append((docstring, re.sub(r"def \w+", f"def copy{len(made)}", source, count=1)))
        else:
            made.append((function.docstring, renamed(function.source, chance)))
    return made


class Silent:
    """A listener of a run that has nothing to say."""

    def started(self, task: Any) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...

    def tick(self) -> None: ...


def asked(path: Path) -> Path:
    """A pool of questions that no document may hold."""
    task = load_task("gsm_symbolic")
    made = task.problems({"test": QUESTIONS}, seed=0)
    sides = [{"text": "1", "correct": True}, {"text": "2", "correct": False}]
    rows = [{"id": one.id, "question": one.prompt, "candidates": sides} for one in made]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def end_to_end(block: CorpusSource, folder: Path) -> dict[str, Any]:
    """Plan a corpus, run its stages, and say what they took."""
    graph = Graph()
    questions = asked(folder / "questions.jsonl")
    pool = graph.stage(IMPORTED_POOL, AssetSpec(digest=content_digest("pool", questions)))
    planned = time.perf_counter()
    corpus = corpus_stage(graph, block, {"pool-asked": pool}, 0)
    planned = time.perf_counter() - planned
    stages = [stage for stage in graph.in_order([corpus]) if stage is not pool]
    store = Store(folder / "store")
    store.create()
    preload = tuple(KINDS[kind].module for kind in ("imported_pool", "corpus_part", "corpus"))
    executor = LocalExecutor(slots=WORKERS, threads=1, gpus=(), preload=preload)
    words = {"name": "asked", "licence": "none", "source": "made here", "path": str(questions)}
    runner = Runner(store, executor, Silent(), {**how_of(Runtime()), "imported": words})
    try:
        first = runner.run([pool], [pool])
        spent = {outcome.worker: processor_seconds(outcome.worker) for outcome in first.computed}
        begun = time.perf_counter()
        summary = runner.run(stages, [pool, *stages])
        wall = time.perf_counter() - begun
        workers = {outcome.worker for outcome in summary.computed}
        processor = sum(processor_seconds(worker) - spent.get(worker, 0.0) for worker in workers)
    finally:
        executor.close()
    assert not summary.failed, summary.failed
    return {"planning_seconds": round(planned, 2), **told(store, stages, wall, processor)}


def told(store: Store, stages: list[Stage], wall: float, processor: float) -> dict[str, Any]:
    """What the records say, and rates."""
    records = {stage: store.record(stage.kind.name, stage.fingerprint) for stage in stages}
    facts = {stage: store.run_facts(record) for stage, record in records.items() if record is not None}
    *parts, corpus = stages
    gathering = facts[corpus]["seconds"]
    gathered = records[corpus]
    assert gathered is not None
    cleaning: Mapping[str, int] = gathered.result["cleaning"]
    read = cleaning["read"]
    return {
        "parts": len(parts),
        "counts": {name: count for name, count in cleaning.items() if count},
        "seconds": round(wall, 2),
        "functions_per_second": round(read / wall),
        "processor_seconds": round(processor, 2),
        "functions_per_processor_second": round(read / processor),
        "gathering_seconds": gathering,
        "gathering_share_of_wall": round(gathering / wall, 3),
        "microseconds_a_function": {
            "reading": round(1e6 * (processor - gathering) / read, 1),
            "gathering": round(1e6 * gathering / read, 1),
        },
        "peak_bytes": {
            "part": max(facts[part]["peak_memory_bytes"] for part in parts),
            "gathering": facts[corpus]["peak_memory_bytes"],
        },
        "stored_bytes": {
            "parts": sum(size for part in parts for _, size in getattr(records[part], "files", {}).values()),
            "corpus": sum(size for _, size in gathered.files.values()),
        },
    }


def processor_seconds(pid: int) -> float:
    """User and system seconds of a living process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(folder: Path, count: int) -> dict[str, Any]:
    functions = synthesised(count)
    rows = pa.table({"doc": [docstring for docstring, _ in functions], "code": [source for _, source in functions]})
    path = folder / "functions.parquet"
    pyarrow.parquet.write_table(rows, path, compression="zstd", row_group_size=5_000)
    columns = {"text": "code", "description": "doc"}
    block = {"kind": "parquet", "paths": [str(path)], "columns": columns, "language": "python", **CHECKED}
    mean = round(sum(len(source) for _, source in functions) / count)
    return {"functions": count, "mean_characters": mean, **end_to_end(Parquet.model_validate(block), folder)}


def packages(folder: Path) -> dict[str, Any]:
    named = {"packages": list(PACKAGES), "heldout": ["networkx"], "base": ["numpy"]}
    block = {"kind": "python_packages", **named, **CHECKED}
    return {"packages": list(PACKAGES), **end_to_end(PythonPackages.model_validate(block), folder)}


def copies(folder: Path, count: int) -> dict[str, Any]:
    """Finding copies among random texts; run in a process of its own, for its memory."""
    chance = np.random.default_rng(0)
    with Copies(near_duplicate_threshold=0.8, seed=0, scratch=folder, counts=Counter()) as found:
        before = resident()
        begun = time.process_time()
        for start in range(0, count, 1_000):
            shingles = list(chance.integers(0, 2**64, size=(1_000, SHINGLES), dtype=np.uint64))
            assert len(found.left(range(start, start + 1_000), shingles)) == 1_000
        seconds = time.process_time() - begun
        grown = resident() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {
        "texts": count,
        "microseconds_a_text": round(1e6 * seconds / count, 1),
        "bytes_a_text": round(grown / count),
        "peak_bytes_a_text": round(peak / count),
    }


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    if sys.argv[1:2] == ["copies"]:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(copies(Path(folder), TEXTS)))  # noqa: T201
        return
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "workers": WORKERS,
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "target_functions_per_second": 5_000,
    }
    with tempfile.TemporaryDirectory() as folder:
        result["table"] = table(Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else FUNCTIONS)
    if len(sys.argv) == 1:
        with tempfile.TemporaryDirectory() as folder:
            result["packages"] = packages(Path(folder))
        command = [sys.executable, __file__, "copies"]
        result["copies"] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    cost = result["table"]["microseconds_a_function"]
    reading, gathering = (FILES * cost[name] / 1e6 / 3_600 for name in ("reading", "gathering"))
    result["projected_hours"] = {
        "functions": FILES,
        "cores": CORES,
        "reading, divided": round(reading / CORES, 2),
        "gathering, one process": round(gathering, 2),
        "together": round(reading / CORES + gathering, 2),
    }
    result["load_after"] = [round(load, 2) for load in os.getloadavg()]
    if len(sys.argv) == 1:
        (HERE / "results" / "cleaning.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
