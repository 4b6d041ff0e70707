"""What a joint report says beside its boards: every recipe's own sections, each under the recipe's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from harness.recipe.axes import Axis, make_axes
from harness.report.answer import answer
from harness.report.collect import ReportData
from harness.report.comparison import SETTING
from harness.report.facts import Facts
from harness.report.failures import TaskFailures
from harness.report.joint import SEPARATOR, Joint
from harness.report.overview import Caution, Overview
from harness.report.provenance import origins
from harness.report.status import StageStatus
from harness.report.words import few, plural

T = TypeVar("T")


def joint_overview(joint: Joint, analyses: Mapping[int, Mapping[str, Any]]) -> Overview:
    """The boards, claims and cautions of all recipes.

    Args:
        analyses: the content of each joint analysis, see `Joint.boards`.
    """
    statuses: dict[str, StageStatus] = {}
    for part in joint.parts:
        statuses |= {key: one for key, one in part.seen.statuses.items() if statuses.get(key) is None or one.record}
    return Overview(
        analysis=None,
        statuses=statuses,
        runs={key: run for part in joint.parts for key, run in part.seen.runs.items()},
        boards=joint.boards(analyses),
        findings=tuple(
            replace(one, says=f"{part.name}{SEPARATOR}{one.says}") for part in joint.parts for one in part.seen.findings
        ),
        effects={},
        cautions=(*joint.cautions, *_cautions((part.name, part.seen.cautions) for part in joint.parts)),
    )


def joint_data(joint: Joint, name: str, seen: Overview, datas: Sequence[ReportData]) -> ReportData:
    """The whole joint report.

    Args:
        datas: the content of each recipe's own report, in the order of the parts.
    """
    names = [part.name for part in joint.parts]
    both = list(zip(names, datas, strict=True))
    return replace(
        datas[0],
        name=name,
        notes=" ".join(f"{part}{SEPARATOR}{data.notes}" for part, data in both if data.notes),
        answer=answer(seen.boards),
        facts=_facts(both),
        line=_line(joint, seen),
        overview=seen,
        effects=_tables((part, data.effects) for part, data in both),
        cautions=(*joint.cautions, *_cautions((part, data.cautions) for part, data in both)),
        settings=tuple(
            replace(one, name=joint.names[at][SETTING, one.name])
            for at, data in enumerate(datas)
            for one in data.settings
        ),
        parameters=_one_table([(part, data.parameters) for part, data in both]),
        training=_one_table([(part, data.training) for part, data in both]),
        probes=_one_table([(part, data.probes) for part, data in both]),
        tuning=_one_table([(part, data.tuning) for part, data in both]),
        curves=tuple(
            replace(one, setting=joint.names[at].get((SETTING, one.setting), one.setting))
            for at, data in enumerate(datas)
            for one in data.curves
        ),
        failures=_failures(joint, datas),
        data=_tables((part, data.data) for part, data in both),
        pairs=_once(one for data in datas for one in data.pairs),
        judged_pairs=_once(one for data in datas for one in data.judged_pairs),
        pools=_once(one for data in datas for one in data.pools),
        shared=_sentences((part, data.shared) for part, data in both),
        times=_tables((part, data.times) for part, data in both),
        methods=_sentences((part, data.methods) for part, data in both),
        origins=origins(seen.boards, seen.statuses),
        data_stages=tuple({link.name: link for data in datas for link in data.data_stages}.values()),
        unfinished=_one_table([(part, data.unfinished) for part, data in both]),
        search=None,  # each is its recipe's
        axes=_axes(datas),
        spent={
            joint.names[at][SETTING, one]: spent for at, data in enumerate(datas) for one, spent in data.spent.items()
        },
        damaged=_once(one for data in datas for one in data.damaged),
        parts=tuple(replace(data, name=part) for part, data in both),
    )


def _facts(both: Sequence[tuple[str, ReportData]]) -> tuple[tuple[str, str], ...]:
    """What is the same in all recipes once, anything else by recipe."""
    names = dict.fromkeys(name for _, data in both for name, _ in data.facts)
    found = []
    for name in names:
        values = {part: dict(data.facts).get(name, "") for part, data in both}
        if len(set(values.values())) == 1:
            found.append((name, next(iter(values.values()))))
        else:
            found += [(f"{name}, {part}", value) for part, value in values.items() if value]
    return tuple(found)


def _line(joint: Joint, seen: Overview) -> str:
    stages = {stage.fingerprint for part in joint.parts for stage in part.plan.stages}
    done = sum(seen.statuses[key].state == "done" for key in stages)
    settings = {name for names in joint.names for (kind, _), name in names.items() if kind == SETTING}
    parts = [
        plural(len(joint.parts), "recipe"),
        plural(len(settings), "setting"),
        f"judged on {few([board.title for board in seen.boards])}",
        f"{done:,} of {len(stages):,} stages done",
    ]
    return " \N{MIDDLE DOT} ".join(parts)


def _cautions(parts: Iterable[tuple[str, Sequence[Caution]]]) -> list[Caution]:
    """Cautions of the same title and text as one, its items by recipe."""
    found: dict[tuple[str, str], list[str]] = {}
    for part, cautions in parts:
        for one in cautions:
            items = found.setdefault((one.title, one.text), [])
            items += [f"{part}{SEPARATOR}{item}" for item in one.items] or [part]
    return [Caution(title=title, text=text, items=tuple(items)) for (title, text), items in found.items()]


def _tables(parts: Iterable[tuple[str, Sequence[Facts]]]) -> tuple[Facts, ...]:
    """Each recipe's tables under its name; a table that several have is shown once, under all their names."""
    found: dict[tuple[Any, ...], tuple[Facts, list[str]]] = {}
    for part, tables in parts:
        for table in tables:
            key = (table.title, table.columns, table.rows, table.note)
            found.setdefault(key, (table, []))[1].append(part)
    return tuple(replace(table, title=f"{few(names)}{SEPARATOR}{table.title}") for table, names in found.values())


