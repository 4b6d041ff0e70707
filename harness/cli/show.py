"""`harness show`: one stage in full, finished or not, and the line that runs it again under a debugger."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.cli.console import clipped, output, print_json, printable, visible
from harness.cli.tables import print_table, table
from harness.cli.workspace import REPORTS, open_store
from harness.errors import StoreError
from harness.execution.asked import AskedTask, missing_inputs, read_asked, unfinished
from harness.pipeline.graph import Graph, Stage
from harness.pipeline.kinds import KINDS, noted_stage
from harness.pipeline.pair_kinds import PAIR_QUALITY, PAIRS
from harness.report.index import read_indexes, stages_of
from harness.report.pair_quality import quality_table, read_examples
from harness.report.status import StageStatus, look
from harness.report.words import duration, plural
from harness.store.identity import SHORT
from harness.store.record import LOG, Record
from harness.store.retractions import read_retractions
from harness.store.store import Store

RERUN = "harness.execution.rerun"
MOST_EXAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class Found:
    """A stage somebody asked to see: its record if it is finished, else how far it is."""

    kind: str
    fingerprint: str
    asked: AskedTask | None
    record: Record | None = None
    status: StageStatus | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.fingerprint[:SHORT]}"


def show_stage(name: str, workdir: Path, *, as_json: bool) -> None:
    """Print a stage's specification, its state, result, files, environment, log and folder."""
    store = open_store(workdir)
    found = find_stage(name, store, workdir)
    if found.record is not None:
        _show_finished(found.record, store, as_json=as_json)
    elif found.status is not None:
        _show_unfinished(found, found.status, store, as_json=as_json)


def show_command(name: str, workdir: Path, *, as_json: bool) -> None:
    """Print the exact line that runs one stage again under a debugger; it writes beside the store, never into it.

    Raises:
        StoreError: the stage left no task, or its inputs are not there.
    """
    store = open_store(workdir)
    found = find_stage(name, store, workdir)
    if found.asked is None:
        raise StoreError(
            f"{found.name} left no task to run again",
            "it never started, or an older version ran it",
            f"delete {store.directory(found.kind, found.fingerprint)} if it is there, and run its recipe",
        )
    missing = missing_inputs(found.asked, store)
    if missing:
        raise StoreError(
            f"inputs are missing: {', '.join(missing)}",
            "",
            "run the recipe, which computes what an unfinished stage needs",
        )
    words = [sys.executable, "-m", "pdb", "-c", "continue", "-m", RERUN, str(store.root.resolve()), found.name]
    if as_json:
        print_json({"stage": found.name, "command": words})
    else:
        output().print(shlex.join(words))


# ------------------------------------------------------------------------------------------------- finding


def find_stage(name: str, store: Store, workdir: Path) -> Found:
    """The stage whose fingerprint begins with `name`, which may be `kind/` prefixed.

    Finished stages come first; only where none matches, those that were begun or are planned are looked through.

    Raises:
        StoreError: none or several match.
    """
    name = f"{name}/" if name in KINDS else name
    kind, _, start = name.rpartition("/")
    records = store.matching(name)
    if len(records) == 1 and start:
        (record,) = records
        asked = read_asked(store, record.kind, record.fingerprint)
        return Found(kind=record.kind, fingerprint=record.fingerprint, record=record, asked=asked)
    planned = {} if records else stages_of(read_indexes(workdir / REPORTS))
    begun = () if records else unfinished(store)
    matching = {
        (its_kind, fingerprint[:SHORT])
        for its_kind, fingerprint in [*begun, *((one.kind.name, key) for key, one in planned.items())]
        if kind in ("", its_kind) and fingerprint[: len(start)] == start[: len(fingerprint)]
    }
    count = len(records) or len(matching)
    if count != 1 or not start:
        found = f"{plural(count, 'stage matches', 'stages match')}" if count else "no stage matches"
        raise StoreError(f"{found} {clipped(name)}", "", "see `harness ls` for kinds and fingerprints")
    return _unfinished(*matching.pop(), planned, store)


def _unfinished(kind: str, short: str, planned: Mapping[str, Stage], store: Store) -> Found:
    asked = read_asked(store, kind, short)
    stage = next((one for key, one in planned.items() if one.kind.name == kind and key.startswith(short)), None)
    if stage is None:  # of no recipe that left an index
        fingerprint, label = (short, kind) if asked is None else (asked.task.fingerprint, asked.task.label)
        stage = noted_stage(kind, fingerprint, label)
    status = look(Graph().in_order([stage]), store)[stage.fingerprint]
    return Found(kind=kind, fingerprint=stage.fingerprint, status=status, asked=asked)


