"""Turn functions into preference pairs: one prompt, a chosen text and a rejected one, a pair for each numbered slot.

A slot's pair depends on the functions, the seed and the slot's number alone, so any range of slots can be built apart
and put together again. Where a text comes from is a `Side`: the function itself, its mutation, a table of texts that
a model has written, or a recipe's own code. Nothing here knows which.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.corpus.normalise import describe
from harness.corpus.python_packages import Function
from harness.errors import DataError
from harness.pairs.answers import code_of, signature_of
from harness.pairs.mutate import IDENTICAL, TOO_FEW_SITES, Mutation, Rejection, mutate

# A slot whose two sides cannot be had is tried again with other random draws this many times in all.
ATTEMPTS = 4

NO_DESCRIPTION = "no_description"
NO_TEXT = "no_text"
LENGTHS_DIFFER = "lengths_differ"

TOKEN = re.compile(r"(\w+)|[^\w\s]")
"""A word (or number) or a sign, of any language and of code that no parser takes."""

Descriptions = Callable[[Function, int], str]
"""What a function and slot is described by; empty where there is nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """One side of a pair, and what was done to get it (empty if nothing was).

    Attributes:
        attempt: which of several drafts it is.
    """

    text: str
    edits: tuple[str, ...] = ()
    attempt: int = 0


class Side(Protocol):
    """Where one side's text comes from."""

    def text(self, function: Function, slot: int, attempt: int, rng: random.Random) -> Text | Rejection:
        """The text for a function and slot; everything random in it must come from `rng`.

        `attempt` counts from 0; asked again, a side may have another text.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The function as its authors wrote it."""

    def text(self, function: Function, slot: int, attempt: int, rng: random.Random) -> Text | Rejection:
        return Text(text=function.source)


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What a model wrote for each slot, its code taken out of the answer.

    Attributes:
        answers: (slot, draft) -> the model's answer; an attempt takes the draft of its number.
        drafts: how many a slot has.
    """

    answers: Mapping[tuple[int, int], str]
    drafts: int = 1

    def text(self, function: Function, slot: int, attempt: int, rng: random.Random) -> Text | Rejection:
        draft = attempt % self.drafts
        answer = self.answers.get((slot, draft), "")
        code = code_of(answer, signature_of(function)) if answer else ""
        return Text(text=code, attempt=draft) if code else Rejection(reason=NO_TEXT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutated:
    """The function with a random number of small edits, fewer where it has no room for more.

    Attributes:
        kinds: what an edit may do, a choice of `harness.pairs.sites.KINDS`.
        min_edits, max_edits: the number of edits is drawn evenly from min_edits to max_edits, both included.
    """

    kinds: tuple[str, ...]
    min_edits: int = 1
    max_edits: int = 3

    def text(self, function: Function, slot: int, attempt: int, rng: random.Random) -> Text | Rejection:
        wanted = rng.randint(self.min_edits, self.max_edits)
        for edits in range(wanted, self.min_edits - 1, -1):
            result = mutate(function.source, edits=edits, kinds=self.kinds, rng=rng)
            if isinstance(result, Mutation):
                return Text(text=result.source, edits=result.edits)
            if result.reason != TOO_FEW_SITES:
                return result
        return Rejection(reason=TOO_FEW_SITES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugged:
    """What a recipe's own code makes of a function.

    Attributes:
        name: `package.module:name` of the code.
        make: called with the function, the generator and the options; gives a text, or None where it has none.
        options: keyword arguments.
    """

    name: str
    make: Callable[..., str | None]
    options: Mapping[str, Any]

    def text(self, function: Function, slot: int, attempt: int, rng: random.Random) -> Text | Rejection:
        """See `Side.text`.

        Raises:
            DataError: what was made is no text.
        """
        made = self.make(function, rng, **self.options)
        if not isinstance(made, str | None):
            raise DataError(f"{self.name} must return a text or None", f"it returned {made!r:.80}", "correct it")
        return Text(text=made) if made else Rejection(reason=NO_TEXT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffled:
    """A text whose words stand in random order, each where another stood, and so do its signs.

    Lines, spaces, length and how often each word and sign comes stay: only order tells it from the text. Asked for as
    the rejected side it is of the chosen text, whoever wrote that.
    """

    def text(self, function: Function, slot: int, attempt: int, rng: random.Random) -> Text | Rejection:
        words: list[str] = []
        signs: list[str] = []
        for token in TOKEN.finditer(function.source):
            (words if token[1] else signs).append(token[0])
        rng.shuffle(words)  # apart from signs, so that no two words run into one
        rng.shuffle(signs)
        other = {True: iter(words), False: iter(signs)}
        return Text(
            text=TOKEN.sub(lambda token: next(other[bool(token[1])]), function.source),
            edits=("shuffled",),
        )


class Functions(Protocol):
    """The functions of a split by number, of which those of the slots in question are there."""

    def __len__(self) -> int:
        """Of the whole split."""
        ...

    def __getitem__(self, index: int, /) -> Function: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class LengthMatch:
    """So that length tells the better side less.

    Attributes:
        drafts: of the rejected side, to choose from.
        tolerance: largest difference as a share of the chosen side's characters; without a draft within it, no pair.
    """

    drafts: int
    tolerance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A preference pair.

    Attributes:
        slot: its number, from 0.
        package, module: where its function is from.
        prompt: description and signature, as comment lines, with a final newline: the prompt and either side make a
            program together.
        chosen, rejected: the two sides.
        edits: what was done to the chosen side, then to the rejected one.
        drafts: which of several drafts the chosen side is, and the rejected one.
    """

    slot: int
    package: str
    module: str
    prompt: str
    chosen: str
    rejected: str
    edits: tuple[str, ...]
    drafts: tuple[int, int] = (0, 0)


