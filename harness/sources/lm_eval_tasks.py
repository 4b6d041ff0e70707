"""Tasks of lm-evaluation-harness, found when planning: their files, their data, their metrics.

Reads the YAML files itself and runs none of their code: importing lm_eval takes a second, its own index of all tasks
ten.
"""

from __future__ import annotations

import difflib
import functools
import glob
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import MissingRequirement, reason_of
from harness.recipe.lock import is_commit
from harness.sources.datasets import require_dataset
from harness.store.identity import file_digest

INSTALL = "pip install -e '.[lm-eval]'"
RULE = "`evaluate.retention.lm_eval.tasks` must name tasks of lm-eval that can be judged by document"
SHOWN = 4  # members of a group that an error names

BUILDERS = ("json", "csv", "parquet", "text", "arrow", "xml")
"""What lm-eval calls a data set that is files, each a reader of the datasets library."""

BY_DOCUMENT = ("acc", "acc_norm", "acc_mutual_info", "acc_bytes", "exact_match", "likelihood")
"""lm-eval's metrics of one document whose mean is taken where a task names no aggregation."""

DEFAULT_METRICS = {"loglikelihood": ["acc"], "multiple_choice": ["acc", "acc_norm"], "generate_until": ["exact_match"]}
"""lm-eval's own for a task that lists none, without perplexity, which is of no single document."""

UNRESOLVED = "unresolved"
_SKIPPED = {"__pycache__", ".ipynb_checkpoints"}


@dataclass(frozen=True, kw_only=True)
class LmEvalTask:
    """A task of lm-eval as its YAML has it.

    Attributes:
        path: of the YAML.
        files: SHA-256 of all that is local: the YAML, what it includes, the Python files of its functions, its data.
            By path from the folder that tasks are looked for in; data by path as the task has it.
        dataset: name on the hub, "" where the data is local or made by the task's code.
        subset: the hub's configuration of it.
        revision: the commit that the task pins, `UNRESOLVED` where it pins none, "" without `dataset`.
        metrics: those with a value for each document whose mean is the task's, the first being the main one.
        filters: ways of reading an answer, each with all metrics.
    """

    name: str
    path: Path
    files: Mapping[str, str]
    dataset: str
    subset: str | None
    revision: str
    metrics: tuple[str, ...]
    filters: tuple[str, ...]


@dataclass(frozen=True)
class LmEvalName:
    """What a recipe says of a task."""

    task: str
    include_path: str | None


class _Function(str):
    """`!function file.name`, unread."""


class _Loader(yaml.SafeLoader):
    """Reads lm-eval's YAML without its code."""


def _read_function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> _Function:
    return _Function(loader.construct_scalar(node))


_Loader.add_constructor("!function", _read_function)


def lm_eval_version() -> str:
    """Of the installed lm-eval.

    Raises:
        MissingRequirement: it is not installed.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingRequirement("`evaluate.retention.lm_eval` needs lm_eval", "it is not installed", f"`{INSTALL}`")
    return importlib.metadata.version("lm_eval")


def find_lm_eval_task(asked: LmEvalName) -> LmEvalTask:
    """The task of a name, in `include_path` before lm-eval's own tasks.

    Raises:
        MissingRequirement: lm-eval, the folder, the task or a file of it is not there, or no value of a document can be
            told from it.
    """
    lm_eval_version()
    roots = [_package_tasks()]
    if asked.include_path is not None:
        folder = Path(asked.include_path)
        if not folder.is_dir():
            rule = "`evaluate.retention.lm_eval.include_path` must be a folder of lm-eval tasks"
            raise MissingRequirement(rule, f"there is none at {folder}", "correct it")
        roots.insert(0, folder)
    for root in roots:
        path = _defined_in(root, asked.task)
        if path is not None:
            try:
                return _task(asked.task, root, path)
            except (KeyError, TypeError, AttributeError) as error:  # a list where lm-eval wants a mapping, and the like
                rule, value = "a task must have the keys that lm-eval reads", f"{path} has not: {reason_of(error)}"
                raise MissingRequirement(rule, value, "correct it") from None
    raise _unknown(asked.task, roots)


def digests_of(name: str, path: Path) -> list[str]:
    """SHA-256 of the files of a task that was found, in order.

    Raises:
        MissingRequirement: as `find_lm_eval_task`.
    """
    return sorted(_task(name, path.parent, path).files.values())


def require_lm_eval_data(asked: LmEvalName) -> None:
    """That a task's data set is in the cache of the datasets library, or open on the hub.

    Raises:
        MissingRequirement: neither.
    """
    task = find_lm_eval_task(asked)
    if not task.dataset:
        return
    require_dataset(task.dataset, None if task.revision == UNRESOLVED else task.revision)


# ------------------------------------------------------------------------------------------------- finding a task


def _package_tasks() -> Path:
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "tasks"


@functools.cache
def _package_texts(root: Path) -> tuple[tuple[Path, bytes], ...]:
    """lm-eval's own fourteen thousand files, 20 MB, which do not change while a process runs."""
    return tuple(_read_texts(root))


