"""`harness compare` against what the values themselves say, and what it does where rows cannot be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli.workspace import Workspace
from harness.report.words import FEW_SEEDS
from harness.store.artifacts import Analysis, Candidates, ProblemValues, Scores
from tests.integration.pipelines import TINY, every_kind, finished_at, folder_of, of_kind, python, record_of
from tests.integration.shell import Shell

MORE_SEEDS = ("--set", "seeds.finetune=2", "--set", "name=more")
FIRST, SECOND = "rm+lm", "no-pmp"


@pytest.fixture
def reported(shell: Shell, copy: Callable[..., Workspace]) -> Workspace:
    """The finished workdir with its report, and so with its index."""
    workspace = copy()
    assert shell("report", TINY, "--workdir", workspace.workdir) == 0
    return workspace


def compared(shell: Shell, workspace: Workspace, first: str, second: str) -> Any:
    assert shell("compare", first, second, "--workdir", workspace.workdir, "--json", "--examples", "6") == 0, shell.err
    return shell.json()


def values_of(workspace: Workspace, name: str, evaluation: str, task: str, metric: str) -> dict[str, float]:
    """A setting's values of a metric by problem, read by hand; the tiny recipe has one seed."""
    (variant,) = [one for one in workspace.plan.variants if one.setting == name]
    (outcome,) = [one for one in variant.outcomes if (one.metric, one.task) == (evaluation, task)]
    rows = ProblemValues(folder_of(workspace.store, outcome.stage)).rows()
    return {row["problem"]: row["value"] for row in rows if row["metric"] == metric}


@pytest.mark.parametrize(("evaluation", "metric"), [("best_of_n", "area"), ("pair_accuracy", "pair_accuracy")])
def test_the_difference_is_that_of_the_values(shell: Shell, reported: Workspace, evaluation: str, metric: str) -> None:
    mine, theirs = (values_of(reported, name, evaluation, "logic", metric) for name in (FIRST, SECOND))
    gaps = np.array([mine[problem] - theirs[problem] for problem in mine])
    (one,) = [
        one
        for one in compared(shell, reported, FIRST, SECOND)["compared"]
        if (one["task"], one["evaluation"]) == ("logic", evaluation)
    ]
    assert one["difference"]["estimate"] == pytest.approx(gaps.mean(), abs=1e-12)
    assert one["first"]["estimate"] == pytest.approx(np.mean(list(mine.values())), abs=1e-12)
    assert one["second"]["estimate"] == pytest.approx(np.mean(list(theirs.values())), abs=1e-12)
    assert (one["won"], one["lost"], one["tied"]) == ((gaps > 0).sum(), (gaps < 0).sum(), (gaps == 0).sum())
    assert one["difference"]["low"] <= gaps.mean() <= one["difference"]["high"]
    assert one["problems"] == len(gaps)


def test_says_what_the_report_says(shell: Shell, reported: Workspace) -> None:
    (path,) = reported.store.root.glob(f"analysis/*/{Analysis.file}")
    analysis = json.loads(path.read_text())
    by_task = {(one["task"], one["evaluation"]): one for one in compared(shell, reported, FIRST, SECOND)["compared"]}
    against = {(one["task"], one["evaluation"]): one for one in analysis["differences"] if one["row"] == FIRST}
    assert by_task.keys() == against.keys()
    for key, one in by_task.items():
        for name in ("estimate", "low", "high", "p_value"):
            assert one["difference"][name] == pytest.approx(against[key][name], abs=1e-9), (key, name)


def test_a_row_against_itself_is_tied_on_everything(shell: Shell, reported: Workspace) -> None:
    found = compared(shell, reported, FIRST, FIRST)
    assert {(one["task"], one["evaluation"]) for one in found["compared"]} == {
        ("logic", "best_of_n"),
        ("logic", "pair_accuracy"),
        ("code", "pair_accuracy"),
    }
    for one in found["compared"]:
        assert [one["difference"][name] for name in ("estimate", "low", "high")] == [0.0, 0.0, 0.0]
        assert (one["won"], one["lost"], one["tied"]) == (0, 0, one["problems"])
        assert one["disagreements"] == []


def test_a_reference_has_the_name_that_boards_show(shell: Shell, reported: Workspace) -> None:
    assert compared(shell, reported, FIRST, "n-grams") == compared(shell, reported, FIRST, "ngrams")


def disagreeing(shell: Shell, reported: Workspace) -> str:
    """A row that picks otherwise than the first somewhere; which one does hangs on the last bits of tiny trainings."""
    for other in ("length", "n-grams", SECOND):
        found = compared(shell, reported, FIRST, other)["compared"]
        if any(one["disagreements"] for one in found if one["evaluation"] == "best_of_n"):
            return other
    raise AssertionError("every row of the tiny recipe picks alike")


