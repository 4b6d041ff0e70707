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
_BLOCK = 1 << 20


def canonical_json(value: Any) -> str:
    """`value` as the one JSON text of its content: sorted keys, no spaces, no NaN.

    Raises:
        StoreError: something in it has no stable form (a function, a set, NaN, a key that is no text...).
    """
    if not _is_stable(value):
        raise _unstable(_first_unstable(value, "value"))
    return _ENCODER.encode(value)


# `default=dict` writes mappings that are no `dict`; everything else was checked before.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False, default=dict)
_PLAIN = frozenset({str, int, bool, type(None)})  # exact types: a subclass has a form of its own


def _is_stable(value: Any) -> bool:
    kind = type(value)
    if kind in _PLAIN:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is dict or isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str or not (type(item) in _PLAIN or _is_stable(item)):
                return False
        return True
    if isinstance(value, (list, tuple)):
        for item in value:  # noqa: SIM110  twice as fast as all()
            if not (type(item) in _PLAIN or _is_stable(item)):
                return False
        return True
    return False


def _first_unstable(value: Any, path: str) -> str:
    """Where the first thing without a stable form stands, in words."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                return f"{path} has the key {key!r}"
            if not _is_stable(item):
                return _first_unstable(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if not _is_stable(item):
                return _first_unstable(item, f"{path}.{index}")
    return f"{path} is {value!r}"


def _unstable(value: str) -> StoreError:
    return StoreError("identity is made of texts, finite numbers, lists and mappings", value, "pass plain data")


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
