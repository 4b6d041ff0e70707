"""What the recipes of the paper and of its open questions cost, planned together, by hand:
`python tests/bench/bench_paper.py` writes tests/bench/results/paper.json.

Published data is stood in for by made rows, as many as there are, so that no hub is needed: a plan knows of problems
only how many there are. Texts' tokens are therefore assumed, a quarter of what a recipe allows.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from harness.cli.plans import plan_together, together_data
from harness.recipe.fields import without_nulls
from harness.recipe.load import load_recipe
from tests.toys.published import write_lines
from tests.toys.samples import SAMPLES, labelled

HERE = Path(__file__).parent
RECIPES = HERE.parent.parent / "recipes"
FOLDERS = ("paper", "open-questions", "controls")
WANT_IMPORTS = ("pair-order", "coding")  # of a reward model, of pools of candidates

# kind -> part -> rows, as published; of Math-Shepherd's questions as many as the recipes need (unverified)
SIZES = {
    "gsm8k": {"train": 7_473, "test": 1_319},
    "math500": {"test": 500},
    "math_shepherd": {"train": 16_000},
    "reclor": {"train": 4_638, "validation": 500},
    "logiqa2": {"train": 12_567, "dev": 1_569, "test": 1_572},
    "commonsense_qa": {"train": 9_741, "validation": 1_221},
    "balanced_copa": {"train": 1_000, "test": 500},
    "strategyqa": {"train": 1_603, "dev": 687},
    "qasc": {"train": 8_134, "validation": 926},
}
PROMPTS = ("question", "problem", "context", "text", "premise", "fact1")


def words(part: str, number: int) -> str:
    """Words that no other problem has."""
    digits = "".join(chr(97 + int(digit)) for digit in str(number))
    return " ".join(f"{part[:2]}{digits}{letter}" for letter in "kmnpqr")


def rows(kind: str, part: str, size: int) -> Iterator[Any]:
    if kind == "math_shepherd":
        for number in range(size):
            for step, mark in (("so", "+"), ("thus", "+"), ("so", "-"), ("thus", "-")):
                answer = number + (mark == "-")
                told = f"Step 1: It is {step} {answer}. The answer is: {answer} {mark}"
                yield labelled(f"How many {words(part, number)}?", told)
        return
    samples = SAMPLES[kind].rows
    sample = samples["train" if "train" in samples else part][0]
    for number in range(size):
        row = deepcopy(dict(sample))
        for key in PROMPTS:
            if isinstance(row.get(key), str) and not (kind == "balanced_copa" and key == "question"):
                row[key] = f"{words(part, number)} {row[key]}"
        for key in ("id", "qid", "id_string", "unique_id"):
            if key in row:
                row[key] = f"{part}{number}" if isinstance(row[key], str) else number
        yield row


def stand_ins(folder: Path) -> None:
    for kind, parts in SIZES.items():
        (folder / kind).mkdir()
        for part, size in parts.items():
            write_lines(folder / kind / f"{part}.jsonl", list(rows(kind, part, size)))


def with_stand_ins(recipe: Path, data: Path, folder: Path) -> Path:
    """The recipe, its tasks read from stand-ins; parts of pairs are as large as they may be, which costs the same."""
    found = load_recipe(recipe).data
    if found["ablations"] is not None:
        axes = without_nulls(found["ablations"]["axes"])
        found["ablations"]["axes"] = {axis: without_nulls(values) for axis, values in axes.items()}
    for task in found["tasks"].values():
        task["path"] = str(data / task["kind"])
    path = folder / recipe.parent.name / recipe.name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        data.mkdir()
        stand_ins(data)
        recipes = [
            with_stand_ins(recipe, data, folder)
            for kind in FOLDERS
            for recipe in sorted((RECIPES / kind).glob("*.yaml"), key=lambda path: (path.stem != "main", path.stem))
            if recipe.stem not in WANT_IMPORTS
        ]
        start = time.process_time()
        together = plan_together(recipes, (), folder / "workdir")
        seconds = time.process_time() - start
        found = together_data(together)
        for one in found["recipes"]:
            one["recipe"] = str(Path(one["recipe"]).relative_to(folder))
            assert not one.pop("refused"), one
    found["processor_seconds"] = round(seconds, 1)
    (HERE / "results" / "paper.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
