"""Running stages of a workspace: the recipe's executor, under the live view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.cli.environment import gpus_of
from harness.cli.live import LiveView
from harness.cli.workspace import Workspace, slots_and_threads
from harness.execution.local import LocalExecutor
from harness.execution.runner import Runner, Summary, how_of
from harness.pipeline.graph import Stage
from harness.plan.cost import estimate
from harness.plan.work import Work
from harness.recipe.runtime import Runtime
from harness.store.store import Store


def execute(workspace: Workspace, stages: Sequence[Stage], *, everything: Sequence[Stage]) -> Summary:
    """Run stages with the recipe's executor under the live view."""
    how = how_of(workspace.runtime)
    return execute_in(workspace.store, workspace.runtime, stages, everything=everything, how=how)


def execute_first(workspace: Workspace, wanted: Sequence[Stage], work: Work) -> Summary:
    """Run what is left of some stages and of what they are made from.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    needed = workspace.plan.graph.in_order(wanted)
    left = set(work.to_run)
    summary = execute(workspace, [stage for stage in needed if stage in left], everything=needed)
    if summary.interrupted:
        raise KeyboardInterrupt
    return summary


def execute_in(
    store: Store, runtime: Runtime, stages: Sequence[Stage], *, everything: Sequence[Stage], how: Mapping[str, Any]
) -> Summary:
    """As `execute`, without a recipe; `how` is what stages are told, see `HowToRun`."""
    slots, threads = slots_and_threads(runtime)
    executor = LocalExecutor(
        slots=slots,
        threads=threads,
        gpus=gpus_of(runtime, stages),
        preload=sorted({stage.kind.module for stage in stages}),
    )
    guess = estimate(stages, everything, store, executor.capacity().slots)
    try:
        with LiveView(store, guess, before=len(set(everything) - set(stages))) as live:
            return Runner(store, executor, live, how).run(stages, everything)
    finally:
        executor.close()
