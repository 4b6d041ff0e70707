"""Mutations: each kind by example, what is left alone, and invariants over real functions."""

from __future__ import annotations

import ast
import random
import re
from collections import Counter

import pytest

from harness.corpus.normalise import compiles, normalise
from harness.corpus.python_packages import read_functions
from harness.pairs.mutate import TOO_FEW_SITES, UNPARSABLE, Mutation, Rejection, mutate
from harness.pairs.sites import KINDS


def wrap(body: str, signature: str = "def f(self, a, b):") -> str:
    return signature + "".join(f"\n    {line}" for line in body.split("\n"))


def outcomes(source: str, kind: str, *, draws: int = 60) -> set[str]:
    """Every mutant one edit of a kind was seen to make."""
    results = [mutate(source, edits=1, kinds=[kind], rng=random.Random(seed)) for seed in range(draws)]
    return {result.source for result in results if isinstance(result, Mutation)}


@pytest.mark.parametrize(
    ("kind", "body", "mutants"),
    [
        ("arithmetic", "return a + b", {"return a - b"}),
        ("arithmetic", "return a * b", {"return a / b", "return a // b"}),
        ("arithmetic", "a -= b", {"a += b"}),
        ("arithmetic", "return a + 'b'", set()),
        ("arithmetic", "return '%s' % a", set()),
        ("arithmetic", "return a + 'b' + b", set()),
        ("comparison", "return a == b", {"return a != b"}),
        ("comparison", "return a < b", {"return a <= b", "return a >= b", "return a > b"}),
        ("comparison", "return a is not b", {"return a is b"}),
        (
            "comparison",
            "return a < b in c",
            {"return a <= b in c", "return a >= b in c", "return a > b in c"} | {"return a < b not in c"},
        ),
        ("boolean", "return a and b", {"return a or b"}),
        ("boolean", "return a and b or c", set()),
        ("boolean", "return not a", {"return a"}),
        ("boolean", "while a:\n    b()", {"while not a:\n    b()"}),
        ("boolean", "return a if b else c", {"return a if not b else c"}),
        ("boolean", "if a == b:\n    b()", set()),
        ("boolean", "return not (a or b) and c", {"return not (a and b) and c", "return not (a or b) or c"}),
        ("constant", "return 0", {"return 1"}),
        ("constant", "return a[-1]", {"return a[-2]"}),
        ("constant", "return 7", {"return 6", "return 8"}),
        ("constant", "return 0.5", {"return 1.5", "return 1.0", "return 0.25"}),
        ("constant", "return True", {"return False"}),
        ("constant", "return 'text'", set()),
        ("constant", "return a['x'] == 'y'", {"return a['y'] == 'y'", "return a['x'] == 'x'"}),
        ("variable", "return self.g(a)", {"return self.g(b)"}),
        ("variable", "c = a\nreturn c", {"c = b\nreturn c", "c = a\nreturn a", "c = a\nreturn b"}),
        ("variable", "return [a for x in y]", {"return [b for x in y]"}),
        ("variable", "return g(*a, **b)", set()),
        ("statement", "self.g()\nreturn a", {"return a", "self.g()"}),
        ("statement", "c = a\nreturn c", {"c = a"}),
        ("statement", "a = b\nreturn a", {"return a", "a = b"}),
        ("statement", "if a:\n    return b\nb += 1\nreturn", {"b += 1\nreturn", "if a:\n    return b\nreturn"}),
        ("statement", "import x\nreturn", set()),
        ("arguments", "return g(a, b)", {"return g(b, a)"}),
        ("arguments", "return g(1, 2, a)", {"return g(2, 1, a)"}),
        ("arguments", "return max(a, b)", set()),
        ("arguments", "return g(a, a)", set()),
        ("arguments", "return g(*a, b)", set()),
        ("order", "c = a\nb(c)\nreturn c", {"b(c)\nc = a\nreturn c"}),
        (
            "order",
            "c = a\nfor d in c:\n    e = d\n    g(e)",
            {"for d in c:\n    e = d\n    g(e)\nc = a"} | {"c = a\nfor d in c:\n    g(e)\n    e = d"},
        ),
        ("order", "c = a\nreturn c", set()),  # nothing stands after a return
        ("order", "a = b\ng(a)", set()),  # it was bound before
        ("order", "c = a\ng(b)\nh(c)", set()),
        ("order", "c = a\nc.d = b\ne = [c for c in b]", {"c.d = b\nc = a\ne = [c for c in b]"}),
    ],
)
def test_what_each_kind_does(kind: str, body: str, mutants: set[str]) -> None:
    assert outcomes(wrap(body), kind) == {wrap(mutant) for mutant in mutants}


