"""The index of band keys against a dict of lists: growing, crowded addresses."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from harness.corpus.bands import BandIndex, Keys, Texts


def found(index: BandIndex, keys: Keys) -> list[tuple[int, int]]:
    places, texts, _ = index.find(keys)
    return sorted(zip(places.tolist(), texts.tolist(), strict=True))


def add(index: BandIndex, keys: Keys, texts: list[int] | Texts) -> None:
    *_, free = index.find(keys)
    index.add(keys, np.asarray(texts, np.int32), free)


@pytest.mark.parametrize("spread", [64, 12])  # bits of the keys; of twelve most are there many times
def test_texts_are_found_by_their_keys_and_by_no_other(spread: int) -> None:
    chance = np.random.default_rng(0)
    index = BandIndex()
    known: dict[int, list[int]] = defaultdict(list)
    for text in range(0, 20_000, 2_000):
        keys = chance.integers(0, 2**spread, size=8_000, dtype=np.uint64) << np.uint64(64 - spread)
        texts = np.repeat(np.arange(text, text + 2_000, dtype=np.int32), 4)
        asked = np.concatenate([keys[:500], chance.integers(0, 2**64, size=500, dtype=np.uint64)])
        expected = sorted((place, one) for place, key in enumerate(asked.tolist()) for one in known[key])
        assert found(index, asked) == expected
        add(index, keys, texts)
        for key, one in zip(keys.tolist(), texts.tolist(), strict=True):
            known[key].append(one)
    assert found(index, keys) == sorted((place, one) for place, key in enumerate(keys.tolist()) for one in known[key])


def test_nothing_is_found_in_nothing() -> None:
    index = BandIndex()
    assert found(index, np.array([0, 5, 2**64 - 1], np.uint64)) == []
    add(index, np.empty(0, np.uint64), [])
    assert found(index, np.empty(0, np.uint64)) == []
    add(index, np.array([0, 2**64 - 1, 2**64 - 1], np.uint64), [1, 2, 3])  # on from the last slot
    assert found(index, np.array([0, 5, 2**64 - 1], np.uint64)) == [(0, 1), (2, 2), (2, 3)]
