"""Every command, what it prints and how it exits. The list of commands and options is frozen here."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from rich.console import Console

from harness.cli.app import app
from harness.cli.report import _print_board, report_on
from harness.cli.workspace import Workspace
from harness.pipeline.kinds import KINDS
from harness.report.board import Board
from harness.store.in_use import in_use, used_by_others
from tests.integration.outside import OUTSIDE
from tests.integration.pipelines import (
    ROOT,
    TINY,
    Watcher,
    everything,
    finished_at,
    folder_of,
    left,
    of_kind,
    only,
    outputs,
    python,
    record_of,
    run,
    tiny,
)
from tests.integration.shell import Shell

HEAVY = {
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "scipy",
    "sklearn",
    "numpy",
    "pyarrow",
    "pandas",
    "plotly",
}
HEAVY |= {"plotly", "reasoning_gym", "rensa", "jinja2"}

BAD = """\
name: bad
modle: {source: tiny}
corpus: {kind: python_packages, packages: [email], heldout: [email], base: [email]}
pairs:
  count: many
  prompt: {from: docstring}
  chosen: {from: reference}
  rejected: {from: mutation, edits: [1, 2]}
runtime: {slots: 0}
"""


# ------------------------------------------------------------------------------------------------ the frozen list


def test_the_list_of_commands_and_options_is_frozen() -> None:
    """A new knob goes into the recipe, not into a flag."""
    group: Any = typer.main.get_command(app)
    found = {
        name: [(parameter.opts[0] if is_option(parameter) else parameter.name) for parameter in command.params]
        for name, command in group.commands.items()
    }
    assert found == {
        "init": ["file", "--from", "--name"],
        "validate": ["recipe", "--set"],
        "plan": ["recipes", "--set", "--name", "--workdir", "--why", "--json"],
        "fetch": ["recipe", "--set", "--workdir"],
        "run": ["recipe", "--set", "--name", "--workdir", "--dry-run"],
        "report": ["recipes", "--set", "--name", "--workdir"],
        "sync": ["recipe", "--set", "--name", "--workdir"],
        "ui": ["recipe", "--set", "--name", "--workdir", "--port"],
        "import": ["kind", "path", "--name", "--licence", "--source", "--model", "--first", "--workdir"],
        "ls": ["kind", "--workdir", "--kind", "--json"],
        "compare": ["first", "second", "--workdir", "--examples", "--json"],
        "show": ["stage", "--workdir", "--command", "--json"],
        "diff": ["first", "second", "--workdir"],
        "retract": ["stage", "reason", "--workdir", "--undo"],
        "gc": ["recipe", "--set", "--workdir", "--dry-run", "--yes"],
        "pack": ["recipe", "folder", "--set", "--workdir"],
        "lm-eval": ["model", "arguments", "--workdir"],
        "doctor": ["--calibrate", "--workdir"],
        "model": [],
    }
    nested = group.commands["model"].commands
    assert {name: [parameter.name for parameter in command.params] for name, command in nested.items()} == {
        "fetch": ["name", "workdir"],
        "export": ["stage", "folder", "workdir"],
    }


def is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


# ------------------------------------------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["run"],
        ["plan", str(TINY), "--frob"],
        ["validate", "there-is-none.yaml"],
        ["ls", "--workdir", "there-is-none"],
        ["model"],
        ["model", "fetch", "gpt-none"],
        ["init", str(TINY)],
        ["validate", str(TINY), "--set", "pairs.count"],
        ["validate", str(TINY), "--set", "pairs.cuont=3"],
        ["run", str(TINY), "--workdir", "/dev/null/workdir"],
        ["gc", str(TINY), "--workdir", "there-is-none", "--set", "runtime.keep={frobs: record}"],
    ],
)
def test_wrong_arguments_exit_with_2_and_one_message(shell: Shell, arguments: list[str]) -> None:
    assert shell(*arguments) == 2
    assert (shell.out + shell.err).strip()


def test_a_bad_recipe_shows_all_errors_with_their_lines(shell: Shell, tmp_path: Path) -> None:
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(BAD)
    for command in ("validate", "plan", "run"):
        assert shell(command, recipe) == 2
        lines = shell.err.splitlines()
        told = {int(found[1]) for line in lines if (found := re.match(rf"{re.escape(str(recipe))}:(\d+): ", line))}
        assert {2, 3, 5, 9} <= told, shell.err
        assert "did you mean `model`" in shell.err
        assert not shell.out


def planned(workspace: Workspace) -> int:
    return len(workspace.plan.stages)


def test_a_budget_that_is_exceeded_stops_before_the_first_stage(
    shell: Shell, finished: Workspace, tmp_path: Path
) -> None:
    for budget, told in (
        ("stages: 3", f"{planned(finished)} stages"),
        ("hours: 0.0001", "allowed"),
        ("gpu_hours: 1.0e-9", "GPU-hours, 1e-09 allowed"),
        ("disk_gb: 1.0e-3", "at the peak, 0.001 GB allowed"),
    ):
        assert shell("run", TINY, "--workdir", tmp_path, "--set", f"runtime.budget={{{budget}}}") == 2
        assert told in shell.err
        assert not list(tmp_path.iterdir())


def test_too_many_pairs_a_document_stop_a_run_once_the_corpus_is_read(shell: Shell, tmp_path: Path) -> None:
    arguments = (TINY, "--workdir", tmp_path, "--set", "runtime.budget={pairs_a_document: 0.01}")
    assert shell("run", *arguments) == 2
    assert re.search(r"the plan must fit `runtime.budget.pairs_a_document`, but [\d,]+ of [\d,]+ documents", shell.err)
    assert {path.parent.parent.name for path in tmp_path.glob("store/*/*/record.json")} == {"corpus_part", "corpus"}
    assert shell("plan", *arguments) == 0
    assert re.search(r"training pairs to construct, [\d.]+ of each of [\d,]+ documents", shell.out)
    assert "`run` would refuse this" in shell.out


def test_several_recipes_are_planned_together(shell: Shell, tmp_path: Path) -> None:
    more = tmp_path / "recipes" / "more.yaml"
    more.parent.mkdir()
    more.write_text(f"extends: {TINY}\nname: more\nablations: {{axes: {{pairs.count: [32, 64]}}}}\n")
    (more.parent / "wrong.yaml").write_text("name: wrong\n")
    (more.parent / "more.lock.yaml").write_text("")  # lies beside a recipe and is none
    assert shell("plan", TINY, more.parent, "--workdir", tmp_path / "w", "--json") == 0
    found = json.loads(shell.out)
    first, second, wrong = found["recipes"]
    assert first["added_stages"] == first["stages"]
    assert 0 < second["added_stages"] < second["stages"]
    assert "is required" in wrong["refused"]
    assert found["gpu_hours_apart"] == pytest.approx(first["hours"] + second["hours"])
    assert found["gpu_hours"] == pytest.approx(first["hours"] + second["added"])
    assert found["gpu_hours"] < found["gpu_hours_apart"]
    assert shell("plan", TINY, more.parent, "--workdir", tmp_path / "w") == 0
    assert "not planned: wrong: " in shell.out
    (tmp_path / "empty").mkdir()
    assert shell("plan", tmp_path / "empty") == 2
    assert "no recipe (*.yaml) in" in shell.err


def test_a_plan_says_what_this_machine_lacks(shell: Shell, tmp_path: Path) -> None:
    unknown = ("--set", "model={source: hub, id: nobody/knows-this}", "--set", "runtime.budget.gpu_hours=5")
    assert shell("plan", TINY, "--workdir", tmp_path, "--set", "runtime.device=cuda", *unknown) == 0
    assert "`runtime.device: cuda` needs a GPU" in shell.out
    assert "the hub must have nobody/knows-this" in shell.out
    assert re.search(
        r"the plan must fit `runtime.budget.gpu_hours`, but \d+ stages of models of unknown size", shell.out
    )
    assert re.search(r"unknown: the price of \d+ stages", shell.out)


def test_a_store_that_cannot_be_read_is_told(shell: Shell, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    record = folder_of(workspace.store, only(workspace, "corpus")) / "record.json"
    record.write_text(record.read_text()[:100])
    assert shell("run", TINY, "--workdir", workspace.workdir) == 2
    assert record.parent.name in shell.err
    (workspace.store.root / "store.json").write_text('{"schema": 99}')
    assert shell("run", TINY, "--workdir", workspace.workdir) == 2
    assert "schema 99" in shell.err


# -------------------------------------------------------------------------------------------- looking before a run


def test_validate_says_what_a_recipe_holds(shell: Shell) -> None:
    assert shell("validate", TINY) == 0
    assert "tiny: valid, 2 settings" in shell.out
    assert not shell.err


def test_plan_of_an_empty_workdir(shell: Shell, finished: Workspace, tmp_path: Path) -> None:
    assert shell("plan", TINY, "--workdir", tmp_path / "none") == 0
    assert f"0 done, {planned(finished)} to run" in shell.out
    for kind in set(KINDS) - OUTSIDE - {"analysis", "comparison", "effects"}:
        assert re.search(rf"^{kind} ", shell.out, re.MULTILINE), kind
    assert not (tmp_path / "none").exists()


def test_plan_as_json_agrees_with_the_plan(shell: Shell, finished: Workspace, tmp_path: Path) -> None:
    assert shell("plan", TINY, "--workdir", tmp_path / "none", "--json") == 0
    told = shell.json()
    assert (told["recipe"], told["done"], told["to_run"]) == ("tiny", 0, planned(finished))
    assert {(stage["kind"], stage["fingerprint"]) for stage in told["stages"]} == {
        (stage.kind.name, stage.fingerprint) for stage in finished.plan.stages
    }
    assert [setting["names"] for setting in told["settings"]] == [["rm+lm"], ["no-pmp"]]
    assert told["stages_asked"] > told["stages_after_sharing"] == planned(finished)
    assert shell("plan", TINY, "--workdir", finished.workdir, "--json") == 0
    assert (shell.json()["done"], shell.json()["to_run"]) == (planned(finished), 0)


def test_a_dry_run_names_every_stage_and_does_nothing(shell: Shell, finished: Workspace, tmp_path: Path) -> None:
    assert shell("run", TINY, "--workdir", tmp_path / "none", "--dry-run") == 0
    assert re.findall(r"^(\S+/[0-9a-f]{12})  ", shell.out, re.MULTILINE) == [
        stage.name for stage in finished.plan.stages
    ]
    assert "{0} of {0} stages to run".format(planned(finished)) in shell.out
    assert not (tmp_path / "none").exists()


# --------------------------------------------------------------------------------------------------- run and report


def test_run_reports_on_what_is_done(shell: Shell, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    assert shell("run", TINY, "--workdir", workspace.workdir) == 0
    assert "0 stages computed, {0} of {0} were done before".format(planned(workspace)) in shell.err
    assert "rm+lm" in shell.out
    assert "no-pmp" in shell.out
    files = {path.suffix for path in workspace.reports.iterdir()}
    assert files >= {".html", ".md", ".csv", ".json"}


def test_run_computes_what_is_left(shell: Shell, finished: Workspace, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    lost = [*of_kind(workspace, "best_of_n"), *of_kind(workspace, "pool_baselines"), everything(workspace)[-1]]
    for stage in lost:
        workspace.store.discard(record_of(workspace.store, stage))
    assert shell("run", TINY, "--workdir", workspace.workdir) == 0
    computed = len(lost) - 1  # beside the analysis, which counts apart
    told = f"{computed} stages computed, {planned(workspace) - computed} of {planned(workspace)} were done before"
    assert told in shell.err
    assert not left(workspace)
    assert outputs(workspace) == outputs(finished)


def test_report_computes_nothing_but_the_comparison(
    shell: Shell, finished: Workspace, copy: Callable[..., Workspace]
) -> None:
    workspace = copy()
    lost = of_kind(workspace, "best_of_n")[0]
    workspace.store.discard(record_of(workspace.store, lost))
    before = {stage.name: finished_at(workspace.store, stage) for stage in workspace.plan.stages if stage is not lost}
    assert shell("report", TINY, "--workdir", workspace.workdir) == 0
    assert "rm+lm" in shell.out
    assert workspace.store.record(lost.kind.name, lost.fingerprint) is None
    after = {stage.name: finished_at(workspace.store, stage) for stage in workspace.plan.stages if stage is not lost}
    assert after == before
    assert list(workspace.reports.glob("*.html"))


def test_overrides_of_settings_have_a_report_of_their_own(shell: Shell, tmp_path: Path) -> None:
    for arguments, name in (
        ((), "tiny"),
        (("--set", "runtime.slots=1"), "tiny"),
        (("--set", "pairs.count=32", "--set", "runtime.slots=1"), "tiny+pairs.count-32"),
        (("--set", "seeds={pretrain: 2, finetune: 2}"), r"tiny+[0-9a-f]{8}"),
        (("--set", "pairs.count=32", "--name", "fewer"), "fewer"),
    ):
        workdir = tmp_path / str(len(list(tmp_path.iterdir())))
        assert shell("report", TINY, "--workdir", workdir, *arguments) == 0
        (folder,) = (workdir / "reports").iterdir()
        assert re.fullmatch(name.replace("tiny+", r"tiny\+"), folder.name)


def test_report_of_nothing(shell: Shell, tmp_path: Path) -> None:
    assert shell("report", TINY, "--workdir", tmp_path) == 0
    assert "nothing to compare yet" in shell.out


# ------------------------------------------------------------------------------------------------- looking into it


def test_ls_lists_what_is_finished(shell: Shell, finished: Workspace) -> None:
    assert shell("ls", "--workdir", finished.workdir) == 0
    for stage in everything(finished):
        assert stage.name in shell.out
    assert f"{planned(finished) + 2} stages" in shell.out  # and the analysis and a comparison
    assert shell("ls", "--workdir", finished.workdir, "--kind", "encode", "--json") == 0
    rows = shell.json()
    assert {row["fingerprint"] for row in rows} == {stage.fingerprint for stage in of_kind(finished, "encode")}
    assert all(row["payload"] and row["bytes"] > 0 and row["result"]["groups"] > 0 for row in rows)


def test_show_tells_what_was_asked_and_what_came_out(shell: Shell, finished: Workspace) -> None:
    stage = only(finished, "trunk_state")
    assert shell("show", stage.name, "--workdir", finished.workdir) == 0
    for told in (stage.fingerprint, stage.label, "learning_rate", "groups_trained", "log.txt", "read by 1 stage"):
        assert told in shell.out
    assert shell("show", stage.fingerprint[:8], "--workdir", finished.workdir, "--json") == 0
    record = record_of(finished.store, stage)
    assert shell.json()["output_digest"] == record.output_digest
    assert shell.json()["identity"] == json.loads(json.dumps(record.identity))
    assert shell.json()["run"]["attempts"] == 1


def test_show_tells_what_a_pair_set_is_worth(shell: Shell, finished: Workspace) -> None:
    quality, pairs = only(finished, "pair_quality"), only(finished, "pairs", "train")
    for stage in (quality, pairs):
        assert shell("show", stage.name, "--workdir", finished.workdir) == 0
        assert f"Pair quality: {quality.name}" in shell.out
        assert "static judge: agreement" in shell.out
        assert "the static judge prefers" in shell.out
        assert "chosen:\ndef " in shell.out or "chosen:\nasync def " in shell.out


@pytest.mark.parametrize("name", ["encode/", "ffffffffffff", "nonsense/00", ""])
def test_a_stage_that_is_not_one_is_told(shell: Shell, finished: Workspace, name: str) -> None:
    for arguments in (["show", name], ["diff", name, name]):
        assert shell(*arguments, "--workdir", finished.workdir) == 2
        assert re.search(r"no (finished )?stage matches|\d+ (finished )?stages match", shell.err)


def test_diff_says_what_two_stages_differ_in(shell: Shell, finished: Workspace) -> None:
    first, second = of_kind(finished, "finetune")
    assert shell("diff", first.name, second.name, "--workdir", finished.workdir) == 0
    assert "inputs.start" in shell.out
    assert "outputs: different" in shell.out
    assert "spec.head" in shell.out
    assert "spec.samples" not in shell.out
    assert shell("diff", first.name, first.name, "--workdir", finished.workdir) == 0
    assert "no field differs" in shell.out
    assert "equal, bit for bit" in shell.out


def test_a_plan_says_why_a_stage_is_to_run(shell: Shell, finished: Workspace) -> None:
    """Down to what differs first: another PMP is the reason for another fine-tuning."""
    arguments = ("plan", TINY, "--workdir", finished.workdir, "--set", "pretrain.learning_rate=0.01", "--why")
    assert shell(*arguments, "finetune") == 0
    stages = [line.split()[0] for line in shell.out.splitlines() if re.match(r"\S+/[0-9a-f]{12}  ", line)]
    assert [stage.split("/")[0] for stage in stages] == ["finetune", "pretrain", "trunk_state"]
    assert re.search(r"spec\.\S*learning_rate +0\.01 +0\.003", shell.out)
    assert only(finished, "trunk_state").name in shell.out
    assert shell(*arguments, only(finished, "corpus").name) == 0
    assert "finished, not to run" in shell.out
    assert shell(*arguments, "nonsense") == 2
    assert "no stage of this plan is named 'nonsense'" in shell.err


# ------------------------------------------------------------------------------------------------ a damaged store


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _without_digest(path: Path, changes: dict[str, Any]) -> None:
    data = {**json.loads(path.read_text()), **changes}
    del data["digest"]
    path.write_text(json.dumps(data))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a folder for a record": lambda stage: _folder(stage / "record.json"),
    "a nested record": lambda stage: (stage / "record.json").write_text('{"a":' * 50_000 + "1" + "}" * 50_000),
    "fields of other types": lambda stage: _without_digest(stage / "record.json", {"files": {"a": 3}}),
    "a changed result": lambda stage: (stage / "record.json").write_text(
        (stage / "record.json").read_text().replace('"verdict": "', '"verdict": "not ')
    ),
    "a result without its keys": lambda stage: _without_digest(stage / "record.json", {"result": {}}),
    "no run.json": lambda stage: (stage / "run.json").unlink(),
    "a truncated run.json": lambda stage: (stage / "run.json").write_text('{"attempts": 1,'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_stage_is_named_with_the_remedy_and_the_rest_is_usable(
    shell: Shell, copy: Callable[..., Workspace], damage: str
) -> None:
    workspace = copy()
    stage, other = only(workspace, "pair_quality"), only(workspace, "base")
    folder = folder_of(workspace.store, stage)
    DAMAGE[damage](folder)
    shutil.rmtree(workspace.reports, ignore_errors=True)  # so that everything is read
    assert shell("show", other.name, "--workdir", workspace.workdir) == 0
    assert shell("ls", "base", "--workdir", workspace.workdir) == 0
    code = shell("ls", "--workdir", workspace.workdir)
    assert other.name in shell.out
    if damage != "a result without its keys":  # only who reads a fact can miss it
        assert code == 2
        assert f"delete {folder} and run" in shell.err
    for command in (["show", stage.name], ["report", TINY]):
        assert shell(*command, "--workdir", workspace.workdir) == 2
        assert f"delete {folder} and run" in shell.err
    shutil.rmtree(folder)
    assert shell("report", TINY, "--workdir", workspace.workdir) == 0


# ------------------------------------------------------------------------------------------------- the leaderboard


def test_a_leaderboard_fits_any_width_and_loses_nothing(copy: Callable[..., Workspace]) -> None:
    """Rows, and every number with both ends of its interval on one line, whole at 200, 80, 50 and 30 columns."""
    report = report_on(copy())

    def printed(board: Board, width: int) -> list[str]:
        console = Console(file=(file := io.StringIO()), width=width, force_terminal=True, color_system=None)
        _print_board(console, board)
        return [line.rstrip() for line in file.getvalue().splitlines()]

    for board in report.overview.boards:
        whole = printed(board, 200)
        numbers = sorted(re.findall(r"[\d.]+ \[[^]]*\]|[\d.]+ no spread", "\n".join(whole)))
        assert len(numbers) > 3
        for width in (80, 50, 30):
            lines = printed(board, width)
            assert width == 30 or all(len(line) <= width for line in lines)  # then a row is a paragraph
            assert sorted(re.findall(r"[\d.]+ \[[^]]*\]|[\d.]+ no spread", "\n".join(lines))) == numbers
            assert all(any(line.startswith(row.label) for line in lines) for row in board.rows if row.estimates)


def test_a_report_in_a_file_begins_with_the_answer_and_ends_with_what_to_do_next(
    shell: Shell, copy: Callable[..., Workspace]
) -> None:
    workspace = copy()
    assert shell("report", TINY, "--workdir", workspace.workdir) == 0
    lines = shell.out.splitlines()
    assert lines[0].startswith("No answer yet: a claim needs three seeds")
    assert max(len(line) for line in lines if "[" in line) <= 80
    assert lines[-4:] == [
        "To compare two rows problem by problem:",
        f"  harness compare rm+lm no-pmp --workdir {workspace.workdir}",
        "To write a variation of this recipe:",
        f"  harness init my-recipe.yaml --from {TINY}",
    ]


# --------------------------------------------------------------------------------------------------------------- gc

KEEP = "runtime.keep={base: record, encode: record, corpus: record, score: record, trunk_state: weights}"


def test_gc_keeps_records_and_leaves_nothing_to_do(
    shell: Shell, finished: Workspace, copy: Callable[..., Workspace]
) -> None:
    workspace = copy(KEEP)
    size = sum(path.stat().st_size for path in workspace.store.root.rglob("*") if path.is_file())
    assert shell("gc", TINY, "--workdir", workspace.workdir, "--set", KEEP, "--dry-run") == 0
    assert "would free" in shell.out
    assert re.search(r"^trunk_state +weights +1 ", shell.out, re.MULTILINE)
    assert size == sum(path.stat().st_size for path in workspace.store.root.rglob("*") if path.is_file())
    assert shell("gc", TINY, "--workdir", workspace.workdir, "--set", KEEP) == 0
    assert size > sum(path.stat().st_size for path in workspace.store.root.rglob("*") if path.is_file())
    for stage in workspace.plan.stages:
        dropped = stage.kind.name in ("base", "encode", "corpus", "score", "trunk_state")
        assert workspace.store.has_payload(record_of(workspace.store, stage)) == (not dropped)
    trunk = only(workspace, "trunk_state")
    assert list(folder_of(workspace.store, trunk).glob("state/model/*.safetensors"))
    assert not list(folder_of(workspace.store, trunk).glob("state/optimizer/*"))
    assert not left(workspace)
    assert shell("run", TINY, "--workdir", workspace.workdir, "--set", KEEP) == 0
    assert "0 stages computed, {0} of {0} were done before".format(planned(workspace)) in shell.err
    assert outputs(workspace) == outputs(finished)


def test_gc_asks_on_a_terminal(copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "harness", "gc", TINY, "--workdir", workspace.workdir, "--set", KEEP]
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT) as process:
        os.close(theirs)
        told = b""
        while b"[y/N]" not in told and select.select([ours], [], [], 60)[0]:
            told += os.read(ours, 1000)
        os.write(ours, b"n\n")
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert b"trunk_state" in told
    assert workspace.store.has_payload(record_of(workspace.store, only(workspace, "base")))


def test_gc_keeps_what_a_command_at_work_reads(shell: Shell, copy: Callable[..., Workspace]) -> None:
    workspace = copy(KEEP)
    base, score = only(workspace, "base"), of_kind(workspace, "score")[0]
    for dry in (["--dry-run"], []):
        with in_use(workspace.store.root, [base.fingerprint]):
            assert shell("gc", TINY, "--workdir", workspace.workdir, "--set", KEEP, *dry) == 0
        assert re.search("kept .* of 1 stage that a running command reads", shell.out)
    assert workspace.store.has_payload(record_of(workspace.store, base))
    assert not workspace.store.has_payload(record_of(workspace.store, score))
    assert shell("gc", TINY, "--workdir", workspace.workdir, "--set", KEEP) == 0
    assert "running command" not in shell.out
    assert not workspace.store.has_payload(record_of(workspace.store, base))


def test_a_run_says_what_it_reads(copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    stage = of_kind(workspace, "score")[0]
    seen: list[frozenset[str]] = []

    class Looking(Watcher):
        def tick(self) -> None:
            with used_by_others(workspace.store.root) as used:
                seen.append(used)

    workspace.store.discard(record_of(workspace.store, stage))
    assert not run(workspace, [stage], watcher=Looking()).failed
    needed = {one.fingerprint for one in workspace.plan.graph.in_order([stage])}
    assert seen
    assert set(seen) == {frozenset(needed)}


def test_a_dropped_payload_is_computed_again_when_something_new_needs_it(
    shell: Shell, finished: Workspace, copy: Callable[..., Workspace]
) -> None:
    workspace = copy()
    assert shell("gc", TINY, "--workdir", workspace.workdir, "--set", KEEP) == 0
    more = copy("seeds.finetune=2")
    to_run = {stage.name for stage in more.work().to_run}
    needed = {only(more, "base").name, only(more, "encode", "preferences logic finetune").name}
    kept = {only(more, "trunk_state").name, only(more, "pretrain").name, only(more, "encode", "pairs train").name}
    assert needed <= to_run
    assert not kept & to_run
    assert shell("run", TINY, "--workdir", more.workdir, "--set", "seeds.finetune=2") == 0
    assert more.work().to_run == ()
    for stage in finished.plan.stages:
        again = finished_at(more.store, stage) != finished_at(finished.store, stage)
        assert again == (stage.name in to_run)
    assert outputs(more, finished.plan.stages) == outputs(finished, finished.plan.stages)
    more.store.verify(record_of(more.store, only(more, "base")))


# ------------------------------------------------------------------------------------------------------- lightness

IMPORTED = """
import json, sys
from harness.cli.run_command import run_command
code = run_command(sys.argv[1:])
print("\\n" + json.dumps({"code": code, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


@pytest.mark.parametrize("command", ["--help", "validate", "plan", "run --dry-run", "gc --dry-run", "ls", "show"])
def test_looking_imports_nothing_heavy(finished: Workspace, command: str) -> None:
    name, *flags = command.split()
    recipe = [str(TINY)] if name in ("validate", "plan", "run", "gc") else []
    stage = [only(finished, "corpus").name] if name == "show" else []
    place = ["--workdir", str(finished.workdir)] if name not in ("--help", "validate") else []
    process = python("-c", IMPORTED, name, *recipe, *stage, *flags, *place)
    told, complaints = process.communicate(timeout=120)
    last = json.loads(told.splitlines()[-1])
    assert last["code"] == 0, complaints
    assert not HEAVY & set(last["modules"])


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """`python -m harness`, its exit code, and a reader who leaves early."""
    process = python("-m", "harness", "validate", tmp_path / "none.yaml")
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "none.yaml" in complaints
    assert "Traceback" not in complaints
    piped = subprocess.run(
        f"{sys.executable} -m harness plan {TINY} --workdir {tmp_path} --json | head -c 1",
        shell=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (piped.stdout, piped.stderr) == ("{", "")


def test_the_tiny_recipe_was_only_read(finished: Workspace) -> None:
    assert outputs(finished) == outputs(tiny(finished.workdir))
    assert not left(finished)
