"""`harness show`: one stage in full."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from harness.cli.console import output, print_json, table
from harness.cli.workspace import open_store
from harness.report.words import duration
from harness.store.record import LOG
from harness.store.retractions import read_retractions


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
    retraction = read_retractions(store.root).get(record.fingerprint)
    if retraction is not None:
        console.print(f"retracted: {retraction.reason}", markup=False, style="yellow")
    console.print(f"in {directory}, log {directory / LOG}", markup=False, soft_wrap=True)
    for title, content in (
        ("asked", record.identity),
        ("result", record.result),
        ("environment", record.environment),
    ):
        console.print(f"\n{title}", style="bold")
        console.print(json.dumps(content, indent=1, sort_keys=True), markup=False)
    files = table("\nfiles", "file", "bytes", "sha256", right=("bytes",))
    for path, (digest, size) in record.files.items():
        files.add_row(path, f"{size:,}", digest[:12])
    console.print(files)
    users = [other for other in store.records() if record.fingerprint in json.dumps(dict(other.identity["inputs"]))]
    console.print(f"\nread by {len(users)} stages", style="bold")
    for user in users[:20]:
        console.print(f"{user.kind}/{user.fingerprint[:12]}  {store.run_facts(user)['label']}", markup=False)
