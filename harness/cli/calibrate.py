"""`harness doctor --calibrate`: a small recipe at two sizes, so that plans know this machine before anything ran."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from harness.cli.console import output
from harness.cli.execute import execute
from harness.cli.price import percent
from harness.cli.workspace import open_workspace
from harness.errors import StageError
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, Known
from harness.plan.speed import CALIBRATION, Calibration, Point, fit, points_of, relative_errors
from harness.report.words import plural
from harness.store.store import Snapshot

RECIPE = """
name: calibration
model:
  source: tiny
  hidden_size: 64
  layers: 2
  heads: 4
  key_value_heads: 2
  intermediate_size: 176
  base: {texts: 256, learning_rate: 3.0e-3, schedule: {kind: cosine, warmup: 0.1}, global_batch: 32}
corpus: {kind: python_packages, packages: [email, logging, http, json, unittest], heldout: [http], base: [logging]}
pairs: {count: 256, prompt: {from: docstring}, chosen: {from: reference}, rejected: {from: mutation, edits: [1, 3]}}
tasks:
  arithmetic: {kind: gsm_symbolic, problems: {base: 64, finetune: 64, dev: 8, test: 16}}
pretrain:
  learning_rate: 2.0e-3
  schedule: {kind: wsd, warmup_pairs: 64, decay: 0.25}
  global_batch: 32
finetune:
  tasks: [arithmetic]
  samples: 64
  learning_rate: 2.0e-3
  schedule: {kind: cosine, warmup: 0.1}
  global_batch: 16
evaluate:
  best_of_n:
    tasks: [arithmetic]
    n: [1, 2, 4]
    candidates: {engine: simulated, samples: 16, accuracy: 0.4, part_size: 4}
  pair_accuracy: {tasks: [arithmetic], samples: 16}
  code_pairs: {count: 32}
ablations: {axes: {pmp: {rm+lm: {}, no-pmp: {pretrain: null}}}}
runtime: {device: cpu, tracking: none}
"""
SIZES: Mapping[str, tuple[str, ...]] = {
    "small": (),
    "larger": (
        "model.base.texts=1024",
        "pairs.count=1024",
        "tasks.arithmetic.problems={base: 256, finetune: 320, dev: 16, test: 48}",
        "finetune.samples=320",
        "evaluate.best_of_n.candidates={engine: simulated, samples: 48, accuracy: 0.4, part_size: 12}",
        "evaluate.pair_accuracy.samples=48",
        "evaluate.code_pairs.count=128",
    ),
}
"""What is set in the recipe, by size: two sizes tell what a stage takes always from what grows with its work."""


def calibrate(workdir: Path) -> None:
    """Measure this machine's processors for plans in a workdir. Takes about a minute.

    Raises:
        StageError: a stage failed.
        KeyboardInterrupt: it was interrupted; nothing is kept.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".calibration-", dir=workdir) as folder:
        recipe = Path(folder) / "calibration.yaml"
        recipe.write_text(RECIPE, encoding="utf-8")
        found: dict[Kind, list[tuple[Stage, Point]]] = defaultdict(list)
        for size, assignments in SIZES.items():
            workspace = open_workspace(recipe, assignments, Path(folder) / size)
            workspace.store.create()
            summary = execute(workspace, workspace.work().to_run, everything=workspace.plan.stages)
            if summary.interrupted:
                raise KeyboardInterrupt
            for outcome in summary.failed:
                raise StageError(
                    "calibrating must run every stage", f"{outcome.task.label}: {outcome.reason}", "see it"
                )
            known = Known(Snapshot(workspace.store), workspace.plan.stages)
            for kind, points in points_of(workspace.plan.stages, known).items():
                found[kind] += points
    lines = {kind.name: fit([point for _, point in points]) for kind, points in found.items()}
    error = median(relative_errors(lines, found))
    Calibration(lines=lines, error=error).save(workdir)
    measured = f"{plural(sum(map(len, found.values())), 'stage')} of {plural(len(lines), 'kind')}"
    output().print(
        f"{measured} measured, met within a median of {percent(error)}; plans here use {workdir / CALIBRATION}"
    )
