"""Make a function wrong in a few known places, and say where.

The mutation is the only difference between the two sides: the result is printed by the same normalisation as the
original. It is parsed and compiled to see that Python accepts it, and never run; that it computes something else is
likely, not proven.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.corpus.normalise import compiles, parse_function, print_function
from harness.pairs.sites import KINDS, Site, find_sites

UNPARSABLE = "unparsable"
TOO_FEW_SITES = "too_few_sites"
IDENTICAL = "identical"
UNCOMPILABLE = "uncompilable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutation:
    """A wrong function: its normalised source, and its edits in source order, each "kind@line of the original"."""

    source: str
    edits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """Why there is no text, as a word to count by."""

    reason: str


def mutate(source: str, *, edits: int, kinds: Sequence[str], rng: random.Random) -> Mutation | Rejection:
    """Edit a function in exactly so many places that do not touch one another.

    Every edit's kind is drawn evenly from the kinds that still have a free site, then its site evenly from those, so
    that common kinds of code do not crowd out rare ones.

    Args:
        source: one function, best already normalised.
        edits: how many, at least 1.
        kinds: a choice of `harness.pairs.sites.KINDS`.
        rng: the only source of randomness.

    Returns:
        The mutation; or a rejection, `UNPARSABLE`, `TOO_FEW_SITES`, `UNCOMPILABLE` or `IDENTICAL`.
    """
    try:
        function = parse_function(source)
        original = print_function(function)
    except SyntaxError:
        return Rejection(reason=UNPARSABLE)
    sites = find_sites(function)
    made = _edit([sites[kind] for kind in KINDS if kind in kinds], edits, rng)
    if len(made) < edits:
        return Rejection(reason=TOO_FEW_SITES)
    try:
        mutated = print_function(function)
    except SyntaxError:
        return Rejection(reason=UNPARSABLE)
    if mutated == original:
        return Rejection(reason=IDENTICAL)
    if not compiles(mutated):
        return Rejection(reason=UNCOMPILABLE)
    done = sorted((site.line, site.first, site.kind) for site in made)
    return Mutation(source=mutated, edits=tuple(f"{kind}@{line}" for line, _, kind in done))


def _edit(free: list[list[Site]], edits: int, rng: random.Random) -> list[Site]:
    """Make up to so many edits, drawn from the free sites of each kind; the sites edited."""
    made: list[Site] = []
    while len(made) < edits:
        free = [sites for sites in free if sites]
        if not free:
            break
        chosen = rng.choice(rng.choice(free))
        if chosen.edit(rng):
            made.append(chosen)
            free = [[site for site in sites if not site.overlaps(chosen)] for sites in free]
        else:
            free = [[site for site in sites if site is not chosen] for sites in free]
    return made
