"""`harness diff`: what two stages differ in."""

from __future__ import annotations

from pathlib import Path

from harness.cli.console import output
from harness.cli.tables import print_table, table
from harness.cli.why import differences
from harness.cli.workspace import open_store
from harness.store.identity import SHORT
from harness.store.record import Record


def diff_stages(first: str, second: str, workdir: Path) -> None:
    """Print differing fields: identity (why they are two stages), then environment, then results."""
    store = open_store(workdir)
    left, right = store.find(first), store.find(second)
    any_difference = False
    for title, one, other in (
        ("identity", left.identity, right.identity),
        ("environment (may move the last bits)", left.environment, right.environment),
        ("result", left.result, right.result),
    ):
        rows = list(differences(one, other))
        if rows:
            any_difference = True
            shown = table(title, "field", _name(left), _name(right))
            for path, a, b in rows:
                shown.add_row(path, repr(a), repr(b))
            print_table(shown)
    same = left.output_digest == right.output_digest
    output().print(f"outputs: {'equal, bit for bit' if same else 'different'}")
    if not any_difference:
        output().print("no field differs")


def _name(record: Record) -> str:
    return f"{record.kind}/{record.fingerprint[:SHORT]}"
