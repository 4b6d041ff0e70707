"""Pairs in volume, by hand: `python -m tests.bench.bench_volume` writes tests/bench/results/volume.json.

Pairs of realistic length (functions of the standard library, told apart by a number) are written in parts, gathered,
looked at, encoded and read in order; the same pairs are imported from several files and split; and of a corpus of as
many functions some parts' pairs are constructed by one warm worker; all by the code that stages run. Each step is a
process of its own, so that its peak memory is its own. Takes about half an hour.
"""

from __future__ import annotations

import json
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SIZES = (500_000, 2_000_000)
PART = 50_000
MAX_TOKENS = 256
SLOTS = 2_000  # a part's, as by default
PARTS = 20  # constructed by one worker


def texts() -> list[tuple[str, str, str]]:
    """(prompt, chosen, rejected) of mutated standard-library functions of the quickstart's lengths."""
    from harness.corpus.python_packages import read_functions
    from harness.pairs.construct import Mutated, Reference, by_docstring, construct
    from harness.recipe.pairs import USUAL_KINDS

    functions = [f for f in read_functions(["stdlib"]) if 80 <= len(f.source) <= 600 and len(f.docstring) >= 20]
    pairs, _ = construct(
        functions,
        start=0,
        stop=2_000,
        seed=0,
        chosen=Reference(),
        rejected=Mutated(kinds=USUAL_KINDS),
        descriptions=by_docstring(200),
    )
    return [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs]


def rows(known: list[tuple[str, str, str]], start: int, stop: int) -> Iterator[dict[str, str]]:
    """Distinct pairs: a number in the prompt and in both sides."""
    for number in range(start, stop):
        prompt, chosen, rejected = known[number % len(known)]
        yield {
            "id": f"train-{number}",
            "cluster": f"module{number % 997}",
            "prompt": f"# Number {number}.\n{prompt}",
            "chosen": f"{chosen}\n    # {number}",
            "rejected": f"{rejected}\n    # {number}",
            "detail": "constant",
        }


def context(folder: Path, spec: dict[str, Any], inputs: dict[str, Path], **imported: str) -> Any:
    from harness.events import EventLog
    from harness.stages.context import Given, HowToRun, StageContext

    folder.mkdir(exist_ok=True)
    given = {name: Given(directory=path) for name, path in inputs.items()}
    events = EventLog(folder / "events.jsonl")
    return StageContext(spec=spec, inputs=given, directory=folder, events=events, how=HowToRun(imported=imported))


def write(folder: Path, count: int) -> dict[str, float]:
    from harness.store.artifacts import Pairs

    known = texts()
    begun = time.perf_counter()
    for number, start in enumerate(range(0, count, PART)):
        part = folder / f"part-{number:05d}"
        part.mkdir()
        Pairs(part).write(rows(known, start, min(start + PART, count)))
    seconds = time.perf_counter() - begun
    size = sum(path.stat().st_size for path in folder.glob("part-*/*.parquet"))
    return {"seconds": seconds, "bytes_per_pair": size / count}


def gather(folder: Path, count: int) -> dict[str, float]:
    from harness.stages import pairs

    parts = {path.name: path for path in folder.glob("part-*")}
    begun = time.perf_counter()
    result = pairs.run(context(folder / "pairs", {}, parts))
    assert result["groups"] == count
    return {"seconds": time.perf_counter() - begun, "characters_per_pair": result["characters"] / count}


def look(folder: Path, count: int) -> dict[str, float]:
    from harness.stages import pair_quality

    spec = {"static": True, "min_consistency": 0.7, "most_pairs": 2_000, "seed": 0}
    begun = time.perf_counter()
    result = pair_quality.run(context(folder / "quality", spec, {"pairs": folder / "pairs"}))
    return {"seconds": time.perf_counter() - begun, "pairs_parsed": result.get("pairs_read", count)}


def bring_in(folder: Path, count: int) -> dict[str, float]:
    """Files without clusters, so that those are found by the prompts."""
    import pyarrow.parquet

    from harness.imports.files import content_digest
    from harness.stages import imported_pairs

    shards = folder / "shards"
    shards.mkdir()
    for part in sorted((folder / "pairs").glob("*.parquet")):
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(part).drop_columns("cluster"), shards / part.name)
    spec, words = {"digest": content_digest("pairs", shards)}, {"name": "n", "licence": "l", "source": "s"}
    begun = time.perf_counter()
    result = imported_pairs.run(context(folder / "imported", spec, {}, path=str(shards), **words))
    seconds = time.perf_counter() - begun
    shutil.rmtree(shards)
    return {"seconds": seconds, "clusters": result["clusters"]}


