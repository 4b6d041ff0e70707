"""Pairs: a slot's result is its own, both sides are spelled alike, and nothing but the edits differs."""

from __future__ import annotations

import ast
import hashlib
import itertools
import math
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

import pytest

from harness.corpus.normalise import normalise
from harness.corpus.python_packages import Function, read_functions
from harness.errors import DataError
from harness.pairs.construct import ATTEMPTS, LengthMatch, Mutated, Pair, Reference, Text, by_docstring, construct
from harness.pairs.mutate import Rejection
from harness.recipe.pairs import USUAL_KINDS


@pytest.fixture(scope="module")
def functions() -> list[Function]:
    read = read_functions(["argparse", "difflib", "email", "logging", "statistics", "textwrap", "zipfile"])
    once = {f.source: f for f in read if 80 <= len(f.source) <= 600 and len(f.docstring) >= 40}
    return list(once.values())


def build(functions: list[Function], start: int, stop: int, *, seed: int = 5) -> tuple[list[Pair], dict[str, int]]:
    return construct(
        functions,
        start=start,
        stop=stop,
        seed=seed,
        chosen=Reference(),
        rejected=Mutated(kinds=USUAL_KINDS),
        descriptions=by_docstring(200),
    )


def distance(left: object, right: object, *, exchanges: bool) -> float:
    """Least number of allowed edits from one tree to the other; infinite if only another change leads there.

    Another operator, name or constant, a `not` more or less, and an element of a list left out count one each, and so
    does the exchange of two neighbours where `exchanges` are allowed (two changed names can look like one).
    """
    if isinstance(left, list) and isinstance(right, list):
        return list_distance(left, right, exchanges=exchanges)
    if not isinstance(left, ast.AST) or not isinstance(right, ast.AST):
        return int(left != right)
    if same(left, right):
        return 0
    for outer, inner in ((left, right), (right, left)):
        if isinstance(outer, ast.UnaryOp) and isinstance(outer.op, ast.Not) and same(outer.operand, inner):
            return 1
    if type(left) is not type(right):
        return 1 if all(isinstance(node, ast.operator | ast.cmpop | ast.boolop) for node in (left, right)) else math.inf
    fields = [(getattr(left, field, None), getattr(right, field, None)) for field in left._fields]
    return sum(distance(before, after, exchanges=exchanges) for before, after in fields)


def list_distance(left: list[ast.AST], right: list[ast.AST], *, exchanges: bool) -> float:
    """Damerau and Levenshtein's distance without insertions, where replacing a node costs its own distance."""
    costs: dict[tuple[int, int], float] = {(i, 0): i for i in range(len(left) + 1)}
    costs |= {(0, j): math.inf for j in range(1, len(right) + 1)}
    for i in range(1, len(left) + 1):
        for j in range(1, len(right) + 1):
            replaced = costs[i - 1, j - 1] + distance(left[i - 1], right[j - 1], exchanges=exchanges)
            costs[i, j] = min(costs[i - 1, j] + 1, replaced)
            if exchanges and i > 1 and j > 1 and same(left[i - 1], right[j - 2]) and same(left[i - 2], right[j - 1]):
                costs[i, j] = min(costs[i, j], costs[i - 2, j - 2] + 1)
    return costs[len(left), len(right)]


def same(left: ast.AST, right: ast.AST) -> bool:
    return ast.dump(left) == ast.dump(right)


def test_both_sides_are_normalised_and_the_edits_are_all_that_differs(functions: list[Function]) -> None:
    pairs, _ = build(functions, 0, 400)
    assert len(pairs) > 300
    edits: Counter[int] = Counter()
    for pair in pairs:
        assert normalise(pair.chosen) == pair.chosen
        assert normalise(pair.rejected) == pair.rejected
        edits[len(pair.edits)] += 1
        exchanges = any(edit.startswith("arguments") for edit in pair.edits)
        found = distance(ast.parse(pair.chosen), ast.parse(pair.rejected), exchanges=exchanges)
        if exchanges and len(pair.edits) == 3:  # the other two may be changed names that look like an exchange
            assert len(pair.edits) - 1 <= found <= len(pair.edits)
        else:
            assert found == len(pair.edits)
    assert set(edits) == {1, 2, 3}
    assert min(edits.values()) > 50


def test_prompt_describes_shows_the_signature_of_both_sides_and_makes_a_program_with_either(
    functions: list[Function],
) -> None:
    for pair in build(functions, 0, 100)[0]:
        signature = pair.chosen.split("\n")[0]
        assert pair.rejected.split("\n")[0] == signature
        assert pair.prompt.endswith(f"#\n# {signature}\n")
        assert all(line.startswith("#") for line in pair.prompt.splitlines())
        for side in (pair.chosen, pair.rejected):
            assert ast.dump(ast.parse(pair.prompt + side)) == ast.dump(ast.parse(side))


def test_parts_put_together_are_the_whole(functions: list[Function]) -> None:
    stop = 2 * len(functions) + 17
    whole, counts = build(functions, 0, stop)
    cuts = [0, 1, 40, len(functions) - 3, len(functions) + 90, stop]
    parts = [build(functions, start, end) for start, end in itertools.pairwise(cuts)]
    assert [pair for pairs, _ in parts for pair in pairs] == whole
    for name in ("slots", "pairs", "retries", "failed_too_few_sites"):
        assert sum(part.get(name, 0) for _, part in parts) == counts[name]


