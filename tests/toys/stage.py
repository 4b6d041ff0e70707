"""A stage that does what its spec says, well or badly: what executors are tested with."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from harness.errors import CorruptArtifact, DataError, TrainingStopped
from harness.stages.context import StageContext

STEP_SECONDS = 0.02


def run(context: StageContext) -> dict[str, Any]:
    """Do `spec["does"]`."""
    print(f"about to {context.spec['does']}")  # noqa: T201  a stage's output belongs to its log
    return DEEDS[context.spec["does"]](context)


def write(context: StageContext) -> dict[str, Any]:
    time.sleep(context.spec.get("seconds", 0.0))
    (context.directory / "text.txt").write_text(context.spec.get("text", ""), encoding="utf-8")
    return {}


def fill(context: StageContext) -> dict[str, Any]:
    """Hold so many bytes, each page written, and let go."""
    return {"held": len(b"x" * context.spec["bytes"])}


def leave(context: StageContext) -> dict[str, Any]:
    os._exit(3)


def leave_politely(context: StageContext) -> dict[str, Any]:
    sys.exit(4)


def kill_itself(context: StageContext) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still there")


def stumble(context: StageContext) -> dict[str, Any]:
    raise ValueError("the toy stumbled\nand fell")


def refuse(context: StageContext) -> dict[str, Any]:
    raise DataError("a toy must be whole", "it has a crack", "buy another")


def lack(context: StageContext) -> dict[str, Any]:
    raise CorruptArtifact("a model's weights must be whole", "one is missing", "fetch it again")


def hold(context: StageContext) -> dict[str, Any]:
    """Count the tasks that found what an earlier one of the same affinity held."""
    context.held["count"] = context.held.get("count", 0) + 1
    return {"count": context.held["count"]}


def report(context: StageContext) -> dict[str, Any]:
    """What the numeric libraries were told, and where the stage runs."""
    import threadpoolctl
    import torch

    return {
        "torch": torch.get_num_threads(),
        "pools": sorted({pool["num_threads"] for pool in threadpoolctl.threadpool_info()}),
        "openmp": os.environ["OMP_NUM_THREADS"],
        "rayon": os.environ["RAYON_NUM_THREADS"],
        "device": context.how.device,
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "launched": [name for name in ("RANK", "WORLD_SIZE", "PMI_SIZE", "MASTER_ADDR") if name in os.environ],
    }


def step(context: StageContext) -> dict[str, Any]:
    """Resumable work: saves every step, stops when asked unless it is `deaf`."""
    context.resume.mkdir(exist_ok=True)
    saved = context.resume / "step"
    started_from = int(saved.read_text()) if saved.exists() else 0
    for done in range(started_from + 1, context.spec["steps"] + 1):
        time.sleep(STEP_SECONDS)
        saved.with_suffix(".new").write_text(str(done))
        saved.with_suffix(".new").replace(saved)
        if not context.spec.get("deaf") and context.should_stop():
            raise TrainingStopped("a toy runs to its end", f"it was asked to stop at step {done}")
    (context.directory / "text.txt").write_text("finished", encoding="utf-8")
    return {"started_from": started_from}


DEEDS: dict[str, Callable[[StageContext], dict[str, Any]]] = {
    deed.__name__: deed
    for deed in (write, fill, leave, leave_politely, kill_itself, stumble, refuse, lack, hold, report, step)
}
