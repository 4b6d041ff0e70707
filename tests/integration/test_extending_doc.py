"""docs/extending.md: its task, its evaluation, its side of pairs and its recipe run as they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration.pipelines import ROOT, harness

DOCUMENT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = {name: text for name, text in re.findall(r"```(?:python|yaml)\n# ([\w.]+)\n(.*?)```", DOCUMENT, re.DOTALL)}


@pytest.mark.slow("runs a recipe whole, in processes that import everything anew")
def test_a_task_an_evaluation_and_a_side_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(FILES) == {"sums.py", "worst.py", "cut.py", "mine.yaml"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    driver = harness("run", "mine.yaml", "--set", "runtime.tracking=none", cwd=tmp_path)
    said = driver.communicate(timeout=600)
    assert driver.returncode == 0, said
    board = json.loads((tmp_path / "workdir" / "reports" / "mine" / "report.json").read_text(encoding="utf-8"))
    text = json.dumps(board)
    assert "lowest reward is wrong" in text
    assert (tmp_path / "workdir" / "reports" / "mine" / "report.html").exists()
