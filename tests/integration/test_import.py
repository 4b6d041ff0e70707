"""`harness import`, and everything it brings on one board: real commands, real training, real published pools."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, groupby, islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

import harness
from harness.cli.report import report_on
from harness.cli.run_command import run_command
from harness.cli.workspace import Workspace, open_workspace
from harness.pipeline.imports import imports_of
from harness.pipeline.kind import Known
from harness.pipeline.kinds import KINDS
from harness.report.status import look
from harness.report.words import REFERENCES
from harness.store.artifacts import Candidates, Pairs, Problems, Scores
from harness.store.store import Snapshot, Store
from harness.tracking.build import Finished, build_view
from tests.integration.outside import HOSTILE, OUTSIDE, RECIPE, WORDS, harness_import, pool_rows, write_assets
from tests.integration.pipelines import ROOT, every_kind, folder_of, of_kind, only, record_of, run_up_to
from tests.toys.published import rows_of_pool, rows_of_scores, write_lines

# Published data that is never part of the repository: beside it, or beside the folder of its worktrees.
SHARED = next((place / "shared" / "data" for place in ROOT.parents[:2] if (place / "shared" / "data").is_dir()), None)
needs_shared = pytest.mark.skipif(SHARED is None, reason="no folder shared/data beside the repository")
pytestmark = pytest.mark.slow("the first of them runs a recipe with everything that comes from outside")


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Runs an import that must fail with this code; gives what it says, which is no traceback."""

    def refused(code: int, *arguments: str | Path) -> list[str]:
        capfd.readouterr()
        assert run_command(["import", *map(str, arguments)]) == code
        _, err = capfd.readouterr()
        assert "Traceback" not in err
        return err.splitlines()

    return refused


# --------------------------------------------------------------------------------------------- on one board


def test_every_kind_that_comes_from_outside_was_run(outside: Workspace, finished: Workspace) -> None:
    assert {folder.name for folder in outside.store.root.iterdir()} >= OUTSIDE
    assert set(KINDS) - {stage.kind.name for stage in every_kind(finished)} == OUTSIDE
    for stage in outside.plan.stages:
        outside.store.verify(record_of(outside.store, stage))


def report_of(workspace: Workspace) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((workspace.reports / "report.json").read_text(encoding="utf-8"))
    return data


def rows_of(workspace: Workspace, task: str) -> dict[tuple[str, str], dict[str, Any]]:
    (board,) = [board for board in report_of(workspace)["boards"] if board["task"] == task]
    return {(row["kind"], row["row"]): row for row in board["rows"]}


def test_rows_from_outside_stand_on_the_board_with_estimates(outside: Workspace) -> None:
    pot, logic = rows_of(outside, "pot"), rows_of(outside, "logic")
    for name, tasks in (("my-rm", (pot, logic)), ("published", (pot,))):
        for rows in tasks:
            estimate = rows["imported", name]["estimates"]["area"]
            assert 0 <= estimate["low"] <= estimate["estimate"] <= estimate["high"] <= 1
            assert not rows["imported", name]["order"]  # no rank among settings
            assert rows["imported", name]["differences"]["best_of_n"]["against"] == "made"
    for name in ("my-rm", "published"):
        assert "pair_accuracy" in pot["imported", name]["estimates"]
        assert pot["imported", name]["differences"]["pair_accuracy"]["against"] == "made"
    not_asked = "not asked: no scores for it"
    assert logic["imported", "published"]["gaps"] == {"best_of_n": not_asked, "robustness": not_asked}
    assert not pot["imported", "published"]["gaps"]
    assert pot["imported", "my-rm"]["note"].startswith("imported checkpoint a-checkpoint: ")
    assert {"random pick", "majority vote", "oracle", "length", "n-grams"} <= {row["label"] for row in pot.values()}


def test_scores_name_who_wrote_each_side_of_a_pools_pairs(outside: Workspace) -> None:
    table = harness.scores(outside.workdir, "from-outside", task="pot")
    pairs = table[table.evaluation == "pair_accuracy"]
    pool = Candidates(folder_of(outside.store, only(outside, "candidates", "pot"))).rows()
    writers = {row["problem"]: {one["source"] for one in pool if one["problem"] == row["problem"]} for row in pool}
    assert len(pairs) > 0
    assert len(set(pairs.source)) > 1
    assert all(
        source in writers[problem.rpartition("#")[0]]
        for problem, source in zip(pairs.problem, pairs.source, strict=True)
    )


