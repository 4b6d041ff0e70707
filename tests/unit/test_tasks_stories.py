"""Which problems tell one story: whatever their numbers and names; a template joins nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.tasks.stories import MOST_HOLDERS, MOST_WORDS, masked, stories

REAL = Path(__file__).parents[3] / "shared" / "data"

CAKE = "Mary is baking a cake. The recipe calls for 3 cups of sugar and 10 cups of flour. How many cups is that?"


def test_numbers_and_names_are_masked_and_operators_are_not() -> None:
    assert masked("Ann's dog ate 1,200.5 grams; she didn't!") == masked("Bob's dog ate 7 grams. He didn't")
    assert masked("2 + 3") != masked("2 - 3")
    assert len(masked("word " * 2 * MOST_WORDS)) == MOST_WORDS


@pytest.mark.parametrize(
    ("other", "is_one"),
    [
        (
            "Tom is baking a cake. The recipe calls for 12 cups of sugar and 1 cups of flour. How many cups is that?",
            True,
        ),
        (
            "Mary is baking a cake. The recipe calls for 3 cups of sugar and 2 cups of flour. She has 4.",
            True,
        ),
        ("Mary is baking a cake for a friend who is 10. How many candles does she need on it?", False),
        ("", False),
    ],
)
def test_variations_are_one_story_and_other_problems_are_not(other: str, is_one: bool) -> None:
    assert stories([CAKE, other]) == [0, 0 if is_one else 1]


def test_what_is_linked_is_one_and_order_decides_nothing() -> None:
    words = [f"word{letter}" for letter in "abcdefghijklmnop"]
    chain = [" ".join(words[at : at + 10]) for at in range(0, 7, 2)]  # each like the next, the ends unlike
    assert stories([chain[0], chain[-1]]) == [0, 1]
    assert stories([*chain, "", CAKE, ""]) == [0, 0, 0, 0, 4, 5, 4]
    assert stories(chain[::-1]) == [0, 0, 0, 0]


def test_a_template_before_every_question_makes_them_no_story() -> None:
    instruction = "Read the question with care, think step by step and state your answer on the last line of all."
    letters = "abcdefghijklmnopqrstuvwxyz"
    questions = [f"{instruction} Where is {one}{other}{one}?" for one in letters for other in letters]
    assert len(questions) > MOST_HOLDERS
    assert len(set(stories(questions))) == len(questions)
    assert stories(questions[:2]) == [0, 0]  # of two, who can tell


@pytest.mark.published
@pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")
def test_svamp_repeats_its_stories_and_gsm8k_hardly_does() -> None:
    svamp = json.loads((REAL / "svamp_official" / "SVAMP.json").read_text(encoding="utf-8"))
    lines = (REAL / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    for prompts, shared in (
        ([f"{row['Body']} {row['Question']}" for row in svamp], 808),
        ([json.loads(line)["question"] for line in lines], 2),
    ):
        found = stories(prompts)
        assert sum(found.count(one) > 1 for one in found) == shared
