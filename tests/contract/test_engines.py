"""One suite for every Generator: add an engine's factory below and it is held to the contract of `engines/base.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.engines.base import Completion, Generator, Request, Sampling
from harness.engines.simulated import SimulatedPolicy, solution_tables
from harness.errors import HarnessError
from harness.tasks.registry import load_task

pytestmark = pytest.mark.contract


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine under test: prompts it can serve, and one it cannot (None if it serves any)."""

    generator: Generator
    prompts: tuple[str, ...]
    unknown_prompt: str | None


def simulated() -> Engine:
    task = load_task("circuit_logic")
    problems = task.problems({"test": 12}, seed=0)
    return Engine(
        generator=SimulatedPolicy(solution_tables(task, problems, accuracy=0.5, seed=1)),
        prompts=tuple(problem.prompt for problem in problems),
        unknown_prompt="Question: what is this?\nAnswer:\n",
    )


FACTORIES: dict[str, Callable[[], Engine]] = {"simulated": simulated}


@pytest.fixture(scope="module", params=sorted(FACTORIES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return FACTORIES[request.param]()


@pytest.fixture(scope="module")
def requests(engine: Engine) -> list[Request]:
    """Every prompt with three seeds."""
    return [
        Request(id=f"{number}/{seed}", prompt=prompt, seed=seed)
        for number, prompt in enumerate(engine.prompts)
        for seed in (11, 12, 13)
    ]


@pytest.fixture(scope="module")
def completions(engine: Engine, requests: list[Request]) -> list[Completion]:
    return engine.generator.generate(requests)


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
    assert engine.generator.generate(requests) == completions


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
    assert split == completions


def test_order_does_not_matter(engine: Engine, requests: list[Request], completions: list[Completion]) -> None:
    assert engine.generator.generate(requests[::-1]) == completions[::-1]


def test_id_does_not_matter(engine: Engine, requests: list[Request], completions: list[Completion]) -> None:
    renamed = [Request(id=f"x{n}", prompt=request.prompt, seed=request.seed) for n, request in enumerate(requests)]
    made = engine.generator.generate(renamed)
    assert [completion.text for completion in made] == [completion.text for completion in completions]


def test_temperature_zero_ignores_the_seed(engine: Engine) -> None:
    sampling = Sampling(temperature=0.0)
    asked = [Request(id=str(seed), prompt=engine.prompts[0], seed=seed, sampling=sampling) for seed in range(6)]
    assert len({completion.text for completion in engine.generator.generate(asked)}) == 1


def test_max_tokens_cuts_off(engine: Engine, requests: list[Request], completions: list[Completion]) -> None:
    short = [
        Request(id=request.id, prompt=request.prompt, seed=request.seed, sampling=Sampling(max_tokens=3))
        for request in requests
    ]
    for cut, whole in zip(engine.generator.generate(short), completions, strict=True):
        assert cut.finish_reason == "length"
        assert whole.text.startswith(cut.text)
        assert len(cut.text) < len(whole.text)


def test_nothing_asked(engine: Engine) -> None:
    assert engine.generator.generate([]) == []


def test_unknown_prompt_is_named(engine: Engine) -> None:
    if engine.unknown_prompt is None:
        pytest.skip("serves any prompt")
    with pytest.raises(HarnessError, match="what is this"):
        engine.generator.generate([Request(id="a", prompt=engine.unknown_prompt, seed=0)])
