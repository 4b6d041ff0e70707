"""Math-Shepherd (arXiv 2312.08935): 445,000 solutions of GSM8K's and MATH's train problems, each step labelled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from harness.sources.fields import Fields
from harness.tasks.built_in.math500 import Math500
from harness.tasks.fixed import HubDataset
from harness.tasks.stories import stories
from harness.tasks.task import OptionRule, Problem

PART = "train"
WRONG = "wrong_solution"

MOST_SOLUTIONS = 8
"""Right and as many wrong ones of a problem that are kept, the first of the file: 64 pairs a problem."""

_MARK = "ки"  # in `input` behind every step, where `label` has + or -
_FIRST_STEP = re.compile(r"\bstep 1:", re.IGNORECASE)
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
    licence: ClassVar[str] = "none stated; its questions MIT"
    source: ClassVar[str] = "https://huggingface.co/datasets/peiyi9979/Math-Shepherd"
    parts: ClassVar[Mapping[str, str]] = {"finetune": PART, "dev": PART, "test": PART}
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {PART: (PART, "math-shepherd")}
    hub = HubDataset(
        id="peiyi9979/Math-Shepherd",
        revision="ae6b0c54fca9fa26096f7de175c747e4b262e01a",
        files={PART: "math-shepherd.jsonl"},
    )
    defaults: ClassVar[Mapping[str, Any]] = {}
    rules: ClassVar[Mapping[str, OptionRule]] = {}
    columns = frozenset({"input", "label", "prompt", "completions", "labels"})

    def rows(self, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Problems: `question`, `right` and `wrong` solutions. The file is read once, what is not kept is dropped."""
        kept: dict[str, tuple[str, dict[bool, dict[str, None]]]] = {}
        for place, row in super().rows(path):
            question, steps, labels = _read(Fields(row, place))
            if not steps or (any(labels) != all(labels) and labels[-1]):
                continue
            _, solutions = kept.setdefault(question, (place, {True: {}, False: {}}))
            known = solutions[labels[-1]]
            if len(known) < MOST_SOLUTIONS:
                known.setdefault("\n".join(steps))
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

    def takes(self, problem: Problem, options: Mapping[str, Any]) -> bool:
        return True

    def alike(self, prompts: Sequence[str]) -> Sequence[int]:
        return stories(prompts)

    def rewrite(self, problem: Problem, rng: Random) -> str:
        """One of its right solutions."""
        right = problem.metadata["right"]
        drawn = rng.sample(right, len(right))
        return next(text for text in drawn if self.grade(problem, text))

    def propose_mistakes(self, problem: Problem, rng: Random, kind: str) -> Iterator[str]:
        wrong = problem.metadata["wrong"]
        yield from rng.sample(wrong, len(wrong))


def _read(row: Fields) -> tuple[str, list[str], list[bool]]:
    """(question, steps, whether each is right) of a row as published, or as TRL's library has it."""
    if row.has("completions"):
        question = row.text("prompt")
        steps, labels = row.texts("completions"), row.booleans("labels")
        if len(steps) != len(labels):
            raise row.wrong("labels", "have one for each of `completions`", labels)
    else:
        question, steps, labels = _marked(row)
    texts = [_CALCULATIONS.sub("", step).strip() for step in steps]
    return question.strip(), texts, labels


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
