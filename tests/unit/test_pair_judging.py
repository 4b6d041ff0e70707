"""Judges are asked in both orders: what they know comes through, where they look first does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import LlamaConfig, LlamaForCausalLM

from harness.engines.base import Completion, Generator, Request, Scorer
from harness.errors import DataError
from harness.pairs.judging import (
    GeneratorJudge,
    Question,
    ScorerJudge,
    ask_in_both_orders,
    letter,
)
from harness.recipe.models import JUDGE_PROMPT

Floats = NDArray[np.float64]


class Biased:
    """Knows the better side (it says "good"), and adds a liking for the first place."""

    def __init__(self, liking: float) -> None:
        self.liking = liking

    def first_is_better(self, questions: Sequence[Question]) -> Floats:
        knows = np.array([("good" in one.first) * 1.0 - ("good" in one.second) * 1.0 for one in questions])
        return np.clip(0.5 + 0.2 * knows + self.liking, 0.0, 1.0)


def sides(pairs: int, good: float, seed: int = 0) -> tuple[list[str], list[str], list[str]]:
    """Pairs whose chosen side is the good one in a share of cases."""
    right = np.random.default_rng(seed).random(pairs) < good
    chosen = [f"{'good' if one else 'poor'} {at}" for at, one in enumerate(right)]
    rejected = [f"{'poor' if one else 'good'} {at}" for at, one in enumerate(right)]
    return ["do it"] * pairs, chosen, rejected


@pytest.mark.parametrize("liking", [0.0, 0.25, -0.25])
def test_a_liking_for_a_place_is_measured_and_removed(liking: float) -> None:
    prompts, chosen, rejected = sides(500, good=0.8)
    found = ask_in_both_orders(Biased(liking), prompts, chosen, rejected, seed=0)
    assert found.position_bias.mean() == pytest.approx(liking)
    truth = np.array([text.startswith("good") for text in chosen])
    np.testing.assert_array_equal(found.agreement, truth)
    if liking:  # one order alone says what place it looked at
        assert (found.chosen_first > 0.5).all() == (liking > 0)


def test_a_judge_that_looks_at_places_only_has_no_preference() -> None:
    class First:
        def first_is_better(self, questions: Sequence[Question]) -> Floats:
            return np.ones(len(questions))

    found = ask_in_both_orders(First(), *sides(20, good=1.0), seed=0)
    assert found.agreement.tolist() == [0.5] * 20
    assert found.position_bias.tolist() == [0.5] * 20


def test_an_order_without_an_answer_is_no_judgement() -> None:
    class Silent:
        def first_is_better(self, questions: Sequence[Question]) -> Floats:
            return np.where([one.id.endswith("rejected-first") for one in questions], np.nan, 1.0)

    found = ask_in_both_orders(Silent(), *sides(4, good=1.0), seed=0)
    assert np.isnan(found.agreement).all()


@pytest.mark.parametrize("answers", [[1.0], [1.0, 2.0], [-0.1, 0.0]])
def test_answers_that_are_none_are_refused(answers: list[float]) -> None:
    class Odd:
        def first_is_better(self, questions: Sequence[Question]) -> Floats:
            return np.array(answers)

    with pytest.raises(DataError, match="answer every question"):
        ask_in_both_orders(Odd(), ["p"], ["a"], ["b"], seed=0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A", "A"), (" B.", "B"), ("\n(b)", "B"), ("**A**", "A"), ("Program B is right", "B"),
        ("The answer is A.", "A"), ("I think the better is: B", "B"), ("Answer: A", "A"),
        ("Both are fine", ""), ("", ""), ("C", ""),
        ("Because of x", ""), ("An answer", ""), ("answer is banana", ""),
    ],
)  # fmt: skip
def test_letters_are_read_from_answers(answer: str, expected: str) -> None:
    assert letter(answer) == expected


# -------------------------------------------------------------------------------------------- real, tiny models

CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n"]
TOKENIZER = Tokenizer(WordLevel({character: at for at, character in enumerate(CHARACTERS)}, unk_token=" "))
TOKENIZER.pre_tokenizer = Split("", "isolated")  # type: ignore[assignment]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(CHARACTERS), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=2_048,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


class TinyGenerator:
    """Greedy texts of a tiny model, whose first character is the more probable of A and B."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self._model = model

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return [Completion(id=one.id, text=self._letter(one.prompt), finish_reason="length") for one in requests]

    @torch.no_grad()
    def _letter(self, prompt: str) -> str:
        ids = torch.tensor([TOKENIZER.encode(prompt).ids])
        logits = self._model(input_ids=ids).logits[0, -1]
        return max("AB", key=lambda one: float(logits[CHARACTERS.index(one)]))