def _one_table(tables: Sequence[tuple[str, Facts]]) -> Facts:
    """One table of all recipes' rows, with a column that names the recipe; columns that a recipe lacks are empty."""
    columns = list(dict.fromkeys(column for _, table in tables for column in _columns(table)))
    words = {column for _, table in tables for at, column in enumerate(_columns(table)) if at in table.words}
    rows = []
    for part, table in tables:
        for row in table.rows:
            cells = dict(zip(_columns(table), row, strict=True))
            rows.append((part, *(cells.get(column, "") for column in columns)))
    return Facts(
        title=tables[0][1].title,
        columns=("recipe", *(name for name, _ in columns)),
        rows=tuple(rows),
        words=(0, *(at for at, column in enumerate(columns, 1) if column in words)),
        note=" ".join(_sentences((part, [table.note] if table.note and table.rows else []) for part, table in tables)),
    )


def _columns(table: Facts) -> list[tuple[str, int]]:
    """Columns, those of one name told apart by which it is."""
    return [(name, table.columns[:at].count(name)) for at, name in enumerate(table.columns)]


def _sentences(parts: Iterable[tuple[str, Sequence[str]]]) -> tuple[str, ...]:
    """Paragraphs, each once: those that only some recipes have under their names."""
    found: dict[str, list[str]] = {}
    names = []
    for part, paragraphs in parts:
        names.append(part)
        for one in dict.fromkeys(paragraphs):
            found.setdefault(one, []).append(part)
    return tuple(text if len(of) == len(names) else f"{few(of)}{SEPARATOR}{text}" for text, of in found.items())


def _failures(joint: Joint, datas: Sequence[ReportData]) -> dict[str, TaskFailures]:
    """Where models fail, on the boards that show them."""
    found = {}
    for group in joint.groups:
        both = [
            (at, datas[at].failures[board.task])
            for at, board in group.boards.items()
            if board.task in datas[at].failures
        ]
        if both:
            found[group.task] = TaskFailures(
                tables=_tables((joint.parts[at].name, one.tables) for at, one in both),
                examples=tuple(
                    (f"{joint.parts[at].name}{SEPARATOR}{row}", examples)
                    for at, one in both
                    for row, examples in one.examples
                ),
            )
    return found


def _axes(datas: Sequence[ReportData]) -> tuple[Axis, ...]:
    """Every axis of any recipe, with the values that it has in all of them; numeric where it is so in each."""
    found: dict[str, dict[str, tuple[str, str, Any]]] = {}
    for axis in (axis for data in datas for axis in data.axes):
        values = found.setdefault(axis.name, {})
        values.update({one.name: (one.name, one.label, one.plain) for one in axis.values})
    return make_axes({name: list(values.values()) for name, values in found.items()})


def _once(found: Iterable[T]) -> tuple[T, ...]:
    """In their order, equal ones once; they need not be hashable."""
    kept: list[T] = []
    kept += (one for one in found if one not in kept)
    return tuple(kept)
