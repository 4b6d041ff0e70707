"""`<recipe>.lock.yaml`: which commit each hub revision of a recipe stood for at its first run: later runs agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from harness.errors import RecipeError, reason_of

SUFFIX = ".lock.yaml"
HEADER = "# Commits of hub models, as they were at the first run. Delete a line to take the revision's newest commit.\n"

COMMIT = re.compile(r"[0-9a-f]{40}")

Revision = tuple[str, str]  # hub id, branch or tag
Commits = Mapping[Revision, str]


def is_commit(revision: str) -> bool:
    """Whether a revision names one commit and no other, ever."""
    return COMMIT.fullmatch(revision) is not None


def lock_of(recipe: Path) -> Path:
    return recipe.with_name(recipe.stem + SUFFIX)


def read_lock(recipe: Path) -> Commits:
    """(hub id, revision) -> commit, as far as the recipe's lock knows.

    Raises:
        RecipeError: the lock is damaged.
    """
    path = lock_of(recipe)
    if not path.is_file():
        return {}
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(data, dict) or not all(is_commit(str(commit)) for commit in data.values()):
            raise ValueError("it does not map `id@revision` to commits")
        return {(name.rpartition("@")[0], name.rpartition("@")[2]): str(commit) for name, commit in data.items()}
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise RecipeError(
            "a recipe's lock must be readable", reason_of(error), "delete it; the next run writes it", str(path)
        ) from None


def lock_text(commits: Commits) -> str:
    """What a lock file holds."""
    return HEADER + yaml.safe_dump({f"{model}@{revision}": commit for (model, revision), commit in commits.items()})
