"""Cleaning and splitting: every reason by example, duplicates against brute force, counts that add up."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest

from harness.corpus.clean import REASONS, clean, near_duplicates, split_by_package
from harness.corpus.python_packages import Function, read_functions
from harness.errors import DataError

LONG = (
    "def mean(values):\n    total = 0\n    count = 0\n    for value in values:\n        total += value\n"
    "        count += 1\n    if count == 0:\n        raise ValueError('no values')\n    return total / count"
)
OTHER = (
    "def words(text):\n    found = {}\n    for word in text.split():\n"
    "        found.setdefault(word.lower(), []).append(word)\n"
    "    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))"
)


def function(source: str, *, package: str = "p", docstring: str = "Say what the function does.") -> Function:
    return Function(package=package, module=package, qualified_name="f", docstring=docstring, source=source)


def cleaned(
    functions: list[Function], *, threshold: float = 0.8, seed: int = 0
) -> tuple[list[Function], dict[str, int]]:
    return clean(
        functions,
        min_characters=30,
        max_characters=600,
        min_docstring_characters=10,
        near_duplicate_threshold=threshold,
        seed=seed,
    )


def jaccard(left: str, right: str) -> float:
    """Of three-token shingles, written anew."""
    sets = []
    for source in (left, right):
        tokens = re.findall(r"\w+|[^\w\s]", source)
        sets.append({tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_exact_and_near_copies_are_found_and_another_function_is_not() -> None:
    near = LONG.replace("def mean", "def average")
    assert 0.8 < jaccard(LONG, near) < 1.0
    assert jaccard(LONG, OTHER) < 0.3
    functions = [function(LONG), function(OTHER), function(near), function(LONG, package="q")]
    kept, counts = cleaned(functions)
    assert kept == functions[:2]
    assert counts["exact_duplicate"] == 1
    assert counts["near_duplicate"] == 1
    assert cleaned(functions, threshold=1.0)[0] == functions[:3]


@pytest.mark.parametrize(
    ("reason", "source", "docstring"),
    [
        ("docstring_short", LONG, "Short."),
        ("docstring_short", LONG, "Args:\n    values: a long list of parameters is no description"),
        ("too_short", "def f(a):\n    return a", "Say what the function does."),
        ("too_long", LONG + "\n    return 1" * 60, "Say what the function does."),
        ("unparsable", "def f(a, b:\n    return a + b + 12345", "Say what the function does."),
        ("unparsable", "def f(a, b):\n    a = a + b + 1\n    break", "Say what the function does."),
        ("not_normalised", 'def f(a, b):\n    return a + b + len("12345")', "Say what the function does."),
        ("trivial_empty", "def f(alpha, beta, gamma):\n    pass", "Say what the function does."),
        ("trivial_empty", "def f(alpha, beta, gamma):\n    ...", "Say what the function does."),
        ("trivial_raise", "def f(alpha):\n    raise NotImplementedError", "Say what the function does."),
        ("trivial_constant", "def f(alpha, beta):\n    return False", "Say what the function does."),
        ("trivial_constant", "def f(alpha, beta):\n    return -1234", "Say what the function does."),
    ],
)
def test_each_reason(reason: str, source: str, docstring: str) -> None:
    kept, counts = cleaned([function(LONG), function(source, docstring=docstring)])
    assert kept == [function(LONG)]
    assert {name: count for name, count in counts.items() if count} == {"read": 2, "kept": 1, reason: 1}


def test_counts_add_up_order_is_kept_and_the_seed_decides_nothing_visible() -> None:
    functions = list(read_functions(["email", "argparse", "difflib"]))
    functions += [replace(f, source=f.source.replace("self", "this", 1)) for f in functions[::3]]
    kept, counts = cleaned(functions, seed=1)
    assert counts["read"] == len(functions) == counts["kept"] + sum(counts[reason] for reason in REASONS)
    assert counts["kept"] == len(kept) > 100
    assert counts["near_duplicate"] > 10
    positions = [functions.index(f) for f in kept]
    assert positions == sorted(positions)
    assert cleaned(functions, seed=1) == (kept, counts)
    assert cleaned(functions, seed=2)[0] == kept
    again, counts_again = cleaned(kept)
    assert again == kept
    assert counts_again["kept"] == counts_again["read"]


@pytest.mark.parametrize("threshold", [0.6, 0.8, 1.0])
def test_near_duplicates_agree_with_brute_force(threshold: float) -> None:
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
    assert near_duplicates(sources, threshold=threshold, seed=0) == first


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_a_threshold_out_of_range_raises(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        near_duplicates([LONG], threshold=threshold, seed=0)


def test_splits_are_whole_packages_in_order() -> None:
    functions = [function(f"{LONG}  # {i}", package=package) for i, package in enumerate("abcabcd")]
    splits = split_by_package(functions, base=["b"], heldout=["a", "d"])
    assert splits == {
        "train": [functions[2], functions[5]],
        "base": [functions[1], functions[4]],
        "heldout": [functions[0], functions[3], functions[6]],
    }


@pytest.mark.parametrize(
    ("base", "heldout", "told"),
    [
        (["a"], ["z"], "none are left of: z"),
        (["a"], ["a"], "named twice: a"),
        (["a"], ["b", "c"], "nothing is left for: train"),
        ([], ["a"], "nothing is left for: base"),
    ],
)
def test_splits_that_cannot_be(base: list[str], heldout: list[str], told: str) -> None:
    functions = [function(LONG, package=package) for package in "abc"]
    with pytest.raises(DataError) as caught:
        split_by_package(functions, base=base, heldout=heldout)
    assert caught.value.value == told
