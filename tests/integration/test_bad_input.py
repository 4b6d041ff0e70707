"""Bad recipes, bad machines, bad data: told in one form, all at once, before anything runs, in real processes too."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from harness.cli import environment, gpus
from harness.cli.run_command import run_command
from harness.cli.workspace import Workspace
from harness.recipe.fields import MOST_PARTS, MOST_VARIANTS
from harness.recipe.load import load_recipe
from tests.integration.pipelines import ROOT, TINY, folder_of, harness, of_kind, only, record_of

LINE = r"(\S+\.yaml:[1-9][0-9]*|--set [^:]+.*?|--workdir): .+(, but .+; .+|, got .+|; .+)"
WITHOUT_GPU = pytest.mark.skipif(bool(list(gpus.GPUS.glob("*"))), reason="this machine has a GPU")


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., list[str]]:
    """Runs a command that must be refused: exit 2, no traceback, nothing to stdout, every line in the one form."""

    def refused(*arguments: str | Path) -> list[str]:
        code = run_command([str(argument) for argument in arguments])
        out, complaints = capfd.readouterr()
        lines = complaints.splitlines()
        assert code == 2, out + complaints
        assert not out
        assert lines
        for line in lines:
            assert re.fullmatch(LINE, line), line
        return lines

    return refused


def line_of(path: Path, part: str) -> int:
    text = path.read_text(encoding="utf-8")
    assert text.count(part) == 1, part
    return text[: text.index(part)].count("\n") + 1


# ----------------------------------------------------------------------------------------------- the recipe


def test_all_errors_of_a_recipe_at_once(refused: Callable[..., list[str]], tmp_path: Path) -> None:
    """A typo, a wrong type, a contradictory axis, an N beyond the pool: each at its line, through every command."""
    recipe = tmp_path / "bad.yaml"
    text = TINY.read_text(encoding="utf-8")
    for old, new in (
        ("hidden_size: 16", "hiden_size: 16"),
        ("samples: 32\n", "samples: many\n"),
        ("n: [1, 2, 4]", "n: [1, 2, 0]"),
        ("no-pmp: {pretrain: null}", "no-pmp: {pretrain: null}\n      odd: {pretrain.loss: {rm: 0.0, lm: 0.0}}"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    recipe.write_text(text, encoding="utf-8")
    told = refused("validate", recipe)
    for part, says in (
        ("hiden_size: 16", "did you mean `hidden_size`?"),
        ("samples: many", "expects a whole number, got 'many'"),
        ("n: [1, 2, 0]", "expects at least 1"),
        ("odd: {pretrain.loss", "at least one of `rm` and `lm` must be above 0, but both are 0"),
    ):
        assert any(line.startswith(f"{recipe}:{line_of(recipe, part)}: ") and says in line for line in told), (
            part,
            told,
        )
    for command in ("plan", "run", "report", "gc"):
        assert refused(command, recipe, "--workdir", tmp_path / "w") == told
    assert not (tmp_path / "w").exists()


def test_all_wrong_options_of_all_tasks_at_once_also_those_of_one_setting(
    refused: Callable[..., list[str]], tmp_path: Path
) -> None:
    recipe = tmp_path / "options.yaml"
    text = TINY.read_text(encoding="utf-8")
    sums = """  sums:
    kind: gsm_symbolic
    problems: {finetune: 8, dev: 8, test: 8}
    options:
      max_characters: many
      shares: {finetune: 0, dev: 1, test: 1}
