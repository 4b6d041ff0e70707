"""Local files: what patterns lead to, what is in them as identity, what of it is read."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from harness.corpus.files import read_files
from harness.corpus.tables import documents_of_rows, read_json_lines, read_parquet
from harness.corpus.tally import Tally
from harness.errors import DataError, MissingRequirement
from harness.recipe.corpus import LANGUAGES, Columns
from harness.sources.files import (
    JSON_LINES,
    LONGEST_LINE,
    PARQUET,
    check_columns,
    endings_of,
    files_named,
    find_files,
    listing,
    named,
)

PYTHON = endings_of(["python"])


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    for name, text in {
        "one/src/a.py": "x = 1\n",
        "one/src/b.go": "package b\n",
        "one/.git/hook.py": "hidden = 1\n",
        "one/vendor/other.py": "theirs = 1\n",
        "two/z.py": "y = 2\n",
        "two/a/b/c.py": "z = 3\n",
        "two/readme.md": "Read me.\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_folders_are_walked_in_order_and_each_is_a_cluster(repositories: Path) -> None:
    found = find_files([f"{repositories}/*"], PYTHON)
    assert [(file.cluster, file.name) for file in found] == [
        ("one", "one/src/a.py"),
        ("two", "two/z.py"),
        ("two", "two/a/b/c.py"),
    ]
    again = find_files([f"{repositories}/two", f"{repositories}/*", f"{repositories}/two/z.py"], PYTHON)
    assert [file.name for file in again] == ["two/z.py", "two/a/b/c.py", "one/src/a.py"]
    several = find_files([f"{repositories}/*"], endings_of(["go", "markdown"]))
    assert [file.name for file in several] == ["one/src/b.go", "two/readme.md"]


def test_files_named_outright_and_by_pattern(repositories: Path) -> None:
    (named,) = find_files([f"{repositories}/two/readme.md"], PYTHON)
    assert (named.cluster, named.name) == ("two", "readme.md")
    matched = find_files([f"{repositories}/**/*.py"], PYTHON)
    assert [(file.cluster, file.name) for file in matched] == [
        ("src", "a.py"),
        ("vendor", "other.py"),
        ("b", "c.py"),
        ("two", "z.py"),
    ]
    with pytest.raises(MissingRequirement, match=r"leads to none that ends in \.py"):
        find_files([f"{repositories}/two/*.md"], PYTHON)


@pytest.mark.parametrize("pattern", ["nowhere", "no*where/*.py", "one/.git"])
def test_a_path_that_leads_nowhere(repositories: Path, pattern: str) -> None:
    with pytest.raises(MissingRequirement, match="every path of the corpus must lead to files") as caught:
        find_files([f"{repositories}/one", f"{repositories}/{pattern}"], endings_of(["rust", "python"])[:1])
    assert caught.value.exit_code == 2


def test_a_folder_without_such_files_and_links_in_a_circle(repositories: Path) -> None:
    (repositories / "empty").mkdir()
    with pytest.raises(MissingRequirement):
        find_files([f"{repositories}/empty"], PYTHON)
    (repositories / "two" / "circle").symlink_to(repositories / "two")
    (repositories / "two" / "nothing.py").symlink_to(repositories / "nowhere")
    assert [file.name for file in find_files([f"{repositories}/two"], PYTHON)] == ["two/z.py", "two/a/b/c.py"]


def test_the_listing_is_what_is_in_the_files_and_not_where_they_are(repositories: Path, tmp_path: Path) -> None:
    before = listing(find_files([f"{repositories}/*"], PYTHON))
    assert [(entry["name"], entry["files"], entry["bytes"]) for entry in before] == [("one", 1, 6), ("two", 2, 12)]
    (repositories / "elsewhere").mkdir()
    for name in ("one", "two"):
        (repositories / name).rename(repositories / "elsewhere" / name)
    moved = listing(find_files([f"{repositories}/elsewhere/*"], PYTHON))
    assert moved == before
    file = repositories / "elsewhere" / "two" / "z.py"
    file.write_text("y = 3\n")
    os.utime(file, ns=(1, 1))
    changed = listing(find_files([f"{repositories}/elsewhere/*"], PYTHON))
    assert [one == other for one, other in zip(changed, before, strict=True)] == [True, False]
    file.rename(file.with_name("renamed.py"))
    assert listing(find_files([f"{repositories}/elsewhere/*"], PYTHON))[1] != changed[1]


def test_a_single_file_has_its_own_digest(repositories: Path) -> None:
    (entry,) = listing(find_files([f"{repositories}/two/z.py"], PYTHON))
    digest = hashlib.sha256(b"y = 2\n").hexdigest()
    assert entry == {"name": "z.py", "files": 1, "bytes": 6, "sha256": digest}


def test_files_are_found_again_by_name_and_must_be_as_they_were(repositories: Path) -> None:
    (repositories / "one" / os.fsdecode(b"caf\xe9.py")).write_text("no = 'text'\n")
    files = find_files([f"{repositories}/*", f"{repositories}/two/readme.md"], PYTHON)
    entries = json.loads(json.dumps(named(files)))
    assert [entry["names"] for entry in entries] == [["caf\udce9.py", "src/a.py"], ["z.py", "a/b/c.py"], ["."]]
    (repositories / "two" / "y.py").write_text("of no plan\n")
    assert files_named(entries) == files
    (repositories / "two" / "a" / "b" / "c.py").write_text("z = 4 \n")
    (repositories / "one" / "src" / "a.py").unlink()
    with pytest.raises(DataError, match="changed: one, two; run again"):
        files_named(entries)


def test_files_are_read_by_language_and_those_too_large_are_not(repositories: Path) -> None:
    (repositories / "one" / "src" / "huge.py").write_bytes(b"#" * (LONGEST_LINE + 1))
    (repositories / "one" / "src" / "latin.py").write_bytes("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"))
    (repositories / "one" / "src" / "odd.py").write_bytes(b"# -*- coding: nonsense -*-\nx = '\xff'\n")
    counts = Tally()
    files = find_files([f"{repositories}/*"], endings_of(["python", "go"]))
    found = {one.path: one for one in read_files(files, ["python", "go"], counts)}
    assert {path: one.language for path, one in found.items()} == {
        "one/src/a.py": "python",
        "one/src/b.go": "go",
        "one/src/latin.py": "python",
        "one/src/odd.py": "python",
        "two/z.py": "python",
        "two/a/b/c.py": "python",
    }
    assert "é" in found["one/src/latin.py"].text
    assert "�" in found["one/src/odd.py"].text
    assert counts == {"files": 7, "files_too_large": 1}


def test_every_ending_belongs_to_one_language() -> None:
    endings = [ending for language in LANGUAGES.values() for ending in language]
    assert len(set(endings)) == len(endings)


# --------------------------------------------------------------------------------------------------- tables

ROWS = [
    {"code": "first", "about": "One.", "license": ["MIT", "Apache-2.0"], "lang": "Go", "repo": "a"},
    {"code": "second", "about": None, "license": [], "lang": None, "repo": None},
    {"code": "  ", "about": "Nothing.", "license": ["MIT"], "lang": "Go", "repo": "a"},
    {"code": None, "about": "Nothing.", "license": ["MIT"], "lang": "Go", "repo": "a"},
    {"code": "third", "about": "Three.", "license": ["GPL"], "lang": "Rust", "repo": "b"},
]
COLUMNS = Columns(text="code", description="about", licence="license", language="lang", cluster="repo")
EXPECTED = [
    ("first", "One.", "MIT, Apache-2.0", "go", "a"),
    ("second", "", "", "text", "{name}:{second}"),
    ("third", "Three.", "GPL", "rust", "b"),
]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz"])
def test_tables_as_documents(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"table.{kind}"
    counts = Tally()
    names = list(COLUMNS.by_purpose.values())
    if kind == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=2)
        files = find_files([f"{tmp_path}/*"], PARQUET)
        rows = read_parquet(files, names, counts)
    else:
        text = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        path.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
        files = find_files([f"{tmp_path}/*"], JSON_LINES)
        rows = read_json_lines(files, counts)
    check_columns(files[0], "parquet" if kind == "parquet" else "jsonl", COLUMNS.by_purpose)
    found = list(documents_of_rows(rows, COLUMNS, "Text", counts))
    second = 1 if kind == "parquet" else 2  # rows from 0, lines from 1
    expected = [
        (text, about, licence, language, cluster.format(name=path.name, second=second))
        for text, about, licence, language, cluster in EXPECTED
    ]
    assert [(one.text, one.description, one.licence, one.language, one.cluster) for one in found] == expected
    assert counts == {"rows": 5, "rows_without_text": 2}


def test_lines_that_are_no_rows_are_counted_and_passed_over(tmp_path: Path) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    lines = [b'{"code": "good"}', b"", b"{broken", b"[1, 2]", b"\xff\xfe", deep, b'{"code": "last"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    counts = Tally()
    rows = list(read_json_lines(find_files([f"{tmp_path}/*"], JSON_LINES), counts))
    assert [row for _, row in rows] == [{"code": "good"}, {"code": "last"}]
    assert counts == {"lines_unreadable": 4}


def test_a_line_without_end_is_passed_over_in_bounded_pieces(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write(b'{"code": "before"}\n{"code": "')
        for _ in range(3):
            file.write(b"x" * LONGEST_LINE)
        file.write(b'"}\n{"code": "after"}\n')
    counts = Tally()
    rows = [row for _, row in read_json_lines(find_files([f"{tmp_path}/*"], JSON_LINES), counts)]
    assert [row["code"] for row in rows] == ["before", "after"]
    assert counts == {"lines_too_long": 1}


def test_huge_values_of_a_parquet_file_are_passed_over(tmp_path: Path) -> None:
    huge = "x" * (LONGEST_LINE + 1)
    table = pa.table({"code": [huge, huge + "y", "small", huge, "small too"]})
    pyarrow.parquet.write_table(table.slice(0, 2), tmp_path / "a.parquet", use_dictionary=False)
    pyarrow.parquet.write_table(table.slice(2, 3), tmp_path / "b.parquet", use_dictionary=False)
    counts = Tally()
    rows = read_parquet(find_files([f"{tmp_path}/*"], PARQUET), ["code"], counts)
    found = list(documents_of_rows(rows, Columns(text="code"), "text", counts))
    assert [one.text for one in found] == ["small", "small too"]
    assert [one.path for one in found] == ["b.parquet:0", "b.parquet:2"]
    assert counts == {"rows": 5, "rows_too_large": 3}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.parquet", b"PAR1 and then nothing of it", "a.parquet: Parquet"),
        ("a.parquet", b"", "a.parquet: "),
        ("a.jsonl", b"", "its first line is no JSON"),
        ("a.jsonl", b"{broken\n", "its first line is no JSON"),
        ("a.jsonl", b"[1]\n", "its first line is no JSON object"),
        ("a.jsonl", b"\xff\xfe\n", "its first line is no JSON"),
        ("a.jsonl.gz", b"no gzip", "its first line is no JSON"),
        ("a.jsonl", b'{"text": "' + b"x" * LONGEST_LINE + b'"}\n', "longer than"),
    ],
)
def test_an_unreadable_file_is_told_before_anything_runs(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    kind = "parquet" if name.endswith("parquet") else "jsonl"
    (file,) = find_files([f"{tmp_path}/{name}"], PARQUET if kind == "parquet" else JSON_LINES)
    with pytest.raises(MissingRequirement, match="every file of the corpus must be readable") as caught:
        check_columns(file, kind, {"text": "text"})
    assert told in caught.value.value


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_columns_that_are_not_there_or_hold_no_text(tmp_path: Path, kind: str) -> None:
    rows = [{"code": "a", "stars": 3}]
    if kind == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    else:
        (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]))
    (file,) = find_files([f"{tmp_path}/*"], PARQUET if kind == "parquet" else JSON_LINES)
    with pytest.raises(MissingRequirement, match=rf"a\.{kind} has no 'text', 'licence' but code, stars; correct `corp"):
        check_columns(file, kind, {"text": "text", "licence": "licence"})
    with pytest.raises(MissingRequirement, match=r"`corpus\.columns\.text` must hold texts"):
        check_columns(file, kind, {"text": "stars"})
    check_columns(file, kind, {"text": "code", "cluster": "stars"})


def test_files_that_end_too_early_are_told_when_that_is_found(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"text": "a"}\n' * 5_000)
    (tmp_path / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz is not, after row"):
        list(read_json_lines(find_files([f"{tmp_path}/*"], JSON_LINES), Tally()))
    table = pa.table({"text": [f"text {number}" for number in range(5_000)]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet", use_dictionary=False)
    content = bytearray((tmp_path / "b.parquet").read_bytes())
    content[200:3_000] = b"\xff" * 2_800
    (tmp_path / "b.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"b\.parquet is not, after row"):
        list(read_parquet(find_files([f"{tmp_path}/*"], PARQUET), ["text"], Tally()))


@pytest.mark.parametrize("name", ["a[1]", "what?", "st*r"])
def test_a_name_with_a_patterns_characters_stands_for_itself(tmp_path: Path, name: str) -> None:
    for folder in (name, "a1", "whatx", "stir"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").touch()
        (tmp_path / folder / "b.py").touch()
    paths = {
        pattern: [file.path for file in find_files([str(tmp_path / pattern)], PYTHON)]
        for pattern in (
            name,
            f"{name}/{name}.py",
            f"{name}/*.py",
        )
    }
    both = sorted([tmp_path / name / "b.py", tmp_path / name / f"{name}.py"])
    assert paths == {name: both, f"{name}/{name}.py": [tmp_path / name / f"{name}.py"], f"{name}/*.py": both}
