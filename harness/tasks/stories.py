"""Which problems tell one story: prompts that are nearly equal once numbers and names are masked.

Published word problems repeat their stories with other numbers, names and questions. A model that was trained on one is
not judged by the other as by a new problem, so splits keep them together and intervals resample them together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice

WORDS_A_SHINGLE = 3

LEAST_COMMON = 0.5
"""Share of the shingles of two prompts that both hold, from which on they tell one story (Jaccard)."""

MOST_HOLDERS = 100
"""A shingle that more prompts hold belongs to a template, such as an instruction before each question, and to no story.
It also bounds how many prompts one is compared with."""

MOST_WORDS = 1_000
"""Of a prompt that are compared; longer ones are compared by their beginning."""

_WORD = re.compile(
    r"(?P<number>\d+(?:[.,]\d+)*)"
    r"|(?P<word>[^\W\d_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W\d_]+)?)"
    r"|[^\s.,;:!?]"
)
_PRONOUNS = frozenset(("he", "she", "his", "her", "hers", "him"))


def masks(text: str) -> Iterator[str]:
    """The words of a text in lower case: numbers are "0", names (capitalised words, he and she) are "N". Sentence
    marks are left out.
    """
    for found in _WORD.finditer(text):
        word = found[0]
        if found["number"]:
            yield "0"
        elif found["word"] and (word[0].isupper() or word in _PRONOUNS):
            yield "N"
        else:
            yield word


def masked(text: str) -> list[str]:
    """The first `MOST_WORDS` of `masks`."""
    return list(islice(masks(text), MOST_WORDS))


def stories(prompts: Sequence[str]) -> list[int]:
    """For each prompt the place of the first that tells the same story.

    One story are prompts that are equal when masked, those that have `LEAST_COMMON` of their shingles in common, and
    whatever is linked through others. Memory: about 100 bytes a word.
    """
    first: dict[tuple[str, ...], int] = {}
    firsts = [first.setdefault(tuple(masked(prompt)), place) for place, prompt in enumerate(prompts)]
    holders: dict[int, list[int]] = {}
    for words, place in first.items():
        for shingle in _shingles(words):
            holders.setdefault(shingle, []).append(place)
    held: dict[int, list[int]] = {}  # without templates
    for shingle, places in holders.items():
        if len(places) <= MOST_HOLDERS:
            for place in places:
                held.setdefault(place, []).append(shingle)
    roots = list(range(len(prompts)))

    def root(place: int) -> int:
        while roots[place] != place:
            roots[place] = roots[roots[place]]
            place = roots[place]
        return place

    for place, shingles in held.items():
        common = Counter(other for shingle in shingles for other in holders[shingle] if other < place)
        for other, count in common.items():
            if count >= LEAST_COMMON * (len(shingles) + len(held[other]) - count):
                one, two = sorted((root(place), root(other)))
                roots[two] = one
    return [root(place) for place in firsts]


def _shingles(words: Sequence[str]) -> set[int]:
    size = min(WORDS_A_SHINGLE, len(words))
    runs = (" ".join(words[at : at + size]) for at in range(len(words) - size + 1) if size)
    return {int.from_bytes(blake2b(run.encode(), digest_size=8).digest()) for run in runs}
