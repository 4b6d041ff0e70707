"""Running stages of a workspace: the recipe's executor, under the live view."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cli.environment import gpus_of
from harness.cli.live import LiveView
from harness.cli.workspace import Workspace, slots_and_threads
from harness.execution.local import LocalExecutor
from harness.execution.runner import Runner, Summary, how_of
from harness.plan.cost import estimate
from harness.plan.graph import Stage
from harness.plan.kinds import module_of


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
