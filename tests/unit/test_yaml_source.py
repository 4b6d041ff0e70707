"""Recipe files as data: YAML 1.2 scalars, a line for every value, and hostile files refused quickly."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ProblemList
from harness.recipe.yaml_source import DEEPEST, MOST_BYTES, MOST_VALUES, Source, parse_value, read_yaml

SECONDS = 20.0  # far more than any refusal takes; an exploding file would take hours or all memory


def read(folder: Path, text: str | bytes) -> Source:
    path = folder / "recipe.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_yaml(path)


def refusal(folder: Path, text: str | bytes) -> str:
    """What is said of a file that must be refused, without the folder's name."""
    with pytest.raises(ProblemList) as caught:
        read(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-6", 3e-6), ("3E6", 3e6), ("1.0e-3", 1e-3), ("-2.5", -2.5), (".5", 0.5), ("5.", 5.0), ("+1.5", 1.5),
        ("6_000", 6000), ("1_000.5", 1000.5), ("007", 7), ("-3", -3), ("+3", 3), ("0", 0),
        (".inf", math.inf), ("-.inf", -math.inf),
        ("true", True), ("True", True), ("false", False), ("False", False),
        ("null", None), ("~", None), ("", None),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("n", "n"), ("TRUE", "TRUE"),
        ("0x10", "0x10"), ("0o17", "0o17"), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"),
        ("1e", "1e"), ("e5", "e5"), ("-", [None]), ("_1", "_1"), ("1.2.3", "1.2.3"), ("=", "="),
        ("'3'", "3"), ('"true"', "true"), ("'no'", "no"), ("word", "word"), ("rm+lm", "rm+lm"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: Any) -> None:
    read = parse_value(text, "here")
    assert read == value
    assert type(read) is type(value)


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(parse_value(".nan", "here"))


words = st.text(min_size=1, max_size=8).filter(str.isprintable)
# A writer of YAML 1.1 leaves 1e5 without quotes, which is a number in 1.2.
texts = st.text().filter(lambda text: not re.fullmatch(r"[-+]?[0-9_.]+[eE][-+]?[0-9]+", text))
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_what_yaml_writes_is_read(value: Any) -> None:
    # JSON-like quoting: bare words such as `yes` are YAML 1.1's, which a writer of 1.1 would not quote for 1.2
    text = yaml.safe_dump(value, default_style='"') if isinstance(value, str) else yaml.safe_dump(value)
    assert parse_value(text.removesuffix("...\n"), "here") == value


def test_every_value_has_its_line(tmp_path: Path) -> None:
    source = read(tmp_path, "# comment\na: 1\nb:\n  c: x\n  d:\n  - 5\n  - e: 6\nf: {g: 1,\n  h: [2,\n 3]}\n")
    assert source.data == {"a": 1, "b": {"c": "x", "d": [5, {"e": 6}]}, "f": {"g": 1, "h": [2, 3]}}
    lines = {".".join(path): location.line for path, location in source.lines.items() if path}
    assert lines == {
        "a": 2, "b": 3, "b.c": 4, "b.d": 5, "b.d.0": 6, "b.d.1": 7, "b.d.1.e": 7,
        "f": 8, "f.g": 8, "f.h": 9, "f.h.0": 9, "f.h.1": 10,
    }  # fmt: skip
    assert str(source.locate(("b", "d", "1", "missing", "deeper"))) == f"{tmp_path}/recipe.yaml:7"
    assert source.locate(("nowhere",)).line == 2  # the block around it


def test_aliases_are_written_out(tmp_path: Path) -> None:
    source = read(tmp_path, "a: &x [1, {b: 2}]\nc: *x\n")
    assert source.data == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}
    assert source.data["a"] is not source.data["c"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: !!python/object/apply:os.system [echo]\n", 2, "tags like"),
        ("a: !secret x\n", 1, "tags like !secret"),
        ("a: !!int '3'\n", 1, "tags like"),
        ("a: ! x\n", 1, "tags like"),
        ("a:\n  !!map {}\n", 2, "tags like"),
        ("a: !!set {x, y}\n", 1, "tags like"),
        ("a: !!binary aGk=\n", 1, "tags like"),
        ("x: 1\n!!str a: 1\n", 2, "tags like"),
        ("a: 1\nb: 2\na: 3\n", 3, "`a` occurs twice"),
        ("a:\n  b: 1\n  b: 1\n", 3, "`b` occurs twice"),
        ("1: x\n'1': y\n", 2, "`1` occurs twice"),
        ("a: {<<: {b: 1}}\n", 1, "keys must be plain words"),
        ("a: 1\n? [x]\n: 2\n", 2, "keys must be plain words"),
        ("a: [1\nb: 2\n", 2, "must be valid YAML"),
        ("a:\n\tb: 1\n", 2, "must be valid YAML"),
        ("a: *nobody\n", 1, "undefined alias"),
        ("a: 1\n---\nb: 1\n", 2, "another document"),
        ("a: \x07\n", None, "must be valid YAML"),
        ("- 1\n", 1, "not a mapping"),
        ("word\n", 1, "not a mapping"),
        ("", 1, "not a mapping"),
        ("a: " + "9" * 41, 1, "values must be plain YAML"),
    ],
)
def test_refused_with_its_line(tmp_path: Path, text: str, line: int | None, words: str) -> None:
    told = refusal(tmp_path, text)
    assert words in told
    assert told.startswith("recipe.yaml" if line is None else f"recipe.yaml:{line}: ")


