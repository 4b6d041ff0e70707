"""Choose the documents worth learning from: readable, long enough, doing something, and each of them once.

What a document is worth by itself is judged where it is read, which may be in many places at once; copies are found by
whoever sees all documents in their order. The first of several copies wins, so a corpus that grows at its end keeps
what it had. Every document read is either kept or counted under the one reason it was dropped for.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.corpus.document import Document
from harness.corpus.near import Hashes, NearDuplicates
from harness.corpus.normalise import FunctionNode, compiles, describes, prints_alike

# Reasons a document is dropped for by itself, in the order they are looked at.
ALONE = (
    "not_text",
    "language",
    "licence",
    "description_short",
    "too_short",
    "too_long",
    "not_normalised",
    "trivial_empty",
    "trivial_raise",
    "trivial_constant",
    "unparsable",
    "contaminated",
)
# Reasons that lie in earlier documents. All of them are keys of the counts beside "read" and "kept".
COPIED = ("exact_duplicate", "near_duplicate")


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


def fit(
    documents: Iterable[Document],
    *,
    bounds: Bounds,
    is_contaminated: Callable[[Document], bool],
    counts: Counter[str],
) -> Iterator[Document]:
    """The documents that nothing is wrong with by themselves, in order.

    Args:
        documents: functions among them with the `node` their text was printed from.
        is_contaminated: asked of each document that nothing else is wrong with.
        counts: "read" and each of `ALONE` are added to it.
    """
    counts.update(dict.fromkeys(("read", *ALONE), 0))
    for document in documents:
        counts["read"] += 1
        reason = _reason_alone(document, bounds)
        if reason is None and is_contaminated(document):
            reason = "contaminated"
        if reason is None:
            yield document
        else:
            counts[reason] += 1


class Copies:
    """Leaves out what repeats an earlier document. A context manager: finding near copies has a file open.

    Its memory is what grows with a corpus: some sixty bytes for each different text and the index of near copies.

    Args:
        near_duplicate_threshold, seed, scratch: see `NearDuplicates`.
        counts: "kept" and each of `COPIED` are added to it.
    """

    def __init__(self, *, near_duplicate_threshold: float, seed: int, scratch: Path, counts: Counter[str]) -> None:
        self._near = NearDuplicates(threshold=near_duplicate_threshold, seed=seed, scratch=scratch)
        self._counts = counts
        self._seen: set[int] = set()
        counts.update(dict.fromkeys(("kept", *COPIED), 0))

    def __enter__(self) -> Copies:
        self._near.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._near.__exit__()

    def left(self, keys: Sequence[int], shingles: Sequence[Hashes]) -> list[int]:
        """Which of the next documents repeat none before them.

        Args:
            keys: `text_key` of each.
            shingles: `shingle_hashes` of each.

        Returns:
            Places in the batch, ascending.
        """
        new = []
        for place, key in enumerate(keys):
            if key not in self._seen:
                self._seen.add(key)
                new.append(place)
        repeated = self._near.copies([shingles[place] for place in new])
        kept = [place for place, earlier in zip(new, repeated, strict=True) if earlier is None]
        self._counts.update(kept=len(kept), exact_duplicate=len(keys) - len(new), near_duplicate=len(new) - len(kept))
        return kept


def _reason_alone(document: Document, bounds: Bounds) -> str | None:
    """Why a document is dropped whatever the others are."""
    if not _is_text(document):
        return "not_text"
    if bounds.languages is not None and document.language.lower() not in bounds.languages:
        return "language"
    if bounds.licences is not None and not _is_allowed(document.licence, bounds.licences):
        return "licence"
    if not describes(document.description, bounds.min_description_characters):
        return "description_short"
    if len(document.text) < bounds.min_characters:
        return "too_short"
    if len(document.text) > bounds.max_characters:
        return "too_long"
    return None if document.node is None else _function_reason(document.node, document.text)


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


def _function_reason(node: FunctionNode, printed: str) -> str | None:
    if not prints_alike(node, printed):
        return "not_normalised"
    return _trivial(node) or (None if compiles(printed) else "unparsable")


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
