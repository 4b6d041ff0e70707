"""Tasks with options: what a text states, preferences over every wrong option, and the formats of their files."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from harness.errors import DataError
from harness.tasks.choices import WRONG_OPTION, ChoiceTask
from harness.tasks.fixed import FixedTask
from harness.tasks.registry import load_task
from tests.unit.test_tasks_fixed import REAL, SAMPLES, write


def test_options_alike_are_equally_right() -> None:
    task = load_task("commonsense_qa")
    assert isinstance(task, ChoiceTask)
    problem = task.choice("q", question="Wet?", options=["rain", "fire", "rain", "fire"], right=2, place="line 1")
    graded = [task.grade(problem, f"({label})") for label in "ABCDE"]
    assert (problem.answer, graded) == ("C", [True, False, True, False, False])
    assert list(task.propose_mistakes(problem, Random(0), WRONG_OPTION)) == ["(B) fire"]


@pytest.mark.parametrize(
    ("name", "text", "stated"),
    [
        ("commonsense_qa", "A)", "A"),
        ("commonsense_qa", "**Answer:** (a)", "A"),
        ("commonsense_qa", "answer: b", "B"),
        ("commonsense_qa", "The correct option is D.", "D"),
        ("commonsense_qa", r"\boxed{\text{(C)}}", "C"),
        ("commonsense_qa", r"\boxed{B) book}", "B"),
        ("commonsense_qa", "Answer: B.\n(A) was tempting.", "B"),
        ("commonsense_qa", "(A) no.\nOption C.", "C"),
        ("commonsense_qa", "The answer is a dog.", None),
        ("commonsense_qa", "A dog", None),
        ("commonsense_qa", "e.g. this", None),
        ("commonsense_qa", "A.M. is the morning", None),
        ("commonsense_qa", "yes", None),
        ("strategyqa", "ye\u017f", "A"),
        ("strategyqa", "(B) no", "B"),
        ("strategyqa", "The answer is (no).", "B"),
        ("folio", "The answer is FALSE since it is not.", "B"),
        ("folio", "uncerta\u0131n", None),
        ("folio", "\ud800", None),
    ],
)
def test_what_a_text_states(name: str, text: str, stated: str | None) -> None:
    assert load_task(name).extract(text) == stated


def test_a_long_text_is_read_in_no_time() -> None:
    task = load_task("folio")
    started = time.perf_counter()
    for text in ("answer" + " " * 200_000, "\n" * 200_000, "answer is A" + " " * 200_000 + "x", "(  " * 70_000):
        assert task.extract(text) is None
    assert time.perf_counter() - started < 2


def test_every_wrong_option_becomes_one_pair() -> None:
    task = load_task("commonsense_qa")
    assert isinstance(task, ChoiceTask)
    problems = [
        task.choice(f"q{n}", question=f"{n}?", options=[f"o{i}" for i in range(n)], right=0, place="line 1")
        for n in range(2, 10)
    ]
    wrong = sum(n - 1 for n in range(2, 10))
    pairs = task.preferences(problems, count=wrong, seed=3)
    assert len({(pair.prompt, pair.rejected) for pair in pairs}) == wrong
    for size in range(wrong):  # nobody serves again while another with wrong options left has served less
        served = Counter(pair.prompt for pair in pairs[:size])
        assert all(
            served[one.prompt] >= min(int(one.prompt[0]) - 1, max(served.values(), default=0) - 1) for one in problems
        )
    assert task.preferences(problems, count=11, seed=3) == pairs[:11]
    assert task.preferences(problems, count=11, seed=4) != pairs[:11]
    twice = [*problems, replace(problems[-1], id="again")]
    assert len(task.preferences(twice, count=wrong, seed=3)) == wrong
    with pytest.raises(DataError, match=f"give {wrong} of {wrong + 1}"):
        task.preferences(twice, count=wrong + 1, seed=3)


@pytest.mark.parametrize("column", ["label", "answer", "answerKey"])
def test_rows_without_published_answers_are_told(tmp_path: Path, column: str) -> None:
    for name, sample in SAMPLES.items():
        task = load_task(name)
        part, rows = next(iter(sample.rows.items()))
        if isinstance(task, ChoiceTask) and column in rows[0]:
            path = write(tmp_path / f"{name}.jsonl", [{**rows[0], column: None}])
            with pytest.raises(DataError, match=f"`{column}` must give the right answer, .* name a file with answers"):
                task.read((path,), part)


@pytest.mark.parametrize(("name", "column"), [("reclor", "answers"), ("folio", "premises"), ("qasc", "fact1")])
def test_what_no_file_can_hold_is_told(tmp_path: Path, name: str, column: str) -> None:
    task = load_task(name)
    assert isinstance(task, FixedTask)
    row = SAMPLES[name].rows["train"][0]
    spoilt = "\ud800" if isinstance(row[column], str) else ["\ud800", *row[column][1:]]
    with pytest.raises(DataError, match=rf"line 1: `{column}` .*surrogates"):
        task.read((write(tmp_path / "train.jsonl", [{**row, column: spoilt}]),), "train")


COPA = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE copa-corpus SYSTEM "copa.dtd">
<copa-corpus version="1.0">
  <item id="3" asks-for="cause" most-plausible-alternative="2">
    <p>The women met &amp; talked.</p>
    <a1>The cafe reopened.</a1>
    <a2>They wanted to.</a2>
  </item>
  <item id="1003" asks-for="effect" most-plausible-alternative="1">
    <p>It rained.</p><a1>The road is wet.</a1><a2>The sun is out.</a2>
  </item>
</copa-corpus>
"""


