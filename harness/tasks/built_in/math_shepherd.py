"""Math-Shepherd (arXiv 2312.08935): 445,000 solutions of GSM8K's and MATH's train problems, each step labelled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from harness.errors import DataError
from harness.sources.fields import Fields
from harness.tasks.built_in.math500 import Math500
from harness.tasks.dealing import couples
from harness.tasks.fixed import HubDataset
from harness.tasks.stories import stories
from harness.tasks.task import OptionRule, Preference, Problem, stream

PART = "train"
WRONG = "wrong_solution"

MOST_SOLUTIONS = 8
"""Right and as many wrong ones of a problem that are kept, the first of the file: 64 pairs a problem."""

_MARK = "ки"  # in `input` behind every step, where `label` has + or -
_FIRST_STEP = re.compile(r"\b[Ss]tep 1:")
_CALCULATIONS = re.compile(r"<<[^<>]*>>")


class MathShepherd(Math500):
    """No options. Preferences are a right and a wrong solution of one problem, each kept as it was written.

    Right is a solution whose steps are all labelled right, wrong one whose last step is labelled wrong: that step is
    right where the solution ends in the problem's answer. Solutions in between, rows in which no step begins and
    problems without one of each kind are left out. All splits are dealt out of one part, near-equal questions together.

    A problem's answer is the one that its first right solution states; grading is MATH-500's, and a pair whose sides
    it does not tell apart is refused.
    """

    name: ClassVar[str] = "math_shepherd"
    seen_errors: ClassVar[tuple[str, ...]] = (WRONG,)
    licence: ClassVar[str] = "unknown"  # its card states none; the questions are MIT
    source: ClassVar[str] = "https://huggingface.co/datasets/peiyi9979/Math-Shepherd"
    parts: ClassVar[Mapping[str, str]] = {"finetune": PART, "dev": PART, "test": PART}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {PART: (PART, "math-shepherd")}
    hub = HubDataset(
        id="peiyi9979/Math-Shepherd",
        revision="ae6b0c54fca9fa26096f7de175c747e4b262e01a",
        files={PART: "math-shepherd.jsonl"},
        problems={PART: 15_000},  # about
    )
    defaults: ClassVar[Mapping[str, Any]] = {}
    rules: ClassVar[Mapping[str, OptionRule]] = {}
    columns = frozenset({"input", "label", "prompt", "completions", "labels"})

    def rows(self, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Problems: `question`, `right` and `wrong` solutions. The file is read once, what is not kept is dropped."""
        kept: dict[str, tuple[str, dict[bool, dict[str, None]]]] = {}
        for place, row in super().rows(path):
            question, steps, labels = _read(Fields(row, place))
            if not steps or (labels[-1] and not all(labels)):
                continue
            _, solutions = kept.setdefault(question.strip(), (place, {True: {}, False: {}}))
            known = solutions[labels[-1]]
            if len(known) < MOST_SOLUTIONS:
                known.setdefault("\n".join(_CALCULATIONS.sub("", step).strip() for step in steps))
        for question, (place, solutions) in kept.items():
            right = [text for text in solutions[True] if self.extract(text)]
            if right and solutions[False]:
                yield place, {"question": question, "right": right, "wrong": list(solutions[False])}

    def problem(self, row: Fields, number: int, part: str) -> Problem:
        right, wrong = row.texts("right"), row.texts("wrong")
        answer = self.extract(right[0])
        assert answer is not None
        return Problem(
            id=f"{part}-{number}",
            cluster="",
            split=part,
            prompt=f"Question: {row.text('question')}\nAnswer:\n",
            answer=answer,
            solution=right[0],
            metadata={"right": right, "wrong": wrong},
        )

    def alike(self, prompts: Sequence[str]) -> Sequence[int]:
        return stories(prompts)

    def rewrite(self, problem: Problem, rng: Random) -> str:
        """One of its right solutions."""
        right: list[str] = problem.metadata["right"]
        drawn = rng.sample(right, len(right))
        return next(text for text in drawn if self.grade(problem, text))

    def preference_count(self, problems: Sequence[Problem]) -> int:
        """Couples as they are labelled: grading would take minutes, and refuses few."""
        return sum(len(one.metadata["right"]) * len(one.metadata["wrong"]) for one in problems)

    def preferences(
        self, problems: Sequence[Problem], *, count: int, seed: int, refused: Counter[str] | None = None
    ) -> list[Preference]:
        """Every couple of a right and a wrong solution once, one a problem before any problem serves again.

        Args:
            refused: counts wrong solutions that grading holds right, and right ones that it does not.

        Raises:
            DataError: there are not as many.
        """
        order = list(problems)
        stream("preference order", seed).shuffle(order)
        sides = [(self._shuffled(one, seed, "right"), self._shuffled(one, seed, "wrong")) for one in order]
        grades: dict[tuple[int, str], bool] = {}
        pairs: list[Preference] = []
        for place, chosen, rejected in couples(sides):
            problem = order[place]
            as_labelled = True
            for text, is_right in ((chosen, True), (rejected, False)):
                if (place, text) not in grades:
                    grades[place, text] = self.grade(problem, text)
                    if refused is not None and grades[place, text] != is_right:
                        refused["right_solution" if is_right else WRONG] += 1
                as_labelled &= grades[place, text] == is_right
            if as_labelled:
                pairs.append(
                    Preference(
                        problem_id=problem.id,
                        cluster=problem.cluster,
                        prompt=problem.prompt,
                        chosen=chosen,
                        rejected=rejected,
                        error_type=WRONG,
                    )
                )
            if len(pairs) == count:
                return pairs
        raise DataError(
            f"task {self.name!r} must have as many preferences as requested",
            f"{len(order):,} problems give {len(pairs):,} of {count:,}",
            "request fewer, or more problems",
        )

    def _shuffled(self, problem: Problem, seed: int, kind: str) -> list[str]:
        texts: list[str] = list(problem.metadata[kind])
        stream("preference", seed, problem.id, kind).shuffle(texts)
        return texts

    def propose_mistakes(self, problem: Problem, rng: Random, kind: str) -> Iterator[str]:
        wrong = problem.metadata["wrong"]
        yield from rng.sample(wrong, len(wrong))


def _read(row: Fields) -> tuple[str, list[str], list[bool]]:
    """(question, steps, whether each is right) of a row as published, or as TRL's library has it."""
    if not row.has("completions"):
        return _marked(row)
    steps, labels = row.texts("completions"), row.booleans("labels")
    if len(steps) != len(labels):
        raise row.wrong("labels", "have one for each of `completions`", labels)
    return row.text("prompt"), steps, labels


def _marked(row: Fields) -> tuple[str, list[str], list[bool]]:
    text, marked = row.text("input"), row.text("label")
    pieces = text.split(_MARK)
    labels: list[bool] = []
    at = 0
    for piece in pieces[:-1]:
        at += len(piece)
        if marked[at : at + 1] not in ("+", "-"):
            raise row.wrong("label", f"be `input` with + or - in the place of each {_MARK}", marked)
        labels.append(marked[at] == "+")
        at += 1
    for first, piece in enumerate(pieces[:-1]):  # a mark before the first step is a slip of the data set
        begin = _FIRST_STEP.search(piece)
        if begin is not None:
            question = "".join([*pieces[:first], piece[: begin.start()]])
            return question, [piece[begin.start() :], *pieces[first + 1 : -1]], labels[first:]
    return "", [], []
