"""What a search costs beside the stages of its trials: trials whose stages are all there, one after another.

    python -m tests.bench.bench_search [--trials 200]     # writes tests/bench/results/search.json

Every trial of this search is the same point, so all but the first compute nothing: the time between two ends is what
asking, planning, looking into the store, telling and keeping the state take. The goal is below a second a trial.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path

import yaml

from harness.cli.search import run_search
from harness.cli.workspace import open_workspace
from harness.search.state import folder_of, read_state

HERE = Path(__file__).parent
SEARCH = HERE.parent / "recipes" / "search.yaml"
NAME = "bench-search"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        search = {
            "parameters": {
                "pretrain.loss.balance": None,
                "pretrain.learning_rate": None,
                "pretrain.loss.margin": {"choices": [0.0]},
            },
            "arms": [],
            "trials": trials,
            "parallel": 1,
        }
        recipe.write_text(yaml.safe_dump({"extends": str(SEARCH), "name": NAME, "search": search}))
        workdir = Path(folder) / "workdir"
        workspace = open_workspace(recipe, [], workdir)
        workspace.store.create()
        run_search(workspace)
        state = read_state(folder_of(workdir, NAME))
    assert state is not None
    ends = [trial.finished for trial in state.trials]
    between = [later - sooner for sooner, later in pairwise(ends)]
    tenth = max(1, len(between) // 10)
    found = {
        "trials": trials,
        "seconds_a_trial_median": round(statistics.median(between), 4),
        "first_tenth": round(statistics.median(between[:tenth]), 4),
        "last_tenth": round(statistics.median(between[-tenth:]), 4),
        "longest": round(max(between), 3),
    }
    (HERE / "results" / "search.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
