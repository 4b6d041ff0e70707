"""What shows on the surface: planted likeness, broken and hostile texts, repeats, cut-offs; memory stays flat."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import pytest

from harness.pairs.reading import MOST_BRACKETS_DEEP, MOST_CHARACTERS, parse, state_of
from harness.pairs.static_judge import static_defects, static_score
from harness.pairs.surface import Repeats, Surface, distinct_ngrams, likeness

CODE = "def mean(values):\n    total = sum(values)\n    count = len(values)\n    return total / count\n"
BROKEN = "def mean(values:\n    return"


def row(chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"id": "a", "cluster": "m", "prompt": "", "chosen": chosen, "rejected": rejected, "detail": "", **more}


def surface(*rows: dict[str, Any]) -> dict[str, Any]:
    made = Surface()
    for one in rows:
        made.add(one)
    return made.as_json()


def test_planted_likeness_is_told_apart() -> None:
    assert likeness(CODE, CODE) == "identical"
    assert likeness(CODE, CODE.replace("\n", "  # a note\n\n").replace(" / ", "/")) == "same_tokens"
    assert likeness(CODE, CODE.replace("/", "*")) == "near_identical"
    assert likeness(CODE, "def mean(values):\n    return 0\n") == "different"
    assert likeness("", "") == "identical"
    assert likeness("", "x") == "different"
    found = surface(row(CODE, CODE), row(CODE, CODE), row(CODE, CODE + "# end"), row(CODE, "x = 1"))
    assert found["alike"] == {"identical": 0.5, "same_tokens": 0.25, "near_identical": 0.0}


def test_rates_of_both_sides() -> None:
    found = surface(row(CODE, BROKEN), row(CODE, CODE.replace("/", "*")), row("return 1", "  \n"))
    assert found["sides"]["chosen"]["parse_rate"] == 1.0
    assert found["sides"]["chosen"]["compile_rate"] == pytest.approx(2 / 3)  # a return outside a function
    assert found["sides"]["rejected"]["parse_rate"] == pytest.approx(1 / 3)
    assert found["sides"]["rejected"]["states"] == {"broken": 1, "compiles": 1, "empty": 1}
    assert found["both_parse"] == pytest.approx(1 / 3)


def test_of_many_pairs_some_are_read_and_all_are_counted() -> None:
    rows = [row(CODE, BROKEN if number % 4 else CODE + "# x", prompt=f"# {number % 5}") for number in range(40)]
    some = Surface(every=2)
    for one in rows:
        some.add(one)
    found, whole, half = some.as_json(), surface(*rows), surface(*rows[::2])
    assert found.pop("pairs_read") == 20
    assert "pairs_read" not in whole
    for side in ("chosen", "rejected"):
        of_reading = {name: found["sides"][side].pop(name) for name in ("parse_rate", "compile_rate", "states")}
        assert of_reading == {name: half["sides"][side].pop(name) for name in of_reading}
        assert found["sides"][side] == {name: whole["sides"][side][name] for name in found["sides"][side]}
    for name in ("alike", "both_parse", "languages"):
        assert found[name] == half[name] != {}
    for name in ("pairs_a_prompt", "length_ratio"):
        assert found[name] == whole[name]


def test_pairs_of_one_prompt() -> None:
    one, other = ({**row(CODE, text), "prompt": prompt} for text, prompt in (("a", "# one\n"), ("b", "# other\n")))
    assert surface(one)["pairs_a_prompt"] == 1.0
    assert surface(one, one, one, other)["pairs_a_prompt"] == pytest.approx(2.0)


def test_lengths_endings_and_languages_where_they_are_known() -> None:
    known = {"chosen_tokens": 10, "rejected_tokens": 5, "chosen_finish_reason": "stop", "language": "Rust"}
    found = surface(row("aaaa", "aa", **known, rejected_finish_reason="length"), row("aaaa", "aa", **known))
    assert found["length_ratio"] == {"characters": pytest.approx(0.5), "tokens": 0.5}
    assert found["sides"]["chosen"]["truncated"] == {"known": 2, "cut": 0, "share": 0.0}
    assert found["sides"]["rejected"]["truncated"] == {"known": 1, "cut": 1, "share": 1.0}
    assert found["languages"] == {"Rust": 1.0}
    unknown = surface(row(CODE, CODE))
    assert unknown["sides"]["chosen"]["truncated"] == {"known": 0, "cut": 0, "share": None}
    assert unknown["length_ratio"]["tokens"] is None


def test_distinct_ngrams_of_known_texts() -> None:
    assert distinct_ngrams(["a b a b", "a b"]) == {"1": pytest.approx(2 / 6), "2": pytest.approx(2 / 4), "3": 1.0}
    assert distinct_ngrams([]) == {"1": 0.0, "2": 0.0, "3": 0.0}


@pytest.mark.parametrize("most", [10_000, 150])
def test_repeats_are_counted_and_stay_right_when_few_are_kept(most: int) -> None:
    repeats = Repeats(most=most)
    for number in range(8_000):
        repeats.add(f"text {number % 4_000}")
    assert len(repeats._counts) <= most
    assert repeats.share == pytest.approx(0.5, abs=0.0 if most > 8_000 else 1e-9)  # each text comes twice


def test_memory_does_not_grow_with_the_pairs() -> None:
    made = Surface()
    for side in made.sides.values():
        side.repeats = Repeats(most=500)

    def add(start: int, stop: int) -> int:
        tracemalloc.start()
        for number in range(start, stop):
            made.add(row(f"x = {number}", f"y = {number}"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    add(0, 1_000)
    assert add(1_000, 5_000) < 500_000


HOSTILE = {
    "deep brackets": "(" * 50_000,
    "deep calls": "f(" * 5_000 + ")" * 5_000,
    "deep dicts": "{1:" * 90 + "2, {",
    "deep blocks": "".join(f"{' ' * depth}if x:\n" for depth in range(3_000)),
    "a long sum": "+".join(["1"] * 40_000),
    "a long chain": "a" + ".b" * 30_000,
    "many signs": "-" * 30_000 + "1",
    "many nots": "not " * 20_000 + "1",
    "a huge number": "x = " + "9" * 90_000,
    "a huge power": "x = 10 ** 10 ** 10",
    "a huge repeat": "x = 'a' * 10 ** 10",
    "a huge tuple": "x = (1,) * 10 ** 10",
    "null bytes": "x = 1\0",
    "half a character": "x = '\ud800'",
    "a bad escape": "x = '\\N{nothing}'",
    "too long": "x\n" * MOST_CHARACTERS,
    "warnings": "assert (1, 'x')\n1 is 1\n'\\d'",
    "a form feed": "\f\f def f(): pass",
    "nothing but blanks": " \n\t\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_read_or_refused(name: str) -> None:
    """In a process of its own, which must not crash, and within seconds."""
    script = (
        "import sys, json\n"
        "from tests.unit.test_pair_surface import HOSTILE, CODE, row, surface, static_defects\n"
        "text = HOSTILE[sys.argv[1]]\n"
        "found = surface(row(CODE, text), row(text, CODE))\n"
        "static_defects(text, '# Returns x.\\n# def mean(values):\\n')\n"
        "print(json.dumps(found['sides']['rejected']['states']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, name], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert "compiles" in done.stdout  # of the ordinary text beside it


def test_texts_that_are_not_tried_say_why() -> None:
    assert state_of("x" * (MOST_CHARACTERS + 1)) == "too_long"
    assert state_of("[" * (MOST_BRACKETS_DEEP + 1)) == "too_deep"
    assert state_of("f()" * (MOST_BRACKETS_DEEP * 3)) != "too_deep"
    assert state_of("    def f():\n        return 1\n") == "compiles"  # as it stood in a class
    assert parse("    def f():\n        return 1\n") is not None
    assert parse("[" * (MOST_BRACKETS_DEEP + 1)) is parse(BROKEN) is parse("") is None


def test_nothing_is_ever_run(tmp_path: Any) -> None:
    mark = tmp_path / "mark"
    text = f"open({str(mark)!r}, 'w').write('x')\n1 / 0\n"
    assert state_of(text) == "compiles"
    assert static_score(text, "") is not None
    assert not mark.exists()


# ------------------------------------------------------------------------------------------------- the static judge

PROMPT = "# Return the mean of `values`, rounded to digits.\n#\n# def mean(values, digits):\n"
GOOD = "def mean(values, digits):\n    total = sum(values)\n    return round(total / len(values), digits)\n"


def test_sound_code_has_no_defect() -> None:
    assert static_defects(GOOD, PROMPT) == {}
    assert static_score(GOOD, PROMPT) == 0
    scopes = (
        "import os.path as p\nfrom sys import argv\ndef f(a, *b, c=1, **d):\n    global g\n    g = 1\n"
        "    x = [y for y in b]\n    def inner(z):\n        nonlocal x\n        x = z\n"
        "    try:\n        inner(a)\n    except ValueError as e:\n        raise e\n    with open(c) as w:\n"
        "        w.read(*d)\n    match a:\n        case {'k': k, **r}:\n            return k, r\n"
        "        case [h, *t]:\n            return h, t\n    return lambda q: p.join(q, argv)\n"
    )
    assert static_defects(scopes, "") == {}


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("    total = sum(values)\n", "", "unresolved_names"),
        ("(total / len(values), digits)", "(total / len(values))", "unused_parameters"),
        ("(total / len(values), digits)", "(total / len(values))", "described_but_unused"),
        ("    return round(", "    other = 1\n    return round(", "unused_variables"),
        ("    return round(", "    return 1\n    return round(", "unreachable"),
        ("    return round(", "    total == 1\n    return round(", "no_effect"),
        ("total / len", "(total == total) / len", "self_comparison"),
        ("total / len", "(total and total) / len", "self_comparison"),
        (GOOD[GOOD.index("    total") :], "    pass\n", "empty_body"),
        ("return round", "print", "returns_nothing"),
        ("def mean", "def average", "other_name"),
        ("mean(values, digits)", "mean(digits, values)", "other_parameters"),
    ],
)
def test_every_planted_defect_is_found(old: str, new: str, kind: str) -> None:
    assert GOOD.count(old) == 1
    found = static_defects(GOOD.replace(old, new), PROMPT)
    assert found is not None
    assert found[kind] == 1
    assert static_score(GOOD.replace(old, new), PROMPT) < 0  # type: ignore[operator]


def test_what_does_not_parse_has_no_score() -> None:
    assert static_score(BROKEN, PROMPT) is None
    assert static_defects("", PROMPT) is None
