"""What a recipe asks of its tasks, held against what they have: before anything is planned, all of it at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import DataError, HarnessError, ProblemList, RecipeError
from harness.pipeline.code import code_digest
from harness.pipeline.evaluations import EVALUATIONS
from harness.pipeline.tasks import SIMULATED, Split, unused_split
from harness.recipe.load import LoadedRecipe, Setting
from harness.recipe.schema import Recipe
from harness.recipe.tasks import AnyTask, PoolTaskBlock, TaskBlock
from harness.sources.known_files import remembered
from harness.sources.resolve import plugin_digest
from harness.tasks.dealing import dealt, without
from harness.tasks.fixed import FixedTask
from harness.tasks.registry import load_task
from harness.tasks.splits import share_problem, wrong_options
from harness.tasks.task import NOT_FETCHED, Task


def task_problems(loaded: LoadedRecipe, *, plugins: bool = False) -> list[HarnessError]:
    """What the tasks' own code says a recipe asks wrongly: options, splits and abilities. Reads no data.

    Args:
        plugins: of the recipe's own tasks, whose code is imported for it, and not of the built-in ones.
    """
    problems: dict[str, HarnessError] = {}
    for setting, experiment in _experiments(loaded):
        for path, error in () if plugins else _wrong_kinds(experiment):
            told = RecipeError(error.rule, error.value, error.remedy, loaded.where(path, setting))
            problems.setdefault(told.one_line(), told)
        for name, task in experiment.tasks.items():
            if (":" in task.kind) != plugins:
                continue
            try:
                own = None if isinstance(task, PoolTaskBlock) else _wrong(experiment, name, task)
                wrong = list(own or _one_pair_each(experiment, name))
            except RecipeError as unknown:
                wrong = [(f"tasks.{name}.kind", unknown)]
            for path, error in wrong:
                told = RecipeError(error.rule, error.value, error.remedy, loaded.where(path, setting))
                problems.setdefault(f"{name} {told.one_line()}", told)
    return list(problems.values())


def _experiments(loaded: LoadedRecipe) -> Iterator[tuple[Setting | None, Recipe]]:
    yield None, loaded.recipe
    for setting in loaded.settings:
        yield setting, setting.experiment


def _wrong_kinds(experiment: Recipe) -> Iterator[tuple[str, RecipeError]]:
    """Tasks that an evaluation is not for."""
    for evaluation in EVALUATIONS.values():
        path = f"evaluate.{evaluation.name}.tasks"
        for name in evaluation.tasks(experiment) if evaluation.kinds else ():
            kind = experiment.tasks[name].kind
            if kind not in evaluation.kinds:
                rule = f"tasks of `{path}` must be of kind {' or '.join(evaluation.kinds)}"
                yield path, RecipeError(rule, f"`{name}` is of kind {kind!r}", "correct it, or ask `choices`")


def _one_pair_each(experiment: Recipe, name: str) -> Iterator[tuple[str, RecipeError]]:
    """More fine-tuning pairs of a task than problems, where nobody knows how many pairs these give."""
    wanted, problems = experiment.finetune.share, experiment.tasks[name].problems.of("finetune")
    if name in experiment.finetune.tasks and problems is not None and wanted > problems:
        yield (
            "finetune.samples",
            RecipeError(
                f"`finetune.samples` must fit the fine-tuning problems of `{name}`",
                f"needs {wanted:,} of {problems:,} (one pair a problem)",
                f"lower it or raise `tasks.{name}.problems.finetune`",
            ),
        )


def _wrong(experiment: Recipe, name: str, task: TaskBlock) -> Iterator[tuple[str, RecipeError]]:
    """(path in the recipe, what is wrong there)."""
    path, made = f"tasks.{name}", load_task(task.kind)
    if not isinstance(made, FixedTask) or made.preference_count(()) is None:
        yield from _one_pair_each(experiment, name)
    if made.rules or isinstance(made, FixedTask):
        wrong = wrong_options(task.kind, task.options, made.defaults, made.rules)
        if "shares" in task.options and "shares" not in wrong:
            error = share_problem(task.kind, task.problems.asked, task.options["shares"])
            wrong |= {} if error is None else {"shares": error}
        for option, error in wrong.items():
            yield f"{path}.options.{option}", error
    if task.path is not None and not isinstance(made, FixedTask):
        yield f"{path}.path", RecipeError(f"task {task.kind!r} has no `path`", "it makes its problems", "drop it")
    if task.path == NOT_FETCHED:
        remedy = "drop it to read the data set on the hub"
        yield f"{path}.path", RecipeError("`path` must be a folder or a file", "it is empty", remedy)
    for split in task.problems.asked:
        where = f"{path}.problems.{split}"
        if split not in made.splits:
            rule = f"task {task.kind!r} must have problems for a split"
            yield where, RecipeError(rule, f"it has none for {split}", f"ask for {' and '.join(made.splits)} alone")
        elif task.problems.of(split) is None:
            yield from _wrong_all(where, task, made, split)
    check = experiment.corpus.decontaminate
    if check is not None and name in check.against and not isinstance(made, FixedTask):
        rule = "`corpus.decontaminate.against` must name fixed sets of problems"
        value = f"{task.kind!r} makes as many as are wanted"
        yield (
            "corpus.decontaminate.against",
            RecipeError(rule, value, "leave it out; `evaluate.overlap` looks for them"),
        )
    for evaluation in EVALUATIONS.values():
        if evaluation.needs_choices and not made.has_choices and name in evaluation.tasks(experiment):
            key = f"evaluate.{evaluation.name}.tasks"
            rule = f"tasks of `{key}` must have problems with responses to choose from"
            yield key, RecipeError(rule, f"those of {task.kind!r} have none", "ask `best_of_n`, or import a pool")
        if evaluation.needs_grading and not made.grades and name in evaluation.tasks(experiment):
            key = f"evaluate.{evaluation.name}.tasks"
            rule = f"tasks of `{key}` must be able to grade what a model writes"
            yield key, RecipeError(rule, f"{task.kind!r} knows its own responses", "ask `choices`")
    if made.makes_mistakes:
        return
    asked = {
        "finetune.tasks": name in experiment.finetune.tasks,
        "evaluate.pair_accuracy.tasks": name in getattr(experiment.evaluate.pair_accuracy, "tasks", ()),
    }
    candidates = experiment.evaluate.candidates
    if candidates is not None and candidates.engine == SIMULATED:
        asked["evaluate.best_of_n.candidates.engine"] = name in experiment.evaluate.asked.get("best_of_n", ())
    for key, is_asked in asked.items():
        if is_asked:
            what = "be simulated" if key.endswith("engine") else "give preferences"
            remedy = "let a model write, or import a pool" if key.endswith("engine") else "import a pool of candidates"
            rule = f"a task of `{key}` must be able to {what}"
            yield key, RecipeError(rule, f"{task.kind!r} knows no wrong solutions", remedy)


def _wrong_all(path: str, task: TaskBlock, made: Task, split: str) -> Iterator[tuple[str, RecipeError]]:
    sharing = made.sharing(split)
    if not sharing:
        value = f"task {task.kind!r} makes as many as are wanted"
        yield path, RecipeError("`all` is for a fixed number of problems", value, "give a number")
    elif split != "test" and "test" in sharing:
        value = f"the test problems of {task.kind!r} are taken from the same"
        yield path, RecipeError(f"`{split}` must be a number", value, "only `test` takes what is left")
    elif any(task.problems.of(other) is None for other in sharing if other != split):
        yield path, RecipeError("one split at most may take all that is left", "two do", "give a number")


def with_counts(loaded: LoadedRecipe, *, fetches: bool = True) -> LoadedRecipe:
    """The recipe with `all` as numbers; every published data set that it takes problems from was read.

    Args:
        fetches: data sets of the hub are downloaded. If not, those that are not here are taken to hold as many problems
            as published, whatever a task's options leave of them, and their tasks have the path NOT_FETCHED.

    Raises:
        ProblemList: files that are not there, or do not hold what they should.
    """
    numbers = _Numbers(loaded.recipe.seeds.data, unused_split(loaded.recipe), fetches)
    problems: dict[str, HarnessError] = {}
    settings: list[Setting] = []
    recipe = loaded.recipe
    for setting, experiment in _experiments(loaded):
        found: dict[str, _Counted] = {}
        check = experiment.corpus.decontaminate
        for name, task in experiment.tasks.items():
            try:
                found[name] = numbers.of(task, decontaminated=check is not None and name in check.against)
            except HarnessError as error:
                where = loaded.where(f"tasks.{name}", setting)
                told = RecipeError(error.rule, error.value, error.remedy, error.where or where)
                problems.setdefault(f"{name} {told.one_line()}", told)
        if len(found) < len(experiment.tasks):
            continue
        for path, many in _too_many_pairs(experiment, found):
            told = RecipeError(many.rule, many.value, many.remedy, loaded.where(path, setting))
            problems.setdefault(told.one_line(), told)
        counted, tasks = experiment, {name: one.task for name, one in found.items()}
        if any(tasks[name] is not task for name, task in experiment.tasks.items()):
            counted = experiment.model_copy(update={"tasks": tasks})
            for wrong in counted.contradictions():
                context = wrong.context or {}
                (path, *_) = re.findall(r"`([^`]+)`", context["rule"])
                told = RecipeError(context["rule"], context["value"], context["remedy"], loaded.where(path, setting))
                problems.setdefault(told.one_line(), told)
        if setting is None:
            recipe = counted
        else:
            settings.append(replace(setting, experiment=counted))
    if problems:
        raise ProblemList(list(problems.values()))
    return replace(loaded, recipe=recipe, settings=tuple(settings))


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """A task with `all` as numbers, and the preferences that each split's problems give; None: it does not know."""

    task: AnyTask
    pairs: Mapping[str, int] | None = None


