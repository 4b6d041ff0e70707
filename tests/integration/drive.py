"""`python -m tests.integration.drive WORKDIR STAGE`: runs one stage of the tiny recipe from a driver to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.execution.local import LocalExecutor
from harness.execution.runner import Runner, how_of
from tests.integration.pipelines import Watcher, everything, tiny

if __name__ == "__main__":
    workspace = tiny(Path(sys.argv[1]))
    (stage,) = [stage for stage in everything(workspace) if stage.fingerprint == sys.argv[2]]
    executor = LocalExecutor(slots=1, threads=1, preload=[stage.kind.module])
    Runner(workspace.store, executor, Watcher(), how_of(workspace.runtime)).run([stage], everything(workspace))
    executor.close()