@pytest.mark.parametrize("kind", KINDS)
def test_signature_annotations_errors_and_texts_are_left_alone(kind: str) -> None:
    body = (
        "c: dict[1, 2 + 3] = {}\nraise ValueError(g(a, b) + 1 if a and a == b else 0)\nd = f'{a + 1} {g(a, b)}'\n"
        "global z\nimport x"
    )
    signature = "def f(self, a: 1 + 2=3, b=g(0, 1) if not 1 == 2 else 2) -> h(1, 2):"
    tree = ast.parse(wrap(body, signature)).body[0]
    assert isinstance(tree, ast.FunctionDef)
    for mutant in outcomes(wrap(body, signature), kind):
        assert kind == "statement"  # it may leave whole statements out
        changed = ast.parse(mutant).body[0]
        assert isinstance(changed, ast.FunctionDef)
        assert ast.dump(changed.args) == ast.dump(tree.args)
        assert set(map(ast.dump, changed.body)) < set(map(ast.dump, tree.body))


def test_a_variable_is_replaced_only_by_one_bound_before() -> None:
    body = "c = a\nd = a\ndef inner(hidden):\n    other = a\nlater = a\nreturn [a for item in a]"
    mutants = outcomes(wrap(body, "def f(self, a):"), "variable", draws=300)
    used = {name.id for mutant in mutants for name in ast.walk(ast.parse(mutant)) if isinstance(name, ast.Name)}
    lines = {mutant.split("\n")[2].strip() for mutant in mutants}
    assert lines == {"d = a", "d = c"}
    assert not used & {"hidden", "self"}
    assert {mutant.split("\n")[-1].strip() for mutant in mutants} >= {
        "return [later for item in a]",
        "return [a for item in d]",
    }
    assert all("return [item" not in mutant and "in item]" not in mutant for mutant in mutants)


def test_edits_are_named_with_the_line_they_were_made_on() -> None:
    source = wrap("c = a\nif a == 1:\n    c = g(b, a)\nreturn c + 2")
    for seed in range(50):
        for kind, line in [("comparison", 3), ("arguments", 4), ("arithmetic", 5)]:
            result = mutate(source, edits=1, kinds=[kind], rng=random.Random(seed))
            assert isinstance(result, Mutation)
            assert result.edits == (f"{kind}@{line}",)
            before, after = source.split("\n"), result.source.split("\n")
            assert [i for i, pair in enumerate(zip(before, after, strict=True), 1) if pair[0] != pair[1]] == [line]


def test_kinds_are_drawn_evenly_however_many_sites_they_have() -> None:
    source = wrap("x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]\nreturn x == a")
    kinds: Counter[str] = Counter()
    for seed in range(600):
        result = mutate(source, edits=1, kinds=["constant", "comparison"], rng=random.Random(seed))
        assert isinstance(result, Mutation)
        kinds[result.edits[0].partition("@")[0]] += 1
    assert 240 < kinds["comparison"] < 360  # 600 fair draws leave this range once in a million


def test_rejections() -> None:
    rng = random.Random(0)
    assert mutate("def f(:", edits=1, kinds=KINDS, rng=rng) == Rejection(reason=UNPARSABLE)
    assert mutate("x = 1", edits=1, kinds=KINDS, rng=rng) == Rejection(reason=UNPARSABLE)
    assert mutate(wrap("return g()"), edits=1, kinds=KINDS, rng=rng) == Rejection(reason=TOO_FEW_SITES)
    assert mutate(wrap("return a + b"), edits=2, kinds=["arithmetic"], rng=rng) == Rejection(reason=TOO_FEW_SITES)
    # Two statements of two cannot both be left out.
    assert mutate(wrap("g()\nh()"), edits=2, kinds=["statement"], rng=rng) == Rejection(reason=TOO_FEW_SITES)


def test_mutants_of_real_functions_are_normalised_compile_and_depend_on_the_generator_alone() -> None:
    sources = [f.source for f in read_functions(["argparse", "difflib", "statistics", "email"])]
    done = 0
    for index, source in enumerate(sources):
        first, again = (mutate(source, edits=1 + index % 3, kinds=KINDS, rng=random.Random(index)) for _ in range(2))
        assert first == again
        if isinstance(first, Mutation):
            done += 1
            assert first.source != source
            assert normalise(first.source) == first.source
            assert compiles(first.source)
            assert len(first.edits) == 1 + index % 3
        else:
            assert first.reason == TOO_FEW_SITES
    assert done > 0.7 * len(sources) > 200


def test_exchanged_statements_keep_every_word_and_use_a_name_before_it_is_bound() -> None:
    done = 0
    for index, source in enumerate(f.source for f in read_functions(["argparse", "difflib", "statistics", "email"])):
        result = mutate(source, edits=1, kinds=["order"], rng=random.Random(index))
        if not isinstance(result, Mutation):
            continue
        done += 1
        before, after = source.split("\n"), result.source.split("\n")
        assert sorted(before) == sorted(after)
        line = int(result.edits[0].partition("@")[2])  # of the statement that came second
        first = next(place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
        assert after[first] == before[line - 1]
        moved = "\n".join(after[first : after.index(before[first], first)])
        assert set(re.findall(r"\w+", before[first].partition(" = ")[0])) & set(re.findall(r"\w+", moved))
    assert done > 100
