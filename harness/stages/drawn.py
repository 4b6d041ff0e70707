"""Which pairs of a set are looked at closely: the same ones for everybody who looks."""

from __future__ import annotations

import random


def drawn_rows(total: int, most: int | None, seed: int) -> list[int]:
    """Row numbers, ascending; None takes all."""
    return sorted(random.Random(seed).sample(range(total), total if most is None else min(total, most)))
