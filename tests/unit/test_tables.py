"""Tables and tokens on disk: streamed equals whole, rows by number, parts joined, the bytes numpy would write."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from harness.store import tables
from harness.store.artifacts import Pairs, Scores, Table, Tokens
from harness.store.tables import ROW_GROUP, rearranged, rows_at


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    return [
        {name: f"{name} {number} é" for name in Pairs.columns if name != "id"} | {"id": str(number)}
        for number in range(start, start + count)
    ]


def pairs(folder: Path, count: int, start: int = 0) -> Pairs:
    folder.mkdir()
    made = Pairs(folder)
    made.write(rows(count, start))
    return made


@pytest.mark.parametrize("count", [0, 1, ROW_GROUP, 2 * ROW_GROUP + 7])
def test_a_table_comes_back_whole_streamed_and_by_number(tmp_path: Path, count: int) -> None:
    made = pairs(tmp_path / "table", count)
    assert made.rows() == rows(count) == list(made.stream())
    assert made.count() == count
    assert [batch.num_rows for batch in made.batches()] == [ROW_GROUP] * (count // ROW_GROUP) + (
        [count % ROW_GROUP] if count % ROW_GROUP else []
    )
    numbers = sorted(random.Random(0).sample(range(count), min(count, 50)))
    found = list(rows_at(made, np.array(numbers, np.int64), ["id", "chosen"]))
    assert found == [{"id": str(number), "chosen": f"chosen {number} é"} for number in numbers]


@pytest.mark.parametrize("piece", [1, 7_000, 1 << 20])
@pytest.mark.parametrize(
    ("count", "kept"), [(0, 0), (5, 0), (1, 1), (2 * ROW_GROUP + 7, 2 * ROW_GROUP + 7), (3_500, 1_200)]
)
def test_rows_in_another_order_come_through_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, kept: int, piece: int
) -> None:
    monkeypatch.setattr(tables, "PIECE_BYTES", piece)
    chosen = random.Random(1).sample(range(count), kept)
    places = np.full(count, -1, np.int64)
    places[chosen] = np.arange(kept)
    made = pairs(tmp_path / "table", count)
    everything = rows(count)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert list(rearranged(made, places, scratch)) == [everything[row] for row in chosen]
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("sizes", [[], [3], [ROW_GROUP + 1, 2, ROW_GROUP - 3], [700] * 5, [2 * ROW_GROUP + 7]])
def test_row_groups_do_not_depend_on_how_rows_come(tmp_path: Path, sizes: list[int]) -> None:
    schema = pa.schema([(name, pa.string()) for name in Pairs.columns])
    made = Pairs(tmp_path)
    written = 0
    with made.adding(schema, plain=("detail",)) as add:
        for size in sizes:
            add(pa.Table.from_pylist(rows(size, written), schema=schema))
            written += size
    assert made.rows() == rows(written)
    metadata = pyarrow.parquet.read_metadata(tmp_path / Pairs.file)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [
        min(ROW_GROUP, written - start) for start in range(0, written, ROW_GROUP)
    ]
    for group in groups:
        assert [group.column(place).compression for place in (0, 5)] == ["ZSTD", "UNCOMPRESSED"]


def test_a_written_table_is_zstd_with_its_columns_in_order(tmp_path: Path) -> None:
    file = pyarrow.parquet.ParquetFile(pairs(tmp_path / "table", 3).files()[0])
    assert tuple(file.schema_arrow.names) == Pairs.columns
    assert {str(kind) for kind in file.schema_arrow.types} == {"string"}
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_table_that_fails_midway_raises_and_some_columns_are_enough(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="rejected"):
        Pairs(tmp_path).write([{name: "" for name in Pairs.columns if name != "rejected"}])
    made = pairs(tmp_path / "table", 2)
    assert list(made.stream(["chosen"])) == [{"chosen": "chosen 0 é"}, {"chosen": "chosen 1 é"}]


def test_gathered_parts_are_their_rows_in_order_and_outlive_the_parts(tmp_path: Path) -> None:
    """An empty part, one of several row groups, and parts that were gathered themselves."""
    parts = [pairs(tmp_path / "a", 3), pairs(tmp_path / "b", 0, 3), pairs(tmp_path / "c", ROW_GROUP + 1, 3)]
    (tmp_path / "ab").mkdir()
    (tmp_path / "all").mkdir()
    Pairs(tmp_path / "ab").link_parts(parts[:2])
    whole = Pairs(tmp_path / "all")
    whole.link_parts([Pairs(tmp_path / "ab"), parts[2]])
    for part in parts:
        part.files()[0].unlink()
    expected = rows(ROW_GROUP + 4)
    assert whole.rows() == list(whole.stream()) == expected
    assert whole.count() == len(expected)
    some = [0, 2, 3, ROW_GROUP + 3]
    assert [row["id"] for row in rows_at(whole, np.array(some), ["id"])] == [str(number) for number in some]


def test_tables_of_numbers_are_gathered_too(tmp_path: Path) -> None:
    parts: list[Table] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        parts.append(Scores(tmp_path / name))
        parts[-1].write([{"group": 1, "response": 0, "score": 0.5}])
    (tmp_path / "all").mkdir()
    Scores(tmp_path / "all").link_parts(parts)
    assert Scores(tmp_path / "all").read()["score"].to_pylist() == [0.5, 0.5]


@pytest.mark.parametrize(("vocabulary", "width"), [(400, 2), (1 << 16, 2), ((1 << 16) + 1, 4)])
def test_tokens_are_the_bytes_that_numpy_would_save(tmp_path: Path, vocabulary: int, width: int) -> None:
    chance = random.Random(1)
    groups = [
        (3 * number, [[chance.randrange(vocabulary) for _ in range(chance.randrange(6))] for _ in range(3)])
        for number in range(500)
    ]
    Tokens(tmp_path).write(iter(groups), vocabulary)
    lengths = [len(segment) for _, segments in groups for segment in segments]
    saved = {
        "segments": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "first_segment": np.arange(501, dtype=np.int64) * 3,
        "rows": np.arange(500, dtype=np.int64) * 3,
    }
    for name, array in saved.items():
        np.save(tmp_path / "expected.npy", array)
        assert (tmp_path / f"{name}.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes(), name
    flat = [token for _, segments in groups for segment in segments for token in segment]
    assert (tmp_path / "tokens.bin").read_bytes() == np.asarray(flat, dtype=f"<u{width}").tobytes()
    reader = Tokens(tmp_path).open()
    assert [[segment.tolist() for segment in group] for group in reader] == [segments for _, segments in groups]
    assert [segment.tolist() for segment in reader.group(17)] == groups[17][1]
    assert reader.group(17)[0].dtype == np.int64
    assert len(Tokens(tmp_path).open(limit=9)) == 9


def test_no_tokens_at_all(tmp_path: Path) -> None:
    Tokens(tmp_path).write([], 400)
    assert list(Tokens(tmp_path).open()) == []
