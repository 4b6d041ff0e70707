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
    _require_stable(value, "value")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _require_stable(value: Any, path: str) -> None:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return
    if kind is float:
        if math.isfinite(value):
            return
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                raise _unstable(f"{path} has the key {key!r}")
            _require_stable(item, f"{path}.{key}")
        return
    elif isinstance(value, (list, tuple)):
        for item in value:
            _require_stable(item, path)
        return
    raise _unstable(f"{path} is {value!r}")


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
