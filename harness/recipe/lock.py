"""`<recipe>.lock.yaml`: what the revisions that a recipe's file names stood for on the hub at the first run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import RecipeError, reason_of

SUFFIX = ".lock.yaml"
HEADER = (
    "# The hub's models and data sets at the first run: commits, and the files that a corpus's patterns stood for.\n"
    "# Delete an entry to take what is there now.\n"
)
DATASETS = "datasets/"  # before the id of a data set, as in the hub's own addresses

COMMIT = re.compile(r"[0-9a-f]{40}")

Revision = tuple[str, str]  # hub id, branch or tag
Commits = Mapping[Revision, str]


@dataclass(frozen=True, kw_only=True)
class Lock:
    """What is known of the hub's revisions.

    Attributes:
        commits: (id, revision) -> commit; a data set's id follows `datasets/`.
        files: (a data set's id, commit) -> pattern -> the files it stands for, in order.
    """

    commits: Commits = field(default_factory=dict)
    files: Mapping[Revision, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    def commit(self, name: str, revision: str) -> str | None:
        """The commit of a revision, which may be one itself; None where nobody knows it yet."""
        return revision if is_commit(revision) else self.commits.get((name, revision))


NO_LOCK = Lock()


def is_commit(revision: str) -> bool:
    """Whether a revision names one commit and no other, ever."""
    return COMMIT.fullmatch(revision) is not None


def lock_of(recipe: Path) -> Path:
    return recipe.with_name(recipe.stem + SUFFIX)


def together(locks: Iterable[Lock]) -> Lock:
    """What several locks know; the first that knows it counts."""
    commits: dict[Revision, str] = {}
    files: dict[Revision, Mapping[str, tuple[str, ...]]] = {}
    for lock in locks:
        commits = {**lock.commits, **commits}
        files = {at: {**lock.files.get(at, {}), **files.get(at, {})} for at in (*files, *lock.files)}
    return Lock(commits=commits, files=files)


def read_lock(recipe: Path) -> Lock:
    """A recipe's own lock; without a file it knows nothing.

    Raises:
        RecipeError: the lock is damaged.
    """
    path = lock_of(recipe)
    if not path.is_file():
        return NO_LOCK
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        entries = {_revision(name): found for name, found in data.items()}
        return Lock(
            commits={at: _commit(found) for at, found in entries.items() if not isinstance(found, dict)},
            files={at: _files(found) for at, found in entries.items() if isinstance(found, dict)},
        )
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise RecipeError(
            "a recipe's lock must be readable", reason_of(error), "delete it; the next run writes it", str(path)
        ) from None


def _revision(name: str) -> Revision:
    known, _, revision = name.partition("@")
    return known, revision


def _commit(found: Any) -> str:
    if not is_commit(str(found)):
        raise ValueError("it does not map `id@revision` to commits")
    return str(found)


def _files(found: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    for names in found.values():
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("it does not map a data set's patterns to files")
    return {str(pattern): tuple(names) for pattern, names in found.items()}


def lock_text(lock: Lock) -> str:
    """What a lock file holds."""
    data: dict[str, Any] = {f"{name}@{revision}": commit for (name, revision), commit in lock.commits.items()}
    for (name, commit), patterns in lock.files.items():
        data[f"{name}@{commit}"] = {pattern: list(files) for pattern, files in patterns.items()}
    return HEADER + yaml.safe_dump(data)
