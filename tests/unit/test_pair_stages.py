"""What stages do with pairs: judged by models, filtered, ended by a token, read in order of difficulty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import DataError
from harness.events import EventLog
from harness.imports.files import content_digest
from harness.pairs.properties import flipped
from harness.pipeline.order import OrderSpec
from harness.recipe.models import JUDGE_PROMPT, FolderModel
from harness.sources.models import resolve_model
from harness.stages import (
    consistent_part,
    encode,
    imported_checkpoint,
    judgements,
    pairs_part,
    pretrained,
    score,
    tokenizer,
)
from harness.stages.context import Given, HowToRun, StageContext
from harness.stages.end_tokens import END_OF_CODE, END_OF_TEXT
from harness.stages.order import trunk_order
from harness.stages.pair_order import pair_order
from harness.store.artifacts import Corpus, Judgements, Pairs, Scores, Tokenizer, Tokens
from tests.toys.published import rows_of_pairs, write_classifier
from tests.toys.small_models import END, save_small_model

GOOD = "def double(value):\n    return value * 2"
BAD = "def double(value):\n    return valeu * 2"  # a name that nobody binds
WRITER = {
    "engine": "transformers", "format": "raw", "precision": "fp32", "context": None, "trust_remote_code": False,
    "temperature": 0.0, "top_p": 1.0, "max_tokens": 4, "prompt": "{prompt}{first}{second}",
}  # fmt: skip
DEFAULT = HowToRun()


def run(module: Any, folder: Path, spec: dict[str, Any], how: HowToRun = DEFAULT, **inputs: Path) -> dict[str, Any]:
    given = context(folder, spec, how, **inputs)
    try:
        result: dict[str, Any] = module.run(given)
    finally:
        given.events.close()
    return result


def context(folder: Path, spec: dict[str, Any], how: HowToRun = DEFAULT, **inputs: Path) -> StageContext:
    folder.mkdir()
    given = {name: Given(directory=path) for name, path in inputs.items()}
    return StageContext(spec=spec, inputs=given, directory=folder, events=EventLog(folder / "events.jsonl"), how=how)


def write_pairs(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    whole = [{"id": f"train-{at}", "cluster": str(at), "detail": "", **row} for at, row in enumerate(rows)]
    Pairs(folder).write(whole)
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Twelve pairs, a third of them with the wrong label."""
    rows = [{"prompt": f"# Double {at}.\n# def double(value):\n", "chosen": GOOD, "rejected": BAD} for at in range(12)]
    for row in rows[::3]:
        row |= {"chosen": BAD, "rejected": GOOD}
    return write_pairs(tmp_path / "pairs", rows)


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    """A small model from a folder, as the store has it."""
    source = resolve_model(FolderModel(source="folder", path=str(save_small_model(tmp_path / "model"))), {})
    run(pretrained, tmp_path / "pretrained", dict(source.spec), HowToRun(source_path=source.place))
    return tmp_path / "pretrained"


@pytest.fixture
def reward_model(tmp_path: Path) -> Path:
    folder = write_classifier(tmp_path / "published")
    how = HowToRun(imported={"name": "rm", "licence": "MIT", "source": "nowhere", "path": str(folder)})
    run(imported_checkpoint, tmp_path / "rm", {"digest": content_digest("checkpoint", folder)}, how)
    return tmp_path / "rm"


def test_a_wrong_label_is_filtered_out_by_the_static_judge(tmp_path: Path, pairs: Path) -> None:
    result = run(consistent_part, tmp_path / "kept", {"static": True, "min_agreement": 0.5}, pairs=pairs)
    assert result == {"groups": 8, "dropped": 4}
    kept = Pairs(tmp_path / "kept").rows()
    assert [row["id"] for row in kept] == [f"train-{at}" for at in range(12) if at % 3]
    assert all(row["chosen"] == GOOD for row in kept)


