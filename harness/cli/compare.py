"""`harness compare`: two rows of a workdir against one another, from scores to a few problems they disagree on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from harness.cli.computed import compute
from harness.cli.console import output, print_json, visible
from harness.cli.workspace import discard_damaged, open_store, stands
from harness.errors import RecipeError
from harness.pipeline.evaluations import evaluation_named, headline_label, metric_label
from harness.pipeline.graph import Graph, Stage
from harness.report.index import Index, stages_of
from harness.report.results import read_all
from harness.report.rows import Row, find_row, retraction
from harness.report.versus import Match, Mismatch, comparison_stage, match, readable
from harness.report.words import (
    FEW_CLUSTERS,
    FEW_SEEDS,
    FEWEST_CLUSTERS,
    interval,
    plural,
    score,
    signed,
    signed_interval,
)
from harness.store.artifacts import Comparison
from harness.store.record import Record
from harness.store.retractions import Retraction, read_retractions
from harness.store.store import Snapshot, Store

CLIP = 200  # characters of a prompt or an answer
BEFORE = 40  # characters shown before the place where two texts part
SIDES = ("first", "second")


def compare_rows(first: str, second: str, workdir: Path, *, examples: int = 0, as_json: bool) -> None:
    """Compare A with B on every task both were judged on with the same data, and say why not on the others.

    Args:
        examples: the most problems a task whose texts are shown.
    """
    store = open_store(workdir)
    indexes = read_all(workdir)
    rows = _find_rows(indexes, first, second)
    snapshot = Snapshot(store)
    kinds = {key: entry.kind for index in indexes for key, entry in index.stages.items()}

    def record_of(fingerprint: str) -> Record | None:
        return snapshot.record(kinds[fingerprint], fingerprint)

    def has_payload(fingerprint: str) -> bool:
        record = record_of(fingerprint)
        return record is not None and store.has_payload(record)

    def area_of(fingerprint: str) -> tuple[int, ...] | None:
        record = record_of(fingerprint)
        sizes = None if record is None else record.result.get("area_sizes")
        return None if sizes is None else tuple(sizes)

    matches, mismatches = match(*rows, lambda fingerprint: record_of(fingerprint) is not None, area_of)
    matches, retracted = _not_retracted(rows, matches, read_retractions(store.root))
    mismatches += retracted
    graph, stage_of, seed = Graph(), stages_of(indexes).__getitem__, rows[0].index.seed
    stage = comparison_stage(graph, matches, seed, stage_of)
    discard_damaged(store, stage)
    if not stands(store, stage):  # of dropped files there may be a comparison from before
        matches, dropped = readable(matches, has_payload)
        mismatches += dropped
        stage = comparison_stage(graph, matches, seed, stage_of)
    found = _computed(store, stage) if matches else {"compared": [], "refused": []}
    mismatches += [Mismatch(**one) for one in found["refused"]]
    compared = [{**one, "disagreements": _first(one["disagreements"], examples)} for one in found["compared"]]
    doubts = [_doubts(row, read_retractions(store.root)) for row in rows]
    if as_json:
        print_json(_as_json(rows, doubts, compared, mismatches, stage if matches else None))
    else:
        _print(rows, doubts, compared, mismatches, examples=examples > 0)


def _first(disagreements: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """The first so many, of either side in turn."""
    sides = [[one for one in disagreements if one["winner"] == side] for side in SIDES]
    in_turn = [one for pair in zip_longest(*sides) for one in pair if one is not None]
    return in_turn[:count]


def _find_rows(indexes: Sequence[Index], first: str, second: str) -> tuple[Row, Row]:
    """The two rows of these names. Where one name exists in a single recipe, the other is looked for there first.

    Raises:
        RecipeError: a name is unknown or ambiguous.
    """
    for name, other in ((first, second), (second, first)):
        with contextlib.suppress(RecipeError):
            row = find_row(indexes, name)
            partner = find_row([row.index], other)
            return (row, partner) if name is first else (partner, row)
    return find_row(indexes, first), find_row(indexes, second)


def _not_retracted(
    rows: Sequence[Row], matches: Sequence[Match], retractions: Mapping[str, Retraction]
) -> tuple[list[Match], list[Mismatch]]:
    """The matches that nothing retracted is part of, and the others with the reason."""
    whole: list[Match] = []
    refused: list[Mismatch] = []
    for one in matches:
        stages = {judged.values for side in (one.first, one.second) for judged in side.seeds}
        entries = [(row, entry) for row in rows for entry in row.outcomes if entry.stage in stages]
        why = "; ".join(dict.fromkeys(filter(None, (retraction(*each, retractions) for each in entries))))
        if why:
            refused.append(Mismatch(task=one.task, evaluation=one.evaluation, why=why))
        else:
            whole.append(one)
    return whole, refused


def _computed(store: Store, stage: Stage) -> dict[str, Any]:
    """The comparison, computed here and now unless it is there.

    Raises:
        StageError: it failed.
    """
    if not stands(store, stage):
        compute(store, stage)
    path = Comparison(store.directory(stage.kind.name, stage.fingerprint)).path
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


# ------------------------------------------------------------------------------------------------- output


def _doubts(row: Row, retractions: Mapping[str, Retraction]) -> list[str]:
    """What a row is made from and is not to be trusted."""
    return [text for text in dict.fromkeys(retraction(row, entry, retractions) for entry in row.outcomes) if text]


def _as_json(
    rows: Sequence[Row],
    doubts: Sequence[Sequence[str]],
    compared: Sequence[Mapping[str, Any]],
    mismatches: Sequence[Mismatch],
    stage: Stage | None,
) -> dict[str, Any]:
    about = [
        {"recipe": row.index.recipe, "row": row.name, "names": list(row.names), "retracted": list(its)}
        for row, its in zip(rows, doubts, strict=True)
    ]
    return {
        **dict(zip(SIDES, about, strict=True)),
        "stage": None if stage is None else stage.name,
        "compared": list(compared),
        "not_compared": [asdict(one) for one in mismatches],
    }


def _print(
    rows: Sequence[Row],
    doubts: Sequence[Sequence[str]],
    compared: Sequence[Mapping[str, Any]],
    mismatches: Sequence[Mismatch],
    *,
    examples: bool,
) -> None:
    console = output()
    for letter, row, its in zip("AB", rows, doubts, strict=True):
        console.print(Text.assemble((letter, "bold"), f"  {visible(row.label)}  ({row.index.recipe})"))
        for text in its:
            console.print(Text(f"   {visible(text)}", style="yellow"))
    if any(any(one["lacking"]) for one in compared):
        console.print(FEW_SEEDS, style="yellow")
    for one in compared:
        console.print()
        _print_task(console, one, claims=not any(one["lacking"]), examples=examples)
    if mismatches:
        console.print("\nnot compared", style="bold")
        for gap in mismatches:
            told = f"{gap.task}, {headline_label(gap.evaluation)}: {gap.why}"
            console.print(visible(told))


def _print_task(console: Console, one: Mapping[str, Any], *, claims: bool, examples: bool) -> None:
    gap = one["difference"]
    apart = claims and gap["low"] < gap["high"] and (gap["low"] > 0 or gap["high"] < 0)
    title = f"{one['task']}, {metric_label(one['metric'])}"
    counted = evaluation_named(one["evaluation"]).counted
    numbers = f"{plural(one['problems'], counted)} in {plural(gap['clusters'], 'cluster')}"
    console.print(Text.assemble((title, "bold"), f"  {numbers}"))
    for letter, side in zip("AB", SIDES, strict=True):
        made = one[side]
        console.print(f"  {letter}      {score(made['estimate'])}  {interval(made['low'], made['high'])}")
    level = f"{100 * gap['level']:g} %"
    limits = signed_interval(gap["low"], gap["high"])
    console.print(
        Text.assemble(
            "  A - B ",
            (f"{signed(gap['estimate'])} {limits}", "bold" if apart else ""),
            f" {level}, over {gap['covers']}",
        ),
    )
    if gap["clusters"] < FEWEST_CLUSTERS:
        console.print(f"  {FEW_CLUSTERS}", style="yellow")
    console.print(f"  A won {one['won']:,}, lost {one['lost']:,}, tied {one['tied']:,}")
    if examples and one["without_disagreements"]:
        console.print(f"  no disagreements to show: {one['without_disagreements']}", style="dim")
    for example in one["disagreements"]:
        _print_example(console, example)


def _print_example(console: Console, example: Mapping[str, Any]) -> None:
    letter = "A" if example["winner"] == "first" else "B"
    lines = [f"  {letter} right: {_clip(example['prompt'])}"]
    if "chosen" in example:
        both = [example["chosen"], example["rejected"]]
        start = max(0, len(os.path.commonprefix(both)) - BEFORE)  # noqa: RUF071  characters are meant, not folders
        lines += [f"    {name:8} {_clip(example[name], start)}" for name in ("chosen", "rejected")]
    else:
        for its_letter, side in zip("AB", SIDES, strict=True):
            pick = example[side]
            seeds = f", {pick['seeds']} of {plural(pick['of'], 'seed')}" if pick["of"] > 1 else ""
            lines.append(
                f"    {its_letter} picks ({'right' if pick['correct'] else 'wrong'}{seeds}): {_clip(pick['text'])}"
            )
    for line in lines:
        console.print(line)


def _clip(text: str, start: int = 0) -> str:
    """A piece of a text on one line, with dots where it goes on."""
    piece = text[start : start + CLIP]
    dots = "\N{HORIZONTAL ELLIPSIS}"
    return f"{dots if start else ''}{visible(piece)}{dots if start + CLIP < len(text) else ''}"
