"""`python -m harness.execution.rerun STORE KIND/FINGERPRINT`: one stage again, alone, in this very process.

For a debugger: nothing is caught, so it stops where the stage goes wrong. What the stage writes goes into a folder
beside the store, which is only read; an interrupted training begins from its start and not from where it was.
`harness show STAGE --command` prints the line.
"""

from __future__ import annotations

import importlib
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import StoreError
from harness.events import EventLog
from harness.execution.asked import AskedTask, missing_inputs, read_asked
from harness.execution.worker import forget_launcher, prepare_libraries, stage_context
from harness.store.identity import SHORT, fingerprint
from harness.store.record import EVENTS, payload_files
from harness.store.store import Store

DEBUG = "debug"


def main(arguments: Sequence[str]) -> None:
    """Run the stage and say where its output is and whether it equals the record."""
    root, name = arguments
    forget_launcher()
    store = Store(Path(root))
    kind, _, start = name.partition("/")
    asked = read_asked(store, kind, start)
    if asked is None:
        raise StoreError(f"{name} left no task to run again", "", "run its recipe")
    missing = missing_inputs(asked, store)
    if missing:
        raise StoreError(f"inputs are missing: {', '.join(missing)}", "", "run its recipe first")
    directory = scratch(store, asked)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    run_stage(asked, store, directory)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a folder's name may be none that a terminal can show
    print(f"output in {directory}; {_verdict(store, asked, directory)}")  # noqa: T201  a program of its own


def scratch(store: Store, asked: AskedTask) -> Path:
    """Where a stage that runs again writes; emptied before it does."""
    return store.root.parent / DEBUG / f"{asked.task.kind}-{asked.task.fingerprint[:SHORT]}"


def run_stage(asked: AskedTask, store: Store, directory: Path) -> None:
    """What a worker does with a task, without its lease, its log and its catching of errors."""
    events = EventLog(directory / EVENTS)
    context = stage_context(asked, store, directory, events, held={})
    module = importlib.import_module(asked.task.module)
    prepare_libraries(asked.threads)
    module.run(context)
    events.close()


def _verdict(store: Store, asked: AskedTask, directory: Path) -> str:
    record = store.record(asked.task.kind, asked.task.fingerprint)
    if record is None:
        return "the store has no record of it to compare with"
    files = {path: digest for path, (digest, _) in payload_files(directory).items()}
    if fingerprint(files) == record.output_digest:
        return "equal to the record, bit for bit"
    names = [path for path, digest in files.items() if record.files.get(path, [""])[0] != digest]
    lacking = sorted(record.files.keys() - files.keys())
    return f"not equal to the record: {', '.join([*names, *lacking])}"


if __name__ == "__main__":
    main(sys.argv[1:])
