"""Pools, pairs and scores from outside: what is read, what becomes of it, and everything that is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from harness.errors import DataError, RecipeError
from harness.imports import files
from harness.imports import pairs as pairs_module
from harness.imports.files import COLUMNS, content_digest, content_files, copy_content
from harness.imports.pairs import facts_of, write_pairs
from harness.imports.tables import kept, pool_facts, read_pool, read_scores
from harness.sources import rows as rows_module
from harness.sources import text_files
from harness.sources.rows import read_rows
from harness.stages.incoming import rows_of
from harness.store.artifacts import Candidates, CandidateScores, Pairs
from tests.toys.published import rows_of_pairs, rows_of_pool, rows_of_scores, write_lines

Rows = list[dict[str, Any]]


def placed(rows: Rows) -> list[tuple[str, dict[str, Any]]]:
    return [(f"line {number}", row) for number, row in enumerate(rows, start=1)]


def test_candidates_of_some_models_and_the_first_of_each_problem_are_kept() -> None:
    pool = [
        {"id": "a", "question": "2 + 2?", "candidates": [
            {"text": f"It is {answer}.", "correct": answer == 4, "pred": answer, "model": model}
            for answer, model in ((4, "x"), (5, "y"), (6, "x"), (7, "x"))
        ]},
        {"id": "b", "question": "Who?", "candidates": [{"text": "Ann", "correct": True, "pred": "Ann", "model": "y"}]},
    ]  # fmt: skip
    rows = read_pool(placed(pool))
    assert kept(rows, (), None) == rows
    two = kept(rows, ("x",), 2)
    assert [(row["problem"], row["index"], row["text"]) for row in two] == [("a", 0, "It is 4."), ("a", 1, "It is 6.")]
    with pytest.raises(DataError, match=r"it has no 'z'.*it has x, y"):
        kept(rows, ("x", "z"), None)


# --------------------------------------------------------------------------------------------------- files


def written(path: Path, rows: Rows) -> Path:
    """Rows in the format of the file's name."""
    lines = "".join(json.dumps(row) + "\n\n" for row in rows).encode()
    if path.name.endswith(".jsonl"):
        path.write_bytes(lines)
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines))
    elif path.name.endswith(".parquet"):
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        names = list(rows[0])
        path.write_text("\n".join(",".join(map(str, line)) for line in [names, *(row.values() for row in rows)]))
    return path


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "parquet", "csv"])
def test_every_format_gives_the_same_scores(tmp_path: Path, ending: str) -> None:
    rows = rows_of_scores(rows_of_pool(3))
    copy = copy_content("scores", written(tmp_path / f"my.scores.{ending}", rows), tmp_path / "copy")
    assert read_scores(read_rows(copy, COLUMNS["scores"])) == [{"task": "", **row} for row in rows]


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "parquet"])
def test_every_format_gives_the_same_pool(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path / f"rows.{ending}", rows_of_pool(5))
    assert read_pool(read_rows(path, COLUMNS["pool"])) == read_pool(placed(rows_of_pool(5)))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.jsonl", b"", "must hold rows"),
        ("rows.jsonl", b"\n \n", "must hold rows"),
        ("rows.jsonl", b'{"a": 1}\n{"a": \n', "line 2: a line must be JSON"),
        ("rows.jsonl", b"[1, 2]\n", "line 1: a row must be a mapping, but it is a list"),
        ("rows.jsonl", b"\xff\xfe\n", "line 1: a line must be JSON"),
        ("rows.jsonl", b"[" * 100_000 + b"\n", "line 1: a line must be JSON"),
        ("rows.jsonl", b'{"a": ' + b"9" * 5_000 + b"}\n", "a number has 5,000 digits and not up to 1,000: 9999"),
        ("rows.jsonl.gz", b"plain text", "a .gz file must be whole"),
        ("rows.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 50, mtime=0)[:-12], "a .gz file must be whole"),
        ("rows.parquet", b"PAR1 and no more", "a .parquet file must be whole"),
        ("rows.csv", b'a,b\n"1,2\n', "a .csv file must be CSV"),
        ("rows.csv", b"a,b\n\xff,1\n", "a .csv file must be CSV"),
        ("rows.csv", b"a,b\n1,2,3\n", "line 2: a line must have a value a column, but it has 1 more"),
        ("rows.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 50, mtime=0)[:10] + b"\xff" * 20, "a .gz file must be whole"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as refused:
        list(read_rows(tmp_path / name, COLUMNS["scores"]))
    assert says in str(refused.value)


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": "a" * 1_000}] * 200
    paths = [written(tmp_path / f"rows.{ending}", rows) for ending in ("jsonl", "jsonl.gz", "parquet")]
    for module in (files, rows_module):
        monkeypatch.setattr(module, "MOST_BYTES", 100_000)
    for path in paths[1:]:
        assert path.stat().st_size < 10_000
        with pytest.raises(DataError, match="may unpack to 100,000 bytes"):
            list(read_rows(path, COLUMNS["pool"]))
    with pytest.raises(RecipeError, match="may hold 100,000 bytes"):
        content_files("pool", paths[0])
    monkeypatch.setattr(rows_module, "MOST_BYTES", 1 << 30)
    monkeypatch.setattr(rows_module, "MOST_LINE", 500)
    with pytest.raises(DataError, match="line 1: a line may hold 500 bytes"):
        list(read_rows(paths[0], COLUMNS["pool"]))
    monkeypatch.setattr(rows_module, "MOST_ROWS", 100)
    with pytest.raises(DataError, match="may hold 100 rows"):
        list(read_rows(paths[2], COLUMNS["pool"]))


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", rows_of_pool(3))
    other = write_lines(tmp_path / "other.jsonl", rows_of_pool(3))
    assert content_digest("pool", one) == content_digest("pool", other)
    write_lines(other, rows_of_pool(4))
    assert content_digest("pool", one) != content_digest("pool", other)


# --------------------------------------------------------------------------------------------------- pools


def test_a_pool_in_our_own_columns_comes_back_as_it_was() -> None:
    rows = read_pool(placed(rows_of_pool()))
    assert tuple(sorted(rows[0])) == tuple(sorted(Candidates.columns))
    assert read_pool(placed([dict(row) for row in rows])) == rows
    assert [row["index"] for row in rows[:9]] == [*range(8), 0]
    assert {row["error_type"] for row in rows if not row["correct"]} == {"unknown"}


def test_what_a_pool_holds_is_in_its_facts() -> None:
    pool = rows_of_pool(10, 8)
    pool[3]["candidates"] = pool[3]["candidates"][:5]
    pool[4]["cluster"] = pool[5]["cluster"]
    facts = pool_facts(read_pool(placed(pool)))
    assert (facts["problems"], facts["clusters"], facts["candidates"]) == (10, 9, 77)
    assert facts["largest_cluster"] == 2
    assert (facts["smallest_pool"], facts["largest_pool"]) == (5, 8)
    assert (facts["sources"], facts["mixed"], facts["answers"]) == (["model-0", "model-1"], True, True)
    assert facts["correct"] == sum(one["correct"] for row in pool for one in row["candidates"])
    assert not pool_facts(read_pool(placed(rows_of_pool(3, sources=1))))["mixed"]


def test_questions_that_tell_one_story_are_one_cluster_unless_the_pool_says_otherwise() -> None:
    pool = rows_of_pool(6, 2)
    for row in pool[:4]:
        del row["cluster"]
    pool[1]["question"] = "Who was the first to sail around the world, and in which year?"
    pool[3]["question"] = pool[3]["question"].replace("Tom", "Mary").replace("he?", "she?")
    clusters = {row["problem"]: row["cluster"] for row in read_pool(placed(pool))}
    assert list(clusters.values()) == ["pot-0", "pot-1", "pot-0", "pot-0", "pot-4", "pot-5"]


@pytest.mark.parametrize(
    ("given", "read"),
    [(18, "18"), (18.0, "18"), ("18", "18"), (" 18 ", "18"), (2.5, "2.5"), (True, "true"), (1 << 70, str(1 << 70))],
)
def test_equal_answers_are_equal_however_they_are_written(given: object, read: str) -> None:
    pool = rows_of_pool(1, 1)
    pool[0]["candidates"][0]["pred"] = given
    assert read_pool(placed(pool))[0]["answer"] == read


@pytest.mark.parametrize(
    ("what", "one", "other"),
    [
        ("text", "same", "same"),
        ("pred", "18", "18.0"),
        ("pred", "1,000", 1000),
        ("pred", "\uff11\uff18", "$18"),
        ("pred", "(A)", "a"),
    ],
)
def test_what_is_equal_and_labelled_both_ways_is_refused_with_both_candidates(
    what: str, one: object, other: object
) -> None:
    pool = rows_of_pool(3)
    for index, candidate in enumerate(pool[1]["candidates"]):
        candidate.update(pred=index, correct=index < 2)
    pool[1]["candidates"][1][what] = one
    pool[1]["candidates"][4][what] = other
    with pytest.raises(DataError) as refused:
        read_pool(placed(pool))
    told = str(refused.value)
    assert told.startswith(f"line 2: equal {'text' if what == 'text' else 'answer'}s must be equally right")
    assert "of pot-1, candidate 1 (" in told
    assert "is labelled right and candidate 4 (" in told


def test_answers_may_be_left_out_of_the_whole_pool() -> None:
    pool = rows_of_pool(4)
    for row in pool:
        for one in row["candidates"]:
            del one["pred"]
    rows = read_pool(placed(pool))
    assert not pool_facts(rows)["answers"]
    pool[0]["candidates"][0]["pred"] = 0.0
    with pytest.raises(DataError, match="a right candidate must state an answer"):
        read_pool(placed(pool))


def change(path: str, value: Any) -> Callable[[Rows], None]:
    def apply(rows: Rows) -> None:
        here: Any = rows
        *way, last = path.split(".")
        for key in way:
            here = here[int(key) if isinstance(here, list) else key]
        here[int(last) if isinstance(here, list) else last] = value

    return apply


def test_log_probabilities_stand_in_all_candidates_or_in_none(tmp_path: Path) -> None:
    pool = rows_of_pool(3, 2)
    for row in pool:
        for index, one in enumerate(row["candidates"]):
            one["logprob"] = -index
    rows = read_pool(placed(pool))
    Candidates(tmp_path).write(rows)
    assert [row["logprob"] for row in Candidates(tmp_path).rows()] == [0.0, -1.0] * 3
    assert read_pool(placed(Candidates(tmp_path).rows())) == rows
    assert pool_facts(rows)["logprobs"]
    pool[1]["candidates"][0]["logprob"] = 0.5
    with pytest.raises(DataError, match=r"line 2: .*logprob.* must be the logarithm of a probability, at most 0"):
        read_pool(placed(pool))
    del pool[1]["candidates"][0]["logprob"]
    with pytest.raises(DataError, match="candidate 0 of pot-0 has one, 0 of pot-1 none"):
        read_pool(placed(pool))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("1.id", None, "line 2: `id` must be a text of 1 to 512 characters, but it is missing"),
        ("1.id", 1.5, "line 2: `id` must be a text"),
        ("1.id", "x" * 513, "line 2: `id` must be a text"),
        ("1.id", "pot-0", "'pot-0' appears again"),
        ("1.question", "", "line 2: `question` must be a text of 1 to"),
        ("1.question", "\ud800", "without lone surrogates"),
        ("1.candidates", [], "line 2: `candidates` must be a list of 1 to 65,536"),
        ("1.candidates", "abc", "line 2: `candidates` must be a list"),
        ("1.candidates.2", 7, "line 2: `candidates.2` must be a mapping"),
        ("1.candidates.2.text", 7, "line 2: `candidates.2.text` must be a text"),
        ("1.candidates.2.text", "x" * 1_000_001, "must be a text of 0 to 1,000,000 characters"),
        ("1.candidates.2.correct", 1, "line 2: `candidates.2.correct` must be true or false, but it is 1"),
        ("1.candidates.2.pred", [1], "line 2: `candidates.2.pred` must be a text"),
        ("1.candidates.2.model", {"a": 1}, "line 2: `candidates.2.model` must be a text"),
        ("1.cluster", 1.5, "line 2: `cluster` must be a text"),
        ("1.candidates.0.pred", 2.0, "equal answers must be equally right"),
    ],
)
def test_a_pool_with_a_wrong_field_is_refused_with_its_line(path: str, value: Any, says: str) -> None:
    pool = rows_of_pool(3)
    for one in pool[1]["candidates"]:
        one.update(correct=False, pred=2.0)
    pool[1]["candidates"][0].update(correct=True, pred=1.0)
    change(path, value)(pool)
    with pytest.raises(DataError) as refused:
        read_pool(placed(pool))
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("2.index", 7, "`index` must count a problem's candidates from 0 (here 2)"),
        ("2.index", -1, "`index` must be a whole number from 0"),
        ("2.problem", "other", "`index` must count"),
        ("2.prompt", "another", "a problem must have one prompt"),
        ("2.cluster", "another", "a problem must have one cluster"),
        ("8.problem", "pot-0", "`index` must count"),
        ("2.seen", "yes", "`seen` must be true or false"),
    ],
)
def test_candidates_in_our_own_columns_are_checked_too(path: str, value: Any, says: str) -> None:
    rows = [dict(row) for row in read_pool(placed(rows_of_pool(3)))]
    for row in rows:
        row.update(correct=False)
    change(path, value)(rows)
    with pytest.raises(DataError) as refused:
        read_pool(placed(rows))
    assert says in str(refused.value)


