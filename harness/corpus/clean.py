"""Choose the documents worth learning from: readable, long enough, doing something, and each of them once.

Order is kept and the first of several copies wins, so a corpus that grows at its end keeps what it had. Every document
read is either kept or counted under the one reason it was dropped for. Documents pass through one batch at a time.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.corpus.document import Document
from harness.corpus.near import NearDuplicates
from harness.corpus.normalise import FunctionNode, compiles, describe, parse_function, print_function

# Reasons a document is dropped for, in the order they are looked at; keys of the counts beside "read" and "kept".
REASONS = (
    "not_text",
    "language",
    "licence",
    "description_short",
    "too_short",
    "too_long",
    "unparsable",
    "not_normalised",
    "trivial_empty",
    "trivial_raise",
    "trivial_constant",
    "contaminated",
    "exact_duplicate",
    "near_duplicate",
)

BATCH = 1_000  # documents compared at once


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a document must be by itself.

    Attributes:
        min_characters, max_characters: of the text, of functions in normal form.
        min_description_characters: of a description without its lists of parameters.
        languages, licences: those kept, in lower case; None keeps all. Of several licences each must be allowed.
    """

    min_characters: int
    max_characters: int
    min_description_characters: int
    languages: Collection[str] | None = None
    licences: Collection[str] | None = None


def clean(
    documents: Iterable[Document],
    *,
    bounds: Bounds,
    is_contaminated: Callable[[Document], bool],
    near_duplicate_threshold: float,
    seed: int,
    scratch: Path,
    counts: Counter[str],
) -> Iterator[Document]:
    """Drop what is unreadable, out of bounds, trivial, contaminated or there already.

    Args:
        documents: functions among them already normalised.
        is_contaminated: asked of each document that nothing else is wrong with by itself.
        near_duplicate_threshold, seed, scratch: see `NearDuplicates`.
        counts: "read", "kept" and each of `REASONS` are added to it; read is the sum of all others.
    """
    counts.update(dict.fromkeys(("read", "kept", *REASONS), 0))
    singles = _singles(documents, bounds, is_contaminated, counts)
    with NearDuplicates(threshold=near_duplicate_threshold, seed=seed, scratch=scratch) as near:
        while batch := [document for _, document in zip(range(BATCH), singles, strict=False)]:
            for document, copy in zip(batch, near.copies([document.text for document in batch]), strict=True):
                counts["kept" if copy is None else "near_duplicate"] += 1
                if copy is None:
                    yield document


def _singles(
    documents: Iterable[Document], bounds: Bounds, is_contaminated: Callable[[Document], bool], counts: Counter[str]
) -> Iterator[Document]:
    """The documents that may be kept, exact copies left out. Holds eight bytes of digest a document."""
    seen = set[int]()
    for document in documents:
        counts["read"] += 1
        reason = _reason_alone(document, bounds)
        if reason is None and is_contaminated(document):
            reason = "contaminated"
        if reason is None:
            digest = hashlib.blake2b(document.text.encode(), digest_size=8).digest()
            key = int.from_bytes(digest, "little")
            if key not in seen:
                seen.add(key)
                yield document
                continue
            reason = "exact_duplicate"
        counts[reason] += 1


def _reason_alone(document: Document, bounds: Bounds) -> str | None:
    """Why a document is dropped whatever the others are."""
    if not _is_text(document):
        return "not_text"
    if bounds.languages is not None and document.language.lower() not in bounds.languages:
        return "language"
    if bounds.licences is not None and not _is_allowed(document.licence, bounds.licences):
        return "licence"
    if len(describe(document.description, len(document.description))) < bounds.min_description_characters:
        return "description_short"
    if len(document.text) < bounds.min_characters:
        return "too_short"
    if len(document.text) > bounds.max_characters:
        return "too_long"
    return _function_reason(document.text) if document.unit == "function" else None


def _is_text(document: Document) -> bool:
    """Whether it can be stored: half of a surrogate pair, from an escape or a file's name, is no character."""
    try:
        f"{document.cluster}{document.path}{document.name}{document.description}{document.text}".encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_allowed(licence: str, allowed: Collection[str]) -> bool:
    named = [name.strip().lower() for name in licence.split(",") if name.strip()]
    return bool(named) and all(name in allowed for name in named)


def _function_reason(source: str) -> str | None:
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