class TinyScorer:
    """Mean log-probability of a response after its prompt."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self._model = model

    @torch.no_grad()
    def score(self, groups: Sequence[Sequence[NDArray[np.integer[Any]]]]) -> list[Floats]:
        return [np.array([self._one(prompt, response) for response in responses]) for prompt, *responses in groups]

    def _one(self, prompt: NDArray[Any], response: NDArray[Any]) -> float:
        ids = torch.tensor(np.concatenate([prompt, response]))[None]
        logs = self._model(input_ids=ids).logits.log_softmax(-1)[0]
        at = torch.arange(len(prompt), ids.shape[1])
        return float(logs[at - 1, ids[0, at]].mean())


def test_a_language_model_is_asked_in_both_orders(model: LlamaForCausalLM) -> None:
    generator = TinyGenerator(model)
    assert isinstance(generator, Generator)
    found = ask_in_both_orders(GeneratorJudge(generator=generator, template=JUDGE_PROMPT), *sides(6, good=0.5), seed=0)
    assert set(found.agreement.tolist()) <= {0.0, 0.5, 1.0}
    assert not np.isnan(found.agreement).any()
    again = ask_in_both_orders(GeneratorJudge(generator=generator, template=JUDGE_PROMPT), *sides(6, good=0.5), seed=0)
    np.testing.assert_array_equal(found.agreement, again.agreement)
    swapped_prompts, swapped_chosen, swapped_rejected = sides(6, good=0.5)
    swapped = ask_in_both_orders(
        GeneratorJudge(generator=generator, template=JUDGE_PROMPT),
        swapped_prompts,
        swapped_rejected,
        swapped_chosen,
        seed=0,
    )
    np.testing.assert_array_equal(swapped.agreement, 1 - found.agreement)
    np.testing.assert_allclose(swapped.position_bias, found.position_bias)


def test_a_reward_model_has_no_liking_for_places(model: LlamaForCausalLM) -> None:
    scorer = TinyScorer(model)
    assert isinstance(scorer, Scorer)

    def encode(groups: Sequence[list[str]]) -> list[list[list[int]]]:
        return [[TOKENIZER.encode(text).ids for text in group] for group in groups]

    judge = ScorerJudge(scorer=scorer, encode=encode)
    prompts, chosen, rejected = sides(12, good=0.5)
    found = ask_in_both_orders(judge, prompts, chosen, rejected, seed=0)
    assert not found.position_bias.any()
    groups = encode([list(texts) for texts in zip(prompts, chosen, rejected, strict=True)])
    rewards = scorer.score([[np.array(ids) for ids in group] for group in groups])
    np.testing.assert_array_equal(found.agreement, [float(one > other) for one, other in rewards])


def test_the_question_shows_texts_as_they_are() -> None:
    asked: list[str] = []

    class Ear:
        def generate(self, requests: Sequence[Request]) -> list[Completion]:
            asked.extend(one.prompt for one in requests)
            return [Completion(id=one.id, text="?", finish_reason="stop") for one in requests]

    judge = GeneratorJudge(generator=Ear(), template="{prompt}|{first}|{second}|")
    answers = judge.first_is_better([Question(id="q", prompt="{second}", first="{first} {x}", second="\\1", seed=0)])
    assert asked == ["{second}|{first} {x}|\\1|"]
    assert np.isnan(answers).all()
