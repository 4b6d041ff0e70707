"""`harness show`: one stage in full."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from harness.cli.console import output, print_json, table, visible
from harness.cli.workspace import open_store
from harness.report.pair_quality import quality_table, read_examples
from harness.report.words import duration
from harness.store.identity import SHORT
from harness.store.record import LOG, Record
from harness.store.store import Store

MOST_EXAMPLES = 4


def show_stage(name: str, workdir: Path, *, as_json: bool) -> None:
    """Print what was asked, what came out, files, environment, log and where it lies."""
    store = open_store(workdir)
    record = store.find(name)
    facts = store.run_facts(record)
    directory = store.directory(record.kind, record.fingerprint)
    if as_json:
        print_json({**asdict(record), "run": facts})
        return
    console = output()
    console.print(f"{record.kind}/{record.fingerprint}", markup=False)
    console.print(f"{facts['label']}, {duration(facts['seconds'])}, attempt {facts['attempts']}", markup=False)
    console.print(f"in {directory}, log {directory / LOG}", markup=False, soft_wrap=True)
    for title, content in (
        ("asked", record.identity),
        ("result", record.result),
        ("environment", record.environment),
    ):
        console.print(f"\n{title}", style="bold")
        console.print(json.dumps(content, indent=1, sort_keys=True), markup=False)
    for quality in _qualities(store, record):
        _print_quality(console, store, quality)
    files = table("\nfiles", "file", "bytes", "sha256", right=("bytes",))
    for path, (digest, size) in record.files.items():
        files.add_row(path, f"{size:,}", digest[:12])
    console.print(files)
    users = _readers(store, record)
    console.print(f"\nread by {len(users)} stages", style="bold")
    for user in users[:20]:
        console.print(f"{user.kind}/{user.fingerprint[:12]}  {store.run_facts(user)['label']}", markup=False)


def _readers(store: Store, record: Record) -> list[Record]:
    return [other for other in store.records() if record.fingerprint in json.dumps(dict(other.identity["inputs"]))]


def _qualities(store: Store, record: Record) -> list[Record]:
    """What is known of a pair set's quality: the stage itself, or those that looked at these pairs."""
    if record.kind == "pair_quality":
        return [record]
    return (
        [other for other in _readers(store, record) if other.kind == "pair_quality"] if record.kind == "pairs" else []
    )


def _print_quality(console: Console, store: Store, record: Record) -> None:
    facts = quality_table(record)
    columns = tuple(name or " " for name in facts.columns)
    shown = table(f"\n{facts.title}: {record.kind}/{record.fingerprint[:SHORT]}", *columns, right=columns[1:])
    for cells in facts.rows:
        shown.add_row(*map(escape, map(visible, cells)))
    console.print(shown)
    console.print(visible(facts.note), markup=False)
    if store.has_payload(record):
        for example in read_examples(store.directory(record.kind, record.fingerprint))[:MOST_EXAMPLES]:
            console.print(f"\n{visible(example['id'])}: {example['why']}", style="bold", markup=False)
            for name in ("prompt", "chosen", "rejected", "detail"):
                console.print(f"{name}:\n{visible(example[name])}", markup=False)