def test_the_filter_undoes_flips(tmp_path: Path) -> None:
    rows = [{"id": f"train-{at}", "cluster": "c", "detail": "", "prompt": "#\n"} for at in range(40)]
    made = [flipped({**row, "chosen": GOOD, "rejected": BAD}, rate=0.4, seed=1) for row in rows]
    wrong = sum(row["chosen"] == BAD for row in made)
    assert wrong > 5
    folder = write_pairs(tmp_path / "pairs", made)
    result = run(consistent_part, tmp_path / "kept", {"static": True, "min_agreement": 0.5}, pairs=folder)
    assert result == {"groups": 40 - wrong, "dropped": wrong}


def test_judges_agreement_is_their_mean(tmp_path: Path, pairs: Path) -> None:
    """A second judge that likes every label: the mean with the static one is 0.5 where that one disagrees."""
    (tmp_path / "judged").mkdir()
    yes = [{"row": at, "chosen_first": 1.0, "rejected_first": 1.0} for at in range(12)]
    Judgements(tmp_path / "judged").write(yes)
    for threshold, dropped in ((0.5, 0), (0.6, 4)):
        spec = {"static": True, "min_agreement": threshold}
        inputs = {"pairs": pairs, "judgements-yes": tmp_path / "judged"}
        result = run(consistent_part, tmp_path / f"kept{threshold}", spec, **inputs)
        assert result["dropped"] == dropped
    Judgements(tmp_path / "judged").write(yes[:5])
    with pytest.raises(DataError, match="every pair"):
        run(consistent_part, tmp_path / "again", spec, **inputs)


def test_a_language_model_judges_a_sample_in_both_orders(tmp_path: Path, pairs: Path, brought: Path) -> None:
    spec = {"writer": {**WRITER, "prompt": "{prompt}"[:0] + JUDGE_PROMPT[-60:] + "{prompt}{first}{second}"}, "seed": 0}
    result = run(judgements, tmp_path / "judged", {**spec, "most_pairs": 5}, pairs=pairs, model=brought)
    rows = Judgements(tmp_path / "judged").rows()
    assert result["groups"] == len(rows) == 5
    assert [row["row"] for row in rows] == sorted({row["row"] for row in rows})
    assert result["unanswered"] == sum(
        np.isnan(row[order]) for row in rows for order in ("chosen_first", "rejected_first")
    )
    whole = run(judgements, tmp_path / "whole", {**spec, "most_pairs": None}, pairs=pairs, model=brought)
    assert whole["groups"] == 12
    same = {row["row"]: row for row in Judgements(tmp_path / "whole").rows()}
    np.testing.assert_equal([same[row["row"]] for row in rows], rows)


def test_a_reward_model_judges_as_it_scores(tmp_path: Path, reward_model: Path) -> None:
    """Its preferences are those of the rewards that `encode` and `score` give the same pairs."""
    rows = rows_of_pairs(20)
    for row in rows[::2]:
        row |= {"chosen": row["rejected"], "rejected": row["chosen"]}
    made = write_pairs(tmp_path / "pairs", rows)
    spec = {"reads": {"text": "raw", "max_tokens": 256}, "most_pairs": None, "seed": 0}
    run(judgements, tmp_path / "judged", spec, pairs=made, checkpoint=reward_model)
    tokens = {"content": "pairs", "max_tokens": 256, "limit": None, "text": "raw", "end_token": "none"}
    run(encode, tmp_path / "tokens", tokens, tokenizer=reward_model, source=made)
    run(score, tmp_path / "scores", {"precision": "fp32"}, checkpoint=reward_model, tokens=tmp_path / "tokens")
    rewards = Scores(tmp_path / "scores").read()["score"].to_numpy().reshape(-1, 2)
    rows = Judgements(tmp_path / "judged").rows()
    assert [row["chosen_first"] for row in rows] == [float(chosen > other) for chosen, other in rewards]
    assert [row["rejected_first"] for row in rows] == [row["chosen_first"] for row in rows]
    assert 0 < sum(row["chosen_first"] for row in rows) < 20