def test_numbers_are_those_of_counting_every_subset(outside: Workspace) -> None:
    """Best-of-N of the published scores and the pool's own rows, by brute force over the file that was imported."""
    rows = Candidates(folder_of(outside.store, only(outside, "candidates", "pot"))).rows()
    tested = {row["problem"] for row in rows}
    pool = [row for row in pool_rows() if row["id"] in tested]
    assert len(pool) == 8
    published = {(row["problem"], row["candidate"]): row["score"] for row in rows_of_scores(pool)}
    board = rows_of(outside, "pot")
    for size in (1, 2, 4):
        best, vote, any_right = [], [], []
        short, long, weighed, freed = [], [], [], []
        for row in pool:
            for chosen in combinations(range(8), size):
                scores = {index: published[row["id"], index] for index in chosen}
                leaders = [index for index in chosen if scores[index] == max(scores.values())]
                best.append(mean(row["candidates"][index]["correct"] for index in leaders))
                vote.append(voted([row["candidates"][index] for index in chosen]))
                any_right.append(any(row["candidates"][index]["correct"] for index in chosen))
                lengths = {index: len(row["candidates"][index]["text"]) for index in chosen}
                for found, wanted in ((short, min(lengths.values())), (long, max(lengths.values()))):
                    tied = [index for index in chosen if lengths[index] == wanted]
                    found.append(mean(row["candidates"][index]["correct"] for index in tied))
                weighed.append(voted([row["candidates"][index] for index in chosen], [scores[one] for one in chosen]))
                straight = residuals([published[row["id"], index] for index in range(8)], row["candidates"])
                top = [index for index in chosen if straight[index] > max(straight[one] for one in chosen) - 1e-7]
                freed.append(mean(row["candidates"][index]["correct"] for index in top))
        for key, values in (
            (("imported", "published"), best),
            (("pool", "majority"), vote),
            (("pool", "oracle"), any_right),
            (("pool", "shortest"), short),
            (("pool", "longest"), long),
        ):
            assert board[key]["estimates"][f"bon@{size}"]["estimate"] == pytest.approx(mean(values), abs=1e-6)
        found = board["imported", "published"]["estimates"]
        assert found[f"weighted_vote@{size}"]["estimate"] == pytest.approx(mean(weighed), abs=1e-6)
        assert found[f"length_controlled@{size}"]["estimate"] == pytest.approx(mean(freed), abs=1e-6)
        if size > 1:
            random = mean(one["correct"] for row in pool for one in row["candidates"])
            share = (mean(best) - random) / (mean(any_right) - random)
            assert found[f"headroom@{size}"]["estimate"] == pytest.approx(share, abs=1e-6)
    assert "headroom@1" not in board["imported", "published"]["estimates"]


def residuals(scores: list[float], candidates: list[Mapping[str, Any]]) -> list[float]:
    """Scores without their least-squares line through length."""
    lengths = [len(one["text"]) for one in candidates]
    middle, level = mean(lengths), mean(scores)
    below = sum((length - middle) ** 2 for length in lengths)
    slope = (
        sum((length - middle) * score for length, score in zip(lengths, scores, strict=True)) / below if below else 0
    )
    return [score - level - slope * (length - middle) for length, score in zip(lengths, scores, strict=True)]


def mean(values: Any) -> float:
    found = [float(value) for value in values]
    return sum(found) / len(found)


def voted(candidates: list[Mapping[str, Any]], rewards: Sequence[float] | None = None) -> float:
    """Chance that the most frequent answer is right, ties shared; what states none does not vote.

    With rewards, an answer has the sum of exp(reward) of those that state it.
    """
    votes: Counter[float] = Counter()
    for one, reward in zip(candidates, rewards or [0.0] * len(candidates), strict=True):
        if one["pred"] is not None:
            votes[one["pred"]] += math.exp(reward)  # type: ignore[assignment]
    leaders = [answer for answer, count in votes.items() if count > max(votes.values()) - 1e-9]
    right = {one["pred"] for one in candidates if one["correct"]}
    return mean(answer in right for answer in leaders) if leaders else 0.0


