"""Results without texts and weights: published, reported on and continued elsewhere."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

from harness.cli.workspace import Workspace
from harness.pipeline.pair_kinds import PAIR_QUALITY
from harness.pipeline.tokens import SCORE
from harness.store.record import LOG, RUN, read_json
from tests.integration.pipelines import TINY, left, record_of, tiny
from tests.integration.shell import Shell


def board(workdir: Path) -> list[dict[str, str]]:
    """The leaderboard but for what it says of the run's hours."""
    with open(workdir / "reports" / "tiny" / "leaderboard.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_packed_results_are_reported_and_continued(
    shell: Shell, finished: Workspace, copy: Callable[..., Workspace], tmp_path: Path
) -> None:
    workspace, packed = copy(), tmp_path / "packed"
    assert shell("report", TINY, "--workdir", workspace.workdir) == 0
    for _ in range(2):  # again: what is there is renewed
        assert shell("pack", TINY, packed, "--workdir", workspace.workdir) == 0
        assert f"{len(workspace.plan.stages):,} of {len(workspace.plan.stages):,} stages finished" in shell.out
    files = [path for path in packed.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".safetensors", ".bin", ".txt")]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    assert not [path for path in files if str(tmp_path).encode() in path.read_bytes()]
    facts = {"attempts", "finished", "label", "peak_memory_bytes", "seconds", "warnings"}
    for stage in workspace.plan.stages:
        record = record_of(finished.store, stage)
        folder = packed / "store" / stage.kind.name / record.fingerprint[:12]
        assert read_json(folder / RUN).keys() <= facts
        there = {path for path in record.files if (folder / path).exists()}
        assert there == (set(record.files) if stage.kind.artifact.numbers else set())
    other = copy().workdir.with_name("other")
    shutil.copytree(packed, other)
    assert shell("report", TINY, "--workdir", other) == 0
    assert board(other) == board(workspace.workdir)
    assert shell("run", TINY, "--workdir", other) == 0
    assert not left(tiny(other))
    again = {stage.kind for stage in finished.plan.stages if (other / "store" / stage.name / LOG).exists()}
    assert PAIR_QUALITY in again  # it quotes texts
    assert not {kind.name for kind in again if kind.trains or kind is SCORE}
