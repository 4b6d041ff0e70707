"""Split by whole clusters (packages, repositories), so that no split has seen another's authors."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from harness.errors import DataError

Split = Literal["heldout", "dev", "base", "train"]
"""`dev` and `base` are there where a recipe asks for them."""


def split_by_name(cluster: str, *, base: Collection[str], heldout: Collection[str], dev: Collection[str] = ()) -> Split:
    """The split that names a package; all others are for training."""
    if cluster in dev:
        return "dev"
    return "base" if cluster in base else "heldout" if cluster in heldout else "train"


def split_by_share(cluster: str, *, base: float, heldout: float, seed: int, dev: float = 0.0) -> Split:
    """The split a cluster is drawn into, by its own name alone: more clusters move none.

    Args:
        base, heldout, dev: shares of the clusters, in [0, 1).
    """
    digest = hashlib.sha256(f"{seed}/{cluster}".encode("utf-8", "surrogateescape")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place >= 1.0 - dev:  # taken from those for training, so that it moves no cluster of the others
        return "dev"
    return "heldout" if place < heldout else "base" if place < heldout + base else "train"


def check_named(found: Collection[str], named: Sequence[str]) -> None:
    """That every package a split names has kept documents.

    Raises:
        DataError: a package is named twice or has none.
    """
    unknown = [package for package in named if package not in found]
    if unknown:
        raise DataError(
            "every package of a split must have functions in the corpus",
            f"none are left of: {', '.join(unknown)}",
            "add the package to the corpus, loosen the cleaning, or take it out of the split",
        )
    twice = sorted(package for package, times in Counter(named).items() if times > 1)
    if twice:
        raise DataError("a package must be in one split", f"named twice: {', '.join(twice)}", "name it once")


def check_filled(kept: Mapping[str, int], remedy: str) -> None:
    """That no split is empty.

    Args:
        kept: documents of each split that is asked for.

    Raises:
        DataError: a split is.
    """
    empty = [name for name, documents in kept.items() if not documents]
    if empty:
        raise DataError("no split of the corpus may be empty", f"nothing is left for: {', '.join(empty)}", remedy)