"""
    text = text.replace("pretrain:\n  loss:", sums + "\npretrain:\n  loss:")
    text = text.replace(
        "no-pmp: {pretrain: null}", "no-pmp: {pretrain: null}\n      odd: {tasks.logic.options: {gates: 3}}"
    )
    recipe.write_text(text, encoding="utf-8")
    told = refused("validate", recipe)
    expected = [
        ("max_characters: many", "`max_characters` of task 'gsm_symbolic' must be a whole number from 1 to 1,000,000"),
        ("shares: {finetune: 0", "`shares` of task 'gsm_symbolic' must give splits numbers above 0"),
        ("odd: {tasks", "`gates` of task 'circuit_logic' must be [fewest, most] within 1 and 8, but got 3"),
    ]
    assert len(told) == len(expected), told
    for part, says in expected:
        assert any(line.startswith(f"{recipe}:{line_of(recipe, part)}: ") and says in line for line in told), told
    assert refused("run", recipe, "--workdir", tmp_path / "w") == told
    assert not (tmp_path / "w").exists()


def test_a_bad_recipe_comes_before_a_bad_machine(refused: Callable[..., list[str]], tmp_path: Path) -> None:
    """What a recipe needs is known once it is sound."""
    told = refused(
        "run", TINY, "--set", "pairs.cuont=3", "--set", "corpus.packages=[nosuch]", "--workdir", "/dev/null/x"
    )
    assert any("cuont" in line for line in told)
    assert not any("/dev/null" in line for line in told)


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("tasks.logic.options={a: {b: [1, .nan]}}", "`a.b.1` is nan"),
        ("tasks.logic.options={a: -.inf}", "`a` is -inf"),
        ("evaluate.best_of_n.candidates.options={a: .inf}", "`a` is inf"),
        ("evaluate.best_of_n.candidates.options={a: 1}", "`engine: simulated` has none"),
        ("tasks.logic.options={gate: [2, 3]}", "got 'gate'; did you mean 'gates'?"),
        (
            "tasks.logic.options={gates: [3, 2]}",
            "`gates` of task 'circuit_logic' must be [fewest, most] within 1 and 8",
        ),
        ("tasks.logic.options={inputs: 3}", "`inputs` of task 'circuit_logic' must be [fewest, most] within 2 and 8"),
        ("tasks.logic.options={gates: [true, 2]}", "but got [True, 2]; for instance [2, 3]"),
        ("tasks.logic.options={shares: {finetune: 1, dev: 1, test: -1}}", "must give splits numbers above 0"),
        ("tasks.logic.options={shares: [1, 2]}", "must give splits numbers above 0"),
        (
            "tasks.logic.options={shares: {base: 1, dev: 1, test: 1}}",
            "must have a share of the clusters, but got 'fine",
        ),
        ("tasks.logic.options={shares: 1e400}", "`shares` is inf"),
        (
            "runtime.keep={corpsu: record}",
            "`runtime.keep` names no kind of stage by 'corpsu'; did you mean `corpus`?",
        ),
        ("runtime.workdir=''", "expects "),
        ('runtime.workdir="a\\0b"', "expects "),
        ('tags={a: "\\ud800"}', "values must be plain YAML"),
        ('tags={"a\\e[31m": b}', "keys must be plain words"),
        ("name=../up", "expects "),
        ("tasks={../up: {}}", "expects "),
        ("tasks.logic.kind=pkg..mod:Task", "expects "),
        ("tasks.logic.kind=../pkg/mod:Task", "expects "),
        ("corpus.packages=[../email]", "expects "),
        ("notes=!!python/object/apply:os.system [x]", "tags like"),
        ("pairs.count=1_000_000_001", "at most 1,000,000,000"),
        ("pairs.part_size=1", "`part_size` = 1 makes"),
        ("evaluate.best_of_n.candidates.part_size=1", "`part_size` = 1 makes"),
        ("seeds={pretrain: 1000, finetune: 1000}", f"may be {MOST_VARIANTS:,}, but they are 2,000,000"),
    ],
)
def test_what_is_no_text_no_number_no_name_or_absurd_is_refused(
    refused: Callable[..., list[str]], assignment: str, says: str
) -> None:
    large: list[str] = []
    if "part_size" in assignment:
        large = ["--set", "pairs.count=1_000_000", "--set", f"tasks.logic.problems.test={2 * MOST_PARTS}"]
    told = refused("validate", TINY, "--set", assignment, *large)
    assert any(says in line for line in told), told


def test_a_grid_that_excludes_almost_everything_is_still_absurd(
    refused: Callable[..., list[str]], tmp_path: Path
) -> None:
    """10^12 combinations are not walked through to find the one that is left."""
    data = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    axes = {f"pairs.{key}": list(range(1, 1001)) for key in ("count", "part_size", "max_tokens", "spare")}
    data["ablations"] = {"axes": axes, "exclude": [{"pairs.count": count} for count in range(2, 1001)]}
    recipe = tmp_path / "grid.yaml"
    recipe.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert "settings, but its grid has 1,000,000,000,000; split" in refused("validate", recipe)[0]


def test_a_missing_file_is_told(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        assert run_command(["run", str(path)]) == 2
        assert re.fullmatch(r"a recipe must be a readable file, but .+; check the path\n", capfd.readouterr().err)


# ---------------------------------------------------------------------------------------------- the machine


@WITHOUT_GPU
def test_everything_the_machine_lacks_at_once_with_the_lines_that_ask_for_it(
    refused: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Packages of the corpus, also of one setting alone, a plugin, a workdir that is a file, a GPU."""
    recipe = tmp_path / "poor.yaml"
    text = TINY.read_text(encoding="utf-8").replace("name: tiny", "name: poor\nplugins: [no_such_plugin]")
    text = text.replace("  packages: [email,", "  packages:\n    [email, no_such_one, no-such-two,")
    text = text.replace("chosen: {from: reference}", "chosen: {from: 'no_such_plugin.sides:best'}")
    text = text.replace(
        "no-pmp: {pretrain: null}",
        "no-pmp: {pretrain: null}\n      more: {corpus.packages: [email, unittest, logging, http, third_missing]}",
    )
    text = text.replace("runtime: {", "runtime:\n  {workdir: in-the-way,\n  device: cuda, ")
    recipe.write_text(text, encoding="utf-8")
    in_the_way = tmp_path / "in-the-way"
    in_the_way.write_text("a file")
    with contextlib.chdir(tmp_path):
        told = refused("run", recipe)
    expected = [
        ("[email, no_such_one", "not found: no_such_one"),
        ("[email, no_such_one", "not found: no-such-two"),
        ("more: {corpus", "not found: third_missing"),
        ("chosen: {from", "there is no module 'no_such_plugin.sides'"),
        ("workdir: in-the-way", "in-the-way is no folder"),
        ("device: cuda", "this machine shows none"),
    ]
    assert len(told) == len(expected), told
    for part, says in expected:
        where = f"{recipe}:{line_of(recipe, part)}: "
        assert any(line.startswith(where) and says in line for line in told), (part, told)
    assert {path.name for path in tmp_path.iterdir()} == {"poor.yaml", "in-the-way"}
    assert in_the_way.read_text() == "a file"
    with contextlib.chdir(tmp_path):  # to look at a plan needs no GPU, but the rest of it
        assert refused("plan", recipe) == [line.replace("writable", "a folder") for line in told if "GPU" not in line]