def test_questions_read_cut_are_counted(tmp_path: Path, reward_model: Path, pairs: Path, brought: Path) -> None:
    long = {"prompt": "# Add.\n", "chosen": "pass\n" * 80, "rejected": "x = 1\n"}
    made = write_pairs(tmp_path / "long", [*rows_of_pairs(3), long])
    spec = {"reads": {"text": "raw", "max_tokens": 256}, "most_pairs": None, "seed": 0}
    result = run(judgements, tmp_path / "judged", spec, pairs=made, checkpoint=reward_model)
    assert (result["groups"], result["cut"]) == (4, 2)  # one pair, in both orders
    short = {"writer": {**WRITER, "context": 64, "max_tokens": 8, "prompt": JUDGE_PROMPT}, "most_pairs": 2, "seed": 0}
    assert run(judgements, tmp_path / "asked", short, pairs=pairs, model=brought)["cut"] == 4


def test_both_sides_end_in_the_token_asked_for(tmp_path: Path, pairs: Path, brought: Path) -> None:
    """Tokenizers trained here have tokens of their own; of others the end of code is its letters."""
    (tmp_path / "corpus").mkdir()
    document = dict.fromkeys(Corpus.columns, "x") | {"split": "train", "text": GOOD}
    Corpus(tmp_path / "corpus").write([document])
    run(tokenizer, tmp_path / "tiny", {"vocabulary": 300}, corpus=tmp_path / "corpus")

    def ends(number: int, which: Path, kind: str) -> list[int]:
        spec = {"content": "pairs", "max_tokens": 400, "limit": None, "text": "raw", "end_token": kind}
        run(encode, tmp_path / f"tokens{number}", spec, tokenizer=which, source=pairs)
        plain = list(Tokens(tmp_path / f"tokens{number - number % 10}").open())
        found = set()
        for group, bare in zip(Tokens(tmp_path / f"tokens{number}").open(), plain, strict=True):
            assert group[0].tolist() == bare[0].tolist()
            for side, text in zip(group[1:], bare[1:], strict=True):
                assert side[: len(text)].tolist() == text.tolist()
                found.add(tuple(side[len(text) :].tolist()))
        [end] = found
        return list(end)

    own = Tokenizer(tmp_path / "tiny")
    ids = json.loads(own.path.read_text(encoding="utf-8"))["model"]["vocab"]
    assert ends(10, tmp_path / "tiny", "none") == []
    assert ends(11, tmp_path / "tiny", "eos") == [ids[END_OF_TEXT]]
    assert ends(12, tmp_path / "tiny", "end_of_code") == [ids[END_OF_CODE]]
    assert ends(20, brought, "none") == []
    [end] = ends(21, brought, "eos")
    assert json.loads((brought / "model" / "tokenizer.json").read_text())["model"]["vocab"][END] == end
    assert len(ends(22, brought, "end_of_code")) > 5
    Tokenizer(brought).special.write_text("{}")
    with pytest.raises(DataError, match="use `end_of_code`"):
        ends(23, brought, "eos")


def test_what_looks_like_an_end_in_a_text_is_text(tmp_path: Path, brought: Path) -> None:
    made = write_pairs(tmp_path / "pairs", [{"prompt": "#\n", "chosen": f"x = '{END}'", "rejected": "x"}])
    spec = {"content": "pairs", "max_tokens": 400, "limit": None, "text": "raw", "end_token": "eos"}
    run(encode, tmp_path / "tokens", spec, tokenizer=brought, source=made)
    [[_, chosen, rejected]] = list(Tokens(tmp_path / "tokens").open())
    assert (chosen == rejected[-1]).sum() == 1


