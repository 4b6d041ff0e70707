"""`harness import`: bring a published checkpoint, pairs, a pool or scores into a workdir, as a stage like any other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.cli.console import errors, output
from harness.cli.environment import workdir_problems
from harness.cli.execute import execute_in
from harness.cli.workspace import STORE
from harness.errors import HarnessError, ProblemList, RecipeError, StoreError
from harness.execution.runner import how_of
from harness.imports.files import content_digest
from harness.pipeline.graph import Graph
from harness.pipeline.imports import IMPORTED, AssetSpec, PoolSpec, imports_of
from harness.recipe.fields import NAME_PATTERN
from harness.recipe.runtime import Runtime
from harness.store.in_use import used_by_others
from harness.store.record import Record
from harness.store.store import Store

DONE, FAILED, INTERRUPTED = 0, 1, 130
LONGEST_WORDS = 300

# What to say of an import, of the facts its record holds.
FACTS = {
    "pool": ("problems", "clusters", "candidates", "smallest_pool", "largest_pool"),
    "pairs": ("groups", "clusters"),
    "scores": ("scores", "problems"),
    "checkpoint": ("parameters", "vocabulary"),
}


def import_asset(
    what: str,
    path: Path,
    *,
    name: str,
    licence: str,
    source: str,
    workdir: Path,
    models: Sequence[str] = (),
    first: int | None = None,
) -> int:
    """Import one asset; returns the exit code. The same content under the same words is left as it is.

    Args:
        models, first: of a pool, whose candidates to keep (() is all), and how many a problem at most.

    Raises:
        ProblemList: a wrong name or word, nothing readable at `path`, or no workdir to write to.
    """
    words = {"name": name, "licence": licence, "source": source}
    problems: list[HarnessError] = [
        *_word_problems(words),
        *workdir_problems(workdir / STORE, "--workdir", writes=True),
    ]
    if what != "pool" and (models or first is not None):
        rule = "only a pool has candidates to choose from"
        problems.append(RecipeError(rule, f"this is `harness import {what}`", "drop it", "--model, --first"))
    try:
        digest = content_digest(what, path)
    except HarnessError as error:
        problems.append(error)
    if problems:
        raise ProblemList(problems)
    store = Store(workdir / STORE)
    spec = (
        PoolSpec(digest=digest, models=tuple(sorted(set(models))), first=first)
        if what == "pool"
        else AssetSpec(digest=digest)
    )
    stage = Graph().stage(IMPORTED[what], spec, label=f"imported {what} {name}")
    record = store.record(stage.kind.name, stage.fingerprint)
    if record is not None and store.has_payload(record) and _words(record) == words:
        output().print(f"{what} {name} is there already: {stage.name}")
        return DONE
    earlier = imports_of(store).get((what, name))
    store.create()
    if record is not None:  # other words, or its files were dropped: made again
        with used_by_others(store.root) as used:
            if record.fingerprint in used:
                raise StoreError(
                    f"a running command reads {stage.name}, which this import would replace",
                    "",
                    "import it again when that command has ended",
                )
            store.discard(record)
    how = {**how_of(Runtime()), "imported": {**words, "path": os.path.realpath(path)}}
    summary = execute_in(store, Runtime(), [stage], everything=[stage], how=how)
    if summary.interrupted:
        errors().print("interrupted; nothing was imported")
        return INTERRUPTED
    if summary.failed:
        return FAILED
    made = store.record(stage.kind.name, stage.fingerprint)
    assert made is not None
    _tell(what, words, made, record, earlier.fingerprint if earlier else "")
    return DONE


def _word_problems(words: Mapping[str, str]) -> Iterator[RecipeError]:
    if not re.fullmatch(NAME_PATTERN, words["name"]):
        yield RecipeError(
            f"a name has letters, digits and _ . + - (64 at most), not {words['name'][:80]!r}", "", "", "--name"
        )
    for key in ("licence", "source"):
        text = words[key]
        if not text.strip() or len(text) > LONGEST_WORDS or not text.isprintable():
            rule = f"a {key} must be 1 to {LONGEST_WORDS} printable characters"
            yield RecipeError(rule, f"it is {text[:80]!r}", "say it in a line", f"--{key}")


def _words(record: Record) -> dict[str, Any]:
    return {key: record.result[key] for key in ("name", "licence", "source")}


def _tell(what: str, words: Mapping[str, str], made: Record, replaced: Record | None, earlier: str) -> None:
    console = output()
    facts = ", ".join(f"{key.replace('_', ' ')} {made.result[key]:,}" for key in FACTS[what])
    console.print(f"{what} {words['name']}: {made.kind}/{made.fingerprint[:12]}, {facts}")
    if replaced is not None and _words(replaced) != words:
        told = "; ".join(f"{key} was {value}" for key, value in _words(replaced).items() if value != words[key])
        console.print(f"the same content was imported before ({told}); its name, licence and source are replaced")
    if earlier and earlier != made.fingerprint:
        console.print(
            f"{words['name']} was {made.kind}/{earlier[:12]} before; recipes that name it read this content now"
        )
