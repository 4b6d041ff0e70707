"""Asks a judge about pairs in both orders, so that a liking for one place cancels out and is measured.

A judge is anything that says how likely the first of two texts is the better one. Two are made here from the engines'
protocols: `GeneratorJudge` asks a model in words, `ScorerJudge` compares two rewards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.engines.base import Generator, Request, Sampling, Scorer
from harness.errors import DataError

Floats = NDArray[np.float64]

ANSWER = Sampling(temperature=0.0, max_tokens=8)
"""The most probable answer, a few tokens long: a letter stands at its beginning."""

_FIELD = re.compile(r"\{(prompt|first|second)\}")
_LETTER_FIRST = re.compile(r"[\s\"'`*(\[]*(?:program\s+)?([AB])\b", re.IGNORECASE)
_LETTER_LATER = re.compile(r"\b(?i:answer|better|program|is)\b[\s:*\"'`(]*([AB])\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Which of two texts answers the prompt better? `seed` is for judges that draw."""

    id: str
    prompt: str
    first: str
    second: str
    seed: int


class Judge(Protocol):
    """Compares two texts. Contract: an answer depends on its own question alone, whatever else is asked with it."""

    def first_is_better(self, questions: Sequence[Question]) -> Floats:
        """(questions,) chance, 0 to 1, that the first text is the better one; 0.5 is a tie, NaN no answer."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgements:
    """A judge's answers on pairs, as the chance that the *chosen* side is the better one.

    Attributes:
        chosen_first: (pairs,) asked with the chosen side in first place; NaN where it did not answer.
        rejected_first: (pairs,) asked the other way round.
    """

    chosen_first: Floats
    rejected_first: Floats

    @property
    def agreement(self) -> Floats:
        """(pairs,) 1 where the judge agrees with the label over both orders, 0.5 on a tie, 0 where it does not.

        The mean of both orders decides, so that a liking for a place adds to one and takes from the other. NaN where
        an order has no answer.
        """
        mean = (self.chosen_first + self.rejected_first) / 2
        return np.where(np.isnan(mean), np.nan, (mean > 0.5) + 0.5 * (mean == 0.5))

    @property
    def position_bias(self) -> Floats:
        """(pairs,) how much more often than half the first place is preferred; -0.5 to 0.5, 0 is fair."""
        return (self.chosen_first - self.rejected_first) / 2


def ask_in_both_orders(
    judge: Judge, prompts: Sequence[str], chosen: Sequence[str], rejected: Sequence[str], *, seed: int
) -> Judgements:
    """Ask about every pair twice, with either side first.

    Raises:
        DataError: an answer is missing or no share.
    """
    rows = list(enumerate(zip(prompts, chosen, rejected, strict=True)))
    straight = [
        Question(id=f"{row}/chosen-first", prompt=prompt, first=better, second=worse, seed=seed)
        for row, (prompt, better, worse) in rows
    ]
    swapped = [
        Question(id=f"{row}/rejected-first", prompt=prompt, first=worse, second=better, seed=seed)
        for row, (prompt, better, worse) in rows
    ]
    answers = np.asarray(judge.first_is_better([*straight, *swapped]), dtype=np.float64)
    if answers.shape != (2 * len(rows),) or (answers < 0).any() or (answers > 1).any():
        raise DataError(
            "a judge must answer every question with 0 to 1, or NaN for no answer",
            f"{2 * len(rows)} questions have answers of shape {answers.shape}",
            "fix the judge",
        )
    return Judgements(chosen_first=answers[: len(rows)], rejected_first=1 - answers[len(rows) :])


@dataclass(frozen=True, kw_only=True)
class GeneratorJudge:
    """Asks a language model for a letter.

    Attributes:
        template: the question, with {prompt}, {first} and {second}; A is the first text.
        sampling: how the answer is drawn.
    """

    generator: Generator
    template: str
    sampling: Sampling = ANSWER

    def first_is_better(self, questions: Sequence[Question]) -> Floats:
        requests = [
            Request(id=question.id, prompt=self._ask(question), seed=question.seed, sampling=self.sampling)
            for question in questions
        ]
        letters = [letter(completion.text) for completion in self.generator.generate(requests)]
        return np.array([{"A": 1.0, "B": 0.0}.get(one, np.nan) for one in letters], dtype=np.float64)

    def _ask(self, question: Question) -> str:
        # In one pass, so that a text that itself says {second} is not filled in.
        return _FIELD.sub(lambda match: str(getattr(question, match.group(1))), self.template)


def letter(answer: str) -> str:
    """The letter an answer gives, "" if none: at its beginning, or after "answer", "better", "program" or "is"."""
    found = _LETTER_FIRST.match(answer) or _LETTER_LATER.search(answer)
    return found.group(1).upper() if found else ""


@dataclass(frozen=True, kw_only=True)
class ScorerJudge:
    """Prefers the text with the higher reward.

    Attributes:
        encode: [prompt, first, second] of every question as token ids, as the scorer's model reads them.
    """

    scorer: Scorer
    encode: Callable[[Sequence[list[str]]], Sequence[Sequence[Sequence[int]]]]

    def first_is_better(self, questions: Sequence[Question]) -> Floats:
        groups = self.encode([[question.prompt, question.first, question.second] for question in questions])
        rewards = self.scorer.score([[np.asarray(ids, dtype=np.int64) for ids in group] for group in groups])
        pairs = np.array([(float(first), float(second)) for first, second in rewards]).reshape(-1, 2)
        return np.asarray((pairs[:, 0] > pairs[:, 1]) + 0.5 * (pairs[:, 0] == pairs[:, 1]), dtype=np.float64)
