"""`python -m harness.execution.rank STORE DIRECTORY`, started by torchrun: one of the processes that run a stage.

All run the same code over the same folder. What they have in common rank 0 writes; the events of the others go nowhere.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import distributed

from harness.errors import HarnessError
from harness.events import EventLog
from harness.execution.asked import asked_from
from harness.execution.ranks import ANSWER, ASKED, RANKS, STOP, end_with_torchrun_alone
from harness.execution.worker import prepare_libraries, stage_context
from harness.store.record import EVENTS, write_json
from harness.store.store import Store
from harness.training.parallel import Parallel


def main(arguments: Sequence[str]) -> None:
    """Run the stage; rank 0 leaves its result, or whoever fails its error, for the worker that waits for it."""
    end_with_torchrun_alone()
    root, folder = map(Path, arguments)
    is_main = os.environ["RANK"] == "0"
    ranks = folder / RANKS
    store = Store(root)
    asked = asked_from(ranks / ASKED, store)
    with tempfile.TemporaryDirectory() as nowhere:
        events = EventLog(folder / EVENTS if is_main else Path(nowhere) / EVENTS)
        context = stage_context(asked, store, folder, events, held={}, should_stop=(ranks / STOP).exists)
        module = importlib.import_module(asked.task.module)
        prepare_libraries(asked.threads)
        Parallel.on(context.how.device, context.how.sharing)  # from here on they know of each other
        try:
            result = module.run(context)
        except HarnessError as error:
            told = [type(error).__name__, error.rule, error.value, error.remedy]
            write_json(ranks / ANSWER, {"error": told})
            os._exit(1)  # the others may wait for this one: torchrun ends them
        events.close()
    if is_main:
        write_json(ranks / ANSWER, {"result": result})
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