def test_no_yaml_can_run_code(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    for tag in ("!!python/object/apply:os.system", "!!python/object/new:os.system"):
        refusal(tmp_path, f"a: {tag} ['touch {witness}']\n")
    refusal(tmp_path, f"a: !!python/object/apply:pathlib.Path.touch [!!python/name:pathlib.Path '{witness}']\n")
    assert not witness.exists()


def bomb(levels: int, width: int) -> str:
    first = "a0: &a0 [" + ", ".join(["x"] * width) + "]\n"
    return first + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]\n" for level in range(1, levels)
    )


HOSTILE = {
    "alias bomb": bomb(12, 10),
    "wide alias bomb": "a: &a [" + "x," * 2_000 + "]\nb: [" + "*a," * 2_000 + "]\n",
    "alias of itself": "a: &a [*a]\n",
    "alias of itself in a mapping": "a: &a {b: *a}\n",
    "nested lists": "a: " + "[" * 20_000 + "]" * 20_000 + "\n",
    "nested mappings": "a: " + "{a: " * 20_000 + "1" + "}" * 20_000 + "\n",
    "nested blocks": "\n".join(" " * depth + "a:" for depth in range(900)),
    "just too deep": "a: " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
    "large": "a: " + "x" * MOST_BYTES,
    "many values": "a: [" + "1," * (MOST_VALUES + 1) + "]",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_quickly(tmp_path: Path, text: str) -> None:
    begun = time.monotonic()
    told = refusal(tmp_path, text)
    assert time.monotonic() - begun < SECONDS
    assert "sane size" in told or "must be valid YAML" in told


def test_the_limits_themselves_are_allowed(tmp_path: Path) -> None:
    depth = DEEPEST
    assert read(tmp_path, "a: " + "[" * depth + "]" * depth).data
    filled = "a: " + "x" * (MOST_BYTES - 3)
    assert len(read(tmp_path, filled).data["a"]) == MOST_BYTES - 3


@pytest.mark.parametrize("content", [b"a: \xff\xfe\n", b"\x00\x01\x02"])
def test_bytes_that_are_no_text(tmp_path: Path, content: bytes) -> None:
    assert "recipe.yaml" in refusal(tmp_path, content)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(ProblemList, match="must be a readable file"):
            read_yaml(path)


def test_values_of_assignments_know_where_they_stand() -> None:
    with pytest.raises(ProblemList, match="--set x=!y"):
        parse_value("!y", "--set x=!y")
