"""`harness report` of several recipes, or of all those of a workdir: a report of each, and one of all together."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.cli.computed import compute
from harness.cli.console import errors, output, visible
from harness.cli.report import Report, print_next, print_report, report_on
from harness.cli.workspace import REPORTS, STORE, Workspace, discard_damaged, open_workspace, stands
from harness.errors import HarnessError, ProblemList, RecipeError, StoreError
from harness.pipeline.graph import Stage
from harness.recipe.fields import NAME_PATTERN
from harness.report.index import INDEX, RECIPE
from harness.report.joint import Joint, Part, joint_name
from harness.report.joint_data import joint_overview
from harness.report.write import write_joint_report
from harness.store.artifacts import Analysis
from harness.store.record import RUN
from harness.store.store import Store


def write_reports(paths: Sequence[Path], assignments: Sequence[str], name: str | None, workdir: Path | None) -> int:
    """Report on recipes and workdirs, each recipe alone and all together; returns the exit code.

    Args:
        paths: recipes, and workdirs whose recipes are meant.
        assignments: overrides of every recipe that is given as a file.
        name: what the joint report is called.
        workdir: of every recipe that is given as a file, instead of its own.
    """
    if name is not None and not re.fullmatch(NAME_PATTERN, name):
        raise RecipeError("`--name` must be letters, digits and _.+-", f"it is {name[:80]!r}", "choose another")
    opened = _opened(paths, assignments, workdir)
    reports = [report_on(workspace) for _, workspace in opened]
    if len(opened) == 1 and name is None:
        (path, workspace), (report,) = opened[0], reports
        print_report(report)
        print_next(report, workspace, path, ())
        return 1 if report.failure else 0
    parts = [
        Part(name=called, plan=one.plan, store=one.store, seen=report.overview, search=one.search)
        for called, (_, one), report in zip(_names(opened), opened, reports, strict=True)
    ]
    joint = Joint(parts)
    called = name or joint_name([part.name for part in parts])
    folder = opened[0][1].workdir / REPORTS / called
    if (folder / INDEX).exists():
        raise RecipeError(f"{called!r} is the name of a recipe in {opened[0][1].workdir}", "", "choose another --name")
    seen = joint_overview(joint, _analyses(joint, folder))
    files = write_joint_report(joint, seen, called, folder)
    own = [f"{part.name}: {line}" for part, report in zip(parts, reports, strict=True) for line in report.search]
    print_report(Report(files=files, overview=seen, search=tuple(own)))
    failed = [f"{part.name}: {one.failure}" for part, one in zip(parts, reports, strict=True) if one.failure]
    for line in failed:
        errors().print(visible(line), style="red")
    output().print("\nThe report of each recipe alone:")
    for report in reports:
        output().print(f"  {report.files.html}")
    return 1 if failed else 0


def _opened(paths: Sequence[Path], assignments: Sequence[str], workdir: Path | None) -> list[tuple[Path, Workspace]]:
    """Every recipe that is meant, with the file it is read from.

    Raises:
        ProblemList: everything wrong with any of them.
    """
    problems: list[RecipeError | StoreError] = []
    found: list[tuple[Path, Workspace]] = []
    for path in paths:
        if not path.is_dir():
            found.append((path, open_workspace(path, assignments, workdir, writes=True)))
        elif assignments:
            rule = "`--set` changes recipes that are given as files"
            problems.append(RecipeError(rule, f"{path} is a workdir", "drop one of them"))
        else:
            found += _of_workdir(path)
    places = [(one.workdir.resolve(), one.plan.loaded.recipe.name) for _, one in found]
    for (place, recipe), times in Counter(places).items():
        if times > 1:
            remedy = "name it once, or give a variation another name with --set name=…"
            problems.append(RecipeError("each recipe is reported once", f"{recipe} in {place} is given twice", remedy))
    if problems:
        raise ProblemList(problems)
    return found


def _of_workdir(workdir: Path) -> list[tuple[Path, Workspace]]:
    """The recipes of a workdir of which some evaluation is done.

    Raises:
        StoreError: it is no workdir, or there is none.
        HarnessError: what keeps the only recipes from being planned, such as raw data that are gone.
    """
    if not (workdir / STORE).is_dir():
        remedy = "give a recipe, or the folder that `harness run` wrote its results to"
        raise StoreError(f"{workdir} must be a workdir", "it has no folder `store`", remedy)
    found: list[tuple[Path, Workspace]] = []
    refused: list[HarnessError] = []
    for recipe in sorted(workdir.glob(f"{REPORTS}/*/{RECIPE}")):
        try:
            workspace = open_workspace(recipe, (), workdir, writes=True)
        except HarnessError as error:
            refused.append(error)
            errors().print(visible(f"{recipe.parent.name} in {workdir}: cannot be planned, left out: {error}"))
            continue
        done = workspace.work().done
        if any(one.stage.fingerprint in done for one in workspace.plan.outcomes):
            found.append((recipe, workspace))
        else:
            errors().print(visible(f"{recipe.parent.name} in {workdir}: no evaluation is finished, left out"))
    if refused and not found:
        raise refused[0]
    if not found:
        raise StoreError(f"nothing is finished in {workdir}", "", "`harness run` a recipe there first")
    return found


def _names(opened: Sequence[tuple[Path, Workspace]]) -> list[str]:
    """What each recipe is called: by its name, with its workdir where several have that name."""
    names = [one.plan.loaded.recipe.name for _, one in opened]
    longer = [f"{name} in {one.workdir}" for name, (_, one) in zip(names, opened, strict=True)]
    return [long if names.count(name) > 1 else name for name, long in zip(names, longer, strict=True)]


def _analyses(joint: Joint, folder: Path) -> dict[int, Mapping[str, Any]]:
    """The joint analyses, computed unless they are there.

    Rows of several workdirs are gathered in a store below the joint report, since a stage reads what is in its store.
    """
    stores = [part.store for part in joint.parts]
    alone = len({store.root.resolve() for store in stores}) == 1

    def has_payload(at: int, stage: Stage) -> bool:
        record = stores[at].record(stage.kind.name, stage.fingerprint)
        return record is not None and stores[at].has_payload(record)

    found = {}
    for at, stage in joint.analyses(has_payload).items():
        store = stores[0] if alone else _gathered(stage, stores, Store(folder / STORE))
        discard_damaged(store, stage)
        if not stands(store, stage):
            compute(store, stage)
        path = Analysis(store.directory(stage.kind.name, stage.fingerprint)).path
        found[at] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _gathered(stage: Stage, stores: Sequence[Store], target: Store) -> Store:
    """The store with all that a stage reads, each folder linked or copied from where it was computed last."""
    target.create()
    for one in dict.fromkeys(item.stage for item in stage.inputs.values()):
        kind, fingerprint = one.kind.name, one.fingerprint
        sources = [store for store in stores if (found := store.record(kind, fingerprint)) and store.has_payload(found)]
        place, source = target.directory(kind, fingerprint), sources[0].directory(kind, fingerprint)
        if (place / RUN).is_file() and (place / RUN).read_bytes() == (source / RUN).read_bytes():
            continue
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source, place)
    return target
