"""Running stages of a workspace: the recipe's executor, under the live view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.cli.live import LiveView
from harness.cli.workspace import Workspace, slots_and_threads
from harness.errors import MissingRequirement
from harness.execution.local import LocalExecutor
from harness.execution.runner import Runner, Summary, how_of
from harness.plan.cost import estimate
from harness.plan.graph import Stage
from harness.plan.kinds import KINDS, module_of
from harness.recipe.schema import Runtime


def execute(workspace: Workspace, stages: Sequence[Stage], *, everything: Sequence[Stage]) -> Summary:
    """Run stages with the recipe's executor under the live view."""
    runtime = workspace.runtime
    slots, threads = slots_and_threads(runtime)
    executor = LocalExecutor(
        slots=slots,
        threads=threads,
        gpus=gpus_of(runtime, stages),
        preload=sorted({module_of(stage.kind) for stage in stages}),
    )
    guess = estimate(stages, everything, workspace.store, slots)
    try:
        with LiveView(workspace.store, guess) as live:
            runner = Runner(workspace.store, executor, live, how_of(runtime))
            return runner.run(stages, everything)
    finally:
        executor.close()


def gpus_of(runtime: Runtime, stages: Sequence[Stage]) -> list[int]:
    """Indices of the GPUs to use, found without importing torch.

    Raises:
        MissingRequirement: the recipe asks for CUDA and there is no GPU.
    """
    if runtime.device == "cpu" or not any(KINDS[stage.kind].accelerated for stage in stages):
        return []
    found = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    if runtime.device == "cuda" and not found:
        raise MissingRequirement(
            "`runtime.device: cuda` needs a GPU", "this machine shows none", "set device: auto or cpu"
        )
    return list(range(min(found, runtime.slots or found)))