def test_who_wrote_it_is_a_reference_and_worth_nothing_balanced(outside: Workspace) -> None:
    right: dict[str, list[bool]] = {}
    taught = Problems(folder_of(outside.store, only(outside, "problems", "problems pot finetune"))).rows()
    for row in pool_rows():
        for one in row["candidates"] if row["id"] in {problem["id"] for problem in taught} else ():
            right.setdefault(one["model"], []).append(one["correct"])
    tested = Candidates(folder_of(outside.store, only(outside, "candidates", "pot"))).rows()
    found = Scores(folder_of(outside.store, only(outside, "shallow_score", "source_prior on pot candidates"))).rows()
    assert [row["score"] for row in found] == [pytest.approx(mean(right[row["source"]])) for row in tested]
    prior = rows_of(outside, "pot")["shallow", "source_prior"]["estimates"]
    assert prior["right_over_wrong"]["estimate"] != 0.5
    assert prior["right_over_wrong_balanced"]["estimate"] == pytest.approx(0.5)
    assert prior["source_balanced"]["estimate"] == pytest.approx(0.5)
    assert ("shallow", "source_prior") not in rows_of(outside, "logic")
    above = rows_of(outside, "pot")["setting", "made"]["above_chance"]["best_of_n"]
    assert {"source prior", "prompt overlap"} <= set(above["references"])


def test_what_the_generator_gave_a_text_is_a_reference(outside: Workspace) -> None:
    given = {
        (row["id"], one["text"]): one["logprob"] for row in reversed(pool_rows()) for one in reversed(row["candidates"])
    }
    tested = Candidates(folder_of(outside.store, only(outside, "candidates", "pot"))).rows()
    found = Scores(folder_of(outside.store, only(outside, "shallow_score", "logprob on pot candidates"))).rows()
    assert [row["score"] for row in found] == [given[row["problem"], row["text"]] for row in tested]
    pairs = Pairs(folder_of(outside.store, only(outside, "preferences", "pot test"))).rows()
    found = Scores(folder_of(outside.store, only(outside, "shallow_score", "logprob on pot pairs"))).rows()
    assert [row["score"] for row in found] == [
        given[
            pairs[row["group"]]["id"].rpartition("#")[0], pairs[row["group"]][("chosen", "rejected")[row["response"]]]
        ]
        for row in found
    ]
    assert rows_of(outside, "pot")["shallow", "logprob"]["estimates"]["right_over_wrong"]["estimate"] != 0.5
    assert ("shallow", "logprob") not in rows_of(outside, "logic")


def test_no_problem_and_no_prompt_of_a_pool_crosses_splits(outside: Workspace) -> None:
    prompts = {
        label: {row["prompt"] for row in Pairs(folder_of(outside.store, stage)).rows()}
        for stage in of_kind(outside, "preferences")
        if "pot" in stage.label
        for label in [stage.identity["spec"]["split"]]
    }
    assert set(prompts) == {"finetune", "test"}
    assert not prompts["finetune"] & prompts["test"]
    candidates = Candidates(folder_of(outside.store, only(outside, "candidates", "pot"))).rows()
    assert {row["prompt"] for row in candidates} >= prompts["test"]
    assert {row["source"] for row in candidates} == {"model-0", "model-1"}
    train, heldout = (
        {row["prompt"] for row in Pairs(folder_of(outside.store, only(outside, "split_pairs", split))).rows()}
        for split in ("train", "heldout")
    )
    assert train
    assert heldout
    assert not train & heldout


def test_splits_of_imported_pairs_are_estimated_by_the_import(outside: Workspace) -> None:
    known = Known(Snapshot(outside.store), outside.plan.stages)
    for stage in of_kind(outside, "split_pairs"):
        record = record_of(outside.store, stage)
        # whole clusters of a few pairs each make up a share
        assert stage.kind.rows(stage, known) == pytest.approx(record.result["groups"], abs=3)
        size, basis = stage.kind.payload(stage, known)
        assert basis == "measured"
        assert size is not None
        assert size < known.bytes_of(only(outside, "imported_pairs"))
    assert sum(stage.kind.payload(stage, known)[0] or 0 for stage in of_kind(outside, "split_pairs")) == pytest.approx(
        known.bytes_of(only(outside, "imported_pairs"))
    )


