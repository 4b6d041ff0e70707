"""A right solution and changed copies of it: changes that leave it as good as it was, and changes that make it worse.

A change is made only where it is sure to be what its name says: grading confirms it, and what depends on the meaning of
words is left alone. Everything is drawn from the random source given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

TRAILING_SPACE, RESTATED, RENAMED = "trailing_whitespace", "restated_question", "renamed"
CORRUPTED, TRUNCATED, WRONG_REASONING = "corrupted_answer", "truncated_reasoning", "wrong_reasoning"
HARMLESS = (TRAILING_SPACE, RESTATED, RENAMED)
HARMFUL = (CORRUPTED, TRUNCATED, WRONG_REASONING)

_ENDINGS = (" ", "\n", "  \n", "\n\n")
_FEWEST_WORDS = 8
"""Of a solution that is cut in its middle; half of fewer is no reasoning."""
_LAST_NUMBERS = 4
"""Numbers at a solution's end of which one may be its answer, which grading tells."""
_TRIES = 6
"""Other values tried for one number, and results tried in one solution."""
_FARTHEST = 3
"""A changed digit stays close, so that a number's size does not give it away."""

_NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")
_RESULT = re.compile(r"=\s*[$£€]?(\d+(?:,\d{3})*(?:\.\d+)?)(?![\w.,]*\d)(?!%?\s*[-+*/^=\u00d7÷(\\])")
"""A number behind an equals sign after which the calculation does not go on."""
_ASKS = re.compile(r"\s*\n(?:Answer|Solution): ?\s*\Z")
"""What a prompt ends with behind its question."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Given names that are no other words, by the pronoun that stands for them.
_NAMES = (
    _words(
        "Alice Amanda Amelia Amy Andrea Angela Anna Barbara Betty Brenda Carla Charlotte Cindy Clara Donna "
        "Dorothy Emily Emma Erica Gina Hannah Helen Isabella Jane Janet Jenna Jennifer Jenny Jessica Julia "
        "Julie Karen Kate Laura Linda Lisa Lucy Maria Martha Mary Megan Melissa Mia Michelle Molly Monica "
        "Nancy Natalie Nina Olivia Rachel Rebecca Samantha Sandra Sara Sarah Sophia Sophie Stephanie Susan "
        "Tina Wendy"
    ),
    _words(
        "Aaron Adam Albert Andrew Anthony Ben Bob Bobby Brandon Brian Carl Carlos Daniel Danny Dave David "
        "Elijah Eric Fred Gary George Greg Harry Henry Jacob Jake James Jason Jeff Jeremy Jerry Jim Jimmy Joe "
        "John Johnny Joseph Joshua Justin Kevin Kyle Larry Leo Liam Luke Marcus Martin Matt Michael Mike "
        "Nathan Noah Oliver Patrick Paul Peter Richard Robert Roger Ryan Samuel Simon Steve Steven Thomas Tim "
        "Tom Tommy Tony Tyler William"
    ),
)
_CAPITALISED = re.compile(r"\b[A-Z][a-z]+\b(?! [A-Z])")

_INPUT = re.compile(r"\b([B-HJ-Z]) = \d")
_MATH = re.compile(
    r"(?<!\\)\$[^$]+(?<!\\)\$|\\\[.*?\\\]|\\\(.*?\\\)|\\begin\{((?:align|equation|gather)\*?)\}.*?\\end\{\1\}",
    re.DOTALL,
)
_IN_MATH = re.compile(r"(\\(?:text\w*|mbox|operatorname|begin|end)\{[^{}]*\}|\\[A-Za-z]+)|[A-Za-z]+")
_VARIABLES = "xyznmkpqrstuvw"


@dataclass(frozen=True, kw_only=True)
class Altered:
    """A solution after a change of `kind`, "" as it is; `correct` is whether its final answer is right."""

    kind: str
    prompt: str
    text: str
    correct: bool


@dataclass(frozen=True, kw_only=True)
class Solved:
    """A question with a right solution.

    Attributes:
        grade: whether a text's final answer is right.
        states: whether a text states an answer at all.
        wrong: known wrong solutions of the same form; where there is one, it is the corrupted answer.
        renames: names may be exchanged; not where a question is about facts.
    """

    prompt: str
    solution: str
    grade: Callable[[str], bool]
    states: Callable[[str], bool]
    wrong: Sequence[str] = ()
    renames: bool = True


def altered(solved: Solved, rng: Random) -> list[Altered]:
    """The solution and its changed copies, one of each kind that can be made; none of a solution not graded right.

    All but the last share their prompt; a renamed one, which comes last, has its own.
    """
    if not solved.grade(solved.solution):
        return []
    found = {
        "": (solved.prompt, solved.solution),
        TRAILING_SPACE: (solved.prompt, solved.solution + rng.choice(_ENDINGS)),
        RESTATED: (solved.prompt, f"{_ASKS.sub('', solved.prompt).strip()}\n{solved.solution}"),
        **{
            kind: (solved.prompt, text)
            for kind, text in (
                (CORRUPTED, _corrupted(solved, rng)),
                (TRUNCATED, _truncated(solved)),
                (WRONG_REASONING, _wrongly_reasoned(solved, rng)),
            )
            if text is not None
        },
    }
    renamed = _renamed(solved, rng) if solved.renames else None
    if renamed is not None:
        found[RENAMED] = renamed
    rows = [Altered(kind=kind, prompt=of[0], text=of[1], correct=solved.grade(of[1])) for kind, of in found.items()]
    return [one for one in rows if one.correct or one.kind not in HARMLESS]


def _corrupted(solved: Solved, rng: Random) -> str | None:
    """Another final answer behind the same reasoning: the number on which grading depends, one digit changed."""
    wrong = [text for text in solved.wrong if not solved.grade(text)]
    if solved.wrong:
        return rng.choice(wrong) if wrong else None
    for number in list(_NUMBER.finditer(solved.solution))[: -_LAST_NUMBERS - 1 : -1]:
        for other in _others(number.group(), rng):
            text = solved.solution[: number.start()] + other + solved.solution[number.end() :]
            if solved.states(text) and not solved.grade(text):
                return text
    return None


def _truncated(solved: Solved) -> str | None:
    """The first half of the words, if it does not state the answer already."""
    words = list(re.finditer(r"\S+", solved.solution))
    if len(words) < _FEWEST_WORDS:
        return None
    text = solved.solution[: words[len(words) // 2 - 1].end()]
    return None if solved.grade(text) else text


def _wrongly_reasoned(solved: Solved, rng: Random) -> str | None:
    """The right answer behind an equation that does not hold: its result has one digit changed."""
    results = list(_RESULT.finditer(solved.solution))
    only_bits = {found.group(1) for found in results} <= {"0", "1"}
    rng.shuffle(results)
    for found in results[:_TRIES]:
        number = found.group(1)
        for other in ["1" if number == "0" else "0"] if only_bits else _others(number, rng):
            text = solved.solution[: found.start(1)] + other + solved.solution[found.end(1) :]
            if solved.grade(text):
                return text
    return None


def _others(number: str, rng: Random) -> Iterator[str]:
    """Numbers of the same form with one digit changed, none beginning with a 0 that it did not have."""
    found = [
        number[:place] + other + number[place + 1 :]
        for place, digit in enumerate(number)
        if digit.isdigit()
        for other in "0123456789"
        if 1 <= abs(int(other) - int(digit)) <= _FARTHEST and (place or other != "0" or len(number) == 1)
    ]
    rng.shuffle(found)
    return islice(found, _TRIES)


def _renamed(solved: Solved, rng: Random) -> tuple[str, str] | None:
    """(prompt, solution) with a person, a variable in LaTeX or a circuit's input under another name throughout."""
    both = (solved.prompt, solved.solution)
    everything = "\n".join(both)
    people = sorted(set(_CAPITALISED.findall(solved.prompt)))
    rng.shuffle(people)
    for name in people:
        alike = next((names for names in _NAMES if name in names), None)
        if alike is not None:
            other = rng.choice(sorted(alike - set(re.findall(r"\w+", everything))))
            prompt, solution = (re.sub(rf"\b{name}\b", other, text) for text in both)
            return prompt, solution
    inputs = sorted(set(_INPUT.findall(solved.prompt)))
    free = sorted(set("BCDEFGHJKLMNOPQRSTUVWXYZ") - set(re.findall(r"\b[A-Z]\b", everything)))
    if inputs and free:
        name, other = rng.choice(inputs), rng.choice(free)
        prompt, solution = (re.sub(rf"\b{name}\b", other, text) for text in both)
        return prompt, solution
    return _renamed_variable(solved.prompt, solved.solution, rng)


def _renamed_variable(prompt: str, solution: str, rng: Random) -> tuple[str, str] | None:
    """Of a variable that never stands in a product of letters, nor outside of formulas."""
    if "[asy]" in prompt + solution:
        return None
    asked, runs = (
        [word.group() for text in texts for formula in _MATH.finditer(text) for word in _IN_MATH.finditer(formula[0])]
        for texts in ((prompt,), (prompt, solution))
    )
    runs = [run for run in runs if not run.startswith("\\")]
    outside = re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", _MATH.sub(" ", f"{prompt}\n{solution}"))
    mixed = {letter for run in runs if len(run) > 1 for letter in run}
    names = sorted(set(_VARIABLES) & set(asked) - mixed - set(outside))
    free = sorted(set(_VARIABLES) - set(runs) - mixed - set(outside))
    if not names or not free:
        return None
    name, other = rng.choice(names), rng.choice(free)

    def rename(text: str) -> str:
        def word(found: re.Match[str]) -> str:
            return other if found.group() == name else found.group()

        return _MATH.sub(lambda formula: _IN_MATH.sub(word, formula[0]), text)

    return rename(prompt), rename(solution)