def test_every_function_has_its_turn_before_any_has_another(functions: list[Function]) -> None:
    count = len(functions)
    pairs, counts = build(functions, 0, 2 * count)
    assert (
        counts["slots"]
        == 2 * count
        == counts["pairs"] + sum(number for name, number in counts.items() if name.startswith("failed_"))
    )
    rounds: list[dict[int, Pair]] = [{}, {}]
    for pair in pairs:
        rounds[pair.slot // count][pair.slot % count] = pair
    assert rounds[0].keys() == rounds[1].keys()  # a function that has room for an edit always gets one
    assert len({pair.chosen for pair in rounds[0].values()}) == len(rounds[0])
    again = sum(rounds[0][place].rejected == rounds[1][place].rejected for place in rounds[0])
    assert all(rounds[0][place].chosen == rounds[1][place].chosen for place in rounds[0])
    assert counts["repeats"] == again < 0.2 * len(rounds[0])


def test_another_seed_is_another_order_and_other_mutants(functions: list[Function]) -> None:
    first, second = (build(functions, 0, len(functions), seed=seed)[0] for seed in (1, 2))
    assert [pair.chosen for pair in first] != [pair.chosen for pair in second]
    assert {pair.chosen for pair in first} == {pair.chosen for pair in second}
    assert {pair.rejected for pair in first} != {pair.rejected for pair in second}


DIGEST_PROGRAM = """
import hashlib
from harness.corpus.python_packages import read_functions
from harness.pairs.construct import Mutated, Reference, by_docstring, construct
from harness.recipe.pairs import USUAL_KINDS
functions = [f for f in read_functions(["textwrap", "difflib"]) if 80 <= len(f.source) <= 600]
result = construct(functions, start=0, stop=60, seed=3, chosen=Reference(), rejected=Mutated(kinds=USUAL_KINDS),
                   descriptions=by_docstring(200))
"""


def test_another_process_with_other_text_hashes_builds_the_same() -> None:
    program = DIGEST_PROGRAM + "print(hashlib.sha256(repr(result).encode()).hexdigest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == hashlib.sha256().digest_size * 2


def test_identical_sides_are_counted_and_left_out(functions: list[Function]) -> None:
    pairs, counts = construct(
        functions, start=3, stop=9, seed=0, chosen=Reference(), rejected=Reference(), descriptions=by_docstring(100)
    )
    assert pairs == []
    assert counts == {"slots": 6, "pairs": 0, "retries": 6 * (ATTEMPTS - 1), "repeats": 0, "failed_identical": 6}


@dataclass(frozen=True)
class Unreliable:
    """A side that has a text in half of its draws."""

    def text(self, function: Function, slot: int, attempt: int, rng: random.Random) -> Text | Rejection:
        return Text(text=f"{function.source}  # wrong") if rng.random() < 0.5 else Rejection(reason="no_text")


def test_a_side_without_a_text_is_asked_again_and_then_counted(functions: list[Function]) -> None:
    pairs, counts = construct(
        functions, start=0, stop=400, seed=0, chosen=Reference(), rejected=Unreliable(), descriptions=by_docstring(100)
    )
    assert 5 <= counts["failed_no_text"] <= 55  # a sixteenth of 400 slots fails four times: 25, give or take 6 spreads
    failed = sum(count for what, count in counts.items() if what.startswith("failed_"))
    assert counts["pairs"] == len(pairs) == 400 - failed
    assert all(pair.rejected == pair.chosen + "  # wrong" for pair in pairs)


@dataclass(frozen=True)
class Padded:
    """Its drafts are longer than the function by so many characters."""

    more: tuple[int, ...]

    def text(self, function: Function, slot: int, attempt: int, rng: random.Random) -> Text | Rejection:
        return Text(text=function.source + "#" * self.more[attempt], attempt=attempt)


def matched(functions: list[Function], more: tuple[int, ...], tolerance: float) -> tuple[list[Pair], dict[str, int]]:
    match = LengthMatch(drafts=len(more), tolerance=tolerance)
    return construct(
        functions,
        start=0,
        stop=6,
        seed=0,
        chosen=Reference(),
        rejected=Padded(more),
        descriptions=by_docstring(100),
        match_length=match,
    )


def test_of_several_drafts_the_one_of_nearest_length_is_taken(functions: list[Function]) -> None:
    pairs, _ = matched(functions, (400, 7, 3, 3), tolerance=1.0)
    assert len(pairs) == 6
    assert all(len(pair.rejected) - len(pair.chosen) == 3 for pair in pairs)
    assert {pair.drafts for pair in pairs} == {(0, 2)}  # the first of equals
    pairs, _ = matched(functions, (0, 5), tolerance=1.0)  # not the chosen text itself
    assert all(len(pair.rejected) - len(pair.chosen) == 5 for pair in pairs)


def test_without_a_draft_of_like_length_there_is_no_pair(functions: list[Function]) -> None:
    pairs, counts = matched(functions, (9_000, 8_000), tolerance=0.2)
    assert pairs == []
    assert counts["failed_lengths_differ"] == 6


def test_a_function_without_description_makes_no_pair() -> None:
    bare = Function(package="p", module="p", qualified_name="f", docstring=">>> f()", source="def f():\n    return 1")
    pairs, counts = build([bare], 0, 2)
    assert pairs == []
    assert counts["failed_no_description"] == 2


def test_no_functions_raise() -> None:
    with pytest.raises(DataError):
        build([], 0, 1)
