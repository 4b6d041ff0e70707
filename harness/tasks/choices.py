"""Multiple-choice tasks: a question with labelled options, of which one is right."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.tasks.dealing import couples
from harness.tasks.fixed import FixedTask
from harness.tasks.task import Choice, Preference, Problem, stream

WRONG_OPTION = "wrong_option"
_LABELS = "ABCDEFGHIJ"

# What a text says before it states its answer, and what follows a label or a word that stands without brackets: without
# the second, the article of "The answer is a dog" would be a label.
_CUE = (
    r"(?:\b(?i:(?:answer|(?:correct|right|best)\s+(?:option|choice))(?:\s+is)?)[\s:=*$\[\"']*(?i:(?:option|choice)\s+)?"
    r"|\\boxed\{\s*(?:\\text\w*\{\s*)?)"
)
_LINE_END = r"\.(?!\w)|[ \t]*$"
_END = rf"(?=[)\]}},;:!*$\"']|{_LINE_END}|\s+(?i:because|since)\b)"
_LETTER = "[A-Ja-j]"


class ChoiceTask(FixedTask):
    """What tasks with options have in common: the right option over the wrong ones is a preference.

    A solution is an option with its label, `(B) library`. What a model writes counts by what it states last: by
    "answer" or in a box; if nothing is stated so, at the start of a line or by "option".

    Attributes:
        words: lower-case word -> label, for a task whose options are the same words in every question. Such a word
            is read wherever a label is.
    """

    seen_errors: ClassVar[tuple[str, ...]] = (WRONG_OPTION,)
    has_choices: ClassVar[bool] = True
    words: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def choice(
        self, name: str, *, question: str, options: Sequence[str], right: int, place: str, cluster: str = ""
    ) -> Problem:
        """The problem called `name`; `right` counts from 0. Options may be alike, as they are in published data.

        Raises:
            DataError: fewer than two different options, more than ten, or no right one among them.
        """
        texts = [option.strip() for option in options]
        if len(set(texts)) < 2 or len(texts) > len(_LABELS) or not 0 <= right < len(texts):
            rule = f"a question must have 2 to {len(_LABELS)} options, one of them right"
            value = f"it has {len(texts)}, {len(set(texts))} of them different, and number {right + 1} is right"
            raise DataError(rule, value, "correct the file", place)
        listed = [_option(number, text) for number, text in enumerate(texts)]
        return Problem(
            id=name,
            cluster=cluster,
            split="",
            prompt="\n".join([question.strip(), *listed, "Answer: "]),
            answer=_LABELS[right],
            solution=listed[right],
            metadata={"options": texts},
        )

    def extract(self, text: str) -> str | None:
        for pattern in _statements(tuple(self.words)):
            stated = list(pattern.finditer(text))
            if stated:
                found = str(stated[-1][stated[-1].lastindex or 0])
                return found.upper() if len(found) == 1 else self.words.get(found.casefold())
        return None

    def grade(self, problem: Problem, text: str) -> bool:
        """Whether the option is the right one, or says the same."""
        stated = self.extract(text)
        options = problem.metadata["options"]
        number = -1 if stated is None else _LABELS.index(stated)
        return 0 <= number < len(options) and options[number] == options[_LABELS.index(problem.answer)]

    def choices(self, problem: Problem) -> list[Choice]:
        """The options. Those that say the same as the right one are right."""
        texts, right = problem.metadata["options"], _LABELS.index(problem.answer)
        return [Choice(text=_option(number, text), correct=text == texts[right]) for number, text in enumerate(texts)]

    def propose_mistakes(self, problem: Problem, rng: Random, kind: str) -> Iterator[str]:
        options = problem.metadata["options"]
        numbers = {text: number for number, text in reversed(list(enumerate(options)))}  # the first of those alike
        del numbers[options[_LABELS.index(problem.answer)]]
        wrong = list(numbers.values())
        rng.shuffle(wrong)
        yield from (_option(number, options[number]) for number in wrong)

    def preference_count(self, problems: Sequence[Problem]) -> int:
        """One for each different wrong option of each different question."""
        rng = stream("preference count")
        return len(
            {(one.prompt, one.solution, wrong) for one in problems for wrong in self.propose_mistakes(one, rng, "")}
        )

    def preferences(
        self, problems: Sequence[Problem], *, count: int, seed: int, refused: Counter[str] | None = None
    ) -> list[Preference]:
        """The right option over every different wrong one, one pair a problem before any problem serves again.

        Fewer pairs are a prefix of more.

        Raises:
            DataError: the problems do not have that many different wrong options.
        """
        order = list(problems)
        stream("preference order", seed).shuffle(order)
        wrong = [list(self.propose_mistakes(one, stream("preference", seed, one.id), WRONG_OPTION)) for one in order]
        pairs: dict[tuple[str, str, str], Preference] = {}  # a question may stand twice in published data
        sides = [([problem.solution], options) for problem, options in zip(order, wrong, strict=True)]
        for place, chosen, rejected in couples(sides):
            if len(pairs) == count:
                break
            pair = Preference(
                problem_id=order[place].id,
                cluster=order[place].cluster,
                prompt=order[place].prompt,
                chosen=chosen,
                rejected=rejected,
                error_type=WRONG_OPTION,
            )
            pairs.setdefault((pair.prompt, pair.chosen, pair.rejected), pair)
        if len(pairs) < count:
            raise DataError(
                f"task {self.name!r} must have as many preferences as requested",
                f"the wrong options of {len(order):,} problems give {len(pairs):,} of {count:,}",
                "request fewer pairs, or more problems",
            )
        return list(pairs.values())


def right_answer(row: Fields, column: str) -> str:
    """The published right answer of a row, as text.

    Raises:
        DataError: there is none, as in the test parts of many data sets, or it is neither text, number nor truth value.
    """
    answer = row.answer(column)
    if answer is None:
        value = "it is missing, as in parts whose answers are not published"
        raise DataError(f"`{column}` must give the right answer", value, "name a file with answers", row.place)
    return answer


def labelled_options(row: Fields) -> tuple[str, list[str], int]:
    """Question, options and the right one's number, from 0, in the layout that CommonsenseQA and QASC share.

    Raises:
        DataError: a column is missing or wrong.
    """
    if row.has("choices"):  # as on the hub: columns of labels and texts
        question, choices = row.text("question"), row.part("choices")
        labels, texts = choices.texts("label"), choices.texts("text")
    else:  # as it was published
        asked = row.part("question")
        question, listed = asked.text("stem"), asked.parts("choices", len(_LABELS))
        labels, texts = [one.text("label") for one in listed], [one.text("text") for one in listed]
    key = right_answer(row, "answerKey")
    if key not in labels:
        value = f"{key!r} is not one of {', '.join(labels)}"
        raise DataError("`answerKey` must be a label", value, "correct the file", row.place)
    return question, texts, labels.index(key)


@functools.lru_cache(maxsize=64)
def _statements(words: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What states an answer expressly, and what does where nothing else does; a match's last group is the answer."""
    word = "|".join(f"(?i:{re.escape(one)})" for one in words) or r"(?!)"
    bracketed = rf"\(\s?({_LETTER}|{word})\s?\)"
    express = rf"{_CUE}(?:{bracketed}|(?<!\w)({_LETTER}|{word}){_END})"
    line = rf"^[ \t*]*(?:{bracketed}|({_LETTER})(?=[)\]:*]|{_LINE_END})|({word}){_END})"
    named = rf"\b(?i:option|choice)\s+(?:{bracketed}|([A-J])\b|([a-j]){_END})"
    return re.compile(express, re.MULTILINE), re.compile(f"{line}|{named}", re.MULTILINE)


def _option(number: int, text: str) -> str:
    return f"({_LABELS[number]}) {text}"