def test_the_report_shows_where_things_are_from_and_runs_none_of_it(outside: Workspace) -> None:
    page = (outside.reports / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    markdown = (outside.reports / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    data = report_of(outside)
    (table,) = [table for table in data["data"] if table["title"] == "From outside"]
    assert {row[0] for row in table["rows"]} == {
        "pool a-pool",
        "pairs a-pairs",
        "scores a-scores",
        "checkpoint a-checkpoint",
    }
    assert all(HOSTILE in row[2] for row in table["rows"])
    assert any("mixed pool" in caution["title"] for caution in data["cautions"])


def test_trackers_show_rows_from_outside_beside_the_references(outside: Workspace) -> None:
    plan, store = outside.plan, outside.store
    states = {key: status.state for key, status in look(plan.stages, store).items()}
    stage = report_on(outside).overview.analysis
    assert stage is not None
    analysis = json.loads((folder_of(store, stage) / "analysis.json").read_text(encoding="utf-8"))
    references = {row: label for row, (label, _) in REFERENCES.items()}
    view = build_view(plan, store, states, Finished(analysis=analysis, made=1.0, references=references))
    found = {run.name: run for run in view.runs if run.kind == "reference"}
    assert {"imported: my-rm", "imported: published", "reference: oracle"} <= set(found)
    mine = found["imported: my-rm"]
    assert mine.params["licence"] == HOSTILE
    assert {"pot/bon_area", "pot/bon_area_minus_baseline", "pot/pair_accuracy"} <= set(mine.metrics)
    assert len({run.key for run in view.runs}) == len(view.runs)
    assert {"pairs train", "candidates pot"} <= {one.name for run in view.runs for one in run.datasets}


def test_running_again_computes_nothing(outside: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = outside.plan.loaded.path
    assert run_command(["run", str(recipe), "--workdir", str(outside.workdir)]) == 0
    assert "0 stages computed" in capfd.readouterr().err


def test_an_import_whose_files_were_dropped_is_asked_for_before_anything_runs(
    outside: Workspace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "w"
    shutil.copytree(outside.workdir, workdir)
    recipe = str(outside.plan.loaded.path)
    keep = "runtime.keep={imported_pool: record}"
    assert run_command(["gc", recipe, "--workdir", str(workdir), "--set", keep]) == 0
    assert run_command(["run", recipe, "--workdir", str(workdir)]) == 0  # everything made of it is there
    capfd.readouterr()
    more = "tasks.pot.problems.test=9"
    assert run_command(["run", recipe, "--workdir", str(workdir), "--set", more]) == 2
    told = capfd.readouterr().err
    assert "the files of imported pool a-pool are not in the workdir" in told
    assert "`harness import` it again" in told
    assert harness_import("pool", write_lines(tmp_path / "p.jsonl", pool_rows()), workdir) == 0
    assert open_workspace(Path(recipe), [more], workdir).work().to_run


def test_unknown_imports_are_told_with_everything_else_that_is_missing(
    outside: Workspace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = outside.plan.loaded.path
    absent = ["--set", "corpus.packages=[email, unittest, logging, http, nosuch]"]
    for workdir, unknown in ((tmp_path / "empty", 6), (outside.workdir, 0)):
        capfd.readouterr()
        assert run_command(["plan", str(recipe), "--workdir", str(workdir), *absent]) == 2
        lines = capfd.readouterr().err.splitlines()
        assert sum("not found: nosuch" in line for line in lines) == 1
        assert sum("must name an import of the workdir" in line for line in lines) == unknown
        assert len(lines) == unknown + 1
    assert run_command(["validate", str(recipe)]) == 0  # knows no workdir


# ------------------------------------------------------------------------------------------------ the command


def test_importing_again_does_nothing_and_other_content_or_words_win(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workdir, store = tmp_path / "w", Store(tmp_path / "w" / "store")
    path = write_lines(tmp_path / "pool.jsonl", rows_of_pool(4))
    assert harness_import("pool", path, workdir) == 0
    assert "problems 4, clusters 4, candidates 32, smallest pool 8" in capfd.readouterr().out
    first = imports_of(store)["pool", "a-pool"]
    facts = store.run_facts(next(store.records("imported_pool")))
    assert harness_import("pool", path, workdir) == 0
    assert "is there already: imported_pool/" in capfd.readouterr().out
    assert store.run_facts(next(store.records("imported_pool"))) == facts
    write_lines(path, rows_of_pool(5))
    assert harness_import("pool", path, workdir) == 0
    assert f"a-pool was imported_pool/{first.fingerprint[:12]} before; recipes" in capfd.readouterr().out
    second = imports_of(store)["pool", "a-pool"]
    assert second.spec.digest != first.spec.digest
    words = ("--name", "b-pool", "--licence", "CC0-1.0", "--source", "elsewhere")
    assert harness_import("pool", path, workdir, *words) == 0
    told = capfd.readouterr().out
    before = "imported before (name was a-pool; licence was MIT; source was example.org/a b)"
    assert f"{before}; its name, licence and source are replaced" in told
    found = imports_of(store)
    assert found["pool", "b-pool"].fingerprint == second.fingerprint
    assert found["pool", "a-pool"].fingerprint == first.fingerprint  # the earlier content of that name is left


@pytest.mark.sampled("what", ["pool", "pairs", "scores", "checkpoint"], ["checkpoint"])
def test_the_command_itself_loads_no_heavy_library(tmp_path: Path, what: str) -> None:
    path = write_assets(tmp_path)[what]
    script = (
        "import sys\n"
        "from harness.cli.run_command import run_command\n"
        "code = run_command(sys.argv[1:])\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'pyarrow', 'pandas', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)\n"
    )
    words = ["--name", "mine", *WORDS, "--workdir", str(tmp_path / "w")]
    command = [sys.executable, "-c", script, "import", what, str(path), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{what} mine: imported_{what}/" in done.stdout
    record = next(Store(tmp_path / "w" / "store").records(f"imported_{what}"))
    assert {key: record.result[key] for key in ("name", "licence", "source")} == {
        "name": "mine",
        "licence": "MIT",
        "source": "example.org/a b",
    }
    assert str(tmp_path) not in json.dumps([dict(record.identity), dict(record.result)])  # no path of this machine


def test_wrong_arguments_are_told_all_at_once(tmp_path: Path, refused: Callable[..., list[str]]) -> None:
    words = ("--name", "../up", "--licence", " ", "--source", "x" * 301, "--workdir", "/dev/null/w")
    lines = refused(2, "pool", tmp_path / "absent.jsonl", *words)
    for says in (
        "--name: a name has letters, digits and",
        "--licence: a licence",
        "--source: a source",
        "--workdir: cannot use",
    ):
        assert any(line.startswith(says) for line in lines), says
    assert any("there is no file" in line for line in lines)
    assert refused(2, "pool", tmp_path, "--name", "a", *WORDS, "--workdir", tmp_path / "w")
    assert refused(2, "poool", tmp_path, "--name", "a", *WORDS)
    assert refused(2, "pool", tmp_path, "--name", "a", "--licence", "MIT")
    assert refused(2, "pool", tmp_path / "x.jsonl", "--name", "a", "--licence", "M\x1b[31mIT", "--source", "s")
    (tmp_path / "pool.pickle").write_bytes(b"\x80\x04N.")
    (line,) = refused(2, "pool", tmp_path / "pool.pickle", "--name", "a", *WORDS, "--workdir", tmp_path / "w")
    assert "pool must be one of .jsonl, .jsonl.gz, .parquet, but it is pool.pickle; convert it" in line
    (line,) = refused(2, "checkpoint", tmp_path, "--name", "a", *WORDS, "--workdir", tmp_path / "w")
    assert "lacks model.safetensors" in line
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("what", "content", "says"),
    [
        ("pool", '{"id": "a", "question": "q", "candidates": [{"text": "t", "correct": "yes"}]}', "true or false"),
        ("pool", "not json", "line 1: a line must be JSON"),
        ("pairs", '{"prompt": "p", "chosen": "a", "rejected": "a"}', "`chosen` and `rejected` must differ"),
        ("scores", '{"problem": "p", "candidate": 0, "score": NaN}', "must be a finite number"),
        ("scores", "", "a file must hold rows"),
    ],
)
def test_what_only_the_file_shows_fails_with_its_line(
    tmp_path: Path, refused: Callable[..., list[str]], what: str, content: str, says: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    lines = refused(1, what, path, "--name", "a", *WORDS, "--workdir", tmp_path / "w")
    (line,) = [line for line in lines if says in line]  # once
    assert line.startswith(f"failed: imported {what} a: ")
    assert not imports_of(Store(tmp_path / "w" / "store"))


def test_scores_that_miss_a_candidate_fail_and_name_it(outside: Workspace, tmp_path: Path) -> None:
    workdir = tmp_path / "w"
    shutil.copytree(outside.workdir, workdir)
    tested = {row["problem"] for row in Candidates(folder_of(outside.store, only(outside, "candidates", "pot"))).rows()}
    problem = sorted(tested)[0]
    scores = [row for row in rows_of_scores(pool_rows()) if (row["problem"], row["candidate"]) != (problem, 5)]
    assert harness_import("scores", write_lines(tmp_path / "s.jsonl", scores), workdir, "--name", "holey", *WORDS) == 0
    row = "evaluate.imported={holey: {scores: holey, tasks: [pot]}}"
    workspace = open_workspace(outside.plan.loaded.path, [row], workdir)
    assert run_command(["run", str(outside.plan.loaded.path), "--workdir", str(workdir), "--set", row]) == 1
    statuses = look(workspace.plan.stages, workspace.store).values()
    failed = [status for status in statuses if status.state == "failed"]
    assert {status.stage.kind.name for status in failed} == {"aligned_scores"}
    assert any(f"1 of 64 have none, the first of them candidate 5 of {problem}" in status.reason for status in failed)
    assert all(f"candidate 5 of {problem}" in status.reason for status in failed)


# ------------------------------------------------------------------------------------------------ real pools


def published(name: str) -> Iterator[dict[str, Any]]:
    assert SHARED is not None
    with gzip.open(SHARED / "pools" / name, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


@pytest.mark.slow("imports and judges real pools, with --exhaustive a thousand problems of each")
@pytest.mark.published
@needs_shared
@pytest.mark.parametrize(
    ("name", "mixed"), [("gsm8k_zeroeval.jsonl.gz", True), ("svamp_pot_code002_iid30.jsonl.gz", False)]
)
@pytest.mark.sampled("problems", (120, 1_000), (120,))
def test_a_real_pool_gives_what_counting_gives(tmp_path: Path, name: str, mixed: bool, problems: int) -> None:
    """Random pick, oracle and vote of a published pool, computed anew from the file. The vote by sampling subsets."""
    pool = list(islice(published(name), problems + 60))
    problems = min(problems, len(pool) - 60)
    assert harness_import("pool", write_lines(tmp_path / "pool.jsonl", pool), tmp_path / "w") == 0
    counts = {"finetune": 40, "dev": 20, "test": problems}
    sizes = [1, 2, 8, 30]
    recipe = RECIPE | {
        "tasks": {"pot": {"kind": "pool", "import": "a-pool", "problems": counts}},
        "finetune": {"tasks": ["logic"]},
        "evaluate": {
            "best_of_n": {"tasks": ["pot"], "n": sizes, "candidates": None},
            "pair_accuracy": {"tasks": ["pot"]},
        },
        "ablations": {"axes": {"loss": None}},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    workspace = open_workspace(path, [], tmp_path / "w")
    baselines = only(workspace, "pool_baselines")
    run_up_to(workspace, [baselines, *(one for one in of_kind(workspace, "preferences") if "pot" in one.label)])
    means = record_of(workspace.store, baselines).result["means"]
    rows = Candidates(folder_of(workspace.store, only(workspace, "candidates", "pot"))).rows()
    tested = {problem for problem, _ in groupby(rows, key=lambda row: row["problem"])}
    pool = [row for row in pool if row["id"] in tested]
    assert len(pool) == problems
    assert imports_of(workspace.store)["pool", "a-pool"].result["mixed"] == mixed
    shares = [mean(one["correct"] for one in row["candidates"]) for row in pool]
    rng = Random(0)
    for size in sizes:
        assert means[f"mean/bon@{size}"] == pytest.approx(mean(shares), abs=1e-6)
        missed = [
            math.comb(sum(not one["correct"] for one in row["candidates"]), size)
            / math.comb(len(row["candidates"]), size)
            for row in pool
        ]
        assert means[f"oracle/bon@{size}"] == pytest.approx(1 - mean(missed), abs=1e-6)
        votes = [voted(rng.sample(row["candidates"], size)) for row in pool for _ in range(20)]
        error = math.sqrt(sum((vote - mean(votes)) ** 2 for vote in votes)) / len(votes)
        assert means[f"majority/bon@{size}"] == pytest.approx(mean(votes), abs=4 * error + 1e-6)
    taught = {
        row["prompt"]
        for stage in of_kind(workspace, "preferences")
        if "pot" in stage.label
        for row in Pairs(folder_of(workspace.store, stage)).rows()
        if stage.identity["spec"]["split"] == "finetune"
    }
    assert not taught & {row["prompt"] for row in rows}
