"""What the recipes of the paper and of its open questions cost, planned together, by hand:
`python -m tests.bench.bench_paper` writes tests/bench/results/paper.json.

Published data that is not here is assumed as published, so no hub is needed. Texts' tokens are then assumed too, a
quarter of what a recipe allows.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from harness.cli.plans import plan_together, together_data

HERE = Path(__file__).parent
RECIPES = HERE.parent.parent / "recipes"
FOLDERS = ("paper", "open-questions", "controls")
WANT_IMPORTS = ("pair-order", "coding")  # of a reward model, of pools of candidates


def main() -> None:
    recipes = [
        recipe
        for folder in FOLDERS
        for recipe in sorted((RECIPES / folder).glob("*.yaml"), key=lambda path: (path.stem != "main", path.stem))
        if recipe.stem not in WANT_IMPORTS
    ]
    with tempfile.TemporaryDirectory() as workdir:
        start = time.process_time()
        found = together_data(plan_together(recipes, (), Path(workdir)))
        found["processor_seconds"] = round(time.process_time() - start, 1)
    for one in found["recipes"]:
        one["recipe"] = str(Path(one["recipe"]).relative_to(RECIPES))
        assert not one.pop("refused"), one
    (HERE / "results" / "paper.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
