"""The quality of a pair set as a table, and its examples: what the report and `harness show` print of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.report.facts import Facts
from harness.report.words import count, interval, score, signed, signed_interval
from harness.store.artifacts import PairQuality
from harness.store.record import Record

Row = tuple[str, str, str, str, str]

SIDES = ("chosen", "rejected")
ALIKE = {
    "identical": "identical sides",
    "same_tokens": "sides differ in blanks or comments only",
    "near_identical": "near-identical sides",
}
SEPARABLE = {"length": "length", "unigrams": "unigrams", "ngrams": "n-grams of 1 to 3"}
NOTE = (
    "Agreement counts a tie half; the verdict rests on the pairs on which a judge has a preference: it fails if the "
    "whole interval is below the minimum. Shuffled labels are a control. Area: under the ROC curve, held out by "
    "cluster, digits masked; within pairs the two sides of one pair, over texts any chosen against any rejected text. "
    "Above 0.9 by length or unigrams, or with fewer than half of the rejected sides parsing, pairs are degenerate."
)


def quality_table(record: Record) -> Facts:
    """The numbers of a pair_quality record."""
    numbers = record.result
    sides: Mapping[str, Any] = numbers["sides"]
    rows = [
        _all("verdict", _verdict(numbers)),
        _all("pairs", count(numbers["pairs"])),
        *([_all("pairs parsed and compared", count(numbers["pairs_read"]))] if "pairs_read" in numbers else []),
        _all("sampled pairs", count(numbers["sampled"])),
        *_pairs_a_prompt(numbers),
        *(_all(name, _percent(numbers["alike"][kind])) for kind, name in ALIKE.items()),
        _both("parses", (_percent(sides[side]["parse_rate"]) for side in SIDES)),
        _both("compiles", (_percent(sides[side]["compile_rate"]) for side in SIDES)),
        _both("repeats an earlier text", (_percent(sides[side]["repeated"]) for side in SIDES)),
        _both("cut off by a limit", (_cut(sides[side]) for side in SIDES)),
        _both("characters", (count(sides[side]["mean_characters"]) for side in SIDES)),
        *_ratios(numbers["length_ratio"]),
        _both("distinct trigrams", (_percent(numbers["distinct_ngrams"][side]["3"]) for side in SIDES)),
        *(_all(f"language: {name}", _percent(share)) for name, share in numbers["languages"].items()),
        _estimate("chosen minus rejected: parses", numbers["gap"]["parse_rate"], difference=True),
        _estimate("chosen minus rejected: static score", numbers["gap"]["static_score"], difference=True),
        *_areas(numbers["separability"]),
        *(row for name, judge in numbers["judges"].items() for row in _judge(name, judge)),
    ]
    return Facts(
        title="Pair quality",
        columns=("", "all", "interval", "chosen", "rejected"),
        rows=tuple(rows),
        note=" ".join([*(f"{reason}." for reason in numbers["reasons"]), NOTE]),
    )


def _all(name: str, value: str, limits: str = "") -> Row:
    """What is said of pairs, or of both sides together."""
    return (name, value, limits, "", "")


def _both(name: str, values: Iterable[str]) -> Row:
    """What is said of each side."""
    chosen, rejected = values
    return (name, "", "", chosen, rejected)


def _pairs_a_prompt(numbers: Mapping[str, Any]) -> Iterator[Row]:
    if "pairs_a_prompt" in numbers:  # not before code version 2
        yield _all("pairs of one prompt, so of one function", f"{numbers['pairs_a_prompt']:.2f}")


def read_examples(directory: Path) -> list[dict[str, str]]:
    """The examples of a pair_quality artifact: why, id, prompt, chosen, rejected, detail."""
    content = json.loads(PairQuality(directory).path.read_text(encoding="utf-8"))
    found: list[dict[str, str]] = content["examples"]
    return found


def _verdict(numbers: Mapping[str, Any]) -> str:
    told = f"{numbers['verdict']} at {numbers['min_consistency']:g}"
    return f"{told}; degenerate" if numbers["degenerate"] else told


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _cut(side: Mapping[str, Any]) -> str:
    share = side["truncated"]["share"]
    return "unknown" if share is None else _percent(share)


def _ratios(ratios: Mapping[str, Any]) -> Iterator[Row]:
    for unit, ratio in ratios.items():
        if ratio is not None:
            yield _all(f"{unit}, rejected over chosen", f"{ratio:.3f}")


def _estimate(name: str, found: Mapping[str, Any], *, difference: bool = False) -> Row:
    """An estimate and its interval, either of which may be unknown."""
    write, limits = (signed, signed_interval) if difference else (score, interval)
    if found["estimate"] is None:
        return _all(name, "none")
    return _all(name, write(found["estimate"]), "" if found["low"] is None else limits(found["low"], found["high"]))


def _areas(separable: Mapping[str, Any]) -> Iterator[Row]:
    for kind, name in SEPARABLE.items():
        if separable[kind] is None:
            yield _all(f"area by {name}", "too few pairs")
        else:
            yield _estimate(f"area by {name}, within pairs", separable[kind]["within_pairs"])
            yield _estimate(f"area by {name}, over texts", separable[kind]["over_texts"])


def _judge(name: str, judge: Mapping[str, Any]) -> Iterator[Row]:
    yield _all(f"{name} judge: judged", count(judge["judged"]))
    yield _all(f"{name} judge: has a preference", count(judge["preferring"]))
    yield _estimate(f"{name} judge: agreement", judge["agreement"])
    yield _estimate(f"{name} judge: agreement where it has a preference", judge["of_preferring"])
    yield _estimate(f"{name} judge: the same, labels shuffled", judge["shuffled"])
    if judge["position_bias"]["estimate"]:
        yield _estimate(f"{name} judge: preference for the first place", judge["position_bias"], difference=True)
