"""Packed rows cut into pieces of attention: the prompts by themselves, each response with its prompt and itself.

Attention with a mask computes a row's whole square, hidden or not. Cut up, it computes little more than what is seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from harness.models.packing import Batch

AFTER_ALL = 2**40
"""A position beyond all sequences."""

MOST_PADDED = 1.25
"""Most that pieces of attention computed together may grow by padding: it is work, but so is starting another call."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Attention of some prompts, or of some responses to their prompts and themselves, of about the same size.

    Attributes:
        queries, keys: int64 (parts, tokens), flat positions; pads repeat a part's first token.
        query_positions, key_positions: int64 (parts, tokens), places in the token's own sequence. Pads among the keys
            lie after all, so that nobody sees them; pads among the queries see what the part's first token sees.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    query_positions: torch.Tensor
    key_positions: torch.Tensor

    @classmethod
    def of(cls, parts: NDArray[np.int64], positions: NDArray[np.int64], device: torch.device | str) -> Self:
        """From rows of `Batch.parts` and all tokens' positions."""
        own = [np.arange(start, end) for start, end in parts[:, :2]]
        seen = [np.concatenate([np.arange(*before), itself]) for before, itself in zip(parts[:, 2:], own, strict=True)]
        queries, keys = (_rectangle(ranges, fill=-1) for ranges in (own, seen))
        first = parts[:, :1]

        def moved(plane: NDArray[np.int64]) -> torch.Tensor:
            return torch.from_numpy(plane).to(device)

        return cls(
            queries=moved(np.where(queries < 0, first, queries)),
            keys=moved(np.where(keys < 0, first, keys)),
            query_positions=moved(np.where(queries < 0, positions[first], positions[queries])),
            key_positions=moved(np.where(keys < 0, AFTER_ALL, positions[keys])),
        )

    def mask(self, window: int | None = None) -> torch.Tensor:
        """Who sees whom: bool (parts, 1, query tokens, key tokens), see `Batch.mask`."""
        distance = self.query_positions[:, :, None] - self.key_positions[:, None, :]
        visible = distance >= 0 if window is None else (distance >= 0) & (distance < window)
        return visible.unsqueeze(1)


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """All pieces of a batch.

    Attributes:
        pieces: largest first.
        queries, keys: int64 (all their tokens,): flat positions of the queries and of the keys of all pieces, joined.
        places: int64 (rows · tokens,): where each token is among `queries`; 0 for a pad, which is in none.
    """

    pieces: tuple[Piece, ...]
    queries: torch.Tensor
    keys: torch.Tensor
    places: torch.Tensor

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """On the batch's device."""
        device, positions = batch.input_ids.device, batch.position_ids.cpu().numpy().ravel()
        pieces = tuple(Piece.of(some, positions, device) for some in _alike(batch.parts))
        queries = torch.cat([piece.queries.flatten() for piece in pieces])
        places = torch.zeros(len(positions), dtype=torch.int64, device=device)
        places[queries.flip(0)] = torch.arange(len(queries), device=device).flip(0)
        keys = torch.cat([piece.keys.flatten() for piece in pieces])
        return cls(pieces=pieces, queries=queries, keys=keys, places=places)


def _alike(parts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows of `Batch.parts` that are of about the same size together, largest first."""
    queries = parts[:, 1] - parts[:, 0]
    keys = queries + parts[:, 3] - parts[:, 2]
    some: list[int] = []
    for part in np.lexsort((queries, keys))[::-1]:
        grown = [*some, int(part)]
        rectangle = len(grown) * queries[grown].max() * keys[grown].max()
        if some and rectangle > MOST_PADDED * (queries[grown] * keys[grown]).sum():
            yield parts[some]
            grown = [int(part)]
        some = grown
    if some:
        yield parts[some]


def _rectangle(ranges: Sequence[NDArray[np.int64]], *, fill: int) -> NDArray[np.int64]:
    """Ranges one under another, filled up on the right."""
    rectangle = np.full((len(ranges), max(map(len, ranges))), fill, dtype=np.int64)
    for row, values in zip(rectangle, ranges, strict=True):
        row[: len(values)] = values
    return rectangle
