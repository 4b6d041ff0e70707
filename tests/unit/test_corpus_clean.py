"""Cleaning: every reason by example, duplicates against brute force, counts that add up."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.corpus.clean import ALONE, COPIED, Bounds, Copies, fit
from harness.corpus.document import Document
from harness.corpus.near import NearDuplicates, _fewest_shared, _sketch, shingle_hashes
from harness.corpus.normalise import parse_function
from harness.corpus.python_packages import read_functions
from harness.store.identity import text_key

LONG = (
    "def mean(values):\n    total = 0\n    count = 0\n    for value in values:\n        total += value\n"
    "        count += 1\n    if count == 0:\n        raise ValueError('no values')\n    return total / count"
)
OTHER = (
    "def words(text):\n    found = {}\n    for word in text.split():\n"
    "        found.setdefault(word.lower(), []).append(word)\n"
    "    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))"
)
BOUNDS = Bounds(min_characters=30, max_characters=600, min_description_characters=10)

Clean = Callable[..., tuple[list[Document], dict[str, int]]]


def function(text: str, **changes: Any) -> Document:
    whole = Document(
        cluster="p",
        path="p",
        name="f",
        unit="function",
        language="python",
        description="Say what the function does.",
        text=text,
        node=parse_function(text) if changes.get("unit", "function") == "function" else None,
    )
    return replace(whole, **changes)


def functions_of(packages: list[str]) -> list[Document]:
    return [function(f.source, description=f.docstring, path=f.module) for f in read_functions(packages)]


@pytest.fixture
def cleaned(tmp_path: Path) -> Clean:
    def cleaned(
        documents: list[Document],
        *,
        bounds: Bounds = BOUNDS,
        threshold: float = 0.8,
        seed: int = 0,
        is_contaminated: Callable[[Document], bool] = lambda document: False,
        batch: int = 1_000,
    ) -> tuple[list[Document], dict[str, int]]:
        counts: Counter[str] = Counter()
        found = list(fit(documents, bounds=bounds, is_contaminated=is_contaminated, counts=counts))
        texts = [document.text for document in found]
        kept: list[Document] = []
        with Copies(near_duplicate_threshold=threshold, seed=seed, scratch=tmp_path, counts=counts) as copies:
            for start in range(0, len(found), batch):
                some = texts[start : start + batch]
                left = copies.left([text_key(text) for text in some], shingle_hashes(some))
                kept += [found[start + place] for place in left]
        return kept, dict(counts)

    return cleaned


def jaccard(left: str, right: str) -> float:
    """Of three-token shingles, written anew."""
    sets = []
    for source in (left, right):
        tokens = re.findall(r"\w+|[^\w\s]", source)
        sets.append({tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_exact_and_near_copies_are_found_and_another_function_is_not(cleaned: Clean) -> None:
    near = LONG.replace("def mean", "def average")
    assert 0.8 < jaccard(LONG, near) < 1.0
    assert jaccard(LONG, OTHER) < 0.3
    functions = [function(LONG), function(OTHER), function(near), function(LONG, cluster="q")]
    kept, counts = cleaned(functions)
    assert kept == functions[:2]
    assert counts["exact_duplicate"] == 1
    assert counts["near_duplicate"] == 1
    assert cleaned(functions, threshold=1.0)[0] == functions[:3]


@pytest.mark.parametrize(
    ("reason", "text", "changes"),
    [
        ("description_short", LONG, {"description": "Short."}),
        ("description_short", LONG, {"description": "Args:\n    values: a long list of parameters is no description"}),
        ("too_short", "def f(a):\n    return a", {}),
        ("too_long", LONG + "\n    return 1" * 60, {}),
        ("unparsable", "def f(a, b):\n    a = a + b + 1\n    break", {}),
        ("not_normalised", "def f(a, b):\n    '''One.'''\n    '''Two.'''\n    return a + b + 12345", {}),
        ("trivial_empty", "def f(alpha, beta, gamma):\n    pass", {}),
        ("trivial_empty", "def f(alpha, beta, gamma):\n    ...", {}),
        ("trivial_raise", "def f(alpha):\n    raise NotImplementedError", {}),
        ("trivial_constant", "def f(alpha, beta):\n    return False", {}),
        ("trivial_constant", "def f(alpha, beta):\n    return -1234", {}),
        ("not_text", OTHER, {"description": "Half a surrogate pair: \ud800."}),
        ("not_text", OTHER, {"path": "a file called \udce9"}),
    ],
)
def test_each_reason(cleaned: Clean, reason: str, text: str, changes: dict[str, str]) -> None:
    kept, counts = cleaned([function(LONG), function(text, **changes)])
    assert kept == [function(LONG)]
    assert {name: count for name, count in counts.items() if count} == {"read": 2, "kept": 1, reason: 1}


def test_only_functions_must_be_functions(cleaned: Clean) -> None:
    text = "What is asked here is answered in plain words, (and not in code."
    kept, _ = cleaned([function(text, unit="document")])
    assert kept == [function(text, unit="document")]


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [("MIT", True), ("mit", True), ("MIT, Apache-2.0", True), ("MIT, GPL-3.0", False), ("", False), ("GPL-3.0", False)],
)
def test_every_licence_must_be_allowed(cleaned: Clean, licence: str, allowed: bool) -> None:
    bounds = replace(BOUNDS, licences={"mit", "apache-2.0"})
    kept, counts = cleaned([function(LONG, licence=licence)], bounds=bounds)
    assert len(kept) == counts["kept"] == allowed
    assert counts["licence"] == (not allowed)


def test_languages_left_out(cleaned: Clean) -> None:
    bounds = replace(BOUNDS, languages={"go", "python"})
    documents = [function(LONG, language="Python"), function(OTHER, language="rust", unit="document")]
    kept, counts = cleaned(documents, bounds=bounds)
    assert kept == documents[:1]
    assert counts["language"] == 1


def test_what_is_contaminated_is_asked_only_of_what_may_be_kept(cleaned: Clean) -> None:
    asked: list[str] = []

    def is_contaminated(document: Document) -> bool:
        asked.append(document.text)
        return document.text == OTHER

    kept, counts = cleaned(
        [function("def f():\n    g()"), function(LONG), function(OTHER)], is_contaminated=is_contaminated
    )
    assert [document.text for document in kept] == [LONG]
    assert asked == [LONG, OTHER]
    assert counts["contaminated"] == 1


def test_counts_add_up_order_is_kept_and_the_seed_decides_nothing_visible(cleaned: Clean) -> None:
    functions = functions_of(["email", "argparse", "difflib"])
    functions += [replace(f, text=f.text.replace("self", "this", 1)) for f in functions[::3]]
    kept, counts = cleaned(functions, seed=1)
    assert counts["read"] == len(functions) == counts["kept"] + sum(counts[reason] for reason in (*ALONE, *COPIED))
    assert counts["kept"] == len(kept) > 100
    assert counts["near_duplicate"] > 10
    positions = [functions.index(f) for f in kept]
    assert positions == sorted(positions)
    assert cleaned(functions, seed=1) == (kept, counts)
    assert cleaned(functions, seed=2)[0] == kept
    again, counts_again = cleaned(kept)
    assert again == kept
    assert counts_again["kept"] == counts_again["read"]


def test_a_corpus_that_grows_keeps_what_it_had_across_batches(cleaned: Clean) -> None:
    """Numbers differ enough that no document repeats another; then all come again, nearly."""
    words = [f"{a} {b} {c}" for a, b, c in itertools.product("abcdefghijklm", "nopqrstuvwxyz", "0123456789")]
    documents = [function(f"{' '.join(reversed(words[i : i + 9]))}", unit="document") for i in range(0, 1_600)]
    few = cleaned(documents[:500], threshold=0.95)[0]
    many, counts = cleaned(documents + documents[:50], threshold=0.95)
    assert many[: len(few)] == few
    assert counts["exact_duplicate"] == 50
    assert len(many) == 1_600
    assert cleaned(documents + documents[:50], threshold=0.95, batch=77) == (many, counts)


@pytest.mark.parametrize("threshold", [0.6, 0.8, 1.0])
@pytest.mark.parametrize("batch", [7, 1_000])
def test_near_duplicates_agree_with_brute_force(threshold: float, batch: int, tmp_path: Path) -> None:
    sources = [f.source for f in read_functions(["json", "difflib", "logging"]) if 80 <= len(f.source) <= 800][:120]
    edited = [source.replace("self", "other", 1).replace("return", "yield", 1) for source in sources[:60]]
    sources = list(itertools.chain.from_iterable(zip(sources, edited, strict=False))) + sources[60:]
    first: dict[int, int] = {}
    kept: list[int] = []
    for index, source in enumerate(sources):
        for earlier in kept:
            if jaccard(source, sources[earlier]) >= threshold:
                first[index] = earlier
                break
        else:
            kept.append(index)
    assert first
    with NearDuplicates(threshold=threshold, seed=0, scratch=tmp_path) as near:
        found = [
            copy
            for start in range(0, len(sources), batch)
            for copy in near.copies(shingle_hashes(sources[start : start + batch]))
        ]
    assert {index: copy for index, copy in enumerate(found) if copy is not None} == first
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_a_threshold_out_of_range_raises(threshold: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="threshold"):
        NearDuplicates(threshold=threshold, seed=0, scratch=tmp_path)


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_pairs_at_the_threshold_share_enough_bands(threshold: float) -> None:
    """Drawn, row by row, as sketches of such pairs agree."""
    permutations, bands = _sketch(threshold)
    rows = permutations // bands
    agree = np.random.default_rng(0).random((20_000, bands, rows)) < threshold
    shared = agree.all(axis=2).sum(axis=1)
    fewest = _fewest_shared(threshold**rows, bands)
    assert (shared >= fewest).mean() >= 0.99 - 0.002
    assert fewest == bands or (shared > fewest).mean() < 0.99 + 0.002
