"""Properties of pairs that need no model: wrong labels at a rate, rejects of like length, an end token, a filter.

Each is decided for a pair by the pair and a seed alone, so that parts made apart agree with the whole.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import DataError, RecipeError
from harness.pairs.construct import Pair, Text
from harness.pairs.mutate import Rejection

FLIPPED = "flipped"
"""Word in a pair's edits that says its label was turned round on purpose."""

LENGTHS_DIFFER = "lengths_differ"

END_OF_CODE = "<|end_of_code|>"
"""The dedicated end token; a tokenizer that knows it as special makes it one id."""


def flip_labels(pairs: Sequence[Pair], *, rate: float, seed: int) -> list[Pair]:
    """Turn round the labels of a random share of pairs: their rejected side becomes the chosen one.

    A pair's fate depends on its slot and the seed, and a higher rate flips the pairs of a lower one and more. What was
    flipped says so in its edits. 0.5 is the control of shuffled labels.

    Raises:
        RecipeError: the rate is no share.
    """
    if not 0 <= rate <= 1:
        raise RecipeError("a rate of flipped labels must be 0 to 1", f"it is {rate}", "set a share")
    return [_flipped(pair) if random.Random(f"{seed}/{pair.slot}/flip").random() < rate else pair for pair in pairs]


def _flipped(pair: Pair) -> Pair:
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen, edits=(*pair.edits, FLIPPED))


def closest_in_length(chosen: str, drafts: Sequence[Text], *, tolerance: float) -> Text | Rejection:
    """Of several rejected drafts, the one closest in length to the chosen text, so that length tells nothing.

    Args:
        chosen: the better text.
        drafts: texts for the other side; those equal to the chosen text are left out.
        tolerance: largest difference as a share of the chosen text's characters.

    Returns:
        The first draft of the smallest difference, or a rejection (`LENGTHS_DIFFER`) where none is within tolerance.
    """
    others = [draft for draft in drafts if draft.text != chosen]
    if not others:
        return Rejection(reason=LENGTHS_DIFFER)
    best = min(others, key=lambda draft: abs(len(draft.text) - len(chosen)))
    within = abs(len(best.text) - len(chosen)) <= tolerance * len(chosen)
    return best if within else Rejection(reason=LENGTHS_DIFFER)


@dataclass(frozen=True, kw_only=True, slots=True)
class EndToken:
    """What is set at the end of both sides.

    Attributes:
        kind: nothing, the tokenizer's own end of text, or `END_OF_CODE`.
        eos: the tokenizer's end of text; needed by `eos` only.
    """

    kind: Literal["none", "eos", "dedicated"]
    eos: str = ""

    @property
    def text(self) -> str:
        """The token as text.

        Raises:
            RecipeError: `eos` is asked for and the tokenizer has none.
        """
        if self.kind == "none":
            return ""
        if self.kind == "dedicated":
            return END_OF_CODE
        if not self.eos:
            raise RecipeError(
                "an end token `eos` needs a tokenizer that has one", "this one has none", "use `dedicated` or `none`"
            )
        return self.eos


def with_end_token(pair: Pair, end: EndToken) -> Pair:
    """The pair with the end token on both sides, once: a side that ends with it already stays as it is."""
    token = end.text
    if not token:
        return pair
    return replace(
        pair, **{side: text if (text := getattr(pair, side)).endswith(token) else text + token for side in _SIDES}
    )


_SIDES = ("chosen", "rejected")


def consistent(agreement: ArrayLike, *, threshold: float) -> NDArray[np.bool_]:
    """Which pairs to keep: those whose judges agree with the label at least so far.

    Args:
        agreement: (judges, pairs) of 0 to 1, 0.5 for a tie, NaN where a judge has no say. A pair nobody judged stays:
            nothing speaks against it.
        threshold: least mean over the judges that have a say.

    Returns:
        (pairs,) bool.

    Raises:
        DataError: not a table, or a value that is no share.
    """
    table = np.asarray(agreement, dtype=np.float64)
    known = ~np.isnan(table)
    if table.ndim != 2 or ((table[known] < 0) | (table[known] > 1)).any():
        raise DataError("agreement must be a table of shares", f"its shape is {table.shape}", "pass 0 to 1 or NaN")
    votes = known.sum(axis=0)
    mean = np.divide(np.where(known, table, 0.0).sum(axis=0), votes, out=np.ones(table.shape[1]), where=votes > 0)
    return np.asarray(mean >= threshold)