# ------------------------------------------------------------------------------------------------- showing


def _show_unfinished(found: Found, status: StageStatus, store: Store, *, as_json: bool) -> None:
    partial = store.partial(found.kind, found.fingerprint)
    log = partial / LOG if (partial / LOG).is_file() else None
    asked = None if found.asked is None else found.asked.task
    if as_json:
        print_json(
            {
                "kind": found.kind,
                "fingerprint": found.fingerprint,
                "label": status.stage.label,
                "state": status.state,
                "reason": status.reason,
                "log": None if log is None else str(log),
                "identity": None if asked is None else asked.identity,
                "task": None if found.asked is None else found.asked.as_json(),
            }
        )
        return
    console = output()
    console.print(f"{found.kind}/{found.fingerprint}")
    reason = f": {status.reason}" if status.reason else ""
    console.print(visible(f"{status.stage.label}, {status.state}{reason}"))
    if log is not None:
        console.print(f"in {partial}, log {log}")
    if asked is not None:
        _section("specification", asked.identity)


def _show_finished(record: Record, store: Store, *, as_json: bool) -> None:
    facts = store.run_facts(record)
    directory = store.directory(record.kind, record.fingerprint)
    if as_json:
        print_json({**asdict(record), "run": facts})
        return
    console = output()
    console.print(f"{record.kind}/{record.fingerprint}")
    console.print(f"{facts['label']}, {duration(facts['seconds'])}, attempt {facts['attempts']}")
    retraction = read_retractions(store.root).get(record.fingerprint)
    if retraction is not None:
        console.print(f"retracted: {retraction.reason}", style="yellow")
    console.print(f"in {directory}, log {directory / LOG}")
    _section("specification", record.identity)
    _section("result", record.result)
    _section("environment", record.environment)
    for quality in _qualities(store, record):
        _print_quality(console, store, quality)
    files = table("\nfiles", "file", "bytes", "sha256", right=("bytes",))
    for path, (digest, size) in record.files.items():
        files.add_row(path, f"{size:,}", digest[:12])
    print_table(files)
    users = _readers(store, record)
    console.print(f"\nread by {plural(len(users), 'stage')}", style="bold")
    for user in users[:20]:
        console.print(f"{user.kind}/{user.fingerprint[:SHORT]}  {_label(user, store)}")


def _section(title: str, content: Mapping[str, Any]) -> None:
    console = output()
    console.print(f"\n{title}", style="bold")
    console.print(json.dumps(content, indent=1, sort_keys=True))


def _label(record: Record, store: Store) -> str:
    try:
        return str(store.run_facts(record)["label"])
    except StoreError as error:  # of another stage than the one that is shown
        return error.value


def _readers(store: Store, record: Record) -> list[Record]:
    return [other for other in store.records() if record.fingerprint in json.dumps(dict(other.identity["inputs"]))]


def _qualities(store: Store, record: Record) -> list[Record]:
    """What is known of a pair set's quality: the stage itself, or those that looked at these pairs."""
    if record.kind == PAIR_QUALITY.name:
        return [record]
    return (
        [other for other in _readers(store, record) if other.kind == PAIR_QUALITY.name]
        if record.kind == PAIRS.name
        else []
    )


def _print_quality(console: Console, store: Store, record: Record) -> None:
    facts = quality_table(record)
    columns = tuple(name or " " for name in facts.columns)
    shown = table(f"\n{facts.title}: {record.kind}/{record.fingerprint[:SHORT]}", *columns, right=columns[1:])
    for cells in facts.rows:
        shown.add_row(*map(printable, cells))
    print_table(shown)
    console.print(printable(facts.note))
    damage = store.damage(record)
    if damage:
        remedy = f"delete {store.directory(record.kind, record.fingerprint)} and run its recipe again"
        console.print(f"{damage}; {remedy}", style="yellow")
    elif store.has_payload(record):
        for example in read_examples(store.directory(record.kind, record.fingerprint))[:MOST_EXAMPLES]:
            console.print(f"\n{printable(example['id'])}: {example['why']}", style="bold")
            for name in ("prompt", "chosen", "rejected", "detail"):
                console.print(f"{name}:\n{printable(example[name])}")
