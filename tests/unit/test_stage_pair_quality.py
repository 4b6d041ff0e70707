"""The stage as a whole on real artifacts: planted faults are found, good pairs pass, the gate closes and opens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from harness.cli.console import printable
from harness.errors import DataError
from harness.events import EventLog, Warned, read_events
from harness.report.pair_quality import quality_table, read_examples
from harness.stages import pair_gate, pair_quality
from harness.stages.context import Given, StageContext
from harness.store.artifacts import Judgements, PairQuality, Pairs
from harness.store.record import Record

PROMPT = "# Return the sum of both numbers.\n#\n# def add{n}(left, right):\n"
GOOD = "def add{n}(left, right):\n    word{w} = left\n    return word{w} + right\n"
WORSE = "def add{n}(left, right):\n    word{w} = left\n    return wort{w} + right\n"  # a name from nowhere


def rows(pairs: int, chosen: str = GOOD, rejected: str = WORSE) -> list[dict[str, Any]]:
    return [
        {
            "id": f"train-{n}",
            "cluster": f"module{n % 40}",
            "prompt": PROMPT.format(n=n),
            "chosen": chosen.format(n=n, w=n % 17),
            "rejected": rejected.format(n=n, w=n % 17),
            "detail": "",
        }
        for n in range(pairs)
    ]


def turned(made: Sequence[dict[str, Any]], share: float) -> list[dict[str, Any]]:
    """The same pairs, the labels of a share of them turned round."""
    coins = np.random.default_rng(0).random(len(made)) < share
    return [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"]} if coin else row
        for row, coin in zip(made, coins, strict=True)
    ]


def judge(folder: Path, made: Sequence[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    """The stage's result; its artifact is in `folder`/quality."""
    (folder / "pairs").mkdir(parents=True)
    Pairs(folder / "pairs").write(made)
    return run(folder, {"pairs": Given(directory=folder / "pairs")}, **spec)


def run(folder: Path, inputs: dict[str, Given], **spec: Any) -> dict[str, Any]:
    (folder / "quality").mkdir()
    events = EventLog(folder / "events.jsonl")
    context = StageContext(
        spec={"static": True, "min_consistency": 0.7, "most_pairs": 2_000, "seed": 0, **spec},
        inputs=inputs,
        directory=folder / "quality",
        events=events,
    )
    try:
        result = pair_quality.run(context)
    finally:
        events.close()
    json.dumps(result, allow_nan=False)
    return result


def warnings(folder: Path) -> list[str]:
    return [event.message for event in read_events(folder / "events.jsonl") if isinstance(event, Warned)]


def pass_gate(folder: Path) -> dict[str, Any]:
    (folder / "gate").mkdir()
    events = EventLog(folder / "gate.jsonl")
    given = {"quality": Given(directory=folder / "quality")}
    try:
        return pair_gate.run(StageContext(spec={}, inputs=given, directory=folder / "gate", events=events))
    finally:
        events.close()


def test_consistent_pairs_pass(tmp_path: Path) -> None:
    result = judge(tmp_path, turned(rows(1_000), 0.1))
    static = result["judges"]["static"]
    assert result["verdict"] == "passes"
    assert static["judged"] == static["preferring"] == 1_000
    assert static["of_preferring"]["low"] < 0.9 < static["of_preferring"]["high"]
    assert static["shuffled"]["low"] <= 0.5 <= static["shuffled"]["high"]
    assert static["position_bias"]["estimate"] == 0.0
    assert result["gap"]["static_score"]["estimate"] > 0.5
    assert result["clusters"] == 40


def test_shuffled_labels_fail_and_the_gate_says_why(tmp_path: Path) -> None:
    result = judge(tmp_path, turned(rows(1_000), 0.5))
    assert result["verdict"] == "fails"
    assert not result["degenerate"]  # nothing can tell the sides apart: that is the very fault
    [message] = warnings(tmp_path)
    assert "the static judge agrees with" in message
    assert "below min_consistency = 0.7" in message
    with pytest.raises(DataError, match=r"on_fail: stop.*the static judge agrees with"):
        pass_gate(tmp_path)


def test_a_giveaway_by_length_is_degenerate(tmp_path: Path) -> None:
    result = judge(tmp_path, rows(200, rejected=GOOD + "\n# the end\n"))
    assert result["separability"]["length"]["auc"] > 0.9
    assert result["degenerate"]
    assert any("length alone tells" in reason for reason in result["reasons"])
    assert result["verdict"] == "undecided"  # the judge sees no defect in either side
    with pytest.raises(DataError, match="length alone tells"):
        pass_gate(tmp_path)


def test_a_weak_side_that_does_not_parse_is_degenerate(tmp_path: Path) -> None:
    broken = rows(120, rejected="def add{n}(left, right:\n    word{w} = left\n    return\n")
    result = judge(tmp_path, [*broken, *rows(100)])
    assert result["sides"]["rejected"]["parse_rate"] == pytest.approx(100 / 220, abs=1e-6)
    assert "degenerate pairs: 45.5 % of rejected sides parse, fewer than half" in result["reasons"]
    assert result["gap"]["parse_rate"]["estimate"] == pytest.approx(120 / 220, abs=1e-6)
    assert result["judges"]["static"]["judged"] == 100  # where both sides parse
    whys = {example["why"] for example in read_examples(tmp_path / "quality")}
    assert "the rejected side does not parse" in whys


def test_undecided_pairs_pass_the_gate(tmp_path: Path) -> None:
    result = judge(tmp_path, turned(rows(80, rejected=GOOD.replace("+", "-")), 0.5))
    assert result["verdict"] == "undecided"
    assert not result["degenerate"]
    assert pass_gate(tmp_path) == {"verdict": "undecided"}
    assert not warnings(tmp_path)


