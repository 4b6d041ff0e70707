"""What most commands begin with: the recipe, its plan, the store of its workdir."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.cli.console import errors
from harness.cli.environment import gpu_problems, keep_problems, missing_packages, workdir_problems
from harness.cli.gpus import visible_gpus
from harness.cli.lock import resolve, unlisted, unresolved
from harness.errors import HarnessError, ProblemList, RecipeError, StoreError
from harness.execution.cores import cores
from harness.pipeline.counts import task_problems, with_counts
from harness.pipeline.evaluations import EVALUATIONS
from harness.pipeline.graph import Stage
from harness.pipeline.imports import NO_IMPORTS, import_problems, survey_imports
from harness.pipeline.kind import Known
from harness.plan.claims import claim_metric_problems
from harness.plan.forks import NO_FORKS, base_problems, forks_of
from harness.plan.match import match_problems, with_matches
from harness.plan.plan import Plan, make_plan, pipeline_of
from harness.plan.trials import TrialPlanner
from harness.plan.work import Work, work_left
from harness.recipe.load import LoadedRecipe, load_recipe
from harness.recipe.lock import read_lock, together
from harness.recipe.problems import suggestion
from harness.recipe.runtime import Runtime
from harness.search.confirm import study_name, with_chosen
from harness.search.state import SearchState, folder_of, read_state
from harness.store.store import Snapshot, Store

STORE = "store"
REPORTS = "reports"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A recipe's plan in its workdir; with a search also who plans its trials, and what it has come to."""

    plan: Plan
    store: Store
    workdir: Path
    trials: TrialPlanner | None = None
    search: SearchState | None = None

    @property
    def runtime(self) -> Runtime:
        return self.plan.loaded.recipe.runtime

    @property
    def reports(self) -> Path:
        return self.workdir / REPORTS / self.plan.loaded.recipe.name

    @property
    def has_searched(self) -> bool:
        """Whether as many trials have ended as the recipe's search asks for."""
        return self.trials is not None and self.search is not None and self.search.has_ended(self.trials.search.trials)

    def options(self, assignments: Sequence[str] = ()) -> list[str]:
        """What leads a command to this workdir, and to a recipe as these `--set` changed it."""
        changed = [word for assignment in assignments for word in ("--set", assignment)]
        return changed if self.workdir == Path(Runtime().workdir) else [*changed, "--workdir", str(self.workdir)]

    def work(self, snapshot: Snapshot | None = None) -> Work:
        return work_left(self.plan, self.store, self.runtime, snapshot)


def load_checked(recipe: Path, assignments: Sequence[str]) -> LoadedRecipe:
    """Load a recipe and check what only the tasks' own files know of it.

    Raises:
        ProblemList: everything wrong with the recipe.
    """
    loaded = load_recipe(recipe, assignments, own_name=True)
    problems = [
        *task_problems(with_ends(loaded)),
        *claim_metric_problems(loaded),
        *keep_problems(loaded),
        *search_problems(loaded),
    ]
    problems += match_problems(loaded)
    if problems:
        raise ProblemList(problems)
    return loaded


def with_ends(loaded: LoadedRecipe) -> LoadedRecipe:
    """The recipe with what a search's trials may be among its settings: what they lack is told beforehand."""
    return replace(loaded, settings=(*loaded.settings, *loaded.ends))


def search_problems(loaded: LoadedRecipe) -> list[HarnessError]:
    """What Optuna, and the evaluations, say of a search."""
    search = loaded.recipe.search
    if search is None:
        return []
    from harness.search.sampling import make_pruner, make_sampler  # half a second of Optuna

    problems: list[HarnessError] = []
    for key, make in (
        ("search.sampler", lambda: make_sampler(search.sampler, search.sampler.seed)),
        ("search.pruner", lambda: make_pruner(search.pruner)),
    ):
        try:
            make()
        except RecipeError as error:
            problems.append(RecipeError(error.rule, error.value, error.remedy, loaded.where(key)))
    for number, objective in enumerate(search.objectives):
        evaluation = EVALUATIONS.get(objective.evaluation)
        if objective.metric is not None and evaluation is not None and not evaluation.has(objective.metric):
            rule = f"`search.objectives.{number}.metric` must be one of `{objective.evaluation}`"
            value = f"it has no metric {objective.metric!r}"
            remedy = suggestion(objective.metric, list(evaluation.labels)) or f"e.g. {evaluation.headline}"
            problems.append(RecipeError(rule, value, remedy, loaded.where(f"search.objectives.{number}.metric")))
    return problems