# ---------------------------------------------------------------------------------------- pairs and scores


def read_pairs(rows: Rows, into: Path) -> Rows:
    write_pairs(lambda: iter(placed(rows)), Pairs(into))
    assert [path.name for path in into.iterdir()] == [Pairs.file]  # nothing else stays
    return Pairs(into).rows()


def test_pairs_are_read_with_defaults(tmp_path: Path) -> None:
    last = {**rows_of_pairs(1)[0], "id": 77, "cluster": "c", "detail": "d"}
    without = {**rows_of_pairs(1)[0], "prompt": ""}
    rows = read_pairs([*rows_of_pairs(4), last, without, {**without, "id": "x"}, {**without, "prompt": "5"}], tmp_path)
    assert all(tuple(row) == Pairs.columns for row in rows)
    assert [row["id"] for row in rows] == ["0", "1", "2", "3", "77", "5", "x", "7"]
    # equal prompts are one cluster, and no prompt is none
    assert [row["cluster"] for row in rows] == ["0", "0", "0", "3", "c", "5", "x", "7"]
    assert rows[4]["detail"] == "d"
    characters = sum(len(row[name]) for row in rows for name in ("prompt", "chosen", "rejected"))
    assert facts_of(Pairs(tmp_path)) == {"groups": 8, "clusters": 6, "characters": characters}