CORPORA = {
    "files: a path that leads nowhere": (
        "{kind: files, paths: [nowhere, here/*]}",
        ["'nowhere' leads to none that ends in .py", "'here/*' leads to none that ends in .py"],
    ),
    "files: an unknown language": (
        "{kind: files, paths: [here], languages: [pyhton]}",
        ["'pyhton' is not one of python"],
    ),
    "jsonl: no such column": (
        "{kind: jsonl, paths: [here/a.jsonl], columns: {text: code, licence: terms}, licences: [MIT]}",
        ["a.jsonl has no 'code', 'terms' but answer"],
    ),
    "jsonl: a column without its key": (
        "{kind: jsonl, paths: [here/a.jsonl], columns: {text: answer}, licences: [MIT]}",
        ["`columns.licence` is not set"],
    ),
    "parquet: unreadable": (
        "{kind: parquet, paths: [here/a.parquet, here/*.nothing], columns: {text: code}}",
        ["a.parquet: Parquet magic bytes not found", "'here/*.nothing' leads to none"],
    ),
    "parquet: no columns": ("{kind: parquet, paths: [here/a.parquet]}", ["`corpus.columns` is required"]),
    "parquet: shares": (
        "{kind: parquet, paths: [here/a.parquet], columns: {text: code}, heldout: 0.6, base: 0.4}",
        ["0.6 + 0 + 0.4 is all"],
    ),
    "an unknown kind": ("{kind: csv, paths: [here]}", ["`corpus.kind` expects one of"]),
    "huggingface: no such name": ("{kind: huggingface, id: 'a/b/c', columns: {text: code}}", ["expects "]),
}


