"""What shows on the surface of a pair set, counted in one pass: alike sides, parse rates, lengths, repeats, cut-offs.

Memory does not grow with the number of pairs, and of very many some are enough to parse and compare. No model is asked
and nothing is run; judging which side is better is for `static_judge` and `judging`, and intervals are the stage's.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.pairs.reading import PARSING, State, state_of

SIDES = ("chosen", "rejected")
TOKEN = re.compile(r"\w+|[^\w\s]")
COMMENT = re.compile(r"#[^\n]*")

NEAR_IDENTICAL = 0.9
"""Jaccard similarity of the sides' token counts from which they are called near-identical."""

MOST_TEXTS_KEPT = 200_000
"""Distinct texts a side up to which repeats are counted exactly; above it, in a random share of all texts."""

LONGEST_NGRAM = 3


@dataclass(kw_only=True)
class Repeats:
    """The share of texts that repeat an earlier one.

    Texts are kept or left out by their digest, all copies of a text together, so that the share stays right when only
    a part can be kept.
    """

    most: int = MOST_TEXTS_KEPT
    _counts: dict[int, int] = field(default_factory=dict)
    _limit: int = 1 << 64

    def add(self, text: str) -> None:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        key = int.from_bytes(digest, "big")
        if key >= self._limit:
            return
        self._counts[key] = self._counts.get(key, 0) + 1
        while len(self._counts) > self.most:
            self._limit //= 2
            self._counts = {one: number for one, number in self._counts.items() if one < self._limit}

    @property
    def share(self) -> float:
        total = sum(self._counts.values())
        return 1 - len(self._counts) / total if total else 0.0


@dataclass(kw_only=True)
class SideCounts:
    """Counts of one side's texts; `states` is of those that were read as programs."""

    texts: int = 0
    states: Counter[str] = field(default_factory=Counter)
    characters: int = 0
    tokens: int = 0
    tokens_known: int = 0
    finish: Counter[str] = field(default_factory=Counter)
    repeats: Repeats = field(default_factory=Repeats)

    def add(self, text: str, tokens: int | None, finish: str | None) -> None:
        self.texts += 1
        self.characters += len(text)
        if tokens is not None:
            self.tokens, self.tokens_known = self.tokens + tokens, self.tokens_known + 1
        self.finish[finish or "unknown"] += 1
        self.repeats.add(text)

    def as_json(self) -> dict[str, Any]:
        read = self.states.total()
        known = self.finish.total() - self.finish["unknown"]
        return {
            "parse_rate": sum(self.states[state] for state in PARSING) / read,
            "compile_rate": self.states["compiles"] / read,
            "states": dict(sorted(self.states.items())),
            "mean_characters": self.characters / self.texts,
            "mean_tokens": self.tokens / self.tokens_known if self.tokens_known else None,
            "truncated": {  # by a limit, among those whose writer said how they ended
                "known": known,
                "cut": self.finish["length"],
                "share": self.finish["length"] / known if known else None,
            },
            "repeated": self.repeats.share,
        }


class Surface:
    """Adds up rows of `harness.store.artifacts.Pairs`, optional columns included where a row has them.

    Args:
        every: of so many pairs one is read as programs and compared, the first; the rest is counted on all.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self.pairs = 0
        self.read = 0
        self.alike: Counter[str] = Counter()
        self.prompts = Repeats()
        self.sides = {side: SideCounts() for side in SIDES}
        self.languages: Counter[str] = Counter()
        self.log_ratio = 0.0
        self.both_parse = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one pair."""
        if self.pairs % self.every == 0:
            self._read(row)
        self.pairs += 1
        self.prompts.add(row["prompt"])
        for side in SIDES:
            self.sides[side].add(row[side], row.get(f"{side}_tokens"), row.get(f"{side}_finish_reason"))
        self.log_ratio += math.log(max(1, len(row["rejected"])) / max(1, len(row["chosen"])))

    def _read(self, row: Mapping[str, Any]) -> None:
        self.read += 1
        self.alike[likeness(row["chosen"], row["rejected"])] += 1
        states = [state_of(row[side]) for side in SIDES]
        for side, state in zip(SIDES, states, strict=True):
            self.sides[side].states[state] += 1
        self.both_parse += all(state in PARSING for state in states)
        self.languages[row.get("language") or _language(states)] += 1

    def as_json(self) -> dict[str, Any]:
        """Numbers of a set that is not empty. Length ratios are rejected to chosen; a prompt is of one function."""
        chosen, rejected = (self.sides[side] for side in SIDES)
        tokens = chosen.tokens if chosen.tokens_known == rejected.tokens_known == self.pairs else 0
        return {
            **({"pairs_read": self.read} if self.read < self.pairs else {}),
            "alike": {kind: self.alike[kind] / self.read for kind in ("identical", "same_tokens", "near_identical")},
            "sides": {side: counts.as_json() for side, counts in self.sides.items()},
            "pairs_a_prompt": 1 / (1 - self.prompts.share),
            "both_parse": self.both_parse / self.read,
            "length_ratio": {
                "characters": math.exp(self.log_ratio / self.pairs),
                "tokens": rejected.tokens / tokens if tokens else None,
            },
            "languages": {name: number / self.read for name, number in sorted(self.languages.items())},
        }


def likeness(chosen: str, rejected: str) -> str:
    """How alike two sides are.

    Returns:
        `identical`; `same_tokens` where they differ in blanks and comments only; `near_identical` where their token
        counts have a Jaccard similarity of `NEAR_IDENTICAL` or more; else `different`. The first that holds.
    """
    if chosen == rejected:
        return "identical"
    one, other = code_tokens(chosen), code_tokens(rejected)
    if one == other:
        return "same_tokens"
    shorter, longer = sorted((len(one), len(other)))
    if shorter < NEAR_IDENTICAL * longer:  # then they cannot be as alike as that
        return "different"
    left, right = Counter(one), Counter(other)
    common = (left & right).total()
    similar = common >= NEAR_IDENTICAL * (len(one) + len(other) - common)
    return "near_identical" if similar else "different"


def code_tokens(text: str) -> list[str]:
    """Words and single marks, without comments."""
    return TOKEN.findall(COMMENT.sub("", text) if "#" in text else text)


def distinct_ngrams(texts: Iterable[str]) -> dict[str, float]:
    """Distinct n-grams over all n-grams, n = 1 ... `LONGEST_NGRAM` (distinct-n, Li et al. 2016, section 5).

    It falls with the number of texts: compare sets of equal size only.
    """
    seen: list[set[int]] = [set() for _ in range(LONGEST_NGRAM)]
    totals = [0] * LONGEST_NGRAM
    for text in texts:
        tokens = code_tokens(text)
        for index in range(LONGEST_NGRAM):
            grams = _ngrams(tokens, index + 1)
            totals[index] += len(grams)
            seen[index].update(map(hash, grams))
    return {str(index + 1): len(seen[index]) / total if total else 0.0 for index, total in enumerate(totals)}


def _ngrams(tokens: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(tokens[start:] for start in range(size)), strict=False))


def _language(states: Sequence[State]) -> str:
    """A guess for rows that do not say it."""
    return "Python, as it parses" if any(state in PARSING for state in states) else "unknown"