def split(folder: Path, count: int) -> dict[str, float]:
    from harness.stages import split_pairs

    spec = {"split": "train", "seed": 0, "heldout": 0.01}
    begun = time.perf_counter()
    result = split_pairs.run(context(folder / "split", spec, {"pairs": folder / "imported"}))
    return {"seconds": time.perf_counter() - begun, "pairs_kept": result["groups"]}


def construct(folder: Path, count: int) -> dict[str, float]:
    """Slots a second; the corpus has as many functions as there are pairs."""
    from harness.recipe.pairs import USUAL_KINDS
    from harness.stages import pairs_part
    from harness.store.artifacts import Corpus

    known = texts()
    (folder / "corpus").mkdir()
    unit = {"split": "train", "cluster": "c", "unit": "function", "language": "python", "licence": ""}
    Corpus(folder / "corpus").write(
        {**unit, "path": f"m{number}", "name": f"f{number}", "description": prompt, "text": f"{chosen}\n    # {number}"}
        for number in range(count)
        for prompt, chosen, _ in [known[number % len(known)]]
    )
    spec = {
        **{"split": "train", "seed": 0, "prompt": {"from": "docstring", "max_characters": 200}},
        **{"chosen": {"from": "reference"}, "rejected": {"from": "mutation", "edits": [1, 3], "kinds": USUAL_KINDS}},
    }
    begun = time.perf_counter()
    made = 0
    for number in range(PARTS):
        slots = {"start": number * SLOTS, "stop": (number + 1) * SLOTS}
        result = pairs_part.run(context(folder / f"made-{number}", {**spec, **slots}, {"corpus": folder / "corpus"}))
        made += result["groups"]
    return {"seconds": time.perf_counter() - begun, "done": PARTS * SLOTS, "pairs_made": made}


def encode(folder: Path, count: int) -> dict[str, float]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from harness.stages import encode

    (folder / "tokenizer").mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2048, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((text for pair in texts() for text in pair), trainer)
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    spec = {"content": "pairs", "max_tokens": MAX_TOKENS, "limit": None, "text": "raw", "end_token": "none"}
    begun = time.perf_counter()
    inputs = {"tokenizer": folder / "tokenizer", "source": folder / "pairs"}
    result = encode.run(context(folder / "tokens", spec, inputs))
    return {
        "seconds": time.perf_counter() - begun,
        "pairs_that_fit": result["groups"],
        "tokens_per_pair": result["tokens"] / result["groups"],
    }


def read(folder: Path, count: int) -> dict[str, float]:
    from harness.store.artifacts import Tokens

    reader = Tokens(folder / "tokens").open()
    total = 0
    begun = time.perf_counter()
    for group in reader:
        total += group[1][-1]  # a token of every pair is looked at
    seconds = time.perf_counter() - begun
    assert total
    return {"seconds": seconds, "pairs_read": len(reader)}


STEPS = {
    "write": write,
    "gather": gather,
    "look": look,
    "import": bring_in,
    "split": split,
    "construct": construct,
    "encode": encode,
    "read": read,
}


def step(name: str, folder: Path, count: int) -> dict[str, Any]:
    """One step in a process of its own."""
    told = subprocess.run(
        [sys.executable, __file__, name, str(folder), str(count)], check=True, capture_output=True, text=True
    ).stdout
    result: dict[str, Any] = json.loads(told.splitlines()[-1])
    return result


def measure(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found: dict[str, Any] = {"pairs": count}
        for name in STEPS:
            facts = step(name, folder, count)
            done = facts.get("pairs_read", facts.pop("done", count))
            facts["pairs_per_second"] = round(done / facts["seconds"])
            found[name] = {key: round(value, 3) for key, value in facts.items()}
            if name == "gather":
                for part in folder.glob("part-*"):
                    shutil.rmtree(part)
        return found


def main() -> None:
    if len(sys.argv) == 4:
        facts = STEPS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
        facts["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(facts))  # noqa: T201
        return
    result = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "targets": {"peak_bytes": 1.5e9, "write_pairs_per_second": 20_000, "read_pairs_per_second": 100_000},
        "sizes": [measure(count) for count in map(int, sys.argv[1:] or SIZES)],
    }
    if len(sys.argv) == 1:
        target = HERE / "results" / "volume.json"
        target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
