"""Datasets of the hub: streamed with the extra, one clear error without it. No test needs the network."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from pydantic import TypeAdapter

from harness.corpus.huggingface import read_huggingface
from harness.corpus.read import read_documents
from harness.corpus.tally import Tally
from harness.errors import DataError, MissingRequirement
from harness.pipeline.corpus import HubPart, corpus_stage, part_specs
from harness.pipeline.graph import Graph
from harness.recipe.corpus import CorpusSource, HuggingFace
from harness.recipe.lock import Lock
from harness.sources.resolve import corpus_looks, resolve_corpus

BLOCK: TypeAdapter[CorpusSource] = TypeAdapter(CorpusSource)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
INSTALLED = importlib.util.find_spec("datasets") is not None
with_datasets = pytest.mark.skipif(not INSTALLED, reason="the extra `hub` is not installed")


def block(**changes: Any) -> HuggingFace:
    made = BLOCK.validate_python({"kind": "huggingface", "id": "owner/name", "columns": {"text": "code"}, **changes})
    assert isinstance(made, HuggingFace)
    return made


def specs(made: HuggingFace) -> list[HubPart]:
    found = list(part_specs(made))
    assert all(isinstance(one, HubPart) for one in found)
    return found


def spec(made: HuggingFace) -> HubPart:
    (only,) = specs(made)
    return only


def test_only_a_full_commit_is_resolved() -> None:
    assert resolve_corpus(block())["commit"] == "unresolved"
    assert resolve_corpus(block(revision=COMMIT[:12]))["commit"] == "unresolved"
    assert resolve_corpus(block(revision=COMMIT))["commit"] == COMMIT


def test_a_lock_says_commit_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"code/*.parquet": ("code/1.parquet", "code/2.parquet"), "*": ("all.parquet", "code/2.parquet")}
    lock = Lock(commits={("datasets/owner/name", "main"): COMMIT}, files={("datasets/owner/name", COMMIT): files})

    def parts(made: HuggingFace) -> list[tuple[str, str, tuple[str, ...] | None]]:
        found = [one for one in part_specs(made, lock=lock) if isinstance(one, HubPart)]
        return [(one.commit, one.revision, one.data_files) for one in found]

    assert parts(block()) == [(COMMIT, COMMIT, None)]
    assert parts(block(revision="other")) == [("unresolved", "other", None)]
    every = [("code/1.parquet",), ("code/2.parquet",), ("b.parquet",)]
    assert parts(block(data_files=["code/*.parquet", "b.parquet"])) == [(COMMIT, COMMIT, one) for one in every]
    assert parts(block(data_files=["code/*.parquet"], rows=9)) == [(COMMIT, COMMIT, ("code/*.parquet",))]
    unknown = ("code/*.parquet", "?.parquet")
    assert parts(block(data_files=list(unknown))) == [(COMMIT, COMMIT, unknown)]
    both = block(data_files=["code/*.parquet", "*"])  # a file that two patterns stand for is read once
    assert [files for _, _, files in parts(both)] == [("code/1.parquet",), ("code/2.parquet",), ("all.parquet",)]
    monkeypatch.setattr("harness.pipeline.corpus.MOST_PARTS", 2)
    assert [files for _, _, files in parts(both)] == [("code/1.parquet", "code/2.parquet"), ("all.parquet",)]


def test_a_locked_corpus_is_the_one_that_names_the_commit() -> None:
    named = {"code/*": ("code/1.parquet",)}
    lock = Lock(commits={("datasets/owner/name", "main"): COMMIT}, files={("datasets/owner/name", COMMIT): named})
    graph = Graph()
    locked = corpus_stage(graph, block(data_files=["code/*"]), {}, 0, lock=lock)
    assert corpus_stage(graph, block(data_files=["code/*"], revision=COMMIT), {}, 0, lock=lock) is locked
    assert corpus_stage(graph, block(data_files=["code/*"]), {}, 0) is not locked


def test_without_the_extra_the_install_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # Python's own sign for a module that is not there
    ((key, look, what),) = corpus_looks(block())
    assert key == "kind"
    with pytest.raises(MissingRequirement, match=r"pip install -e '\.\[hub\]'") as caught:
        look(what)
    assert caught.value.exit_code == 2
    with pytest.raises(MissingRequirement, match="needs the package datasets"):
        list(read_documents(spec(block()), Tally()))


@with_datasets
def test_rows_are_streamed_from_files_of_a_dataset(tmp_path: Path) -> None:
    """The library's own reader of local files stands for a dataset of the hub."""
    rows = [{"question": f"Question {n}?", "answer": f"Answer {n}.", "site": f"site{n % 2}"} for n in range(30)]
    for part in (0, 1):
        lines = "".join(json.dumps(row) + "\n" for row in rows[part * 15 : part * 15 + 15])
        (tmp_path / f"part-{part}.jsonl").write_text(lines)
    columns = {"text": "answer", "description": "question", "cluster": "site"}
    made = block(id="json", data_files=[f"{tmp_path}/part-*.jsonl"], columns=columns, rows=20)
    counts = Tally()
    found = list(read_documents(spec(made), counts))
    assert [(one.description, one.text, one.cluster) for one in found] == [
        (row["question"], row["answer"], row["site"]) for row in rows[:20]
    ]
    assert counts == {"rows": 20}


@with_datasets
def test_files_named_one_by_one_are_read_apart(tmp_path: Path) -> None:
    names = [str(tmp_path / f"part-{part}.jsonl") for part in (0, 1)]
    for name in names:
        Path(name).write_text("".join(json.dumps({"code": f"{name} {row}"}) + "\n" for row in range(3)))
    found = [list(read_documents(one, Tally())) for one in specs(block(id="json", data_files=names))]
    assert [[one.text for one in part] for part in found] == [[f"{name} {row}" for row in range(3)] for name in names]
    assert [one.cluster for part in found for one in part] == [f"{name}:{row}" for name in names for row in range(3)]


@with_datasets
def test_what_the_hub_lacks_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"answer": "42"}\n')
    made = block(id="json", data_files=[f"{tmp_path}/a.jsonl"])
    with pytest.raises(DataError, match="json has no code but answer"):
        list(read_huggingface(spec(made), ["code"], Tally()))
    with pytest.raises(MissingRequirement, match="must be on a hub that can be reached"):
        list(read_huggingface(spec(block(id="json", data_files=[f"{tmp_path}/nowhere.jsonl"])), ["code"], Tally()))


@with_datasets
def test_damage_matters_where_it_is_read(tmp_path: Path) -> None:
    """No UTF-8 in a column that is not asked for costs nothing; in one that is, it costs the row, which is named."""
    bad = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"\xffa"))
    far = pa.array([10**18, 0], pa.timestamp("ms"))
    pyarrow.parquet.write_table(pa.table({"code": ["one", "two"], "bad": bad, "made": far}), tmp_path / "a.parquet")
    made = block(id="parquet", data_files=[f"{tmp_path}/a.parquet"])
    assert [one.text for one in read_documents(spec(made), Tally())] == ["one", "two"]
    for column in ("bad", "made"):
        counts = Tally()
        damaged = spec(block(id="parquet", data_files=made.data_files, columns={"text": "code", "cluster": column}))
        assert [one.text for one in read_documents(damaged, counts)] == ["two"]
        assert counts == {"rows": 2, "rows_unreadable": 1}
        assert counts.named == {"rows_unreadable": [f"{tmp_path}/a.parquet:0"]}