@pytest.mark.parametrize("case", CORPORA)
def test_what_a_corpus_lacks_is_told_before_anything_runs(
    refused: Callable[..., list[str]], tmp_path: Path, case: str
) -> None:
    block, expected = CORPORA[case]
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.jsonl").write_text('{"answer": "42"}\n')
    (tmp_path / "here" / "a.parquet").write_bytes(b"no parquet at all")
    recipe = tmp_path / "poor.yaml"
    text = TINY.read_text(encoding="utf-8")
    start, end = text.index("corpus:"), text.index("pairs:")
    recipe.write_text(f"{text[:start]}corpus: {block}\n\n{text[end:]}", encoding="utf-8")
    with contextlib.chdir(tmp_path):
        for command in ("plan", "run"):
            told = refused(command, recipe)
            assert len(told) == len(expected), told
            for line, says in zip(told, expected, strict=True):
                assert says in line, told
                assert line.startswith(f"{recipe}:{line_of(recipe, 'corpus: {')}: "), told
    assert {path.name for path in tmp_path.iterdir()} == {"poor.yaml", "here"}


@WITHOUT_GPU
def test_a_missing_gpu_is_told_before_any_stage_with_a_budget_that_is_exceeded(
    refused: Callable[..., list[str]], tmp_path: Path
) -> None:
    budget = ["--set", "runtime.budget={stages: 1, hours: 1.0e-6}"]
    told = refused("run", TINY, "--workdir", tmp_path / "w", "--set", "runtime.device=cuda", *budget)
    assert [re.sub(r".*?: (`|the plan must fit `)runtime\.(\w+).*", r"\2", line) for line in told] == [
        "budget",
        "budget",
        "device",
    ]
    assert not (tmp_path / "w").exists()


@WITHOUT_GPU
def test_a_finished_run_needs_no_gpu(finished: Workspace, copy: Callable[..., Workspace]) -> None:
    workspace = copy()
    assert run_command(["run", str(TINY), "--workdir", str(workspace.workdir), "--set", "runtime.device=cuda"]) == 0


def test_a_generator_that_is_not_installed_is_told(tmp_path: Path) -> None:
    """In a process whose installation metadata leave it out."""
    script = (
        "import sys, importlib.metadata as metadata\n"
        "import harness.sources.resolve as sources\n"
        "known = metadata.distribution\n"
        "def distribution(name):\n"
        "    if name.replace('_', '-') == 'reasoning-gym':\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return known(name)\n"
        "metadata.distribution = distribution\n"
        "from harness.cli.run_command import run_command\n"
        f"sys.exit(run_command(['run', {str(TINY)!r}, '--workdir', {str(tmp_path / 'w')!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(
        rf"{re.escape(str(TINY))}:[0-9]+: task 'circuit_logic' needs the package 'reasoning-gym', but it is not "
        r"installed; pip install reasoning-gym\n",
        done.stderr,
    )


