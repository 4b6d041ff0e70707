"""What vLLM's worker does before it imports vLLM."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

FORKS = """
import multiprocessing
import os
import time

from harness.engines.vllm_worker import listen

lines = listen()
assert lines.get() == "settings\\n"
time.sleep(0.5)  # it waits for the next line by now
child = multiprocessing.get_context("fork").Process(target=print, args=("forked",))
child.start()
child.join(20)
print("ended with", child.exitcode, flush=True)
child.kill()
os._exit(0)
"""


def test_processes_that_are_forked_while_it_listens_run() -> None:
    """As vLLM's engine on GPUs: a forked process closes stdin before anything else."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the end of stdin ends the whole group
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write("settings\n")
        worker.stdin.flush()
        said = [worker.stdout.readline(), worker.stdout.readline()]
        worker.kill()
    assert said == ["forked\n", "ended with 0\n"]
