"""Canonical JSON and fingerprints: one text a content, and nothing without a stable form."""

from __future__ import annotations

import enum
import json
import math
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import StoreError
from harness.store.identity import canonical_json, file_digest, fingerprint

GOLDEN_VALUE = {
    "kind": "pretrain",
    "code_version": 1,
    "spec": {"loss": {"rm": 1.0, "lm": 0.5}, "betas": [0.9, 0.95], "rate": 3e-06, "select": None, "tie": True},
    "inputs": {"tokens": {"stream": "ab" * 32, "rows": 1024}},
    "name": "Zürich \U0001f9ea \n",
}
GOLDEN_TEXT = (
    '{"code_version":1,"inputs":{"tokens":{"rows":1024,"stream":"' + "ab" * 32 + '"}},"kind":"pretrain",'
    '"name":"Z\\u00fcrich \\ud83e\\uddea \\n","spec":{"betas":[0.9,0.95],"loss":{"lm":0.5,"rm":1.0},"rate":3e-06,'
    '"select":null,"tie":true}}'
)
GOLDEN_FINGERPRINT = "6b7519e385d4698c1b9e8d2d32dd4eeab3f327581165e44bbbc434beba9fbc9d"

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def shuffled(value: Any) -> Any:
    """The same content with every mapping's keys the other way round, and lists as tuples."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return tuple(shuffled(item) for item in value)
    return value


def exact(value: Any) -> Any:
    """Content with types, so that 1, 1.0 and True differ: what canonical JSON must tell apart."""
    if isinstance(value, dict):
        return ("map", tuple(sorted((key, exact(item)) for key, item in value.items())))
    if isinstance(value, list):
        return ("list", tuple(exact(item) for item in value))
    return (type(value).__name__, repr(value))


def test_golden() -> None:
    assert canonical_json(GOLDEN_VALUE) == GOLDEN_TEXT
    assert fingerprint(GOLDEN_VALUE) == GOLDEN_FINGERPRINT


def test_another_process_agrees() -> None:
    code = f"from harness.store.identity import fingerprint; print(fingerprint({GOLDEN_VALUE!r}))"
    root = Path(__file__).parents[2]
    for hash_seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert told.stdout.strip() == GOLDEN_FINGERPRINT


@given(plain)
def test_order_of_keys_is_irrelevant(value: Any) -> None:
    assert canonical_json(shuffled(value)) == canonical_json(value)


@given(plain, plain)
def test_different_content_has_different_fingerprints(one: Any, other: Any) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (exact(one) == exact(other))


@given(plain)
def test_the_text_is_json_of_the_value(value: Any) -> None:
    assert exact(json.loads(canonical_json(value))) == exact(value)


@pytest.mark.parametrize("pair", [(1, 1.0), (1, True), (0, False), ("1", 1), (None, "null"), ([], {}), ("a", ["a"])])
def test_neighbouring_types_are_told_apart(pair: tuple[Any, Any]) -> None:
    assert fingerprint({"x": pair[0]}) != fingerprint({"x": pair[1]})


def test_any_mapping_counts_as_one() -> None:
    expected = canonical_json({"a": {"b": 1}})
    assert canonical_json(MappingProxyType({"a": MappingProxyType({"b": 1})})) == expected
    assert canonical_json(OrderedDict(a=OrderedDict(b=1))) == expected


class Text(str):
    __slots__ = ()


class Colour(enum.IntEnum):
    RED = 1


UNSTABLE = {
    "not a number": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "set": {1},
    "function": len,
    "lambda": lambda: 1,
    "object": object(),
    "bytes": b"x",
    "path": Path("x"),
    "class": int,
    "text subclass": Text("x"),
    "enum": Colour.RED,
    "numpy float": np.float64(1.0),
    "numpy integer": np.int64(1),
    "array": np.zeros(2),
    "int key": {1: "x"},
    "None key": {None: "x"},
    "text subclass as key": {Text("x"): 1},
}


@pytest.mark.parametrize("value", UNSTABLE.values(), ids=UNSTABLE)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"a": [1, {"b": x}]}, lambda x: (x,)], ids=["", "deep", "in"])
def test_what_has_no_stable_form_is_refused(wrap: Any, value: Any) -> None:
    with pytest.raises(StoreError, match="identity is made of"):
        canonical_json(wrap(value))


def test_the_refusal_says_where() -> None:
    with pytest.raises(StoreError, match=r"value\.spec\.rates\.1 is nan"):
        canonical_json({"kind": "x", "spec": {"rates": [1.0, math.nan]}})
    with pytest.raises(StoreError, match=r"value\.spec has the key 3"):
        canonical_json({"spec": {3: 1}})


def test_digest_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    path.write_bytes(b"x" * (3 * (1 << 20) + 1))  # several blocks
    whole = file_digest(path)
    path.write_bytes(b"x" * (3 * (1 << 20)) + b"y")
    assert file_digest(path) != whole
