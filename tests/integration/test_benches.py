"""The benches of tests/bench still run: each is started at a size that takes seconds, and writes no result."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.mark.parametrize("path", sorted(BENCH.glob("bench_*.py")), ids=lambda path: path.stem)
def test_a_bench_can_be_imported(path: Path) -> None:
    assert importlib.import_module(f"tests.bench.{path.stem}").__doc__


def test_mutation_pairs_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.bench import bench_mutation

    monkeypatch.setattr(bench_mutation, "SLOTS", 20)
    found = bench_mutation.make(0)
    assert 10 < found["pairs"] <= found["slots"] == 20


def test_pair_quality_is_measured(tmp_path: Path) -> None:
    from tests.bench import bench_quality

    bench_quality.make(tmp_path, 30, packages=("json", "email"))
    assert bench_quality.measure(tmp_path)["pairs"] == 30


@pytest.mark.exhaustive("the steps that a benchmark takes; their stages have tests of their own")
def test_pairs_in_volume_go_through_every_step() -> None:
    told = subprocess.run(
        [sys.executable, BENCH / "bench_volume.py", "500"], check=True, capture_output=True, text=True
    )
    (size,) = json.loads(told.stdout)["sizes"]
    assert size["pairs"] == 500
    assert size["read"]["pairs_read"] == size["encode"]["pairs_that_fit"] > 400


@pytest.mark.exhaustive("as above")
def test_one_trunk_is_compared_with_runs_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.bench import bench_trunks

    monkeypatch.setattr(bench_trunks, "POINTS", 2)
    monkeypatch.setattr(bench_trunks, "COMMON", ("ablations.axes.loss=null",))
    monkeypatch.setattr(bench_trunks, "SMALL_SETTINGS", bench_trunks.SMALL_SETTINGS[:2])
    found = bench_trunks.make((16, 64))
    assert found["planned_small"]["together"] < found["planned_small"]["apart"] == 16 + 64
    assert found["planned_paper"]["share"] > 0.9  # of two counts so far apart
    assert len(found["measured_small"]["apart_by_count"]) == 2


def test_attention_is_timed_both_ways() -> None:
    from tests.bench import bench_attention

    found = bench_attention.measure_operation(8, 12, rounds=3)
    assert found["parts"] == 100
    assert len(found["shares"]) == 3
    assert min(found["shares"]) > 0


def test_steps_are_timed_by_length_and_pairs_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.bench import bench_rows, bench_training
    from tests.toys.families import family_configuration

    monkeypatch.setattr(bench_training, "configuration", lambda vocabulary: family_configuration("llama"))
    monkeypatch.setattr(bench_rows, "VOCABULARY", family_configuration("llama").vocab_size)
    cells = bench_rows.measure((16, 32), (1, 4), tokens=64, rounds=1)
    assert [(cell["pair_tokens"], cell["pairs_a_row"]) for cell in cells] == [(16, 1), (16, 4), (32, 1)]


def test_candidates_are_scored_alike_and_counted() -> None:
    from tests.bench import bench_scoring
    from tests.toys.families import family_configuration

    found = bench_scoring.measure(
        family_configuration("llama"), candidates=6, examples=0, batches=(1, 4), budgets=(1_024,), rounds=1
    )
    assert found["largest_difference_of_scores"] < 1e-4
    assert found["predicted_by_tokens"] > 1
    assert found["most_that_sharing_gives"] > 1


def test_variants_are_analysed(tmp_path: Path) -> None:
    from tests.bench import bench_analysis

    assert bench_analysis.variants(tmp_path, settings=3, seeds=3, problems=30)["metrics"] > 40
    assert len(json.loads((tmp_path / "analysis" / "analysis.json").read_text())["ranks"]) == 3