def _texts(root: Path) -> Sequence[tuple[Path, bytes]]:
    return _package_texts(root) if root == _package_tasks() else list(_read_texts(root))


def _read_texts(root: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(root.glob("**/*.yaml"), key=lambda path: path.as_posix()):
        if not _SKIPPED.intersection(path.parts):
            yield path, path.read_bytes()


def _defined_in(root: Path, name: str) -> Path | None:
    """The first file that defines a task, as lm-eval looks for it: only files that hold its name are parsed."""
    broken: MissingRequirement | None = None
    defines = _said("task|group", name)
    for path, text in _texts(root):
        if defines.search(text) is None:
            continue
        try:
            config = _merged(path, {})
        except MissingRequirement as error:
            broken = error
            continue
        if config.get("task") == name and "group" not in config:
            return path
        if config.get("group") == name:
            raise _several(name, "a group", _members(config.get("task")))
    if broken is not None:
        raise broken
    tagged = sorted(_tagged(root, name))
    if tagged:
        raise _several(name, "a tag", tagged)
    return None


def _said(keys: str, name: str) -> re.Pattern[bytes]:
    """A line that gives a name to one of some keys, which thousands of lm-eval's own files put in quotes."""
    said = rf"^\s*[\"']?({keys})[\"']? *: *[\"']?{re.escape(name)}[\"']? *\r?(#|$)"
    return re.compile(said.encode(), re.MULTILINE)


def _tagged(root: Path, name: str) -> Iterator[str]:
    """Tasks that bear a tag themselves; others may inherit it from a file that they include."""
    listed = re.compile(rf"^\s*- *[\"']?{re.escape(name)}[\"']? *\r?(#|$)".encode(), re.MULTILINE)
    alone = _said("tag", name)
    for path, text in _texts(root):
        if alone.search(text) or (b"tag" in text and listed.search(text)):
            try:
                config = _merged(path, {})
            except MissingRequirement:
                continue  # lm-eval passes over such a file too
            tags = config.get("tag")
            if name in (tags if isinstance(tags, list) else [tags]) and isinstance(config.get("task"), str):
                yield config["task"]


def _members(tasks: Any) -> list[str]:
    named = [one.get("task", one.get("group")) if isinstance(one, dict) else one for one in tasks or ()]
    return [str(one) for one in named]


def _several(name: str, what: str, members: Sequence[str]) -> MissingRequirement:
    return MissingRequirement(RULE, f"{name!r} is {what} of tasks", f"name tasks, such as {', '.join(members[:SHOWN])}")


def _unknown(name: str, roots: Sequence[Path]) -> MissingRequirement:
    names = {
        found.decode(errors="replace")
        for root in roots
        for _, text in _texts(root)
        for found in re.findall(rb"^[\"']?task[\"']? *: *[\"']?([^\s\"'\[#]+)", text, re.MULTILINE)
    }
    near = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    remedy = f"did you mean `{near[0]}`?" if near else "`lm_eval ls tasks` lists them"
    return MissingRequirement(RULE, f"{name!r} is none", remedy)


def _merged(path: Path, read: dict[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """A YAML with what it includes, whose keys it overrides.

    Args:
        read: gathers what was read, by file; `!function` stays as it is written.
    """
    where = path.resolve()
    if where in read:
        raise MissingRequirement("an lm-eval task must not include itself", f"{path} does", "correct `include`")
    try:
        config = yaml.load(path.read_bytes(), Loader=_Loader)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise MissingRequirement(
            "a file of an lm-eval task must be YAML", f"{path}: {reason_of(error)}", "correct it"
        ) from None
    if not isinstance(config, dict):
        raise MissingRequirement("a file of an lm-eval task must hold a mapping", f"{path} does not", "correct it")
    read[where] = config
    merged: dict[str, Any] = {}
    included = config.get("include", [])
    for name in included if isinstance(included, list) else [included]:
        inherited = _merged(path.parent / str(name), read)
        inherited.pop("task_list", None)
        merged |= inherited
    return {key: value for key, value in (merged | config).items() if key != "include"}


# ---------------------------------------------------------------------------------------------- what it is made of


def _task(name: str, root: Path, path: Path) -> LmEvalTask:
    read: dict[Path, Mapping[str, Any]] = {}
    config = _merged(path, read)
    for wrong, why in _refused(config):
        if wrong:
            raise MissingRequirement(RULE, f"{name!r} {why}", "name another task")
    metrics = tuple(_metrics(config))
    if not metrics:
        value = f"{name!r} has no metric between 0 and 1 of each document whose mean is taken, higher being better"
        raise MissingRequirement(RULE, value, "name another task, or list such a metric in its `metric_list`")
    local = {**dict.fromkeys(read), **{file: None for one, held in read.items() for file in _code(one, held)}}
    files = {Path(os.path.relpath(file, root.resolve())).as_posix(): file_digest(file) for file in local}
    dataset, subset, revision = "", None, ""
    given = config.get("dataset_kwargs") or {}
    source = str(config.get("dataset_path") or "")
    if config.get("custom_dataset") is None:
        found = list(_data_files(name, source, given))
        files |= {f"data: {shown}": file_digest(file) for shown, file in found}
        if not found:
            dataset, subset = source, config.get("dataset_name") and str(config["dataset_name"])
            revision = str(given.get("revision"))
            revision = revision if is_commit(revision) else UNRESOLVED
    return LmEvalTask(
        name=name,
        path=path.resolve(),
        files=dict(sorted(files.items())),
        dataset=dataset,
        subset=subset,
        revision=revision,
        metrics=metrics,
        filters=tuple(str(one["name"]) for one in config.get("filter_list") or [{"name": "none"}]),
    )


def _refused(config: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    yield "class" in config, "is a Python class, of which nothing is known before it runs"
    yield bool(config.get("unsafe_code")), "runs code that a model writes"
    yield any(config.get(f"doc_to_{what}") for what in ("image", "audio")), "needs a model that sees or hears"
    yield not (config.get("dataset_path") or config.get("custom_dataset")), "names no `dataset_path`"


def _metrics(config: Mapping[str, Any]) -> Iterator[str]:
    listed = config.get("metric_list")
    if listed is None:
        yield from DEFAULT_METRICS.get(config.get("output_type", "generate_until"), [])
        return
    for one in listed:
        name = one["metric"]
        if isinstance(name, _Function):
            name = name.rpartition(".")[2]
        aggregation = one.get("aggregation", "mean" if name in BY_DOCUMENT else None)
        better = one.get("higher_is_better", name in BY_DOCUMENT)
        if aggregation == "mean" and better and not one.get("hf_evaluate"):
            yield str(name)


def _code(file: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """The Python files beside a YAML that its functions are read from."""
    for value in _leaves(config):
        if isinstance(value, _Function):
            module = file.parent / f"{value.rpartition('.')[0].replace('.', '/')}.py"
            if module.is_file():
                yield module.resolve()


def _data_files(name: str, source: str, given: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """(as the task names it, where it is) of a task's data on this machine; nothing where it is on the hub."""
    below = Path(source) if Path(source).is_dir() else None
    if below is None and source not in BUILDERS:
        return
    below = below or Path(str(given.get("data_dir") or ""))
    patterns = [str(one) for one in _leaves(given.get("data_files"))] or ["**/*"]
    for pattern in patterns:
        if "://" in pattern:
            value = f"the data of {name!r} is at {pattern}"
            raise MissingRequirement("the data of an lm-eval task must be files or on the hub", value, "fetch it")
        found = [file for file in sorted(glob.glob(str(below / pattern), recursive=True)) if Path(file).is_file()]
        if not found:
            value = f"{name!r} finds none at {below / pattern}"
            raise MissingRequirement("the data of an lm-eval task must be there", value, "correct `dataset_kwargs`")
        yield from ((file, Path(file)) for file in found)


def _leaves(value: Any) -> Iterator[Any]:
    """What is no mapping and no list; what aliases name many times stands once, as a few lines may name it billions."""
    waiting, seen = [value], {id(value)}
    for one in waiting:
        if not isinstance(one, (dict, list)):
            if one is not None:
                yield one
            continue
        for inner in one.values() if isinstance(one, dict) else one:
            if not isinstance(inner, (dict, list)) or id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
