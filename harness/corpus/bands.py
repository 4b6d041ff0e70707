"""An index of 64-bit keys in flat arrays: which earlier texts have a key. Built for many keys a text at a time.

Open addressing with linear probing, done for all keys of a batch at once. A slot takes 12 bytes and two in five to four
in five are taken, so a key costs 15 to 30 bytes; a dict of lists takes some hundred.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Texts = NDArray[np.int32]
Places = NDArray[np.int64]

_FEWEST_SLOTS = 1 << 16
_MOST_TAKEN = 0.8
_MOVED_AT_ONCE = 1 << 20  # keys, when the table grows
_FREE = -1


class BandIndex:
    """Texts by key. Texts are numbers below 2^31; keys must be well mixed, since their high bits are the address.

    A key's texts are found one after another: who adds must see to it that no key has very many.
    """

    def __init__(self) -> None:
        self._allocate(_FEWEST_SLOTS)

    def _allocate(self, slots: int) -> None:
        self._keys = np.zeros(slots, np.uint64)
        self._texts = np.full(slots, _FREE, np.int32)
        self._shift = np.uint64(64 - (slots.bit_length() - 1))
        self._taken = 0

    def find(self, keys: Keys) -> tuple[Places, Texts, Places]:
        """What is stored with keys, and where one more could be.

        Returns:
            (place in `keys`, text) of every text stored with one of them, in no order; and of each key the address to
            `add` it at, good until something else is added.
        """
        while self._taken + len(keys) > _MOST_TAKEN * len(self._texts):
            self._grow()
        places = [np.empty(0, np.int64)]
        found = [np.empty(0, np.int32)]
        free = np.empty(len(keys), np.int64)
        waiting = np.arange(len(keys))
        slots = self._first(keys)
        while len(waiting):
            texts = self._texts[slots]
            taken = texts != _FREE
            hit = taken & (self._keys[slots] == keys[waiting])
            if hit.any():
                places.append(waiting[hit])
                found.append(texts[hit])
            free[waiting[~taken]] = slots[~taken]
            waiting, slots = waiting[taken], self._next(slots[taken])
        return np.concatenate(places), np.concatenate(found), free

    def add(self, keys: Keys, texts: Texts, free: Places) -> None:
        """Store a text with each key, all of which were last looked for together; `free` is from there."""
        waiting = np.arange(len(keys), dtype=np.int32)
        slots = free
        while len(waiting):
            free = self._texts[slots] == _FREE
            # Of several keys that want one slot the last written has it; the others go on with who found it taken.
            self._texts[slots[free]] = waiting[free]
            won = free.copy()
            won[free] = self._texts[slots[free]] == waiting[free]
            self._keys[slots[won]] = keys[waiting[won]]
            self._texts[slots[won]] = texts[waiting[won]]
            waiting, slots = waiting[~won], self._next(slots[~won])
        self._taken += len(keys)

    def _grow(self) -> None:
        keys, texts = self._keys, self._texts
        self._allocate(2 * len(texts))
        for start in range(0, len(texts), _MOVED_AT_ONCE):
            moved = texts[start : start + _MOVED_AT_ONCE]
            taken = moved != _FREE
            held = keys[start : start + _MOVED_AT_ONCE][taken]
            self.add(held, moved[taken], self._first(held))

    def _first(self, keys: Keys) -> Places:
        return (keys >> self._shift).astype(np.int64)

    def _next(self, slots: Places) -> Places:
        return (slots + 1) & (len(self._texts) - 1)
