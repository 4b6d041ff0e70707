"""How long planning takes, by hand: `python -m tests.bench.bench_plan` writes tests/bench/results/plan.json.

Times are processor seconds of one core, and no test: a slow machine is no error.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from harness.plan.cost import estimate
from harness.plan.disk import disk_of
from harness.plan.plan import make_plan
from harness.plan.work import work_left
from harness.recipe.load import load_recipe
from harness.store.store import Store

HERE = Path(__file__).parent
SMALL = HERE.parent.parent / "recipes" / "cpu" / "small.yaml"

LOSSES = {
    "rm+lm": {},
    "rm": {"pretrain.loss": {"rm": 1.0, "lm": 0.0}},
    "lm": {"pretrain.loss": {"rm": 0.0, "lm": 1.0}},
}
RATES = [round(1e-4 * 1.5**power, 7) for power in range(20)]
COUNTS = [1_024, 2_048, 4_096, 8_192, 16_384]

GRIDS: dict[str, dict[str, Any]] = {
    "paper-sized: 300 settings, one seed": {
        "axes": {"loss": LOSSES, "pairs.count": COUNTS, "pretrain.learning_rate": RATES},
        "seeds": {"pretrain": 1, "finetune": 1},
    },
    "paper-sized: 300 settings, 3 x 5 seeds": {
        "axes": {"loss": LOSSES, "pairs.count": COUNTS, "pretrain.learning_rate": RATES},
        "seeds": {"pretrain": 3, "finetune": 5},
    },
    "10,000 variants: 1,000 settings, 2 x 5 seeds": {
        "axes": {
            "pretrain.loss.lm": [round(0.1 * step, 1) for step in range(1, 11)],
            "pairs.count": COUNTS,
            "pretrain.learning_rate": RATES,
        },
        "seeds": {"pretrain": 2, "finetune": 5},
    },
    "10,000 variants: 10,000 settings, one seed": {
        "axes": {
            "pretrain.loss.lm": [round(0.01 * step, 2) for step in range(1, 101)],
            "pairs.count": COUNTS,
            "pretrain.learning_rate": RATES,
        },
        "seeds": {"pretrain": 1, "finetune": 1},
    },
    "28 million pairs in 16,800 parts, 12 counts x 4 losses, 3 x 5 seeds": {
        "axes": {
            "loss": {**LOSSES, "no-pmp": {"pretrain": None}},
            "pairs.count": [28_000_000 // 2**power for power in range(12)],
        },
        "mode": "grid",
        "exclude": [{"loss": "no-pmp"}],
        "include": [{"name": "no-pmp", "set": {"pretrain": None}}],
        "seeds": {"pretrain": 3, "finetune": 5},
    },
}


def measure(grid: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds of loading, planning, asking an empty store, estimating time and disk of a grid over the small recipe."""
    data = yaml.safe_load(SMALL.read_text(encoding="utf-8"))
    data["seeds"] = {"data": 0, **grid["seeds"]}
    data["ablations"] = {key: value for key, value in grid.items() if key != "seeds"}
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    times = [time.process_time()]
    loaded = load_recipe(path)
    times.append(time.process_time())
    plan = make_plan(loaded)
    times.append(time.process_time())
    store = Store(folder / "store")
    work = work_left(plan, store, loaded.recipe.runtime)
    times.append(time.process_time())
    estimate(work.to_run, plan.stages, store, 2)
    times.append(time.process_time())
    disk_of(work.to_run, plan.stages, store, 2)
    times.append(time.process_time())
    names = ("load_seconds", "plan_seconds", "work_left_seconds", "estimate_seconds", "disk_seconds")
    seconds = {name: round(after - before, 3) for name, before, after in zip(names, times, times[1:], strict=False)}
    return {
        "settings": len(plan.settings),
        "variants": len(plan.variants),
        "stages_asked": plan.asked,
        "stages": len(plan.stages),
        **seconds,
    }


def main() -> None:
    """Measure every grid and write the results."""
    with tempfile.TemporaryDirectory() as folder:
        measure({"axes": {}, "seeds": {"pretrain": 1, "finetune": 1}}, Path(folder))  # imports and caches
        grids = {name: measure(grid, Path(folder)) for name, grid in GRIDS.items()}
    target = HERE / "results" / "plan.json"
    # A change measured against what was before it, in turns, by hand: it stays until another is.
    in_turns = json.loads(target.read_text(encoding="utf-8"))["in_turns"]
    result = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "in_turns": in_turns,
        "grids": grids,
    }
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
