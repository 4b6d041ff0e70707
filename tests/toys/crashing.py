"""A real stage whose process ends at its n-th operation on files of the store: every n is one way to crash.

The stage and n stand in `crash.json` beside the store; an n of 0 writes how many operations there are to `operations`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from harness.stages.context import StageContext

CRASH_FILE = "crash.json"
COUNT_FILE = "operations"
EXIT_CODE = 9
CHANGES = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"})


def run(context: StageContext) -> dict[str, Any]:
    """Do the work of the stage named in the file, counting what it and the worker do to the store from now on."""
    store = context.directory.parent.parent
    crash = json.loads((store.parent / CRASH_FILE).read_text(encoding="utf-8"))
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        path = _changed(event, arguments)
        if path is None or not path.startswith(str(store)):
            return
        seen += 1
        if not crash["operation"]:
            (store.parent / COUNT_FILE).write_text(str(seen))
        elif seen == crash["operation"]:
            if event == "open" and "w" in arguments[1]:
                os.close(os.open(path, os.O_CREAT | os.O_TRUNC))  # opened, and nothing written yet
            os._exit(EXIT_CODE)

    sys.addaudithook(count)  # cannot be taken off again: the task must be one that retires its worker
    result: dict[str, Any] = importlib.import_module(crash["module"]).run(context)
    return result


def _changed(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The path of a file or folder that is about to change, if it is."""
    if event == "open":
        writes = isinstance(arguments[1], str) and arguments[1] not in ("r", "rb")
        return os.fspath(arguments[0]) if writes and isinstance(arguments[0], str | os.PathLike) else None
    if event not in CHANGES:
        return None
    path, folder = os.fspath(arguments[0]), arguments[-1]  # the last argument of these is an open folder, or -1
    if event in ("os.remove", "os.rmdir", "os.mkdir") and folder != -1:
        return f"{os.readlink(f'/proc/self/fd/{folder}')}/{path}"
    return str(path)