@pytest.mark.parametrize("name", ["a" * 300, "file/below", "/proc/none", "/dev/null/workdir", "broken"])
def test_workdirs_that_cannot_be(refused: Callable[..., list[str]], tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    workdir = tmp_path / name
    for arguments in (["run"], ["run", "--dry-run"], ["report"]):
        (told,) = refused(*arguments, TINY, "--workdir", workdir)
        assert told.startswith("--workdir: cannot use ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "file"]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A file system that even root cannot write to."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", folder], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"mounting is not permitted: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_workdir_that_cannot_be_written(refused: Callable[..., list[str]], read_only: Path) -> None:
    for workdir in (read_only, read_only / "deep" / "below"):
        (told,) = refused("run", TINY, "--workdir", workdir)
        assert re.fullmatch(r"--workdir: cannot use .*: Read-only file system; choose .*", told)


@pytest.mark.parametrize("marker", ['{"schema": 0}', '{"schema": 99}', "{}", "not json", "[]"])
def test_a_store_of_another_schema_is_refused_with_the_way_to_mend_it(
    refused: Callable[..., list[str]], tmp_path: Path, marker: str
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text(marker)
    for command in ("plan", "run", "report", "gc"):
        (told,) = refused(command, TINY, "--workdir", tmp_path)
        assert told.endswith("; use the version that wrote it, or another --workdir")
    assert (tmp_path / "store" / "store.json").read_text() == marker
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_record_of_an_older_schema_is_refused_with_the_way_to_mend_it(
    copy: Callable[..., Workspace], capfd: pytest.CaptureFixture[str]
) -> None:
    workspace = copy()
    record = folder_of(workspace.store, only(workspace, "corpus")) / "record.json"
    content = json.loads(record.read_text())
    content["schema"] = 0
    record.write_text(json.dumps(content))
    for command in ("plan", "run", "report", "gc"):
        assert run_command([command, str(TINY), "--workdir", str(workspace.workdir)]) == 2
        assert re.search(r"has schema 0; use the version that wrote it, or a new workdir\n$", capfd.readouterr().err)


# ------------------------------------------------------------------------------------------------- the data


LEAKY = """\
from dataclasses import replace

from harness.tasks.built_in.circuit_logic import CircuitLogic


class Leaky(CircuitLogic):
    def problems(self, count_by_split, *, seed, options=None):
        made = super().problems(count_by_split, seed=seed, options=options)
        return [replace(one, cluster="the same") for one in made]
"""


@pytest.mark.parametrize(
    ("assignments", "kind", "says"),
    [
        (["pairs.max_tokens=64"], "encode", "there must be as many pairs as requested"),
        (
            ["tasks.logic={options: {gates: [1, 1], inputs: [2, 2]}, problems: {finetune: 20_000}}"],
            "problems",
            "task 'circuit_logic' must find as many different problems as requested",
        ),
        (
            ["plugins=[leaky_tasks]", "tasks.logic.kind=leaky_tasks:Leaky"],
            "problem_splits",
            "no cluster may be in two splits",
        ),
    ],
    ids=["too few pairs", "too few problems", "contamination"],
)
def test_what_only_data_shows_fails_before_anything_is_trained_on_it(
    copy: Callable[..., Workspace],
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    assignments: list[str],
    kind: str,
    says: str,
) -> None:
    (tmp_path / "site" / "leaky_tasks").mkdir(parents=True)
    (tmp_path / "site" / "leaky_tasks" / "__init__.py").write_text(LEAKY)
    monkeypatch.syspath_prepend(tmp_path / "site")
    workspace = copy(*assignments)
    before = workspace.work().done
    arguments = [argument for assignment in assignments for argument in ("--set", assignment)]
    code = run_command(["run", str(TINY), "--workdir", str(workspace.workdir), *arguments])
    told = capfd.readouterr().err
    assert code == 1, told
    assert "Traceback" not in told
    lines = {line for line in told.splitlines() if line.startswith("failed: ")}
    assert lines
    for line in lines:
        assert re.fullmatch(r"failed: [^:]+: .+, but .+; .+", line)
        assert says in line
    failed = {
        stage.fingerprint
        for stage in workspace.plan.stages
        if workspace.store.partial(stage.kind.name, stage.fingerprint).exists()
    }
    assert {stage.kind.name for stage in workspace.plan.stages if stage.fingerprint in failed} == {kind}
    hurt = set(failed)
    for stage in workspace.plan.stages:  # inputs first
        before_it = [*(item.stage for item in stage.inputs.values()), *stage.gates]
        if any(one.fingerprint in hurt for one in before_it):
            hurt.add(stage.fingerprint)
    assert any(stage.kind.trains for stage in workspace.plan.stages if stage.fingerprint in hurt)
    assert not hurt & (workspace.work().done - before)


# --------------------------------------------------------------------------------------- in a process of its own


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "none.yaml"],
        ["plan", str(TINY), "--set", "pairs.count=.nan"],
        ["run", str(TINY), "--workdir", "/dev/null/x", "--set", "corpus.packages=[email,unittest,logging,http,nosuch]"],
        ["run", str(TINY), "--set", "seeds=!!python/object/apply:os.system [x]"],
        ["show", "corpus/0", "--workdir", "/dev/null/x"],
    ],
)
def test_the_real_command_refuses_without_a_traceback(arguments: list[str]) -> None:
    process = harness(*arguments)
    out, complaints = process.communicate(timeout=60)
    assert process.returncode == 2
    assert not out
    assert complaints.strip()
    assert "Traceback" not in complaints