def _too_many_pairs(experiment: Recipe, counted: Mapping[str, _Counted]) -> Iterator[tuple[str, RecipeError]]:
    """Preferences beyond those that the problems dealt to a split give."""
    tuning, accuracy = experiment.finetune, experiment.evaluate.pair_accuracy
    wanted: list[tuple[str, str, Split, int]]
    wanted = [(name, "finetune.samples", "finetune", tuning.share) for name in tuning.tasks]
    if accuracy is not None:
        judging = (experiment.evaluate.split, accuracy.samples)
        wanted += [(name, "evaluate.pair_accuracy.samples", *judging) for name in accuracy.tasks]
    for name, path, split, samples in wanted:
        pairs = counted[name].pairs
        if pairs is None:
            continue
        problems, there = counted[name].task.problems.of(split) or 0, pairs.get(split, 0)
        needed = max(samples, problems) if split == "finetune" else samples  # one of each problem is made at least
        if needed > there:
            rule = f"`{path}` must fit the preferences of `{name}`"
            value = f"needs {needed:,}, and {problems:,} {split} problems give {there:,}"
            yield path, RecipeError(rule, value, f"lower it or raise `tasks.{name}.problems.{split}`")


class _Numbers:
    """Counts of tasks; equal objects give equal objects, so that settings go on sharing them."""

    def __init__(self, seed: int, untouched: str | None, fetches: bool) -> None:
        self._seed, self._untouched, self._fetches = seed, untouched, fetches
        self._found: dict[tuple[int, bool], tuple[AnyTask, _Counted]] = {}

    def of(self, task: AnyTask, *, decontaminated: bool) -> _Counted:
        """A task's counts.

        Args:
            decontaminated: a corpus is held against its test problems, whether or not the recipe takes any.
        """
        key = (id(task), decontaminated)
        if key not in self._found:
            counted = _Counted(task=task)
            if not isinstance(task, PoolTaskBlock):
                counted = self._counted(task, ("test",) if decontaminated else ())
            self._found[key] = (task, counted)
        return self._found[key][1]

    def _counted(self, task: TaskBlock, also: Sequence[str]) -> _Counted:
        """Counts as numbers; of a split that nothing is made of they stay as they are.

        Args:
            also: splits that are read whatever the recipe takes of them.
        """
        made = load_task(task.kind)
        if not isinstance(made, FixedTask):
            return _Counted(task=task)
        counts = {split: task.problems.of(split) for split in task.problems.asked if split != self._untouched}
        read = {*counts, *also}
        may_assume = not self._fetches and task.path is None and made.is_published(read)
        if may_assume and not all(map(made.is_fetched, read)):
            return _assumed(task, made, counts)
        return _read(task, made, counts, self._seed)