def test_ids_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_module, "text_key", lambda text: 1 + len(text))
    rows = [{**row, "cluster": "c"} for row in rows_of_pairs(12)]
    assert len(read_pairs(rows, tmp_path)) == 12
    rows[11]["id"] = "4"
    with pytest.raises(DataError, match=r"line 12: the id of a pair must be unique, but '4' appears again"):
        write_pairs(lambda: iter(placed(rows)), Pairs(tmp_path))


def test_pairs_may_come_in_a_folder_of_parts(tmp_path: Path) -> None:
    rows = rows_of_pairs(30)
    folder = tmp_path / "parts"
    folder.mkdir()
    written(folder / "b.jsonl", rows[20:])
    written(folder / "a.parquet", rows[:10])
    written(folder / "a2.jsonl.gz", rows[10:20])
    (folder / "README.md").write_text("of pairs")
    copy = copy_content("pairs", folder, tmp_path / "copy")
    assert content_digest("pairs", copy) == content_digest("pairs", folder)
    assert [row for _, row in rows_of(copy, COLUMNS["pairs"])] == rows
    places = [place for place, _ in rows_of(copy, COLUMNS["pairs"])]
    assert places[::10] == ["a.parquet, row 1", "a2.jsonl.gz, line 1", "b.jsonl, line 1"]
    (copy / "b.jsonl").write_text("{}\n[]\n")
    with pytest.raises(DataError, match=r"b\.jsonl, line 2: a row must be a mapping"):
        list(rows_of(copy, COLUMNS["pairs"]))
    before = content_digest("pairs", folder)
    (folder / "b.jsonl").rename(folder / "A.jsonl")  # another order of the same rows
    assert content_digest("pairs", folder) != before
    with pytest.raises(RecipeError, match="the path must be a file"):
        content_files("pool", folder)
    with pytest.raises(RecipeError, match=r"a folder of pairs must hold files of \.jsonl, \.jsonl\.gz, \.parquet"):
        content_files("pairs", tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("1.prompt", None, "line 2: `prompt` must be a text"),
        ("1.chosen", "", "line 2: `chosen` must be a text of 1 to"),
        ("1.rejected", [{"role": "user", "content": "hi"}], "line 2: `rejected` must be a text"),
        ("1.rejected", rows_of_pairs(2)[1]["chosen"], "line 2: `chosen` and `rejected` must differ"),
        ("1.id", "0", "line 2: the id of a pair must be unique"),
    ],
)
def test_a_wrong_pair_is_refused_with_its_line(path: str, value: Any, says: str, tmp_path: Path) -> None:
    rows = rows_of_pairs(3)
    change(path, value)(rows)
    with pytest.raises(DataError) as refused:
        read_pairs(rows, tmp_path)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("1.score", None, "line 2: `score` must be a finite number, but it is missing"),
        ("1.score", float("nan"), "line 2: `score` must be a finite number"),
        ("1.score", float("inf"), "line 2: `score` must be a finite number"),
        ("1.score", "high", "line 2: `score` must be a finite number"),
        ("1.score", True, "line 2: `score` must be a finite number"),
        ("1.score", 10**400, "line 2: `score` must be a finite number"),
        ("1.score", "1_000", "line 2: `score` must be a finite number, but it is '1_000'"),
        ("1.candidate", "1_0", "line 2: `candidate` must be a whole number"),
        ("1.candidate", "9" * 5_000, "line 2: `candidate` must be a whole number from 0, but it is '9999"),
        ("1.problem", 1 << 64, "line 2: `problem` must be a text"),
        ("1.candidate", -1, "line 2: `candidate` must be a whole number"),
        ("1.candidate", 1.5, "line 2: `candidate` must be a whole number"),
        ("1.candidate", 0, "line 2: a candidate must be scored once"),
        ("1.task", "sums", "line 2: `task` must be in all rows or in none"),
        ("1.problem", "", "line 2: `problem` must be a text"),
    ],
)
def test_a_wrong_score_is_refused_with_its_line(path: str, value: Any, says: str) -> None:
    rows = rows_of_scores(rows_of_pool(2))
    change(path, value)(rows)
    with pytest.raises(DataError) as refused:
        read_scores(placed(rows))
    assert says in str(refused.value)


