"""`harness doctor --calibrate` as a command, at its smallest size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.cli import calibrate
from harness.plan.speed import CALIBRATION, read_calibration
from tests.integration.pipelines import TINY
from tests.integration.shell import Shell

SMALLEST = (
    "model={source: tiny, vocabulary: 300, hidden_size: 16, layers: 1, heads: 2, key_value_heads: 1,"
    " intermediate_size: 32, base: {texts: 16, learning_rate: 1.0e-3, schedule: {kind: constant}, global_batch: 8}}",
    "corpus.packages=[email, http, json]",
    "corpus.base=[json]",
    "pairs.count=32",
    "pretrain.schedule.warmup_pairs=8",
    "pretrain.global_batch=8",
    "tasks.arithmetic.problems={base: 16, finetune: 16, dev: 4, test: 4}",
    "finetune.samples=16",
    "finetune.global_batch=8",
    "evaluate.best_of_n.candidates={engine: simulated, samples: 4, accuracy: 0.4, part_size: 4}",
    "evaluate.pair_accuracy.samples=4",
    "evaluate.code_pairs.count=8",
    "evaluate.reference_scorers=[]",
    "ablations=null",
    "evaluate.failures=none",
    "evaluate.overlap=null",
)


@pytest.mark.exhaustive("CI has the parts: measuring, the line through it, and plans that read it")
def test_calibrating_measures_every_kind_and_plans_use_it(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "SIZES", {"smallest": SMALLEST})
    assert shell("doctor", "--calibrate", "--workdir", tmp_path) == 0
    assert re.search(r"\d+ stages of \d+ kinds measured, met within a median of \d+ %", " ".join(shell.out.split()))
    assert [path.name for path in tmp_path.iterdir()] == [CALIBRATION]
    found = read_calibration(tmp_path)
    assert found is not None
    assert {"base", "pretrain", "finetune", "score", "encode", "corpus", "best_of_n"} <= found.lines.keys()
    assert shell("plan", TINY, "--workdir", tmp_path) == 0
    assert re.search(r"speed calibrated, \d+ % off on a median stage", " ".join(shell.out.split()))
