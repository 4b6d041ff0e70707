"""Running recipes as the command line does, with workers that have everything imported, and comparing what came out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.cli.workspace import Workspace, open_workspace
from harness.execution.executor import Outcome, StageTask
from harness.execution.runner import Runner, Summary, how_of
from harness.pipeline.graph import Stage
from harness.plan.analysis import analysis_stage
from harness.plan.effects import effects_stage
from harness.plan.plan import Plan
from harness.report.index import index_of
from harness.report.rows import find_row
from harness.report.versus import comparison_stage, match
from harness.store.record import Record
from harness.store.store import Store
from tests.toys.executors import local_executor

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "recipes" / "tiny.yaml"


@dataclass
class Watcher:
    """A listener that keeps what it was told."""

    begun: list[StageTask] = field(default_factory=list)
    ended: list[Outcome] = field(default_factory=list)

    def started(self, task: StageTask) -> None:
        self.begun.append(task)

    def finished(self, outcome: Outcome) -> None:
        self.ended.append(outcome)

    def tick(self) -> None:
        return None


def tiny(workdir: Path, *assignments: str) -> Workspace:
    """The tiny recipe's plan and the store of a workdir."""
    workspace = open_workspace(TINY, list(assignments), workdir)
    workspace.store.create()
    return workspace


def run(
    workspace: Workspace, stages: Sequence[Stage] | None = None, *, slots: int = 2, watcher: Watcher | None = None
) -> Summary:
    """Run what is left of a plan (or these stages) in worker processes of one thread each."""
    executor = local_executor(slots=slots)
    known = every_kind(workspace)
    chosen = workspace.work().to_run if stages is None else stages
    try:
        return Runner(workspace.store, executor, watcher or Watcher(), how_of(workspace.runtime)).run(chosen, known)
    finally:
        executor.close()


def run_up_to(workspace: Workspace, targets: Iterable[Stage], *, slots: int = 2) -> None:
    """Run what these stages need and is not there yet, and them."""
    store = workspace.store
    missing = [
        one for one in workspace.plan.graph.in_order(targets) if store.record(one.kind.name, one.fingerprint) is None
    ]
    summary = run(workspace, missing, slots=slots)
    assert not summary.failed, summary.failed
    assert not summary.blocked


def everything(workspace: Workspace) -> list[Stage]:
    """All stages of a plan with the one that compares them: what `harness run` makes."""
    stages = list(workspace.plan.stages)
    analysis = analysis_stage(workspace.plan, frozenset(stage.fingerprint for stage in stages))
    assert analysis is not None
    return [*stages, analysis]


def every_kind(workspace: Workspace) -> list[Stage]:
    """That, what claims are judged by, and what `harness compare` makes of the first and the last setting."""
    settings, stages = workspace.plan.settings, everything(workspace)
    effects = effects_stage(workspace.plan, stages[-1])
    made = [] if effects is None else [effects]
    return [*stages, *made, comparison(workspace.plan, settings[0].name, settings[-1].name)]


def comparison(plan: Plan, first: str, second: str) -> Stage:
    """The stage that compares two finished rows of a plan."""
    index = index_of(plan)
    matches, _ = match(find_row([index], first), find_row([index], second), lambda _: True, lambda _: (2, 4))
    return comparison_stage(plan.graph, matches, index.seed, plan.graph.__getitem__)


def left(workspace: Workspace) -> list[Stage]:
    """What is left to run, the comparison of all included."""
    to_run = list(workspace.work().to_run)
    *_, analysis = everything(workspace)
    if workspace.store.record(analysis.kind.name, analysis.fingerprint) is None:
        to_run.append(analysis)
    return to_run


def of_kind(workspace: Workspace, kind: str) -> list[Stage]:
    return [stage for stage in workspace.plan.stages if stage.kind.name == kind]


def only(workspace: Workspace, kind: str, label: str = "") -> Stage:
    """The one stage of a kind whose label holds a text."""
    (stage,) = [stage for stage in of_kind(workspace, kind) if label in stage.label]
    return stage


def record_of(store: Store, stage: Stage) -> Record:
    record = store.record(stage.kind.name, stage.fingerprint)
    assert record is not None, stage.label
    return record


def folder_of(store: Store, stage: Stage) -> Path:
    return store.directory(stage.kind.name, stage.fingerprint)


def outputs(workspace: Workspace, stages: Iterable[Stage] | None = None) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Of every stage, by label and name: the digest of its files and its result."""
    chosen = everything(workspace) if stages is None else stages
    found = {}
    for stage in chosen:
        record = record_of(workspace.store, stage)
        found[f"{stage.label} ({stage.name})"] = (record.output_digest, record.result)
    return found


def attempts(store: Store, stage: Stage) -> int:
    return int(store.run_facts(record_of(store, stage))["attempts"])


def finished_at(store: Store, stage: Stage) -> float:
    """When the stage's result was made: a new value means it was computed again."""
    return float(store.run_facts(record_of(store, stage))["finished"])


def holder(store: Store, stage: Stage) -> int | None:
    """Process id of whoever builds a stage now."""
    try:
        return int(json.loads((store.root / stage.kind.name / f"{stage.fingerprint[:12]}.lease").read_text())["pid"])
    except (FileNotFoundError, ValueError):
        return None


def harness(*arguments: str | Path, cwd: Path = ROOT, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """`python -m harness ...` as a process group of its own, with one thread a slot; `before` begins the command."""
    return python("-m", "harness", *arguments, cwd=cwd, before=before)


def python(*arguments: str | Path, cwd: Path = ROOT, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    found_in = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": found_in, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*before, sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        start_new_session=True,
        preexec_fn=_hear_interrupts,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _hear_interrupts() -> None:
    """A shell that runs tests in its background makes them, and what they start, deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
