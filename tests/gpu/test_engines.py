"""vLLM's GPU build gives the scores that plain transformers gives, and we."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toys.exported import scores_of_an_export

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ROUNDING = 1e-2
"""In fp32, whose products vLLM's attention kernels may compute in TF32, of 10 bits; the scores' spread is above 1."""


@pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="vllm is not installed: the extra `vllm` installs its GPU build"
)
def test_vllm_and_transformers_give_our_scores(tmp_path: Path) -> None:
    scores = scores_of_an_export(tmp_path / "exported", "cuda")
    assert scores["ours"].std() > 100 * ROUNDING  # or the comparisons would say nothing
    for name in ("transformers", "vllm"):
        np.testing.assert_allclose(scores[name], scores["ours"], rtol=0, atol=ROUNDING, err_msg=name)
