"""Order is an index: which groups a training reads, and when. Readers never shuffle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.pipeline.order import OrderSpec

Order = NDArray[np.int64]

COIN, REPLAY = 0xC017, 0x2EA1  # so that a seed's coin and replay draw other numbers than its orders


def trunk_order(order: OrderSpec, groups: int, margins: NDArray[np.float64] | None = None) -> Order:
    """(groups,) rows of a PMP run: row order for seed 0, else the beginning of a permutation of `order.rows` rows.

    Fewer groups are a prefix of more, so that pair counts nest. With `order.epochs` the rows are read as many times,
    after the first in a permutation of the seed and the epoch.

    Args:
        margins: (rows,) how clearly each row's sides differ in reward: then the smallest come first, or the largest,
            as `order.first` says, in every epoch. NaN (nobody scored it) comes last; equal ones stay in row order.
    """
    seed, rows = order.seed, groups if order.rows is None else order.rows
    if margins is not None:
        keys = margins[:rows] * (1 if order.first == "hardest" else -1)
        first = np.argsort(keys, kind="stable")
    else:
        first = np.random.default_rng(seed).permutation(rows) if seed else np.arange(rows)
    epochs = [first]
    for epoch in range(1, order.epochs):
        epochs.append(first if margins is not None else np.random.default_rng([seed, epoch]).permutation(rows))
    return np.concatenate(epochs)[:groups].astype(np.int64)


def coin(seed: int, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Heads or tails for each row number; of a row it is the same whatever other rows there are."""
    sides = np.random.default_rng([seed, COIN]).random(int(rows.max(initial=-1)) + 1, dtype=np.float32) < 0.5
    return np.asarray(sides[rows])


def subset_order(seed: int, sizes: Sequence[int], samples: int) -> Order:
    """(samples, 2) of (source, row): an even share of each source, drawn and mixed by the seed.

    The first sources take the remainder. A smaller `samples` takes a prefix of each source's draw, so subsets nest.
    """
    generator = np.random.default_rng(seed)
    shares = [samples // len(sizes) + (index < samples % len(sizes)) for index in range(len(sizes))]
    chosen = []
    for source, (size, share) in enumerate(zip(sizes, shares, strict=True)):
        rows = generator.permutation(size)[:share]
        chosen.append(np.stack([np.full(len(rows), source), rows], axis=1))
    mixed = np.concatenate(chosen)
    order: Order = mixed[generator.permutation(len(mixed))].astype(np.int64)
    return order


def with_replay(order: Order, seed: int, source: int, size: int, replay: int) -> Order:
    """`order` with `replay` rows of one more source among it, drawn by the seed; fewer are a prefix of the draw.

    What `order` takes of its own sources stays; where each row comes changes.
    """
    generator = np.random.default_rng([seed, REPLAY])
    rows = generator.permutation(size)[:replay]
    mixed = np.concatenate([order, np.stack([np.full(len(rows), source), rows], axis=1)])
    replayed: Order = mixed[generator.permutation(len(mixed))].astype(np.int64)
    return replayed


def epochs_order(seed: int, sizes: Sequence[int], groups: int) -> Order:
    """(groups, 2) of (source, row): every row of every source once an epoch, each epoch in its own order."""
    every = [np.stack([np.full(size, source), np.arange(size)], axis=1) for source, size in enumerate(sizes)]
    rows = np.concatenate(every)
    generator = np.random.default_rng(seed)
    epochs = -(-groups // len(rows))
    everything = np.concatenate([rows[generator.permutation(len(rows))] for _ in range(epochs)])
    order: Order = everything[:groups].astype(np.int64)
    return order