def test_a_sample_is_drawn_and_everything_else_is_counted_on_all(tmp_path: Path) -> None:
    made = rows(900)
    made[3]["rejected"] = made[3]["chosen"]
    result = judge(tmp_path, made, most_pairs=150)
    assert (result["pairs"], result["sampled"]) == (900, 150)
    assert result["judges"]["static"]["judged"] == 150
    assert result["alike"]["identical"] == pytest.approx(1 / 900, abs=1e-6)


def test_another_judges_answers_are_read_and_its_bias_removed(tmp_path: Path) -> None:
    made = turned(rows(600), 0.05)
    (tmp_path / "pairs").mkdir()
    Pairs(tmp_path / "pairs").write(made)
    answers = []
    for number, row in enumerate(made[:400]):
        knows = 0.3 if "wort" in row["rejected"] else -0.3
        answers.append({"row": number, "chosen_first": 0.5 + knows + 0.2, "rejected_first": 0.5 + knows - 0.2})
    answers[0]["chosen_first"] = float("nan")
    (tmp_path / "judge").mkdir()
    Judgements(tmp_path / "judge").write(answers)
    given = {"pairs": Given(directory=tmp_path / "pairs"), "judgements-model": Given(directory=tmp_path / "judge")}
    result = run(tmp_path, given)
    model = result["judges"]["model"]
    assert model["judged"] == 399
    assert model["position_bias"]["estimate"] == pytest.approx(0.2)
    truth = np.mean(["wort" in row["rejected"] for row in made[1:400]])
    assert model["agreement"]["estimate"] == pytest.approx(truth, abs=1e-6)
    assert result["verdict"] == "passes"
    Judgements(tmp_path / "judge").write([{"row": 99_999, "chosen_first": 1.0, "rejected_first": 1.0}])
    (tmp_path / "again").mkdir()
    with pytest.raises(DataError, match="'model' must have judged"):
        run(tmp_path / "again", given)


def test_hostile_texts_go_through_and_are_shown_harmless(tmp_path: Path) -> None:
    hostile = ["\x1b[2J\x1b]0;title\x07", "(" * 50_000, "x\0y", "9" * 90_000, "</script>", "\u202egnirts", ""]
    made = rows(40)
    for row, text in zip(made, hostile, strict=False):
        row["rejected"] = text
        row["detail"] = text
    result = judge(tmp_path, made)
    assert result["sides"]["rejected"]["states"]["too_deep"] == 1
    assert result["sides"]["rejected"]["states"]["empty"] == 1
    examples = read_examples(tmp_path / "quality")
    assert all(len(example["rejected"]) < 3_000 for example in examples)
    shown = printable("".join(example["rejected"] for example in examples) + "".join(hostile))
    assert not {"\x1b", "\x07", "\0", "\u202e"} & set(shown)
    assert "\\x1b[2J" in shown


def test_the_table_tells_what_the_stage_found(tmp_path: Path) -> None:
    result = judge(tmp_path, turned(rows(400), 0.5))
    record = Record(
        kind="pair_quality", fingerprint="f" * 64, identity={}, result=result, environment={}, files={},
        output_digest="",
    )  # fmt: skip
    table = quality_table(record)
    cells = {row[0]: row[1:] for row in table.rows}
    assert cells["verdict"] == ("fails at 0.7", "", "", "")
    assert table.columns[1:] == ("all", "interval", "chosen", "rejected")
    chosen, rejected = (f"{100 * result['sides'][side]['parse_rate']:.1f} %" for side in ("chosen", "rejected"))
    assert cells["parses"] == ("", "", chosen, rejected)
    found = result["judges"]["static"]["of_preferring"]
    assert cells["static judge: agreement where it has a preference"][0] == f"{found['estimate']:.3f}"
    assert "below min_consistency" in table.note
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_tiny_sets_have_counts_and_no_areas(tmp_path: Path) -> None:
    result = judge(tmp_path, rows(3))
    assert result["separability"] == {"length": None, "unigrams": None, "ngrams": None}
    assert result["judges"]["static"]["verdict"] == "undecided"
    with pytest.raises(DataError, match="needs pairs"):
        judge(tmp_path / "none", [])


def test_rows_are_streamed_a_few_at_a_time(tmp_path: Path) -> None:
    made = rows(500)
    Pairs(tmp_path).write(made)
    assert list(Pairs(tmp_path).stream()) == made
    assert Pairs(tmp_path).count() == 500


def test_optional_columns_may_follow_and_others_may_not(tmp_path: Path) -> None:
    made = rows(12)
    table = pa.table({name: [row[name] for row in made] for name in Pairs.columns})
    Pairs(tmp_path).write_table(table.append_column("rejected_finish_reason", pa.array(["length"] * 12)))
    (tmp_path / "q").mkdir()
    result = run(tmp_path / "q", {"pairs": Given(directory=tmp_path)})
    assert result["sides"]["rejected"]["truncated"] == {"known": 12, "cut": 12, "share": 1.0}
    with pytest.raises(AssertionError):
        Pairs(tmp_path).write_table(table.append_column("mine", pa.array([1] * 12)))


def test_the_same_pairs_give_the_same_bytes(tmp_path: Path) -> None:
    made = turned(rows(300), 0.2)
    first, second = (judge(tmp_path / name, made) for name in ("one", "two"))
    assert first == second
    paths = [PairQuality(tmp_path / name / "quality").path for name in ("one", "two")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