def test_scores_keep_the_columns_they_have_and_ignore_others() -> None:
    rows = read_scores(placed(rows_of_scores(rows_of_pool(2), task="svamp", variant="mine")))
    assert tuple(rows[0]) == CandidateScores.columns
    assert {row["task"] for row in rows} == {"svamp"}


# ------------------------------------------------------------------------------------------------- damaged tables


def pairs_table(**more: pyarrow.Array) -> pa.Table:
    texts = {name: pa.array([f"{name} {at}" for at in range(3)]) for name in ("prompt", "chosen", "rejected")}
    return pa.table({**texts, **more})


def test_only_named_columns_are_read(tmp_path: Path) -> None:
    """A date beyond those of Python in a column that nobody asked for."""
    far = pa.array([1 << 58] * 3, pa.timestamp("ms"))
    pyarrow.parquet.write_table(pairs_table(day=far), tmp_path / "pairs.parquet")
    assert len(list(read_rows(tmp_path / "pairs.parquet", COLUMNS["pairs"]))) == 3


def test_a_damaged_cell_is_told_with_row_and_column(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"caf\xe9", b"good"]).view(pa.string())
    table = pairs_table().set_column(1, "chosen", texts)
    pyarrow.parquet.write_table(table, tmp_path / "pairs.parquet", use_dictionary=False)
    with pytest.raises(DataError, match=r"row 2: .*`chosen` is not .*0xe9"):
        list(read_rows(tmp_path / "pairs.parquet", COLUMNS["pairs"]))


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_columns_and_keys_that_stand_twice_are_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"scores.{form}"
    if form == "parquet":
        columns = [pa.array(["a"]), pa.array([0]), pa.array([0.5]), pa.array([0.7])]
        names = ["problem", "candidate", "score", "score"]
        pyarrow.parquet.write_table(pa.Table.from_arrays(columns, names=names), path)
    elif form == "csv":
        path.write_text("problem,candidate,score,score\na,0,0.5,0.7\n")
    else:
        path.write_text('{"problem": "a", "candidate": 0, "score": 0.5, "score": 0.7}\n')
    with pytest.raises(DataError, match="'score' appears twice"):
        read_scores(read_rows(path, COLUMNS["scores"]))