def test_disagreements_are_what_the_scores_say(shell: Shell, reported: Workspace) -> None:
    found = compared(shell, reported, FIRST, disagreeing(shell, reported))
    (one,) = [one for one in found["compared"] if one["evaluation"] == "best_of_n"]
    pools = Candidates(folder_of(reported.store, of_kind(reported, "candidates")[0])).rows()
    problems = list(dict.fromkeys(row["problem"] for row in pools))
    stage = next(
        outcome.stage
        for variant in reported.plan.variants
        if variant.setting == FIRST
        for outcome in variant.outcomes
        if outcome.metric == "best_of_n"
    )
    scores = Scores(folder_of(reported.store, stage.inputs["scores"].stage)).rows()
    for example in one["disagreements"]:
        group = problems.index(example["problem"])
        pool = [row for row in pools if row["problem"] == example["problem"]]
        ours = [row["score"] for row in scores if row["group"] == group]
        picked = pool[int(np.argmax(ours))]
        assert (example["first"]["text"], example["first"]["correct"]) == (picked["text"], picked["correct"])
        assert example["first"]["correct"] != example["second"]["correct"]
        assert example["prompt"] == pool[0]["prompt"]
        assert example["winner"] == ("first" if picked["correct"] else "second")


def test_the_terminal_shows_it(shell: Shell, reported: Workspace) -> None:
    other = disagreeing(shell, reported)
    assert shell("compare", FIRST, other, "--workdir", reported.workdir) == 0
    assert "A won" in shell.out
    assert "A picks (" not in shell.out  # texts only where they are asked for
    assert shell("compare", FIRST, other, "--workdir", reported.workdir, "--examples", "1") == 0
    assert shell.out.count("A picks (") == 1
    for told in (
        "logic, BoN area",
        "A - B",
        "95 %",
        "over problems; mean of 1 PMP seed",
        "A won",
        "A picks (",
    ):
        assert told in shell.out, told
    assert shell("compare", FIRST, "length", "--workdir", reported.workdir) == 0
    assert FEW_SEEDS in shell.out
    assert shell("compare", FIRST, SECOND, "--workdir", reported.workdir) == 0
    assert "code, pair accuracy: not asked of no-pmp" in shell.out
    assert shell("compare", FIRST, "oracle", "--workdir", reported.workdir, "--examples", "1") == 0
    assert "logic, pair accuracy: not asked of oracle" in shell.out
    assert "picks no candidate" in shell.out


def test_untrusted_text_steers_no_terminal(shell: Shell, reported: Workspace) -> None:
    """Markup stays as it is and control characters are spelled out, whatever a policy wrote."""
    other = disagreeing(shell, reported)
    (stage,) = of_kind(reported, "candidates")
    table = Candidates(folder_of(reported.store, stage)).read()
    hostile = [f"[red]\x1b]0;title\x07{text}" for text in table["text"].to_pylist()]
    changed = table.set_column(table.column_names.index("text"), "text", [hostile])
    reported.store.discard(record_of(reported.store, stage))
    with reported.store.build(stage.kind.name, stage.fingerprint, resumable=False) as building:
        assert building is not None
        Candidates(building.directory).write_table(changed)
        run = {"label": stage.label, "seconds": 1.0, "finished": 4e9, "attempts": 1, "log": "log.txt"}
        building.publish(kind=stage.kind.name, identity=stage.identity, result={}, environment={}, run=run)
    assert shell("compare", FIRST, other, "--workdir", reported.workdir, "--examples", "6") == 0
    assert "[red]\\x1b]0;title\\x07" in shell.out
    assert "\x1b" not in shell.out
    assert "\x07" not in shell.out


def test_is_computed_once_and_again_only_after_its_inputs(shell: Shell, reported: Workspace) -> None:
    def made() -> float:
        name = compared(shell, reported, FIRST, SECOND)["stage"]
        return float(reported.store.run_facts(reported.store.find(name))["finished"])

    first = made()
    assert made() == first
    assert first == finished_at(reported.store, every_kind(reported)[-1]), "the very stage that the tests' runs made"
    outcome = of_kind(reported, "best_of_n")[0]
    path = folder_of(reported.store, outcome) / "run.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "finished": first + 1}))
    assert made() != first


