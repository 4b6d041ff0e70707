"""Locks of recipes: a plan takes what it knows of the hub from them; only `harness run` asks the hub for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from harness.errors import HarnessError, MissingRequirement, ProblemList
from harness.recipe.corpus import HuggingFace
from harness.recipe.load import LoadedRecipe
from harness.recipe.lock import DATASETS, NO_LOCK, Lock, Revision, lock_of, lock_text
from harness.recipe.models import HubModel
from harness.recipe.schema import models_of
from harness.store.record import write_text


def unresolved(loaded: LoadedRecipe, lock: Lock) -> dict[Revision, str]:
    """(hub id, revision) -> place in the recipe, of models and data sets of which no commit is known."""
    found: dict[Revision, str] = {}
    for where, name, revision in _named(loaded):
        if lock.commit(name, revision) is None:
            found.setdefault((name, revision), where)
    return found


def unlisted(loaded: LoadedRecipe, lock: Lock) -> dict[tuple[str, str, str], str]:
    """(data set, revision, pattern) -> place in the recipe, of patterns of which nobody knows what they stand for."""
    found: dict[tuple[str, str, str], str] = {}
    for where, block in _corpora(loaded, "data_files"):
        name = DATASETS + block.id
        known = lock.files.get((name, lock.commit(name, block.revision) or ""), {})
        for pattern in block.patterns:
            if pattern not in known:
                found.setdefault((name, block.revision, pattern), where)
    return found


def _named(loaded: LoadedRecipe) -> Iterator[tuple[str, str, str]]:
    """(place, id, revision) of every model and data set of the hub."""
    for setting in (None, *loaded.settings):
        experiment = loaded.recipe if setting is None else setting.experiment
        for path, model in models_of(experiment):
            if isinstance(model, HubModel):
                yield loaded.where(path, setting), model.id, model.revision
    for where, block in _corpora(loaded, "id"):
        yield where, DATASETS + block.id, block.revision


def _corpora(loaded: LoadedRecipe, key: str) -> Iterator[tuple[str, HuggingFace]]:
    """(place of a key, block) of every data set that is a corpus."""
    for setting in (None, *loaded.settings):
        experiment = loaded.recipe if setting is None else setting.experiment
        if isinstance(experiment.corpus, HuggingFace) and experiment.corpus.is_repository:
            yield loaded.where(f"corpus.{key}", setting), experiment.corpus


def resolve(recipe: Path, loaded: LoadedRecipe, lock: Lock, known: Lock = NO_LOCK) -> Lock:
    """Write into a recipe's own lock what it does not know yet: from another lock, else asked of the hub.

    Raises:
        ProblemList: the hub does not know, or does not answer; all models and data sets at once.
    """
    from harness.models.hub import resolve_revision
    from harness.sources.datasets import dataset_commit, matching_files

    commits, files = dict(lock.commits), {at: dict(patterns) for at, patterns in lock.files.items()}
    problems: list[HarnessError] = []

    def failed(error: MissingRequirement, where: str) -> None:
        problems.append(MissingRequirement(error.rule, error.value, error.remedy, where))

    for (name, revision), where in unresolved(loaded, lock).items():
        ask: Callable[[str, str], str] = dataset_commit if name.startswith(DATASETS) else resolve_revision
        try:
            commits[name, revision] = known.commit(name, revision) or ask(name.removeprefix(DATASETS), revision)
        except MissingRequirement as error:
            failed(error, where)
    for (name, revision, pattern), where in unlisted(loaded, lock).items():
        commit = Lock(commits=commits).commit(name, revision)
        if commit is None:  # said already
            continue
        found = known.files.get((name, commit), {}).get(pattern)
        try:
            found = found or matching_files(name.removeprefix(DATASETS), commit, pattern)
        except MissingRequirement as error:
            failed(error, where)
            continue
        files.setdefault((name, commit), {})[pattern] = found
    if problems:
        raise ProblemList(problems)
    made = Lock(commits=commits, files=files)
    write_text(lock_of(recipe), lock_text(made))
    return made
