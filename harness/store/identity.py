"""Canonical JSON and fingerprints: equal choices give equal names, anything without a stable form is refused."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import StoreError

SHORT = 12  # characters of a fingerprint in folder names: 48 bits, checked in full when a record is read


def canonical_json(value: Any) -> str:
    """`value` as the one JSON text of its content: sorted keys, no spaces, no NaN.

    Raises:
        StoreError: something in it has no stable form (a function, a set, NaN, a key that is no text...).
    """
    unstable = _unstable(value)
    if unstable:
        raise StoreError(
            "identity is made of texts, finite numbers, lists and mappings", f"value{unstable}", "pass plain data"
        )
    return _ENCODER.encode(value)


# `default=dict` writes mappings that are no `dict`; everything else was checked before.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=dict)
_PLAIN = frozenset({str, int, bool, type(None)})  # exact types: a subclass has a form of its own


def _unstable(value: Any) -> str:
    """Where the first thing without a stable form is and what it is, in words; "" if there is none."""
    kind = type(value)
    if kind in _PLAIN or (kind is float and math.isfinite(value)):
        return ""
    if kind is dict or isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                return f" has the key {key!r}"
            if type(item) not in _PLAIN and (found := _unstable(item)):
                return f".{key}{found}"
        return ""
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if type(item) not in _PLAIN and (found := _unstable(item)):
                return f".{index}{found}"
        return ""
    return f" is {value!r}"


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_key(text: str) -> int:
    """64 bits that tell a text from nearly all others."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