def test_dropped_scores_leave_the_numbers(shell: Shell, reported: Workspace) -> None:
    """Where nobody compared before: what was compared stays as it was."""
    drop = ("--set", "runtime.keep={score: record, shallow_score: record}")
    assert shell("gc", TINY, "--workdir", reported.workdir, *drop) == 0
    with_before = compared(shell, reported, FIRST, SECOND)
    without = compared(shell, reported, FIRST, "length")
    (kept,) = [one for one in with_before["compared"] if one["evaluation"] == "best_of_n"]
    assert kept["without_disagreements"] == ""
    (one,) = [one for one in without["compared"] if one["evaluation"] == "best_of_n"]
    assert one["disagreements"] == []
    assert "dropped" in one["without_disagreements"]
    drop = ("--set", "runtime.keep={best_of_n: record}")
    assert shell("gc", TINY, "--workdir", reported.workdir, *drop) == 0
    gone = compared(shell, reported, "ngrams", "length")
    assert [(one["task"], one["evaluation"]) for one in gone["not_compared"]] == [("logic", "best_of_n")]
    assert "dropped" in gone["not_compared"][0]["why"]


def test_a_row_counts_only_with_all_its_seeds(shell: Shell, reported: Workspace) -> None:
    assert shell("report", TINY, "--workdir", reported.workdir, *MORE_SEEDS) == 0
    found = compared(shell, reported, f"more:{FIRST}", f"more:{SECOND}")
    told = {(one["task"], one["evaluation"]): one["why"] for one in found["not_compared"]}
    assert told[("logic", "best_of_n")] == f"{FIRST}: 1 of 2 seeds done; {SECOND}: 1 of 2 seeds done"
    assert found["compared"] == []
    assert shell("compare", FIRST, SECOND, "--workdir", reported.workdir) == 2
    for told_name in (f"tiny:{FIRST}", f"more:{FIRST}", "2 different rows are named"):
        assert told_name in shell.err
    assert compared(shell, reported, f"tiny:{FIRST}", SECOND)["compared"], "the first row says which recipe"
    assert compared(shell, reported, FIRST, f"tiny:{SECOND}")["compared"]


def test_the_same_row_of_two_recipes_is_one(shell: Shell, reported: Workspace) -> None:
    assert shell("report", TINY, "--workdir", reported.workdir, "--set", "name=same") == 0
    assert compared(shell, reported, FIRST, SECOND)["compared"]


def test_other_data_are_not_compared(shell: Shell, reported: Workspace) -> None:
    """A pool of other candidates: the same task by name, and no comparison."""
    other = ("--set", "name=other", "--set", "seeds.data=4")
    assert shell("report", TINY, "--workdir", reported.workdir, *other) == 0
    shutil.copyfile(reported.reports / "outcomes.json", reported.workdir / "mine.json")
    index = json.loads((reported.workdir / "mine.json").read_text())
    (stage,) = of_kind(reported, "candidates")
    for entry in index["stages"].values():  # as if this recipe's evaluations had been of another pool
        entry["inputs"] = {name: "f" * 64 if key == stage.fingerprint else key for name, key in entry["inputs"].items()}
    index["stages"]["f" * 64] = index["stages"].pop(stage.fingerprint)
    path = reported.workdir / "reports" / "other" / "outcomes.json"
    path.write_text(json.dumps({**index, "recipe": "other"}))
    found = compared(shell, reported, f"tiny:{FIRST}", f"other:{SECOND}")
    why = {(one["task"], one["evaluation"]): one["why"] for one in found["not_compared"]}
    assert why[("logic", "best_of_n")] == "judged on other data"
    assert [one["evaluation"] for one in found["compared"]] == ["pair_accuracy"]


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("no-pnp", "did you mean 'no-pmp'"),
        ("tiny:oracel", "did you mean 'tiny:oracle'"),
        ("x" * 40, "this workdir has rm+lm"),
    ],
)
def test_a_row_that_is_none_is_told_with_near_names(shell: Shell, reported: Workspace, first: str, told: str) -> None:
    assert shell("compare", first, SECOND, "--workdir", reported.workdir) == 2
    assert told in shell.err


def test_a_workdir_without_reports_is_told(shell: Shell, finished: Workspace, tmp_path: Path) -> None:
    assert shell("compare", FIRST, SECOND, "--workdir", tmp_path) == 2
    (tmp_path / "store").mkdir()
    assert shell("compare", FIRST, SECOND, "--workdir", tmp_path) == 2
    assert "harness report" in shell.err


LOADED = """
import json, sys
from harness.cli.run_command import run_command
code = run_command(sys.argv[1:])
print("\\n" + json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_loads_only_what_it_needs(shell: Shell, reported: Workspace) -> None:
    """The first time arrays and intervals, afterwards nothing at all."""

    def loaded() -> set[str]:
        process = python("-c", LOADED, "compare", FIRST, "length", "--workdir", reported.workdir)
        told, complaints = process.communicate(timeout=120)
        code, modules = json.loads(told.splitlines()[-1])
        assert code == 0, complaints
        return set(modules)

    assert not {"torch", "transformers", "tokenizers", "sklearn", "plotly", "mlflow"} & loaded()
    assert not {"torch", "numpy", "scipy", "pyarrow", "pandas"} & loaded()