def _read(task: TaskBlock, made: FixedTask, counts: Mapping[str, int | None], seed: int) -> _Counted:
    """Counts as numbers, by what its files hold."""
    parts = dict.fromkeys(part for split in counts for part in made.parts_read(split))
    files = [file for part in parts for file in made.files(part, task.path)]
    found = remembered(
        lambda: {
            "counts": counts,
            "options": task.options,
            "seed": seed,
            "kind": task.kind,
            "code": plugin_digest(task.kind) if ":" in task.kind else code_digest(type(made).__module__),
            "grader": made.version,
        },
        files,
        lambda: _held(task, made, counts, seed),
    )
    if None in counts.values():
        task = task.model_copy(update={"problems": task.problems.model_copy(update=found["problems"])})
    known = {split: count for split, count in found["pairs"].items() if count is not None}
    return _Counted(task=task, pairs=known if len(known) == len(counts) else None)


def _held(task: TaskBlock, made: FixedTask, counts: Mapping[str, int | None], seed: int) -> dict[str, dict[str, Any]]:
    """The problems that each split gets of what the files hold, and the pairs that these give where a task knows."""
    problems: dict[str, int] = {}
    pairs: dict[str, int | None] = {}
    for split in counts:
        sharing = made.sharing(split)
        part = made.parts[split]
        everything = made.available(made.files(part, task.path), part, task.options)
        # Dealt together, so that what is too much is known before anything is trained.
        together = {other: counts[other] for other in sharing if other in counts}
        left = without(everything, made.left_out(split, task.path))
        own = dealt(left, together, seed=seed, sharing=sharing)[split]
        problems[split], pairs[split] = len(own), made.preference_count(own)
    return {"problems": problems, "pairs": pairs}


