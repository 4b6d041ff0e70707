"""How fast cleaning is, by hand: `python tests/bench/bench_cleaning.py` writes tests/bench/results/cleaning.json.

The corpus are functions of installed packages, told apart by renamed variables and numbers, with one in ten an exact
and one in ten a near copy. One process; rates are of processor seconds, so that a busy machine does not show.
Measured: normalised functions through exact and near deduplication
alone, and a Parquet file of raw functions through the whole corpus stage (parse, print, bounds, decontamination,
deduplication, split, write).
"""

from __future__ import annotations

import json
import platform
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from harness.corpus.clean import Bounds, clean
from harness.corpus.document import Document
from harness.corpus.near import NearDuplicates
from harness.corpus.python_packages import read_functions
from harness.events import EventLog
from harness.plan.sources import resolve_corpus
from harness.recipe.corpus import Parquet
from harness.recipe.schema import identity_of
from harness.stages import corpus
from harness.stages.context import Given, StageContext
from harness.store.artifacts import Problems
from harness.tasks.registry import load_task

HERE = Path(__file__).parent
FUNCTIONS = 50_000
FILES = 28_000_000
CORES = 16
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


def document(docstring: str, source: str) -> Document:
    return Document(
        cluster="c", path="p", name="f", unit="function", language="python", description=docstring, text=source
    )


def deduplication(functions: list[tuple[str, str]], folder: Path) -> dict[str, Any]:
    """Exact and near deduplication of texts, nothing else."""
    begun = time.perf_counter()
    texts = list(dict.fromkeys(source for _, source in functions))
    copies: list[int | None] = []
    with NearDuplicates(threshold=0.8, seed=0, scratch=folder) as near:
        for start in range(0, len(texts), 1_000):
            copies += near.copies(texts[start : start + 1_000])
    near_copies = sum(copy is not None for copy in copies)
    return {"seconds": time.perf_counter() - begun, "exact": len(functions) - len(texts), "near": near_copies}


def cleaning(functions: list[tuple[str, str]], folder: Path) -> dict[str, Any]:
    """What the corpus stage does with functions that are in normal form: parse, bounds, exact and near duplicates."""
    counts: Counter[str] = Counter()
    begun = time.perf_counter()
    for _ in clean(
        (document(*one) for one in functions),
        bounds=Bounds(min_characters=80, max_characters=600, min_description_characters=20),
        is_contaminated=lambda document: False,
        near_duplicate_threshold=0.8,
        seed=0,
        scratch=folder,
        counts=counts,
    ):
        pass
    return {"seconds": time.perf_counter() - begun, **{name: count for name, count in counts.items() if count}}


def whole_stage(functions: list[tuple[str, str]], folder: Path) -> dict[str, Any]:
    """The corpus stage on a Parquet file of functions, checked against the problems of a task."""
    table = pa.table({"doc": [docstring for docstring, _ in functions], "code": [source for _, source in functions]})
    pyarrow.parquet.write_table(table, folder / "functions.parquet", compression="zstd")
    (folder / "problems").mkdir()
    problems = load_task("gsm_symbolic").problems({"dev": 100, "test": 500}, seed=0, options={})
    Problems(folder / "problems").write(
        [
            {name: getattr(problem, name) for name in ("id", "cluster", "split", "prompt", "answer", "solution")}
            | {"text": "", "metadata": "{}"}
            for problem in problems
        ]
    )
    columns = {"text": "code", "description": "doc"}
    paths = [str(folder / "functions.parquet")]
    block = Parquet.model_validate({"kind": "parquet", "paths": paths, "columns": columns, "language": "python"})
    (folder / "corpus").mkdir()
    events = EventLog(folder / "events.jsonl")
    context = StageContext(
        spec={**identity_of(block), **resolve_corpus(block), "seed": 0},
        inputs={"problems-sums": Given(directory=folder / "problems")},
        directory=folder / "corpus",
        events=events,
    )
    begun = time.perf_counter()
    result = corpus.run(context)
    seconds = time.perf_counter() - begun
    events.close()
    return {
        "seconds": seconds,
        "kept": result["cleaning"]["kept"],
        "contamination": result["contamination"]["documents"],
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else FUNCTIONS
    functions = synthesised(count)
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "functions": count,
        "mean_characters": round(sum(len(source) for _, source in functions) / count),
        "target_functions_per_second": 5_000,
    }
    for name, measure in {"deduplication": deduplication, "cleaning": cleaning, "whole_stage": whole_stage}.items():
        processor = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = measure(functions, Path(folder))
        found["processor_seconds"] = time.process_time() - processor
        found["functions_per_processor_second"] = round(count / found["processor_seconds"])
        result[name] = {key: round(value, 2) for key, value in found.items()}
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rate = result["whole_stage"]["functions_per_processor_second"]
    result["projected_hours"] = {
        "functions": FILES,
        "one core, as the stage runs": round(FILES / rate / 3_600, 2),
        f"{CORES} cores, if sources are divided and nothing else limits": round(FILES / rate / 3_600 / CORES, 2),
    }
    if len(sys.argv) == 1:
        (HERE / "results" / "cleaning.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
