"""Evaluation problems in documents: a planted copy and a planted near copy are found, ordinary text is not."""

from __future__ import annotations

import random
import re

import pytest

from harness.corpus.decontaminate import (
    EXAMPLES,
    FEWEST_WORDS,
    Contamination,
    Problem,
    ProblemIndex,
    contamination_of,
)
from harness.corpus.document import Document
from harness.corpus.python_packages import read_functions
from harness.corpus.words import words_of

PROMPT = (
    "Anna picks 23 apples on Monday and twice as many on Tuesday, then gives a quarter of all of them to her brother. "
    "How many apples does she keep?"
)
SOLUTION = "On Tuesday she picks 46 apples, so there are 69 in all; a quarter is 17.25, and she keeps 51.75 of them."
PROBLEM = Problem(task="sums", id="sums-1", text=f"{PROMPT}\n{SOLUTION}")
FAR = Problem(task="logic", id="logic-1", text="Is it true that " + " and ".join(f"gate {n} is open" for n in range(9)))


def document(text: str, description: str = "A description.") -> Document:
    return Document(cluster="c", path="repo/a.py", name="f", language="text", description=description, text=text)


def contamination(*problems: Problem, n: int = 13, threshold: float = 0.0) -> Contamination:
    return Contamination(ProblemIndex(problems or (FAR, PROBLEM), n=n, threshold=threshold))


def test_a_planted_copy_and_a_planted_near_copy_are_found() -> None:
    checked = contamination()
    near = PROMPT.replace("Anna", "Berta").replace("brother", "sister").upper().replace(",", " -")
    assert checked.holds_a_problem(document(f"Something before. {PROMPT}\n{SOLUTION} And after."))
    assert checked.holds_a_problem(document(f"data = ['{near}']"))
    assert not checked.holds_a_problem(document("Anna picks apples, and her brother picks 23 pears on Tuesday."))
    found = contamination_of([checked.counted()])
    assert (found["documents"], found["problems"], found["checked"]) == (2, 1, {"logic": 1, "sums": 1})
    assert [(one["problem"], one["task"], one["document"]) for one in found["examples"]] == [
        ("sums-1", "sums", "repo/a.py f")
    ] * 2
    copy, almost = found["examples"]
    assert copy["shared"] == copy["of"] > almost["shared"] > 0


def test_a_solution_alone_and_a_problem_across_description_and_text_are_found() -> None:
    assert contamination().holds_a_problem(document(SOLUTION))
    words = PROMPT.split()
    assert contamination().holds_a_problem(document(" ".join(words[8:]), description=" ".join(words[:8])))


def test_the_threshold_is_a_share_of_the_problem() -> None:
    part = document(" ".join(PROMPT.split()[:16]))
    assert contamination(PROBLEM).holds_a_problem(part)
    assert not contamination(PROBLEM, threshold=0.5).holds_a_problem(part)
    assert contamination(PROBLEM, threshold=0.5).holds_a_problem(document(PROBLEM.text))
    assert not contamination(PROBLEM, threshold=1.0).holds_a_problem(document(PROBLEM.text))


def test_shorter_n_grams_find_more() -> None:
    part = document(" ".join(PROMPT.split()[2:8]))
    assert not contamination(PROBLEM).holds_a_problem(part)
    assert contamination(PROBLEM, n=5).holds_a_problem(part)


def test_short_problems_are_looked_for_whole_and_very_short_ones_are_counted() -> None:
    whole = Problem(task="t", id="whole", text="How many of the nine boxes are still empty now?")
    checked = contamination(whole, Problem(task="t", id="tiny", text="What is 2 + 2?"))
    assert contamination_of([checked.counted()])["too_short"] == {"t": 1}
    assert contamination_of([checked.counted()])["checked"] == {"t": 1}
    assert checked.holds_a_problem(document(f"Well: {whole.text} Say it."))
    assert not checked.holds_a_problem(document("How many of the nine boxes are still full now? What is 2 + 2?"))


def test_few_examples_are_kept_and_all_hits_counted() -> None:
    checked = contamination()
    assert all(checked.holds_a_problem(document(f"{number} {PROBLEM.text}")) for number in range(EXAMPLES + 4))
    assert contamination_of([checked.counted()])["documents"] == EXAMPLES + 4
    assert len(contamination_of([checked.counted()])["examples"]) == EXAMPLES


def test_code_of_installed_packages_holds_none_and_no_problems_find_nothing() -> None:
    documents = [document(f.source, f.docstring) for f in read_functions(["email", "json"])]
    assert not any(contamination().holds_a_problem(one) for one in documents)
    nothing = Contamination(ProblemIndex([], n=13, threshold=0.0))
    assert not nothing.holds_a_problem(document(PROBLEM.text))
    assert contamination_of([nothing.counted()])["checked"] == {}


@pytest.mark.parametrize("text", ["", "?!", "word"])
def test_texts_without_enoughwords_of(text: str) -> None:
    assert not contamination().holds_a_problem(document(text, description=""))


@pytest.mark.parametrize("n", [3, 4, 7, 13])
def test_the_quick_look_passes_nothing_over(n: int) -> None:
    """Against all n-grams of both texts, on texts of so few different words that many are shared."""
    chance = random.Random(n)

    def words(count: int) -> list[str]:
        return chance.choices(["one", "two", "three", "four", "five"], k=count)

    problems = [words(chance.randrange(3, 40)) for _ in range(30)]
    index = ProblemIndex(
        [Problem(task="t", id=str(k), text=" ".join(of)) for k, of in enumerate(problems)], n=n, threshold=0
    )
    for _ in range(300):
        text = words(chance.randrange(30))
        hit = {int(hit.problem.id) for hit in index.hits(document(" ".join(text), description=""))}
        assert hit == {k for k, of in enumerate(problems) if shared(of, text, n)}


def shared(problem: list[str], text: list[str], n: int) -> bool:
    length = min(n, len(problem))
    if length < min(n, FEWEST_WORDS):
        return False
    grams = {tuple(problem[start : start + length]) for start in range(len(problem) - length + 1)}
    return any(tuple(text[start : start + length]) in grams for start in range(len(text) - length + 1))


def test_parts_are_counted_as_one() -> None:
    index = ProblemIndex([FAR, PROBLEM], n=13, threshold=0.0)
    whole, parts = Contamination(index), [Contamination(index), Contamination(index), Contamination(index)]
    for number in range(8):
        found = document(f"{number} {PROBLEM.text if number % 3 else FAR.text}")
        assert whole.holds_a_problem(found)
        assert parts[number // 4].holds_a_problem(found)
    told = contamination_of([part.counted() for part in parts])
    assert told == contamination_of([whole.counted()])
    assert (told["documents"], told["problems"], len(told["examples"])) == (8, 2, EXAMPLES)


def test_words_of_plain_text_are_those_of_any_text() -> None:
    plain = "".join(map(chr, range(128))) + " One_two: THREE-4 (five)\tsix\n'seven' \x1c eight"
    assert words_of(plain) == words_of(f"{plain} \u00e9")[:-1] == re.findall(r"\w+", plain.lower())
    assert words_of("\u00c9t\u00e9 d'or, 3\u00b2") == ["\u00e9t\u00e9", "d", "or", "32"]
