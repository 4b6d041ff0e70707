"""Find a task by name. Names are listed without importing any task; a task's file is imported when it is loaded.

Called by stages only: recipes and plans carry a task's name as text.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Mapping
from types import MappingProxyType, ModuleType

from harness.errors import RecipeError
from harness.recipe.fields import TASKS
from harness.tasks.task import Mistake, Preference, Problem, Solution, Task

__all__ = ["BUILT_IN", "Mistake", "Preference", "Problem", "Solution", "Task", "load_task"]

BUILT_IN: Mapping[str, str] = MappingProxyType({name: f"harness.tasks.built_in.{name}" for name in TASKS})
"""Name -> the module that holds the task, and no other."""

_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def load_task(kind: str) -> Task:
    """The task of a built-in name or of "package.module:name", a `Task` or something that makes one when called.

    Raises:
        RecipeError: no such name, module or object, or the object is no task.
    """
    if kind in BUILT_IN:
        module = importlib.import_module(BUILT_IN[kind])
        (task,) = [one for one in vars(module).values() if _is_own_task(one, module)]
        made: Task = task()
        return made
    if not _PLACE.fullmatch(kind):
        near = difflib.get_close_matches(kind, BUILT_IN, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(BUILT_IN)}"
        raise RecipeError(
            "a task's kind must be a built-in name or `package.module:name`", f"{kind!r} is neither", hint
        )
    return _task_at(kind, kind)


def _is_own_task(found: object, module: ModuleType) -> bool:
    return isinstance(found, type) and issubclass(found, Task) and found.__module__ == module.__name__


def _task_at(place: str, kind: str) -> Task:
    module_name, _, name = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise RecipeError(
            f"task {kind!r} must be importable", f"importing {module_name!r} says: {error}", "install its package"
        ) from error
    if not hasattr(module, name):
        raise RecipeError(f"task {kind!r} must exist", f"{module_name!r} has no {name!r}", "correct the name")
    made = getattr(module, name)
    try:
        task = made() if callable(made) else made
    except TypeError as error:
        raise RecipeError(
            f"task {kind!r} must be made without arguments", f"making it says: {error}", "correct the plugin"
        ) from error
    if not isinstance(task, Task):
        raise RecipeError(
            f"{kind!r} must be a harness.tasks.task.Task", f"it is a {type(task).__name__}", "subclass `Task`"
        )
    return task
