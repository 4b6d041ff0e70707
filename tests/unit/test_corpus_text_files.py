"""What bytes say as text, and what is left out by name: encodings, line ends, binaries, damage, things that expand."""

from __future__ import annotations

import codecs
import gzip
import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from harness.corpus.document import Document, unpack
from harness.corpus.files import read_files
from harness.corpus.normalise import parse_quietly
from harness.corpus.python_packages import functions_of
from harness.corpus.tables import documents_of_rows, read_json_lines, read_parquet
from harness.corpus.tally import NAMED, Tally, named_of
from harness.errors import DataError, MissingRequirement
from harness.recipe.corpus import Columns
from harness.sources.files import JSON_LINES, PARQUET, check_columns, find_files
from harness.sources.text_files import LONGEST_LINE, MOST_UNPACKED

PROSE = "What this is about.\n\nThe text itself, café 本文.\nIts second line.\n"
CODE = 'def f(x):\n    """Say what it does."""\n    return x + 1\n'


def documents(folder: Path, *languages: str) -> tuple[list[Document], Tally]:
    counts = Tally()
    files = find_files([str(folder)], (".py", ".txt", ".go"))
    whole = list(read_files(files, languages, counts))
    return [one for text in whole for one in unpack(text, chunk_characters=None, counts=counts)], counts


def of_table(path: Path, text: str) -> tuple[list[str], Tally]:
    counts = Tally()
    parquet = path.suffix == ".parquet"
    files = find_files([str(path)], PARQUET if parquet else JSON_LINES)
    rows = read_parquet(files, [text], counts) if parquet else read_json_lines(files, counts)
    return [one.text for one in documents_of_rows(rows, Columns(text=text), "text", counts)], counts


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", ("utf-16-be", codecs.BOM_UTF16_BE)], ids=str
)
def test_prose_of_any_encoding_and_line_ends_is_the_same(
    tmp_path: Path, ends: str, encoding: str | tuple[str, bytes]
) -> None:
    name, mark = (encoding, b"") if isinstance(encoding, str) else encoding
    (tmp_path / "a.txt").write_bytes(mark + PROSE.replace("\n", ends).encode(name))
    (found,), counts = documents(tmp_path, "text")
    assert (found.description, found.text) == (
        "What this is about.",
        "The text itself, café 本文.\nIts second line.",
    )
    assert counts == {"files": 1}


def test_binary_files_are_no_documents_and_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.go").write_bytes(b"\x7fELF\0\0\1" * 50)
    (tmp_path / "b.go").write_bytes(gzip.compress(PROSE.encode() * 9))
    (tmp_path / "c.txt").write_bytes(("日本語の文章です。" * 20).encode("shift-jis"))
    (tmp_path / "d.txt").write_bytes("Une réponse précise.\n\nElle a été donnée très tôt.\n".encode("latin-1"))
    (tmp_path / "e.py").write_bytes(CODE.encode() + b"\0\n")
    found, counts = documents(tmp_path, "go", "text", "python")
    assert [one.path.rpartition("/")[2] for one in found] == ["d.txt"]
    assert counts == {"files": 5, "files_not_text": 4}
    assert [place.rpartition("/")[2] for place in counts.named["files_not_text"]] == ["a.go", "b.go", "c.txt"]


@pytest.mark.parametrize("codec", ["idna", "punycode", "undefined", "rot13", "hex", "zlib", "nonsense", "utf-16"])
def test_an_odd_encoding_declaration_stops_nothing(tmp_path: Path, codec: str) -> None:
    head = f"# -*- coding: {codec} -*-\n".encode()
    (tmp_path / "a.py").write_bytes(head + CODE.encode() + b"\xff\n")
    (tmp_path / "b.py").write_bytes(head + CODE.replace("f(", "g(").encode())
    (tmp_path / "c.py").write_text(CODE.replace("f(", "h("))
    found, counts = documents(tmp_path, "python")
    assert [one.name for one in found] == ["g", "h"]
    assert (counts["unparsable_files"], counts.named["unparsable_files"]) == (1, [f"{tmp_path.name}/a.py"])
    with pytest.raises(SyntaxError):
        parse_quietly((tmp_path / "a.py").read_bytes())


@pytest.mark.parametrize("depth", [1_000, 2_500, 100_000])
def test_bottomless_python_is_parsed_or_counted(depth: int) -> None:
    for nested in (
        "if x:\n    pass\n" + "elif x:\n    pass\n" * depth + CODE,
        f"y = {'(' * depth}{')' * depth}\n{CODE}",
        f"y = {'-' * depth}1\n{CODE}",
        f"y = x{'.a' * depth}\n{CODE}",
        CODE.replace("x + 1", " + ".join("x" for _ in range(depth))),
    ):
        counts = Tally()
        found = list(functions_of(nested, counts, package="p", module="p.m"))
        assert len(found) + counts["unparsable_functions"] + counts["unparsable_files"] == 1


# --------------------------------------------------------------------------------------------------- tables


