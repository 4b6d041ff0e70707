"""The name of a recipe whose settings are overridden on the command line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

KEEP_NAME = ("runtime", "tags", "claims", "notes", "plugins", "baseline", "search.trials", "search.storage")
"""Beginnings of paths that change no setting of a recipe, so that what is overridden there keeps its name."""

LONGEST_NAME, LONGEST_SUFFIX = 64, 32


def name_suffix(assignments: Sequence[str]) -> str:
    """What a recipe's name is extended by: `+path-value` for each assignment that changes settings, or a digest.

    "" where none does, or where an assignment sets the name.
    """
    paths = [assignment.partition("=")[0].strip() for assignment in assignments]
    chosen = [one.strip() for one, path in zip(assignments, paths, strict=True) if not path.startswith(KEEP_NAME)]
    if "name" in paths or not chosen:
        return ""
    plain = all(re.fullmatch(r"[\w.]+=[\w.]+", one, re.ASCII) for one in chosen)
    suffix = "".join(f"+{one.replace('=', '-')}" for one in chosen)
    if plain and len(suffix) <= LONGEST_SUFFIX:
        return suffix
    return "+" + hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:8]


def extended(name: str, suffix: str) -> str:
    """A name with a suffix, shortened to what a name may have."""
    return f"{name[: LONGEST_NAME - len(suffix)]}{suffix}"
