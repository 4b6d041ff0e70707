"""What a page of 500 settings x 5 seeds takes, by hand: `python -m tests.bench.bench_report_page [SETTINGS]` writes
tests/bench/results/report_page.json, with a number of settings it prints instead.

Records are made up, as the report's tests make them; the analysis is the real one. Only the way from a finished workdir
to the written files is timed: looking at the store, gathering, rendering. Seconds are those of one core, and no test:
a slow machine is no error. Markup is what remains of a page without its library, its figures' data and its style.
"""

from __future__ import annotations

import json
import platform
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from harness.pipeline.graph import Stage
from harness.plan.plan import Plan, make_plan
from harness.recipe.load import load_recipe
from harness.report.write import write_report
from harness.store.store import Store
from tests.report_store import SMALL, analyse, fill

HERE = Path(__file__).parent
SEEDS = {"data": 0, "pretrain": 5, "finetune": 1}
WEIGHTS = [round(0.1 * step, 1) for step in range(1, 11)]
COUNTS = [1_024, 2_048, 4_096, 8_192, 16_384]
RATES = [round(1e-4 * 1.5**power, 7) for power in range(10)]
MOST_SETTINGS = len(WEIGHTS) * len(COUNTS) * len(RATES)


def plan_of(settings: int, folder: Path) -> Plan:
    """The small recipe with three axes and about as many settings."""
    rates = RATES[: max(1, settings // (len(WEIGHTS) * len(COUNTS)))]
    axes = {"pretrain.loss.lm": WEIGHTS, "pairs.count": COUNTS, "pretrain.learning_rate": rates}
    data = yaml.safe_load(SMALL.read_text(encoding="utf-8"))
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(data | {"seeds": SEEDS, "ablations": {"axes": axes}}), encoding="utf-8")
    return make_plan(load_recipe(path))


def measure(plan: Plan, folder: Path) -> dict[str, Any]:
    """Make up a finished workdir, and write its report."""
    store = Store(folder / "store")
    fill(plan, store)
    return timed(plan, store, analyse(plan, store), folder)


def timed(plan: Plan, store: Store, analysis: Stage | None, folder: Path) -> dict[str, Any]:
    """Seconds from a finished workdir to its report, and what the page's bytes are."""
    started = time.process_time()
    files = write_report(plan, store, analysis, folder / "report")
    seconds = time.process_time() - started
    return {
        "settings": len(plan.settings),
        "variants": len(plan.variants),
        "stages": len(plan.stages),
        "seconds": round(seconds, 1),
        "page": parts_of(files.html.read_text(encoding="utf-8")),
        "other_files": {path.name: path.stat().st_size for path in files.paths if path != files.html},
    }


def parts_of(page: str) -> dict[str, int]:
    """Bytes of a page by what they are for."""

    def size(pattern: str) -> int:
        return sum(len(found.encode()) for found in re.findall(pattern, page, flags=re.DOTALL))

    known = {
        "library": size(r'<script type="application/gzip".*?</script>'),
        "data": size(r'<script type="application/json".*?</script>'),
        "script": size(r"<script>.*?</script>"),
        "style": size(r"<style>.*?</style>"),
    }
    total = len(page.encode())
    return {"total": total, **known, "markup": total - sum(known.values())}


def main(arguments: list[str]) -> None:
    """Measure and write, or print at another size."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(plan_of(int(arguments[0]) if arguments else MOST_SETTINGS, Path(folder)), Path(folder))
    text = json.dumps({"python": platform.python_version(), "machine": platform.machine(), **found}, indent=1) + "\n"
    if arguments:
        sys.stdout.write(text)
    else:
        (HERE / "results" / "report_page.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