def open_workspace(
    recipe: Path,
    assignments: Sequence[str],
    workdir: Path | None,
    *,
    fetches: bool = True,
    writes: bool = False,
    locks: bool = False,
    runs: bool = False,
) -> Workspace:
    """Load, look at the machine, plan, open. Reads only; the store is created by whoever writes.

    Args:
        fetches: tasks' data sets are downloaded from the hub, not assumed, see `with_counts`.
        writes: the workdir must be writable.
        locks: what the locks of the recipe and of those it extends do not know of the hub is asked and locked.
        runs: that as well; and where something is missing, a missing GPU is told with it (alone it counts only if
            stages want one).

    Raises:
        ProblemList: everything wrong with the recipe; else all that this machine lacks for it.
    """
    loaded = load_checked(recipe, assignments)
    folder = workdir or Path(loaded.recipe.runtime.workdir)
    where = "--workdir" if workdir is not None else loaded.where("runtime.workdir")
    unusable = workdir_problems(folder / STORE, where, writes=writes)
    imports, damage = (NO_IMPORTS, []) if unusable else survey_imports(Store(folder / STORE))
    forks, unfit = (NO_FORKS, []) if unusable else forks_of(loaded, Store(folder / STORE))
    everything = with_ends(loaded)
    unknown = import_problems(everything, imports)
    problems = missing_packages(everything) + (unusable or [*unknown, *(damage if unknown else ()), *unfit])
    if problems:
        raise ProblemList([*problems, *(gpu_problems(loaded) if runs else ())])
    if asked := task_problems(everything, plugins=True):
        raise ProblemList(asked)
    counted = with_counts(everything, fetches=fetches)
    settings = counted.settings[: len(loaded.settings)]
    loaded = replace(loaded, recipe=counted.recipe, settings=settings, ends=counted.settings[len(settings) :])
    lock = together(map(read_lock, loaded.files))
    if (runs or locks) and (unresolved(everything, lock) or unlisted(everything, lock)):
        lock = resolve(everything, lock)
    trials, search = None, None
    if loaded.recipe.search is not None:
        trials = TrialPlanner(loaded, imports, lock, forks)
        search = _state_of(trials, folder)
        loaded = with_chosen(loaded, trials, search)
    matched = with_matches(
        loaded, Known(Snapshot(Store(folder / STORE))), lambda asked: pipeline_of(asked, imports, lock, forks)
    )
    if matched.problems:
        raise ProblemList(matched.problems)
    loaded = matched.loaded
    plan = make_plan(loaded, imports, lock, forks)
    if other_bases := base_problems(plan):
        raise ProblemList(other_bases)
    return Workspace(plan=plan, store=Store(folder / STORE), workdir=folder, trials=trials, search=search)


def _state_of(trials: TrialPlanner, workdir: Path) -> SearchState | None:
    """What the recipe's search has come to; None before it began, or where it was another one."""
    found = read_state(folder_of(workdir, trials.loaded.recipe.name))
    return found if found is not None and found.study == study_name(trials) else None


def open_store(workdir: Path) -> Store:
    """The store of an existing workdir.

    Raises:
        StoreError: there is none.
    """
    if not (workdir / STORE).is_dir():
        raise StoreError(f"no results in {workdir}", "", "run a recipe first, or pass --workdir")
    return Store(workdir / STORE)


def stands(store: Store, stage: Stage, snapshot: Snapshot | None = None) -> bool:
    """Whether a stage that compares is done, and after all that it compares, which may have been made again since."""
    record = store.record(stage.kind.name, stage.fingerprint)
    if record is None or not store.has_payload(record):
        return False
    records = snapshot or Snapshot(store)
    compared = [records.record(item.stage.kind.name, item.stage.fingerprint) for item in stage.inputs.values()]
    made = float(store.run_facts(record)["finished"])
    return all(one is not None and float(records.run_facts(one)["finished"]) <= made for one in compared)


def discard_damaged(store: Store, stage: Stage) -> None:
    """Forget a comparison whose files are not as its record has them, so that it is made again; and say so."""
    record = store.record(stage.kind.name, stage.fingerprint)
    damage = "" if record is None else store.damage(record)
    if record is not None and damage:
        errors().print(f"{damage}; {stage.kind.name} is computed again", style="yellow", markup=False, soft_wrap=True)
        store.discard(record)


def trainings_at_once(runtime: Runtime) -> int:
    """On the GPUs of this machine, or, where it has none and the recipe wants some, on those that the recipe states."""
    gpus = len(visible_gpus()) if runtime.device != "cpu" else 0
    if not gpus and runtime.device == "cuda":
        gpus = max(1, runtime.priced_gpus.count // runtime.training.nodes)
    return max(1, gpus // runtime.training.processes) if gpus else slots_and_threads(runtime)[0]


def slots_and_threads(runtime: Runtime) -> tuple[int, int]:
    """(tasks at once, threads each): all cores used, none twice."""
    slots = runtime.slots or cores()
    return slots, max(1, cores() // slots)
