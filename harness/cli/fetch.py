"""`harness fetch`: bring here what a recipe takes from the hub, for runs on machines that do not reach it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.cli.console import errors, output, visible
from harness.cli.environment import corpus_problems, hub_problems
from harness.cli.execute import execute_first
from harness.cli.workspace import open_workspace
from harness.errors import ProblemList, StageError
from harness.pipeline.corpus import CORPUS_PART, HubPart
from harness.pipeline.evaluations.retention import LM_EVAL_TASK
from harness.pipeline.graph import Stage
from harness.pipeline.models import PRETRAINED, Hub


def fetch_recipe(recipe: Path, assignments: Sequence[str], workdir: Path | None) -> None:
    """Lock the recipe's revisions, fetch its tasks' data sets, and run the stages that read from the hub.

    Raises:
        ProblemList: the hub does not give something, or a stage failed.
        KeyboardInterrupt: it was interrupted.
    """
    workspace = open_workspace(recipe, assignments, workdir, writes=True, locks=True)
    work = workspace.work()
    problems = [*hub_problems(work.to_run), *corpus_problems(work.to_run)]
    if problems:
        raise ProblemList(problems)
    workspace.store.create()
    summary = execute_first(workspace, [stage for stage in work.to_run if _reads_hub(stage)], work)
    if summary.failed:
        raise ProblemList([StageError(f"{one.task.label} failed: {one.reason}") for one in summary.failed])
    name = workspace.plan.loaded.recipe.name
    output().print(visible(f"all that {name} takes from the hub is in {workspace.workdir} and in the hub's cache"))
    errors().print("`harness run` needs no network now, if it sees both (HF_HOME says where the cache is)")


def _reads_hub(stage: Stage) -> bool:
    spec = stage.spec
    return (
        (stage.kind is PRETRAINED and isinstance(spec, Hub))
        or (stage.kind is CORPUS_PART and isinstance(spec, HubPart))
        or stage.kind is LM_EVAL_TASK
    )
