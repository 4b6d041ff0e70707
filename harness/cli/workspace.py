"""What most commands begin with: the recipe, its plan, the store of its workdir."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cli.console import errors
from harness.cli.environment import gpu_problems, keep_problems, missing_packages, workdir_problems
from harness.cli.lock import resolve, unresolved
from harness.errors import ProblemList, StoreError
from harness.pipeline.counts import task_problems, with_counts
from harness.pipeline.graph import Stage
from harness.pipeline.imports import NO_IMPORTS, import_problems, survey_imports
from harness.plan.forks import NO_FORKS, base_problems, forks_of
from harness.plan.plan import Plan, make_plan
from harness.plan.work import Work, work_left
from harness.recipe.load import LoadedRecipe, load_recipe
from harness.recipe.lock import read_lock
from harness.recipe.runtime import Runtime
from harness.store.store import Store

STORE = "store"
REPORTS = "reports"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    plan: Plan
    store: Store
    workdir: Path

    @property
    def runtime(self) -> Runtime:
        return self.plan.loaded.recipe.runtime

    @property
    def reports(self) -> Path:
        return self.workdir / REPORTS / self.plan.loaded.recipe.name

    def work(self) -> Work:
        return work_left(self.plan, self.store, self.runtime)


def load_checked(recipe: Path, assignments: Sequence[str]) -> LoadedRecipe:
    """Load a recipe and check what only the tasks' own files know of it.

    Raises:
        ProblemList: everything wrong with the recipe.
    """
    loaded = load_recipe(recipe, assignments)
    problems = [*task_problems(loaded), *keep_problems(loaded)]
    if problems:
        raise ProblemList(problems)
    return loaded


def open_workspace(
    recipe: Path, assignments: Sequence[str], workdir: Path | None, *, writes: bool = False, runs: bool = False
) -> Workspace:
    """Load, look at the machine, plan, open. Reads only; the store is created by whoever writes.

    Args:
        writes: the workdir must be writable.
        runs: where something is missing, a missing GPU is told with it; alone it counts only if stages want one. Hub
            revisions that the recipe's lock does not know are resolved and locked.

    Raises:
        ProblemList: everything wrong with the recipe; else all that this machine lacks for it.
    """
    loaded = load_checked(recipe, assignments)
    folder = workdir or Path(loaded.recipe.runtime.workdir)
    where = "--workdir" if workdir is not None else loaded.where("runtime.workdir")
    unusable = workdir_problems(folder / STORE, where, writes=writes)
    imports, damage = (NO_IMPORTS, []) if unusable else survey_imports(Store(folder / STORE))
    forks, unfit = (NO_FORKS, []) if unusable else forks_of(loaded, Store(folder / STORE))
    unknown = import_problems(loaded, imports)
    problems = missing_packages(loaded) + (unusable or [*unknown, *(damage if unknown else ()), *unfit])
    if problems:
        raise ProblemList([*problems, *(gpu_problems(loaded) if runs else ())])
    if asked := task_problems(loaded, plugins=True):
        raise ProblemList(asked)
    loaded = with_counts(loaded)
    commits = read_lock(recipe)
    if runs and unresolved(loaded, commits):
        commits = resolve(recipe, loaded, commits)
    plan = make_plan(loaded, imports, commits, forks)
    if other_bases := base_problems(plan):
        raise ProblemList(other_bases)
    return Workspace(plan=plan, store=Store(folder / STORE), workdir=folder)


def open_store(workdir: Path) -> Store:
    """The store of an existing workdir.

    Raises:
        StoreError: there is none.
    """
    if not (workdir / STORE).is_dir():
        raise StoreError("a workdir must hold a store", f"there is none in {workdir}", "run a recipe, or --workdir")
    return Store(workdir / STORE)


def stands(store: Store, stage: Stage) -> bool:
    """Whether a stage that compares is done, and after all that it compares, which may have been made again since."""
    record = store.record(stage.kind.name, stage.fingerprint)
    if record is None or not store.has_payload(record):
        return False
    compared = [store.record(item.stage.kind.name, item.stage.fingerprint) for item in stage.inputs.values()]
    made = float(store.run_facts(record)["finished"])
    return all(one is not None and float(store.run_facts(one)["finished"]) <= made for one in compared)


def discard_damaged(store: Store, stage: Stage) -> None:
    """Forget a comparison whose files are not as its record has them, so that it is made again; and say so."""
    record = store.record(stage.kind.name, stage.fingerprint)
    damage = "" if record is None else store.damage(record)
    if record is not None and damage:
        errors().print(f"{damage}; {stage.kind.name} is made anew", style="yellow", markup=False, soft_wrap=True)
        store.discard(record)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def slots_and_threads(runtime: Runtime) -> tuple[int, int]:
    """(tasks at once, threads each): all cores used, none twice."""
    slots = runtime.slots or cores()
    return slots, max(1, cores() // slots)
