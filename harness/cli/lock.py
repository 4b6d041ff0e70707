"""Commits of hub models: a plan takes them from the lock of its recipe; only `harness run` asks the hub for others."""

from __future__ import annotations

from pathlib import Path

from harness.errors import HarnessError, MissingRequirement, ProblemList
from harness.recipe.load import LoadedRecipe
from harness.recipe.lock import Commits, Revision, is_commit, lock_of, lock_text
from harness.recipe.models import HubModel
from harness.recipe.schema import models_of
from harness.store.record import write_text


def unresolved(loaded: LoadedRecipe, commits: Commits) -> dict[Revision, str]:
    """(hub id, revision) -> place in the recipe, of what no commit is known for."""
    found: dict[Revision, str] = {}
    for setting in (None, *loaded.settings):
        experiment = loaded.recipe if setting is None else setting.experiment
        for path, model in models_of(experiment):
            if isinstance(model, HubModel) and not is_commit(model.revision):
                key = (model.id, model.revision)
                if key not in commits:
                    found.setdefault(key, loaded.where(path, setting))
    return found


def resolve(recipe: Path, loaded: LoadedRecipe, commits: Commits) -> Commits:
    """Ask the hub for every commit that is not known, and write the lock.

    Raises:
        ProblemList: the hub does not know, or does not answer; all models at once.
    """
    from harness.models.hub import resolve_revision

    found = dict(commits)
    problems: list[HarnessError] = []
    for (model, revision), where in unresolved(loaded, commits).items():
        try:
            found[model, revision] = resolve_revision(model, revision)
        except MissingRequirement as error:
            problems.append(MissingRequirement(error.rule, error.value, error.remedy, where))
    if problems:
        raise ProblemList(problems)
    write_text(lock_of(recipe), lock_text(found))
    return found
