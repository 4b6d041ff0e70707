"""A few rows of every task of published data, in its original schema, and what must become of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.toys.published import rows_of_rewardbench2, rows_of_rm_bench


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows of a task in its original schema, by part, and what must become of them.

    `answers` are those of the test part; `right` and `wrong` are texts that answer its first problem; `spoilt` is a row
    without what the task needs. `real` is where the whole data may lie, with the number of problems by part.
    `rows_a_problem` where a problem's solutions are rows of their own.
    """

    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    answers: Sequence[str]
    right: Sequence[str]
    wrong: Sequence[str]
    spoilt: Mapping[str, Any]
    real: str = ""
    sizes: Mapping[str, int]
    rows_a_problem: int = 1


OPTIONS = [
    {"label": label, "text": text} for label, text in zip("ABCDE", ("tea", "book", "hat", "pea", "arc"), strict=True)
]
SAMPLES = {
    "gsm8k": Sample(
        rows={
            "train": [
                {
                    "question": f"Ann has {n} pens and gets 2 more. How many?",
                    "answer": f"{n}+2=<<{n}+2={n + 2}>>{n + 2}\n#### {n + 2}",
                }
                for n in range(30)
            ],
            "test": [
                {
                    "question": "Bob has 5 hats and loses 2. How many?",
                    "answer": "5-2=<<5-2=3>>3 hats are left.\n#### 3",
                },
                {"question": "A car costs $1,500. Two cost?", "answer": "2*1500=$<<2*1500=3000>>3,000\n#### 3,000"},
                {"question": "It falls from 2 by 9. To?", "answer": "2-9=<<2-9=-7>>-7\n#### -7"},
            ],
        },
        answers=["3", "3000", "-7"],
        right=["5 - 2 = 3\n#### 3", "So the answer is 3.", r"We get $\boxed{3}$.", "The answer is $3.00"],
        wrong=["#### 4", "3 hats", "", "The answer is 3. No: the answer is 4."],
        spoilt={"question": "Where to?", "answer": "nowhere"},
        real="gsm8k",
        sizes={"train": 7473, "test": 1319},
    ),
    "commonsense_qa": Sample(
        rows={
            "train": [
                {
                    "id": f"t{n}",
                    "question": f"Where are {n} ships?",
                    "question_concept": "ship",
                    "choices": {"label": ["A", "B", "C"], "text": ["sea", "tree", f"room {n}"]},
                    "answerKey": "A",
                }
                for n in range(30)
            ],
            "validation": [
                {
                    "id": "v0",
                    "question": {"stem": "What do you read?", "choices": OPTIONS},
                    "answerKey": "B",
                },
                {
                    "id": "v1",
                    "question": "Wet?",
                    "choices": {"label": ["A", "B", "C"], "text": ["rain", "rain", "fire"]},
                    "answerKey": "B",
                },
            ],
        },
        answers=["B", "B"],
        right=[
            "(B) book",
            "B",
            "The answer is B.",
            "I think so.\nAnswer: (B)",
            r"\boxed{B}",
            "(A) no.\n(B) book",
        ],
        wrong=["(A) tea", "", "book", "The answer is B. No, the answer is C."],
        spoilt={"id": "x", "question": "?", "choices": {"label": ["A", "B"], "text": ["a", "b"]}, "answerKey": "C"},
        real="csqa",
        sizes={"train": 9741, "validation": 1221},
    ),
    "reclor": Sample(
        rows={
            "train": [
                {
                    "context": f"Every one of the {n // 2} ships that sank was old.",
                    "question": f"Which of the following follows, {n}?",
                    "answers": ["It was old.", "It was new.", "It floats.", f"It has {n} masts."],
                    "label": n % 2,
                    "id_string": f"train_{n}",
                }
                for n in range(30)
            ],
            "validation": [
                {
                    "context": "No fish sings. Whales sing.",
                    "question": "Which follows?",
                    "answers": ["Fish sing.", "Whales are no fish.", "Whales fly.", "Nothing sings."],
                    "label": 1,
                    "id_string": "val_0",
                }
            ],
        },
        answers=["B"],
        right=["(B) Whales are no fish.", "option B", "B)", "(b)", "B.", r"So \boxed{B}."],
        wrong=["(A) Fish sing.", "Whales are no fish.", "(E)", "Answer: A, although (B) was tempting."],
        spoilt={"context": "?", "question": "?", "answers": ["a", "b", "c", "d"], "label": 4, "id_string": "x"},
        sizes={},
    ),
    "logiqa2": Sample(
        rows={
            part: [
                {
                    "id": n,
                    "answer": n % 4,
                    "text": f"{part} {n // 2}: all who came stayed.",
                    "question": f"Which of these {n} must be true?",
                    "options": ["Some left.", "None left.", "None came.", "All left."],
                    "type": {"Categorical Reasoning": True},
                }
                for n in range(size)
            ]
            for part, size in (("train", 30), ("dev", 4), ("test", 2))
        },
        answers=["A", "B"],
        right=["(A) Some left.", "The answer is A because some did."],
        wrong=["(B) None left.", "A way out"],
        spoilt={"id": 1, "answer": 1, "text": "?", "question": "?", "options": ["same", "same"]},
        sizes={},
    ),
    "folio": Sample(
        rows={
            "train": [
                {
                    "story_id": n // 3,
                    "example_id": n,
                    "premises": ["All pens write.", "", f"Thing {n // 3} is a pen. "],
                    "conclusion": f"Thing {n // 3} is {n % 3}.",
                    "label": ("True", "False", "Unknown")[n % 3],
                }
                for n in range(30)
            ],
            "validation": [
                {"premises": "All cats purr.\nTom may be a cat.", "conclusion": "Tom purrs.", "label": "Uncertain"},
                {"premises": ["All cats purr.", "Tom is a cat."], "conclusion": "Tom purrs.", "label": "True"},
            ],
        },
        answers=["C", "A"],
        right=["(C) Unknown", "Unknown", "The answer is Uncertain.", r"\boxed{\text{unknown}}", "uncertain"],
        wrong=["True", "(A) True", "The answer is unknowable", "It is Unknown, I think"],
        spoilt={"premises": ["All cats purr."], "conclusion": "Tom purrs.", "label": "Perhaps"},
        real="folio",
        sizes={"train": 1004, "validation": 204},
    ),
    "strategyqa": Sample(
        rows={
            "train": [
                {"qid": f"t{n}", "term": "ship", "question": f"Can {n} ships fly?", "answer": False, "facts": ["No."]}
                for n in range(30)
            ],
            "dev": [
                {"id": 916, "question": "Is ice cold?", "answer": True, "facts": ["Ice is frozen."]},
                {"id": 917, "question": "Can 7  ships fly?", "answer": False, "facts": ["Ships are heavy."]},
            ],
        },
        answers=["A", "B"],
        right=["(A) yes", "Yes.", "Yes, it is frozen.", "Ice is frozen. So the answer is yes.", r"\boxed{YES}", "A"],
        wrong=["No.", "The answer is yes. No: the answer is no.", "Yesterday", "The answer is no longer known", ""],
        spoilt={"id": 1, "question": "Is ice cold?", "answer": True, "explanation": "Yes. Ice is frozen."},
        real="strategyqa",
        sizes={"train": 1290, "dev": 500},
    ),
    "balanced_copa": Sample(
        rows={
            part: [
                {
                    "id": (first + n // 2) + 1000 * (n % 2),
                    "premise": f"The pen number {n} leaked.",
                    "question": ("cause", "effect")[n % 2],
                    "choice1": "It fell.",
                    "choice2": "The paper is wet.",
                    "label": n % 2,
                }
                for n in range(size)
            ]
            for part, first, size in (("train", 1, 30), ("test", 501, 2))
        },
        answers=["A", "B"],
        right=["(A) It fell.", "I choose option A"],
        wrong=["(B) The paper is wet.", "It fell."],
        spoilt={"id": 1, "premise": "?", "question": "why", "choice1": "a", "choice2": "b", "label": 0},
        real="bcopa",
        sizes={"train": 1000},
    ),
    "qasc": Sample(
        rows={
            "train": [
                {
                    "id": f"t{n}",
                    "question": f"What do {n} plants need?",
                    "choices": {"label": list("ABCDEFGH"), "text": ["light", *(f"thing {n + i}" for i in range(7))]},
                    "answerKey": "A",
                    "fact1": f"Fact {n // 2}.",
                    "fact2": "Light is energy.",
                }
                for n in range(30)
            ],
            "validation": [
                {
                    "id": "v0",
                    "question": {
                        "stem": "What melts?",
                        "choices": [{"label": label, "text": f"rock {label}"} for label in "ABCDEFG"]
                        + [{"label": "H", "text": "ice"}],
                    },
                    "answerKey": "H",
                    "fact1": "Ice melts.",
                }
            ],
        },
        answers=["H"],
        right=["(H) ice", "Answer: (H)"],
        wrong=["(A) rock A", "ice"],
        spoilt={
            "id": "x",
            "question": "?",
            "choices": {"label": ["A", "B"], "text": ["a", "b"]},
            "answerKey": "",
            "fact1": "?",
        },
        sizes={},
    ),
    "math500": Sample(
        rows={
            "test": [
                {
                    "problem": "Convert $0.5$ to a fraction.",
                    "solution": r"It is $\frac{1}{2}$, so \boxed{\frac{1}{2}}.",
                    "answer": r"\frac{1}{2}",
                    "subject": "Prealgebra",
                    "level": 1,
                    "unique_id": "test/prealgebra/1.json",
                },
                {
                    "problem": "Solve $x^2 = 2$ for $x > 0$.",
                    "solution": r"The root is $\boxed{\sqrt{2}}$.",
                    "answer": r"\sqrt{2}",
                    "subject": "Algebra",
                    "level": 5,
                    "unique_id": "test/algebra/2.json",
                },
            ]
        },
        answers=[r"\frac{1}{2}", r"\sqrt{2}"],
        right=[r"\boxed{\frac{1}{2}}", r"$\boxed{0.5}$", "The answer is 1/2.", r"\boxed{2} is wrong: \boxed{\dfrac12}"],
        wrong=[r"\boxed{2}", "", "one half", r"\boxed{\frac{1}{2}", r"\boxed{1/2} and then \boxed{0.25}"],
        spoilt={"problem": "?", "solution": "?", "answer": "?", "subject": "?", "level": "hard", "unique_id": "1"},
        sizes={},
    ),
}


def competition(problem: str, box: str, level: str = "Level 2") -> dict[str, str]:
    return {"problem": problem, "level": level, "type": "Algebra", "solution": f"It follows that it is ${box}$."}


def labelled(question: str, *steps: str) -> dict[str, str]:
    """A row of Math-Shepherd: each step ends in its label."""
    return {
        "input": f"{question} " + "\n".join(f"{step[:-1]} ки" for step in steps),
        "label": f"{question} " + "\n".join(f"{step[:-1]} {step[-1]}" for step in steps),
        "task": "GSM8K",
    }


SAMPLES |= {
    "svamp": Sample(
        rows={
            "problems": [
                {
                    "ID": "chal-1",
                    "Body": "Ann had 7 pens. She gave 2 to Bob",
                    "Question": "How many has she?",
                    "Equation": "( 7.0 - 2.0 )",
                    "Answer": 5.0,
                    "Type": "Subtraction",
                },
                {
                    "ID": "chal-2",
                    "Body": "A shelf holds 4 rows of 6 books.",
                    "Question": "How many books are that?",
                    "Equation": "( 4.0 * 6.0 )",
                    "Answer": 24.0,
                    "Type": "Multiplication",
                },
            ]
        },
        answers=["5", "24"],
        right=["7 - 2 = 5\n#### 5", "The answer is 5.0", r"\boxed{5}"],
        wrong=["#### 2", "5", ""],
        spoilt={"ID": "x", "Body": "?", "Question": "?", "Equation": "?", "Answer": "five"},
        real="svamp_official",
        sizes={"problems": 1000},
    ),
    "hendrycks_math": Sample(
        rows={
            "train": [competition(f"Find ${number}x$ for $x = 2$.", rf"\boxed{{{2 * number}}}") for number in range(9)],
            "test": [
                competition("Find half of one.", r"\boxed{\frac{1}{2}}", "Level 5"),
                competition("Count.", r"\boxed 2", "Level ?"),
                competition("Count on.", r"\fbox{3}"),
            ],
        },
        answers=[r"\frac{1}{2}", "2", "3"],
        right=[r"\boxed{\frac{1}{2}}", r"$\boxed{0.5}$", r"\boxed 2 or rather \boxed{.5}", "The answer is: 1/2"],
        wrong=[r"\boxed{2}", "", r"\boxed 2", "half"],
        spoilt={"problem": "?", "level": "hard", "type": "?", "solution": r"\boxed{1}"},
        sizes={},
    ),
    "math_shepherd": Sample(
        rows={
            "train": [
                row
                for at, thing in enumerate(("pens", "hats", "old books", "red cars by the sea"))
                for row in (
                    labelled(
                        f"How many {thing} are {at}+2?",
                        f"Step 1: {at}+2=<<{at}+2={at + 2}>>{at + 2}. +",
                        f"Step 2: So it is {at + 2}. The answer is: {at + 2} +",
                    ),
                    labelled(f"How many {thing} are {at}+2?", f"Step 1: It is {at + 3}. The answer is: {at + 3} -"),
                )
            ]
        },
        answers=["2", "3", "4", "5"],
        right=["Step 1: 2. The answer is: 2", "The answer is: $2", r"\boxed{2}"],
        wrong=["Step 1: 3. The answer is: 3", "", "2"],
        spoilt={"input": "One? Step 1: It is. ки", "label": "One? Step 1: It is.", "task": "GSM8K"},
        sizes={},
        rows_a_problem=2,
    ),
}


SAMPLES |= {
    "rewardbench2": Sample(
        rows={"test": rows_of_rewardbench2()},
        answers=[""] * 8,
        right=["0"],
        wrong=["x", "", "The answer is 0."],
        spoilt={"id": "1", "subset": "Chat", "prompt": "?", "chosen": ["a"], "rejected": ["b"]},
        sizes={},
    ),
    "rm_bench": Sample(
        rows={"test": rows_of_rm_bench()},
        answers=[""] * 5,
        right=["1", "**1**, _of course_"],
        wrong=["0", ""],
        spoilt={"id": 1, "domain": "math", "prompt": "?", "chosen": ["a"], "rejected": ["b"]},
        sizes={},
    ),
    "judgebench": Sample(
        rows={
            "test": [
                {
                    "pair_id": f"pair-{number}",
                    "source": "mmlu-pro",
                    "question": f"What is {number} plus 1?",
                    "response_model": "a model",
                    "response_A": f"It is {number}.",
                    "response_B": f"It is {number + 1}.",
                    "label": "B>A",
                }
                for number in range(3)
            ]
        },
        answers=[""] * 3,
        right=["It is 1."],
        wrong=["It is 0.", ""],
        spoilt={"pair_id": "p", "question": "?", "response_A": "a", "response_B": "b", "label": "A=B"},
        sizes={},
    ),
}
