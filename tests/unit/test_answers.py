"""What becomes of models' answers: the code taken out of them, descriptions clipped, prompts filled in once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.corpus.python_packages import Function
from harness.engines.base import Completion, Request, Sampling
from harness.pairs.answers import clipped, code_of, descriptions_of, signature_of
from harness.pairs.construct import NO_TEXT, Text, Written
from harness.pairs.mutate import Rejection
from harness.pairs.writing import filled, write

SIGNATURE = "def double(number):"
NORMAL = "def double(number):\n    return 2 * number"


def function(source: str = NORMAL) -> Function:
    return Function(package="p", module="p.m", qualified_name="double", docstring="Doubles.", source=source)


@pytest.mark.parametrize(
    "answer",
    [
        NORMAL,
        f"```python\n{NORMAL}\n```",
        f"Here it is:\n\n```\n{NORMAL}\n```\nIt doubles.\n```\nother()\n```",
        f"```python\nimport os\n\n{NORMAL}\n\nprint(double(2))\n```",
        'def double(number):\n    """Say what it does."""\n    return 2*number  # a comment\n',
        f"```python\ndef helper():\n    return 1\n\n\n{NORMAL}\n```",
        "@cache\ndef double(number):\n    return (2 * number)",
    ],
)
def test_the_function_asked_for_is_taken_out_in_normal_form(answer: str) -> None:
    assert code_of(answer, SIGNATURE) == NORMAL


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("def double(number:\n    return", "def double(number:\n    return"),  # does not parse: as it was written
        ("```python\ndef double(number):\n    return 2 *", "def double(number):\n    return 2 *"),  # was cut off
        ("I cannot do that.", "I cannot do that."),
        ("def one():\n    pass\n\ndef two():\n    pass", "def one():\n    pass\n\ndef two():\n    pass"),
        ("def triple(number):\n    return 3*number", "def triple(number):\n    return 3 * number"),  # the only one
        ("", ""),
        ("```\n```", ""),
        ("\0", "\0"),
        ("(" * 5_000, "(" * 5_000),
    ],
)
def test_what_holds_no_such_function_stays_as_it_was_written(answer: str, code: str) -> None:
    assert code_of(answer, SIGNATURE) == code


def test_a_document_that_is_no_function_has_no_signature() -> None:
    assert signature_of(function()) == SIGNATURE
    assert signature_of(function("It doubles.\nReally.")) == ""


@given(st.text(), st.floats(0.01, 1.0))
def test_a_clipped_description_is_a_beginning_that_ends_after_a_word(text: str, share: float) -> None:
    short = clipped(text, share)
    assert text.startswith(short)
    assert short == text or text[len(short)] == " "
    assert len(short) <= share * len(text) or " " not in short


def test_what_a_part_holds_is_not_filled_in_again() -> None:
    parts = {"code": "use {signature} and {code}", "signature": "def f():"}
    assert filled("{code} | {signature} | {other}", parts) == "use {signature} and {code} | def f(): | {other}"


def test_descriptions_are_one_paragraph_cut_after_a_word_and_empty_ones_left_out() -> None:
    rows = [
        {"slot": 1, "text": " It\n\n doubles  numbers. "},
        {"slot": 2, "text": "abcdef ghi"},
        {"slot": 3, "text": " \n"},
    ]
    assert descriptions_of(rows, 100) == {1: "It doubles numbers.", 2: "abcdef ghi"}
    assert descriptions_of(rows, 8) == {1: "It", 2: "abcdef"}


class Echo:
    """Writes its request down."""

    def generate(self, requests: list[Request]) -> list[Completion]:
        return [
            Completion(id=one.id, text=f"{one.prompt} {one.seed}", finish_reason="stop", metadata={"tokens": 3})
            for one in requests
        ]


def test_a_slots_draw_depends_on_its_number_and_not_on_its_company() -> None:
    def written(slots: list[int], purpose: str = "train text") -> dict[int, str]:
        prompts = [(slot, f"slot {slot}") for slot in slots]
        rows = write(Echo(), prompts, sampling=Sampling(), seed=5, purpose=purpose)
        return {row["slot"]: row["text"] for row in rows}

    def drafted(drafts: int) -> list[str]:
        rows = write(Echo(), [(0, "slot 0")], sampling=Sampling(), seed=5, purpose="train text", drafts=drafts)
        assert [row["draft"] for row in rows] == list(range(drafts))
        return [row["text"] for row in rows]

    whole = written([0, 1, 2, 3])
    assert written([2, 3]) | written([1, 0]) == whole
    assert len(set(whole.values())) == 4
    assert written([0], "heldout text") != {0: whole[0]}
    assert drafted(3)[:1] == drafted(1) == [whole[0]]
    assert len(set(drafted(3))) == 3


def test_a_slot_without_a_text_has_no_side() -> None:
    side = Written(answers={(4, 0): f"```\n{NORMAL}\n```", (5, 0): "```\n```"})
    assert side.text(function(), 4, 0, random.Random(0)) == Text(text=NORMAL)
    assert side.text(function(), 5, 0, random.Random(0)) == Rejection(reason=NO_TEXT)
    assert side.text(function(), 6, 0, random.Random(0)) == Rejection(reason=NO_TEXT)


def test_asked_again_a_slot_has_its_next_draft() -> None:
    side = Written(answers={(4, 0): "```\n```", (4, 1): NORMAL}, drafts=2)
    assert side.text(function(), 4, 0, random.Random(0)) == Rejection(reason=NO_TEXT)
    assert side.text(function(), 4, 1, random.Random(0)) == Text(text=NORMAL, attempt=1)
    assert side.text(function(), 4, 3, random.Random(0)) == Text(text=NORMAL, attempt=1)
