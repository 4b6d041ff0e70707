"""Choose the functions worth learning from: readable, long enough, doing something, and each of them once.

Order is kept and the first of several copies wins, so a corpus that grows at its end keeps what it had. Every function
read is either kept or counted under the one reason it was dropped for.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rensa import RMinHash, RMinHashLSH

from harness.corpus.normalise import FunctionNode, compiles, describe, parse_function, print_function
from harness.corpus.python_packages import Function
from harness.errors import DataError

# Reasons a function is dropped for, in the order they are looked at; keys of the counts beside "read" and "kept".
REASONS = (
    "docstring_short",
    "too_short",
    "too_long",
    "unparsable",
    "not_normalised",
    "trivial_empty",
    "trivial_raise",
    "trivial_constant",
    "exact_duplicate",
    "near_duplicate",
)

_TOKEN = re.compile(r"\w+|[^\w\s]")
_SHINGLE_TOKENS = 3
_PERMUTATIONS = 128
# The bands are the most selective ones that still let this share of pairs at the threshold meet.
_RECALL_AT_THRESHOLD = 0.99


def clean(
    functions: Iterable[Function],
    *,
    min_characters: int,
    max_characters: int,
    min_docstring_characters: int,
    near_duplicate_threshold: float,
    seed: int,
) -> tuple[list[Function], dict[str, int]]:
    """Drop what is unreadable, out of bounds, trivial or there already.

    Args:
        functions: sources already normalised.
        min_characters: least length of the normalised source.
        max_characters: greatest length of it.
        min_docstring_characters: least length of the docstring's description (`describe`).
        near_duplicate_threshold: in (0, 1]; a function whose token shingles have at least this Jaccard similarity with
            an earlier kept function is dropped. Candidates come from MinHash, the decision is exact.
        seed: of the MinHash permutations.

    Returns:
        The kept functions in their order, and the counts: "read", "kept" and each of `REASONS`, where read is the sum
        of all others.
    """
    counts = Counter[str]()
    kept = []
    seen = set[str]()
    for function in functions:
        counts["read"] += 1
        reason = _reason_alone(function, min_characters, max_characters, min_docstring_characters)
        if reason is None and function.source in seen:
            reason = "exact_duplicate"
        if reason is None:
            seen.add(function.source)
            kept.append(function)
        else:
            counts[reason] += 1
    copies = near_duplicates([function.source for function in kept], threshold=near_duplicate_threshold, seed=seed)
    counts["near_duplicate"] = len(copies)
    kept = [function for index, function in enumerate(kept) if index not in copies]
    counts["kept"] = len(kept)
    return kept, {name: counts[name] for name in ("read", "kept", *REASONS)}


def near_duplicates(sources: Sequence[str], *, threshold: float, seed: int) -> dict[int, int]:
    """Which sources repeat an earlier one.

    Args:
        sources: programs as text.
        threshold: least Jaccard similarity, in (0, 1], of the sets of three-token shingles.
        seed: of the MinHash permutations; it can only move a candidate's being seen (at least 99 % are at the
            threshold, more above it), never make two different functions the same.

    Returns:
        Index of each near duplicate -> index of the earlier, kept source it repeats.

    Source: Broder, "On the resemblance and containment of documents" (1997).
    """
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must be in (0, 1], not {threshold}")
    shingles = [_shingles(source) for source in sources]
    index = RMinHashLSH(threshold, _PERMUTATIONS, _bands(threshold))
    copies = {}
    for position, sketch in enumerate(RMinHash.from_token_sets(shingles, _PERMUTATIONS, seed)):
        own = frozenset(shingles[position])
        for earlier in sorted(index.query(sketch)):
            other = shingles[earlier]
            shared = len(own.intersection(other))
            if shared >= threshold * (len(own) + len(other) - shared):
                copies[position] = earlier
                break
        else:
            index.insert(position, sketch)
    return copies


def split_by_package(
    functions: Sequence[Function], *, base: Sequence[str], heldout: Sequence[str]
) -> dict[str, list[Function]]:
    """Split by whole packages, so that no split has seen another's authors.

    Args:
        functions: of any packages.
        base: packages for training the base model.
        heldout: packages nothing is trained on.

    Returns:
        "train" (all other packages), "base" and "heldout", each in the order given.

    Raises:
        DataError: a package is named twice or has no functions, or a split is empty.
    """
    found = {function.package for function in functions}
    named = [*base, *heldout]
    unknown = [package for package in named if package not in found]
    if unknown:
        raise DataError(
            "every package of a split must have functions in the corpus",
            f"none are left of: {', '.join(unknown)}",
            "add the package to the corpus, loosen the cleaning, or take it out of the split",
        )
    if len(set(named)) < len(named):
        twice = sorted(package for package, times in Counter(named).items() if times > 1)
        raise DataError("a package must be in one split", f"named twice: {', '.join(twice)}", "name it once")
    splits: dict[str, list[Function]] = {"train": [], "base": [], "heldout": []}
    for function in functions:
        name = "base" if function.package in base else "heldout" if function.package in heldout else "train"
        splits[name].append(function)
    empty = [name for name, members in splits.items() if not members]
    if empty:
        raise DataError(
            "no split of the corpus may be empty",
            f"nothing is left for: {', '.join(empty)}",
            "name packages for it, or add packages to the corpus",
        )
    return splits


def _reason_alone(
    function: Function, min_characters: int, max_characters: int, min_docstring_characters: int
) -> str | None:
    """Why a function is dropped whatever the others are."""
    source = function.source
    if len(describe(function.docstring, len(function.docstring))) < min_docstring_characters:
        return "docstring_short"
    if len(source) < min_characters:
        return "too_short"
    if len(source) > max_characters:
        return "too_long"
    try:
        node = parse_function(source)
        printed = print_function(node)
    except SyntaxError:
        return "unparsable"
    if printed != source:
        return "not_normalised"
    return _trivial(node) or (None if compiles(source) else "unparsable")


def _trivial(function: FunctionNode) -> str | None:
    """The reason if a body computes nothing: it is empty, only raises, or only returns a constant."""
    if len(function.body) > 1:
        return None
    match function.body[0]:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Return(value=None):
            return "trivial_empty"
        case ast.Raise():
            return "trivial_raise"
        case ast.Return(value=ast.Constant()) | ast.Return(value=ast.UnaryOp(operand=ast.Constant())):
            return "trivial_constant"
        case ast.Return(value=ast.Tuple(elts=[]) | ast.List(elts=[]) | ast.Dict(keys=[])):
            return "trivial_constant"
    return None


def _shingles(source: str) -> list[str]:
    """Distinct runs of three tokens, in order of appearance; a shorter source is one shingle."""
    tokens = _TOKEN.findall(source)
    if len(tokens) <= _SHINGLE_TOKENS:
        return [" ".join(tokens)]
    runs = zip(*(tokens[offset:] for offset in range(_SHINGLE_TOKENS)), strict=False)
    return list(dict.fromkeys(map(" ".join, runs)))


def _bands(threshold: float) -> int:
    """The fewest bands whose recall at the threshold, 1 - (1 - t^rows)^bands, is high enough."""
    powers_of_two = [1 << power for power in range(_PERMUTATIONS.bit_length())]
    recall = {bands: 1.0 - (1.0 - threshold ** (_PERMUTATIONS // bands)) ** bands for bands in powers_of_two}
    return min((bands for bands in powers_of_two if recall[bands] >= _RECALL_AT_THRESHOLD), default=_PERMUTATIONS)