def test_lines_of_any_encoding_and_ends(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in ("eins\r\nzwei", "drei é\u2028本")]
    for number, (encoding, end) in enumerate([("utf-8-sig", "\r\n"), ("utf-16", "\n"), ("utf-16", "\r")]):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes((end.join(lines) + end).encode(encoding))
        check_columns(find_files([str(path)], JSON_LINES)[0], "jsonl", {"text": "text"})
        assert of_table(path, "text") == (["eins\nzwei", "drei é\u2028本"], {"rows": 2})


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ['{"text": "a"}', '{"text": "b", "text": "c"}', '{"text": "d", "more": {"x": [{"y": 1, "y": 2}]}}']
    path.write_text("\n".join(lines))
    found, counts = of_table(path, "text")
    assert (found, counts["lines_with_a_key_twice"]) == (["a"], 2)
    assert counts.named == {"lines_with_a_key_twice": ["a.jsonl:2", "a.jsonl:3"]}
    path.write_text("\n".join(lines[1:]))
    with pytest.raises(MissingRequirement, match=r"a\.jsonl: in its first line the key 'text' appears twice"):
        check_columns(find_files([str(path)], JSON_LINES)[0], "jsonl", {"text": "text"})


def test_a_column_that_stands_twice(tmp_path: Path) -> None:
    table = pa.table([["a"], ["b"], ["c"]], names=["text", "twice", "twice"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(MissingRequirement, match=r"a\.parquet: it has two columns 'twice'"):
        check_columns(find_files([str(tmp_path)], PARQUET)[0], "parquet", {"text": "text"})


def test_damage_in_a_named_column_costs_its_row_and_in_another_nothing(tmp_path: Path) -> None:
    bad = pa.StringArray.from_buffers(3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc"))
    made = pa.array([0, 10**18, 1], pa.timestamp("ms"))
    table = pa.table({"text": ["one", "two", "three"], "bad": bad, "made": made, "groups": [["x"], [], None]})
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(table, path)
    assert of_table(path, "text") == (["one", "two", "three"], {"rows": 3})
    found, counts = of_table(path, "bad")
    assert (found, counts) == (["a", "c"], {"rows": 3, "rows_unreadable": 1})
    assert counts.named == {"rows_unreadable": ["a.parquet:1"]}
    counts = Tally()
    rows = list(read_parquet(find_files([str(path)], PARQUET), ["text", "made", "groups"], counts))
    assert [row["text"] for _, row in rows] == ["one", "three"]
    assert rows[0][1] == {"text": "one", "made": datetime(1970, 1, 1), "groups": ["x"]}
    assert counts.named == {"rows_unreadable": ["a.parquet:1"]}


@pytest.mark.parametrize("rest", [b"\n" * 10_000_000, b"x" * (MOST_UNPACKED + 1)], ids=["newlines", "one line"])
def test_a_packed_file_does_not_unpack_without_a_bound(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' + rest, 1))
    with pytest.raises(DataError, match=r"unpack to 64 MiB or 100 times its size, but a\.jsonl\.gz holds more than"):
        of_table(path, "text")


@pytest.mark.parametrize("listed", [False, True])
def test_a_dictionary_does_not_expand_without_a_bound(tmp_path: Path, listed: bool) -> None:
    """One text, stored once and meant 2,000 times."""
    long = "x" * 100_000
    column = pa.array([[long], None, [long]] * 700 if listed else [long] * 2_000)
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"text": ["t"] * len(column), "long": column}), path)
    with pytest.raises(DataError, match=r"a\.parquet holds more than"):
        list(read_parquet(find_files([str(path)], PARQUET), ["text", "long"], Tally()))
    assert of_table(path, "text") == (["t"] * len(column), {"rows": len(column)})


def test_a_row_too_large_is_never_decoded(tmp_path: Path) -> None:
    huge = "x" * (4 * LONGEST_LINE + 1)
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"text": ["a", huge, *["b"] * 10]}), path, compression="none")
    found, counts = of_table(path, "text")
    assert (found, counts) == (["a", *["b"] * 10], {"rows": 12, "rows_too_large": 1})
    assert counts.named == {"rows_too_large": ["a.parquet:1"]}


def test_names_with_signs_of_patterns_and_addresses_are_meant_literally(tmp_path: Path) -> None:
    for name in ("a[1]", "a1", "50%20?", "q?x", "h#f", "s*r"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text("t")
        pyarrow.parquet.write_table(pa.table({"te.xt": [name]}), tmp_path / name / "x[0]%.parquet")
        (file,) = find_files([f"{tmp_path}/{name}"], (".txt",))
        assert file.path == tmp_path / name / "x.txt"
        assert find_files([f"{tmp_path}/{name}/*.txt"], (".txt",))[0].path == file.path
        assert of_table(tmp_path / name / "x[0]%.parquet", "te.xt") == ([name], {"rows": 1})
    (outright,) = find_files([f"{tmp_path}/a[1]/x.txt"], (".py",))
    assert outright.path.parent.name == "a[1]"
    assert [file.cluster for file in find_files([f"{tmp_path}/a[0-9]"], (".txt",))] == ["a1"]
    assert {file.cluster for file in find_files([f"{tmp_path}/?1", f"{tmp_path}/a*"], (".txt",))} == {"a1", "a[1]"}


def test_the_first_of_each_reason_are_named() -> None:
    tallies = [Tally(), Tally()]
    for tally, letter in zip(tallies, "ab", strict=True):
        for number in range(NAMED - 1):
            tally.pass_over("files_not_text", f"{letter}{number}\udcff")
    assert named_of(tally.named for tally in tallies) == {
        "files_not_text": ["a0\\udcff", "a1\\udcff", "b0\\udcff"][:NAMED]
    }
    assert sum(tally["files_not_text"] for tally in tallies) == 2 * (NAMED - 1)
