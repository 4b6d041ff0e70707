"""What a recipe needs of this machine, looked at before anything runs: all that is missing at once.

Each problem names the place in the recipe that asks for it. Imports none of the packages it looks for.
"""

from __future__ import annotations

import errno
import importlib
import tempfile
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, MissingRequirement, RecipeError, StoreError
from harness.plan.graph import Stage
from harness.plan.kinds import KINDS
from harness.plan.pipeline import task_source
from harness.plan.sources import corpus_looks, plugin_digest
from harness.recipe.load import LoadedRecipe, Setting
from harness.recipe.schema import Recipe, Runtime, plugin_kinds
from harness.store.store import Store
from harness.tasks.registry import BUILT_IN
from harness.tasks.splits import read_options

GPUS = Path("/proc/driver/nvidia/gpus")
Look = Callable[[Any], object]  # raises MissingRequirement
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR)


def missing_packages(loaded: LoadedRecipe) -> list[HarnessError]:
    """Packages, files and columns of corpora, tasks' generators and plugins that are not there, each told once."""
    asked: list[tuple[Setting | None, Recipe]] = [(None, loaded.recipe)]
    asked += [(setting, setting.experiment) for setting in loaded.settings]
    problems: list[HarnessError] = []
    looked_at: set[tuple[Look, Hashable]] = set()
    for setting, experiment in asked:
        for path, look, name in _looks(experiment):
            if (look, name) in looked_at:
                continue
            looked_at.add((look, name))
            try:
                look(name)
            except MissingRequirement as error:
                where = loaded.where(path, setting)
                problems.append(MissingRequirement(error.rule, error.value, error.remedy, where))
    return problems


def _looks(experiment: Recipe) -> Iterator[tuple[str, Look, Hashable]]:
    """(path in the recipe, how to look, for what) of everything an experiment needs to be there."""
    for key, look, what in corpus_looks(experiment.corpus):
        yield f"corpus.{key}", look, what
    for name, task in experiment.tasks.items():
        if ":" not in task.kind:
            yield f"tasks.{name}.kind", _look_for_generator, task.kind
    for path, kind in plugin_kinds(experiment):
        yield path, plugin_digest, kind


def _look_for_generator(kind: str) -> None:
    try:
        task_source(kind)
    except MissingRequirement:
        raise MissingRequirement(
            f"task {kind!r} needs the package reasoning-gym", "it is not installed", "pip install reasoning-gym"
        ) from None


def option_problems(loaded: LoadedRecipe) -> list[HarnessError]:
    """Options that a built-in task does not know; only its own file says which it does."""
    problems: dict[str, HarnessError] = {}
    for setting in (None, *loaded.settings):
        experiment = loaded.recipe if setting is None else setting.experiment
        for name, task in experiment.tasks.items():
            if task.kind not in BUILT_IN or not task.options:
                continue
            module = importlib.import_module(BUILT_IN[task.kind].partition(":")[0])
            for option in task.options:
                try:
                    read_options(task.kind, {option: None}, module.DEFAULT_OPTIONS)
                except RecipeError as error:
                    where = loaded.where(f"tasks.{name}.options.{option}", setting)
                    problems.setdefault(f"{name}.{option}", RecipeError(error.rule, error.value, error.remedy, where))
    return list(problems.values())


def workdir_problems(store: Path, where: str, *, writes: bool) -> list[HarnessError]:
    """Why the workdir cannot hold the store: another schema, a file in the way or, if asked, nothing can be written."""
    try:
        Store(store)
        nearest = _nearest(store)
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is no folder")
        if writes:
            with tempfile.NamedTemporaryFile(prefix=".writable-", dir=nearest) as file:
                file.write(b"?")
                file.flush()
    except StoreError as error:
        return [StoreError(error.rule, error.value, error.remedy, where)]
    except OSError as error:
        rule = "the workdir must be writable" if writes else "the workdir must be a folder"
        remedy = "make space, or choose another --workdir" if is_full(error) else "choose another --workdir"
        return [StoreError(rule, f"{store}: {error.strerror}", remedy, where)]
    return []


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest of its parents that is there."""
    for path in (folder, *folder.parents):
        try:
            path.lstat()
        except OSError as error:
            if error.errno not in NO_FOLDER:
                raise
        else:
            return path
    return folder


def is_full(error: OSError) -> bool:
    """Whether there was no space left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def gpu_problems(loaded: LoadedRecipe, stages: Sequence[Stage] | None = None) -> list[HarnessError]:
    """That the recipe asks for CUDA where there is no GPU; with `stages`, only if one of them wants it."""
    if loaded.recipe.runtime.device != "cuda" or count_gpus() or not (stages is None or wants_gpu(stages)):
        return []
    return [_no_gpu(loaded.where("runtime.device"))]


def gpus_of(runtime: Runtime, stages: Sequence[Stage]) -> list[int]:
    """Indices of the GPUs to use for these stages, found without importing torch.

    Raises:
        MissingRequirement: the recipe asks for CUDA and there is no GPU.
    """
    if runtime.device == "cpu" or not wants_gpu(stages):
        return []
    found = count_gpus()
    if runtime.device == "cuda" and not found:
        raise _no_gpu()
    return list(range(min(found, runtime.slots or found)))


def wants_gpu(stages: Sequence[Stage]) -> bool:
    return any(KINDS[stage.kind].accelerated for stage in stages)


def count_gpus() -> int:
    return len(list(GPUS.glob("*")))


def _no_gpu(where: str = "") -> MissingRequirement:
    return MissingRequirement(
        "`runtime.device: cuda` needs a GPU", "this machine shows none", "set device: auto or cpu", where
    )