def test_the_tiny_recipe_needs_only_what_there_is(finished: Workspace) -> None:
    """The premise of all above."""
    assert load_recipe(TINY).settings
    assert record_of(finished.store, of_kind(finished, "corpus")[0])


@pytest.mark.parametrize("found", [0, 1, 2])
def test_a_stage_gets_the_gpus_it_asks_for_or_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: int
) -> None:
    for number in range(found):
        (tmp_path / f"0000:0{number}:00.0").touch()
    monkeypatch.setattr(gpus, "GPUS", tmp_path)
    monkeypatch.setattr(environment, "torch_version", lambda: "2.13.0")
    loaded = load_recipe(TINY, ["runtime.training.processes=2", "runtime.tensor_parallel=2"])
    told = [problem.one_line() for problem in environment.gpu_problems(loaded)]
    if found == 1:
        assert len(told) == 2
        assert "`runtime.training.processes` requests 2 GPUs of 1; lower it" in told[1]
    else:
        assert not told  # without GPUs `device: auto` is the CPU
    loaded = load_recipe(TINY, ["runtime.training.processes=2", "runtime.slots=1"])
    assert len(environment.gpu_problems(loaded)) == (found == 1)  # slots are the CPU's


def test_a_torch_that_sees_no_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "torch_version", lambda: "2.13.0+cpu")
    monkeypatch.setattr(gpus, "GPUS", tmp_path)
    assert not environment.gpu_problems(load_recipe(TINY))  # no GPU, so none that it would miss
    (tmp_path / "0000:00:00.0").touch()
    (told,) = environment.gpu_problems(load_recipe(TINY))
    assert "a GPU needs a torch for GPUs, but torch 2.13.0+cpu is for the CPU; pip install" in told.one_line()
    assert not environment.gpu_problems(load_recipe(TINY, ["runtime.device=cpu"]))


@pytest.mark.parametrize(
    ("named", "seen"),
    [
        (None, ["0", "1"]),
        ("", []),
        ("-1", []),
        ("1", ["1"]),
        ("1, 0", ["1", "0"]),
        ("0,2,1", ["0"]),  # as CUDA does: what follows a GPU that is not there does not count
        ("GPU-ab12,MIG-cd34", ["GPU-ab12", "MIG-cd34"]),
        ("NoDevFiles", []),
    ],
)
def test_gpus_are_those_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str | None, seen: list[str]
) -> None:
    monkeypatch.setattr(gpus, "GPUS", tmp_path)
    monkeypatch.setattr(environment, "torch_version", lambda: "2.13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus.visible_gpus() == []
    for number in range(2):
        (tmp_path / f"0000:0{number}:00.0").touch()
    assert gpus.visible_gpus() == seen


FOR_GPUS = sorted(
    path
    for folder in ("paper", "controls", "open-questions", "gpu")
    for path in (ROOT / "recipes" / folder).glob("*.yaml")
)


@pytest.mark.parametrize("recipe", FOR_GPUS, ids=lambda path: path.stem)
def test_a_machine_with_eight_gpus_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recipe: Path) -> None:
    monkeypatch.setattr(gpus, "GPUS", tmp_path)
    monkeypatch.setattr(environment, "torch_version", lambda: "2.13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for number in range(8):
        (tmp_path / f"0000:0{number}:00.0").touch()
    assert not environment.gpu_problems(load_recipe(recipe))


def test_seven_gpus_are_not_enough_for_eight_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpus, "GPUS", tmp_path)
    monkeypatch.setattr(environment, "torch_version", lambda: "2.13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for number in range(7):
        (tmp_path / f"0000:0{number}:00.0").touch()
    [refused] = environment.gpu_problems(load_recipe(ROOT / "recipes" / "paper" / "main-7b.yaml"))
    assert "`runtime.training.processes` requests 8 GPUs of 7" in refused.one_line()
