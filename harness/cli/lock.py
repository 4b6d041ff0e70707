"""Locks of recipes: a plan takes what it knows of the hub from them; only `harness run` asks the hub for the rest."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from harness.errors import HarnessError, MissingRequirement, ProblemList
from harness.recipe.corpus import HuggingFace
from harness.recipe.load import LoadedRecipe
from harness.recipe.lock import DATASETS, Lock, Revision, lock_of, lock_text, read_lock, together
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
    for where, block in _corpora(loaded, "corpus.data_files"):
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
                yield loaded.where(_naming(loaded, path), setting), model.id, model.revision
    for where, block in _corpora(loaded, _naming(loaded, "corpus")):
        yield where, DATASETS + block.id, block.revision


def _naming(loaded: LoadedRecipe, path: str) -> str:
    """What of a block names its revision: `revision` where somebody wrote it, else the `id` alone."""
    return f"{path}.{'revision' if (*path.split('.'), 'revision') in loaded.source.lines else 'id'}"


def _corpora(loaded: LoadedRecipe, path: str) -> Iterator[tuple[str, HuggingFace]]:
    """(place of a value, block) of every data set that is a corpus."""
    for setting in (None, *loaded.settings):
        experiment = loaded.recipe if setting is None else setting.experiment
        if isinstance(experiment.corpus, HuggingFace) and experiment.corpus.is_repository:
            yield loaded.where(path, setting), experiment.corpus


def resolve(loaded: LoadedRecipe, lock: Lock) -> Lock:
    """Ask the hub for everything that is not known, and write it into the locks; returns all that is known then.

    A lock stands beside the file that names the revision, so that recipes that extend one file share what they compute.

    Raises:
        ProblemList: the hub does not know, or does not answer; all models and data sets at once.
    """
    from harness.models.hub import resolve_revision
    from harness.sources.datasets import dataset_commit, matching_files

    written: dict[Path, list[Lock]] = defaultdict(list)
    problems: list[HarnessError] = []

    def found(where: str, ask: Callable[[], Lock]) -> None:
        nonlocal lock
        try:
            more = ask()
        except MissingRequirement as error:
            problems.append(MissingRequirement(error.rule, error.value, error.remedy, where))
        else:
            lock = together([lock, more])
            written[_beside(loaded, where)].append(more)

    def commit_of(name: str, revision: str) -> Lock:
        ask: Callable[[str, str], str] = dataset_commit if name.startswith(DATASETS) else resolve_revision
        return Lock(commits={(name, revision): ask(name.removeprefix(DATASETS), revision)})

    def files_of(name: str, commit: str, pattern: str) -> Lock:
        return Lock(files={(name, commit): {pattern: matching_files(name.removeprefix(DATASETS), commit, pattern)}})

    for (name, revision), where in unresolved(loaded, lock).items():
        found(where, partial(commit_of, name, revision))
    for (name, revision, pattern), where in unlisted(loaded, lock).items():
        if (commit := lock.commit(name, revision)) is not None:  # else that was said already
            found(where, partial(files_of, name, commit, pattern))
    if problems:
        raise ProblemList(problems)
    for file, more in written.items():
        write_text(lock_of(file), lock_text(together([read_lock(file), *more])))
    return lock


def _beside(loaded: LoadedRecipe, where: str) -> Path:
    """The recipe's file that a place is in; the recipe itself for `--set`, and where one cannot write beside a file."""
    named = Path(where.rpartition(":")[0])
    return named if named in loaded.files and os.access(named.parent, os.W_OK) else loaded.path