@pytest.mark.parametrize("first", ["hardest", "easiest"])
def test_difficulty_orders_rows_by_margin(first: str) -> None:
    margins = np.array([0.5, -1.0, np.nan, 3.0, 0.5, 9.0])
    order = OrderSpec(seed=0, rows=5, first=first)
    expected = [1, 0, 4, 3, 2] if first == "hardest" else [3, 0, 4, 1, 2]
    assert trunk_order(order, 5, margins).tolist() == expected  # equal ones in row order, the unscored last
    assert trunk_order(order, 2, margins).tolist() == expected[:2]


def test_the_order_finds_margins_by_source_row(tmp_path: Path, brought: Path, reward_model: Path) -> None:
    rows = rows_of_pairs(12)
    rows[4] = {**rows[4], "chosen": "x" * 900}  # too long for ours, and so no row of our tokens
    made = write_pairs(tmp_path / "pairs", rows)
    spec = {"content": "pairs", "max_tokens": 120, "limit": None, "text": "raw", "end_token": "none"}
    run(encode, tmp_path / "tokens", spec, tokenizer=brought, source=made)
    run(encode, tmp_path / "theirs", {**spec, "max_tokens": 2_000}, tokenizer=reward_model, source=made)
    run(score, tmp_path / "scores", {"precision": "fp32"}, checkpoint=reward_model, tokens=tmp_path / "theirs")
    order = OrderSpec(seed=0, rows=11, first="hardest")
    asked = context(tmp_path / "asked", {}, scores=tmp_path / "scores")
    tokens = Tokens(tmp_path / "tokens").open()
    found = [int(tokens.rows[index]) for index in pair_order(asked, order, tokens, 11)]
    asked.events.close()
    rewards = Scores(tmp_path / "scores").read()["score"].to_numpy().reshape(-1, 2)
    margins = rewards[:, 0] - rewards[:, 1]
    assert found == [int(row) for row in np.argsort(margins, kind="stable") if row != 4]


def test_a_side_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text, the random generator it is given, its options; a slot without a text; what is no text or function."""
    (tmp_path / "own_sides.py").write_text(
        "def shout(function, rng, sign):\n"
        "    return None if function.source.startswith('def b') else f'{function.source}  {sign} {rng.random()}'\n\n\n"
        "def number(function, rng):\n    return 7\n\n\nsides = 3\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "corpus").mkdir()
    unit = {"split": "train", "cluster": "c", "path": "c", "unit": "function", "language": "python", "licence": ""}
    functions = [{"name": name, "description": f"Says {name}.", "text": f"def {name}():\n    pass"} for name in "abc"]
    Corpus(tmp_path / "corpus").write([{**unit, **one} for one in functions])

    def made(name: str, number: int, **options: str) -> dict[str, Any]:
        rejected = {"from": f"own_sides:{name}", "options": options, "source": "0" * 64}
        spec = {
            **{"prompt": {"from": "docstring", "max_characters": 80}, "chosen": {"from": "reference"}},
            **{"rejected": rejected, "match_length": None, "flip_rate": 0.0},
            **{"split": "train", "seed": 0, "start": 0, "stop": 6},
        }
        return run(pairs_part, tmp_path / f"part {number}", spec, corpus=tmp_path / "corpus")

    result = made("shout", 0, sign="!")
    rows = Pairs(tmp_path / "part 0").rows()
    assert (result["groups"], result["counts"]["failed_no_text"]) == (4, 2)
    assert all(row["rejected"].startswith(f"{row['chosen']}  ! 0.") for row in rows)
    assert len({row["rejected"] for row in rows}) == 4
    made("shout", 1, sign="!")
    assert Pairs(tmp_path / "part 1").rows() == rows
    with pytest.raises(DataError, match=r"own_sides:number must return a text or None, but it returned 7"):
        made("number", 2)
    with pytest.raises(DataError, match="own_sides has no function 'sides'"):
        made("sides", 3)