def construct(
    functions: Functions,
    *,
    start: int,
    stop: int,
    seed: int,
    chosen: Side,
    rejected: Side,
    descriptions: Descriptions,
    match_length: LengthMatch | None = None,
) -> tuple[list[Pair], dict[str, int]]:
    """The pairs of slots start, ..., stop - 1.

    Slot j uses function permutation(seed)[j mod F] of F functions, in round j // F: every function is used once
    before any is used again, then with other random draws.

    Args:
        chosen, rejected: where the better and the worse text come from.
        descriptions: what a slot's prompt says of its function.
        match_length: take of several rejected drafts the one closest in length to the chosen side.

    Returns:
        The pairs in order of slot, and counts: "slots", "pairs", "retries" (attempts after a slot's first), "repeats"
        (pairs equal but for their slot to an earlier one of this call), and "failed_<reason>" for slots without a
        pair. Slots are the sum of pairs and failures.

    Raises:
        DataError: there are no functions.
    """
    if not len(functions):
        raise DataError("pairs need functions", "the corpus has none", "loosen the cleaning or add packages")
    order = slot_order(len(functions), seed)
    counts = Counter[str](slots=stop - start, pairs=0, retries=0, repeats=0)
    seen = set[tuple[int, str, str]]()
    pairs = []
    for slot in range(start, stop):
        index = int(order[slot % len(functions)])
        pair = _construct_slot(functions[index], slot, seed, chosen, rejected, descriptions, match_length, counts)
        if isinstance(pair, Rejection):
            counts[f"failed_{pair.reason}"] += 1
            continue
        counts["pairs"] += 1
        key = (index, pair.chosen, pair.rejected)
        counts["repeats"] += key in seen
        seen.add(key)
        pairs.append(pair)
    return pairs, dict(counts)


def slot_order(functions: int, seed: int) -> NDArray[np.int64]:
    """Which function each slot of a round has: slot j has function order[j mod functions]."""
    return np.random.default_rng(seed).permutation(functions)


def by_docstring(characters: int) -> Descriptions:
    """Describes a function by its docstring, up to so many characters."""
    return lambda function, slot: describe(function.docstring, characters)


def prompt_of(description: str, function: Function) -> str:
    """Description and signature as comment lines, with a final newline; empty if there is no description.

    Both sides of a mutation pair have this very signature, and models are asked for it. A document that is no function
    has none: its first line would already be part of the answer.
    """
    if not description:
        return ""
    signature = signature_of(function)
    lines = [*description.splitlines(), *(("", signature) if signature else ())]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _construct_slot(
    function: Function,
    slot: int,
    seed: int,
    chosen: Side,
    rejected: Side,
    descriptions: Descriptions,
    match_length: LengthMatch | None,
    counts: Counter[str],
) -> Pair | Rejection:
    prompt = prompt_of(descriptions(function, slot), function)
    if not prompt:
        return Rejection(reason=NO_DESCRIPTION)
    problem = Rejection(reason=IDENTICAL)
    for attempt in range(ATTEMPTS):
        counts["retries"] += attempt > 0
        better = chosen.text(function, slot, attempt, _generator(seed, slot, attempt, "chosen"))
        made_of = function
        if isinstance(rejected, Shuffled) and isinstance(better, Text):
            made_of = replace(function, source=better.text)
        if match_length is None or isinstance(better, Rejection):
            worse = rejected.text(made_of, slot, attempt, _generator(seed, slot, attempt, "rejected"))
        else:
            worse = _closest_draft(made_of, slot, seed, better, rejected, match_length)
        if isinstance(better, Rejection):
            problem = better
        elif isinstance(worse, Rejection):
            problem = worse
        elif better.text == worse.text:
            problem = Rejection(reason=IDENTICAL)
        else:
            return Pair(
                slot=slot,
                package=function.package,
                module=function.module,
                prompt=prompt,
                chosen=better.text,
                rejected=worse.text,
                edits=better.edits + worse.edits,
                drafts=(better.attempt, worse.attempt),
            )
    return problem


def _closest_draft(
    function: Function, slot: int, seed: int, better: Text, rejected: Side, match_length: LengthMatch
) -> Text | Rejection:
    """The draft closest in length to the better text; the first of equals, and none that is beyond the tolerance."""
    drafts = [
        rejected.text(function, slot, draft, _generator(seed, slot, draft, "rejected"))
        for draft in range(match_length.drafts)
    ]
    others = [draft for draft in drafts if isinstance(draft, Text) and draft.text != better.text]
    if not others:
        return next((draft for draft in drafts if isinstance(draft, Rejection)), Rejection(reason=IDENTICAL))
    size = len(better.text)
    best = min(others, key=lambda draft: abs(len(draft.text) - size))
    within = abs(len(best.text) - size) <= match_length.tolerance * size
    return best if within else Rejection(reason=LENGTHS_DIFFER)


def _generator(seed: int, slot: int, attempt: int, side: str) -> random.Random:
    # A text as seed is hashed by SHA-512, which is the same in every process.
    return random.Random(f"{seed}/{slot}/{attempt}/{side}")