def test_a_small_file_does_not_unpack_without_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One long text in every row of a Parquet file, and nothing but line ends in a packed file."""
    monkeypatch.setattr(rows_module, "MOST_BYTES", 1 << 20)
    text = pa.array(["x" * 10_000]).take(pa.array([0] * 1_000))
    table = pa.table({"prompt": text, "chosen": text, "rejected": text})
    pyarrow.parquet.write_table(table, tmp_path / "p.parquet")
    assert (tmp_path / "p.parquet").stat().st_size < 10_000
    with pytest.raises(DataError, match="unpack to"):
        list(read_rows(tmp_path / "p.parquet", COLUMNS["pairs"]))
    candidates = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array(["x" * 10_000]))
    columns = [candidates, pa.array([True] * 1_000)]
    nested = pa.ListArray.from_arrays([0, 1_000], pa.StructArray.from_arrays(columns, ["text", "correct"]))
    table = pa.table({"id": [1], "question": ["q"], "candidates": nested})
    pyarrow.parquet.write_table(table, tmp_path / "pool.parquet")
    with pytest.raises(DataError, match="unpack to"):
        list(read_rows(tmp_path / "pool.parquet", COLUMNS["pool"]))
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(b"\n" * 40_000))
    with pytest.raises(DataError, match=r"line 32,769: .*unpack to"):
        list(read_rows(tmp_path / "p.jsonl.gz", COLUMNS["pairs"]))


@pytest.mark.parametrize("how", [{}, {"row_group_size": 7}, {"dictionary_pagesize_limit": 1_000}])
def test_a_pool_reads_alike_however_parquet_packs_its_texts(tmp_path: Path, how: dict[str, int]) -> None:
    """Where a dictionary is full, the texts after it stand plain."""
    rows = rows_of_pool(40)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "pool.parquet", data_page_size=500, **how)
    assert read_pool(read_rows(tmp_path / "pool.parquet", COLUMNS["pool"])) == read_pool(placed(rows))


def test_what_unpacks_to_a_hundred_times_its_size_is_refused_and_less_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "MOST_UNPACKED", 10_000)
    line = json.dumps(rows_of_pairs(1)[0]).encode() + b"\n"
    (tmp_path / "few.jsonl.gz").write_bytes(gzip.compress(line * 50))
    assert len(list(read_rows(tmp_path / "few.jsonl.gz", COLUMNS["pairs"]))) == 50
    (tmp_path / "many.jsonl.gz").write_bytes(gzip.compress(line * 5_000))
    with pytest.raises(DataError, match="unpack to"):
        list(read_rows(tmp_path / "many.jsonl.gz", COLUMNS["pairs"]))