def _assumed(task: TaskBlock, made: FixedTask, counts: Mapping[str, int | None]) -> _Counted:
    """Counts as numbers where the data set is taken to hold what was published.

    Raises:
        DataError: less is published than is asked for.
    """
    numbers: dict[str, int] = {}
    for split, count in counts.items():
        part = made.parts[split]
        there, taken = made.hub.problems[part], sum(counts.get(other) or 0 for other in made.sharing(split))
        if there - taken < (count is None):
            value = f"{made.hub.id} has {there:,} in {part!r}, and {taken:,} are asked for"
            raise DataError("a task must have the requested problems", value, "lower the counts of `problems`")
        numbers[split] = there - taken if count is None else count
    problems = task.problems.model_copy(update=numbers)
    return _Counted(task=task.model_copy(update={"problems": problems, "path": NOT_FETCHED}))


def not_fetched(loaded: LoadedRecipe) -> dict[str, TaskBlock]:
    """Place in the recipe -> task, of those whose data set is assumed, each data set once."""
    found: dict[str, TaskBlock] = {}
    for setting, experiment in _experiments(loaded):
        for name, task in experiment.tasks.items():
            known = {other.kind for other in found.values()}
            if isinstance(task, TaskBlock) and task.path == NOT_FETCHED and task.kind not in known:
                found[loaded.where(f"tasks.{name}", setting)] = task
    return found