def test_copa_is_read_as_it_was_published(tmp_path: Path) -> None:
    task = load_task("balanced_copa")
    assert isinstance(task, FixedTask)
    (tmp_path / "balanced-copa-dev-all.xml").write_text(COPA, encoding="utf-8")
    files = task.files("train", str(tmp_path))
    first, mirrored = task.read(files, "train")
    assert first.prompt.startswith("The women met & talked.\nWhat was the cause of this?\n(A) The cafe reopened.\n")
    assert (first.answer, mirrored.answer, first.cluster) == ("B", "A", mirrored.cluster)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (' SYSTEM "copa.dtd"', ' [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]', "must declare nothing itself"),
        (' SYSTEM "copa.dtd"', ' [<!ENTITY a SYSTEM "file:///etc/passwd">]', "must declare nothing itself"),
        ("&amp;", "&other;", "line 5: .* names the entity 'other'"),
        ("</item>", "", "must be XML|must stand on its own"),
        ("<a1>The cafe reopened.</a1>", "", "line 4: `a1` must"),
        ("<a1>The cafe reopened.</a1>", "<a1>x</a1><a1>y</a1>", "line 6: an element must be unique in its item"),
        ('most-plausible-alternative="2"', 'most-plausible-alternative="3"', "line 4: .* number 3 is right"),
        ('most-plausible-alternative="2"', "", "line 4: .* name a file with answers"),
        ('encoding="UTF-8"', 'encoding="nonsense"', "must be XML"),
    ],
)
def test_no_xml_declares_or_lacks_anything(tmp_path: Path, old: str, new: str, says: str) -> None:
    task = load_task("balanced_copa")
    assert isinstance(task, FixedTask)
    path = tmp_path / "train.xml"
    path.write_text(COPA.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError) as told:
        task.read((path,), "train")
    assert re.search(says, told.value.one_line())
    assert str(path) in told.value.one_line()


def test_logiqa_is_read_as_it_was_published(tmp_path: Path) -> None:
    task = load_task("logiqa2")
    assert isinstance(task, FixedTask)
    lines = write(tmp_path / "test.jsonl", SAMPLES["logiqa2"].rows["test"])
    expected = task.read((lines,), "test")
    assert task.read(task.files("test", {"test": str(lines.rename(tmp_path / "test.txt"))}), "test") == expected


@pytest.mark.published
@pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")
def test_the_real_strategyqa_shares_one_question_and_its_other_test_file_is_refused() -> None:
    task = load_task("strategyqa")
    assert isinstance(task, FixedTask)
    assert len(task.left_out("finetune", str(REAL / "strategyqa"))) == 1
    assert load_task("folio").left_out("finetune", str(REAL / "folio")) == ()  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="BIG-bench"):
        task.read((REAL / "strategyqa" / "test.jsonl",), "dev")
