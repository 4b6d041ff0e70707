"""`harness plan RECIPE --why STAGE`: why a stage is to run although others of its kind are finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.cli.console import clipped, output, visible
from harness.cli.tables import print_table, table
from harness.cli.workspace import Workspace, open_workspace
from harness.errors import RecipeError
from harness.pipeline.graph import Stage
from harness.plan.work import Work
from harness.report.words import plural
from harness.store.identity import SHORT
from harness.store.record import Record
from harness.store.store import Store

MOST_EXPLAINED = 12  # stages, from the one in question towards what differs first
MOST_NAMED = 5


def explain(recipe: Path, assignments: Sequence[str], workdir: Path | None, name: str) -> None:
    """Print why a stage of a recipe's plan is to run: what it differs in from the nearest finished stage of its kind.

    Where that is an input, the input is explained in turn.

    Raises:
        RecipeError: no stage of the plan, or several, have this name.
    """
    workspace = open_workspace(recipe, assignments, workdir)
    work = workspace.work()
    waiting = [_find(workspace, work, name)]
    to_run = set(work.to_run)
    seen: set[Stage] = set()
    while waiting and len(seen) < MOST_EXPLAINED:
        stage = waiting.pop(0)
        if stage not in seen:
            seen.add(stage)
            differing = _explain(workspace, work, stage)
            waiting += [item.stage for key, item in stage.inputs.items() if key in differing and item.stage in to_run]
    left = len(set(waiting) - seen)
    if left:
        output().print(f"{plural(left, 'more input')} to run for the same reasons")


def differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, value, other value) of every field in which two identities or results differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(set(one) | set(other)):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif one != other:
        yield path, one, other


def _find(workspace: Workspace, work: Work, name: str) -> Stage:
    """The stage of a plan that is called `kind/fingerprint`, the start of one, its kind or its label."""
    kind, _, start = name.rpartition("/")
    stages = workspace.plan.stages
    found = [one for one in stages if name in (one.kind.name, one.label)]
    if start and not found:
        found = [one for one in stages if kind in ("", one.kind.name) and one.fingerprint.startswith(start)]
    to_run = [one for one in found if one in set(work.to_run)]
    found = to_run or found
    if not found:
        kinds = dict.fromkeys(stage.kind.name for stage in stages)
        raise RecipeError(
            f"no stage of this plan is named {clipped(name)}",
            "",
            f"`run --dry-run` lists them; kinds: {', '.join(kinds)}",
        )
    if len(found) > 1:
        names = ", ".join(f"{one.name} ({one.label})" for one in found[:MOST_NAMED])
        more = f" and {len(found) - MOST_NAMED:,} more" if len(found) > MOST_NAMED else ""
        raise RecipeError(f"{len(found):,} stages match {clipped(name)}", "", f"name one: {names}{more}")
    return found[0]


def _explain(workspace: Workspace, work: Work, stage: Stage) -> set[str]:
    """Print why a stage is to run; names of the inputs in which it differs from the nearest finished one."""
    console, store = output(), workspace.store
    console.print(visible(f"{stage.name}  {stage.label}"), style="bold")
    if stage not in set(work.to_run):
        console.print("  finished, not to run")
        return set()
    record = store.record(stage.kind.name, stage.fingerprint)
    if record is not None:
        dropped = "its files were dropped (`harness gc`), and a stage that is to run reads them"
        outdated = "other code of the same version computed it (`runtime.stale_code: rerun`)"
        console.print(f"  finished before, to run again: {outdated if store.has_payload(record) else dropped}")
        return set()
    nearest = _nearest(store, stage)
    if nearest is None:
        console.print(f"  no {stage.kind.name} stage is finished in this workdir yet")
        return set()
    rows = list(differences(stage.identity, nearest.identity))
    other = f"{nearest.kind}/{nearest.fingerprint[:SHORT]}"
    shown = table(f"  nearest finished: {other} ({visible(_label(store, nearest))})", "  field", "this plan", other)
    for path, mine, its in rows:
        shown.add_row(f"  {path}", _short(mine), _short(its))
    print_table(shown)
    return {path.split(".")[1] for path, _, _ in rows if path.startswith("inputs.")}


def _nearest(store: Store, stage: Stage) -> Record | None:
    """The finished stage of the same kind with the fewest differing fields; of several that which differs in inputs."""

    def distance(record: Record) -> tuple[int, int]:
        fields = [path for path, _, _ in differences(stage.identity, record.identity)]
        return len(fields), sum(not path.startswith("inputs.") for path in fields)

    return min(store.records(stage.kind.name), key=distance, default=None)


def _label(store: Store, record: Record) -> str:
    return str(store.run_facts(record)["label"])


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return text[:SHORT]
    return visible(text if len(text) <= 60 else f"{text[:57]}...")
