"""Tasks of published data: what every one promises, on rows in the original schema; what is wrong in a file is told."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from huggingface_hub import HfApi

from harness.errors import DataError, HarnessError, MissingRequirement, ProblemList, RecipeError
from harness.pipeline.counts import not_fetched, task_problems, with_counts
from harness.pipeline.tasks import PROBLEMS
from harness.plan.plan import make_plan
from harness.sources import datasets
from harness.sources.datasets import hub_file, hub_problem
from harness.store.identity import canonical_json
from harness.tasks.fixed import FixedTask
from harness.tasks.registry import BUILT_IN, load_task
from tests.conftest import Load, Plan
from tests.toys.samples import SAMPLES, labelled

REAL = Path(__file__).parents[3] / "shared" / "data"


def test_every_task_of_published_data_is_here() -> None:
    fixed = {name: task for name in BUILT_IN if isinstance(task := load_task(name), FixedTask)}
    assert set(SAMPLES) == set(fixed)
    branches = {name for name, task in fixed.items() if not re.fullmatch("[0-9a-f]{40}", task.hub.revision)}
    assert branches == {"folio", "logiqa2", "rm_bench", "judgebench"}  # of which no commit is known


@pytest.fixture(params=sorted(SAMPLES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def task(name: str) -> FixedTask:
    task = load_task(name)
    assert isinstance(task, FixedTask)
    return task


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    for part, rows in SAMPLES[name].rows.items():
        write(tmp_path / f"{part}.jsonl", rows)
    return tmp_path


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(list(rows)), encoding="utf-8")
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_rows_become_problems_that_are_graded(name: str, task: FixedTask, folder: Path) -> None:
    sample = SAMPLES[name]
    for part, rows in sample.rows.items():
        problems = task.read(task.files(part, str(folder)), part)
        assert len(problems) * sample.rows_a_problem == len(rows)
        assert len(problems) == len({problem.id for problem in problems})
        for problem in problems:
            assert problem.prompt.strip()
            assert task.grade(problem, problem.solution)
            assert (problem.split, bool(problem.cluster)) == (part, True)
            json.dumps(dict(problem.metadata))
    part = task.parts["test"]
    test = task.read(task.files(part, str(folder)), part)
    assert [problem.answer for problem in test] == list(sample.answers)
    assert [text for text in sample.right if not task.grade(test[0], text)] == []
    assert [text for text in sample.wrong if task.grade(test[0], text)] == []


@pytest.mark.parametrize("ending", ["parquet", "json"])
def test_the_format_decides_nothing(name: str, task: FixedTask, folder: Path, ending: str) -> None:
    part = next(iter(SAMPLES[name].rows))
    other = write(folder / f"other.{ending}", SAMPLES[name].rows[part])
    assert task.read((other,), part) == task.read((folder / f"{part}.jsonl",), part)


def test_what_is_wrong_with_a_file_is_told_with_its_place(name: str, task: FixedTask, folder: Path) -> None:
    part, rows = next(iter(SAMPLES[name].rows.items()))
    for column in task.columns & rows[0].keys():
        path = write(folder / f"{column}.jsonl", [rows[0], {key: rows[1][key] for key in rows[1] if key != column}])
        with pytest.raises(DataError) as told:
            task.read((path,), part)
        assert told.value.where == f"{path}, line 2"
        assert "`" in told.value.rule
    with pytest.raises(DataError, match=r"spoilt\.jsonl, line 1: "):
        task.read((write(folder / "spoilt.jsonl", [SAMPLES[name].spoilt]),), part)
    with pytest.raises(DataError, match="holds none"):
        task.read((write(folder / "none.jsonl", []),), part)
    with pytest.raises(MissingRequirement, match="must be there"):
        task.files(part, {one: str(folder / "nowhere.jsonl") for one in set(task.parts.values())})
    (folder / "empty").mkdir()
    with pytest.raises(MissingRequirement, match=rf"path: \{{{part}: \.\.\.\}}"):
        task.files(part, str(folder / "empty"))


def test_a_place_that_does_not_go_with_the_parts_is_told(name: str, task: FixedTask, folder: Path) -> None:
    part = task.parts["test"]
    with pytest.raises(RecipeError, match="'nonsense' is none"):
        task.files(part, {"nonsense": "a.jsonl"})
    if len(set(task.parts.values())) > 1:
        with pytest.raises(RecipeError, match="a file for each of its parts"):
            task.files(part, str(folder / f"{part}.jsonl"))
    else:
        assert task.files(part, str(folder / f"{part}.jsonl")) == (folder / f"{part}.jsonl",)


def test_what_belongs_together_is_one_cluster(name: str, task: FixedTask, folder: Path) -> None:
    sizes = {"reclor": 2, "logiqa2": 2, "folio": 3, "balanced_copa": 2, "qasc": 2, "rewardbench2": 2}
    part = task.parts["test"] if "finetune" not in task.parts else task.parts["finetune"]
    clusters = Counter(problem.cluster for problem in task.read(task.files(part, str(folder)), part))
    assert set(clusters.values()) == {sizes.get(name, 1)}


def test_what_a_test_part_holds_is_left_out_of_training(folder: Path, name: str, task: FixedTask) -> None:
    left_out = task.left_out("finetune", str(folder))
    if name != "strategyqa":
        assert left_out == ()
        return
    (shared,) = {one.cluster for one in task.read((folder / "dev.jsonl",), "dev")} & set(left_out)
    train = task.read((folder / "train.jsonl",), "train")
    assert [one.id for one in train if one.cluster == shared] == ["t7"]
    assert task.left_out("test", str(folder)) == ()


def test_a_part_of_several_files_is_one_wherever_they_lie(tmp_path: Path) -> None:
    task = load_task("svamp")
    assert isinstance(task, FixedTask)
    rows = SAMPLES["svamp"].rows["problems"]
    (tmp_path / "data").mkdir()
    for name, row in zip(task.hub.of("problems"), rows, strict=True):  # as on the hub, where answers are texts
        write(tmp_path / name, [{**row, "Answer": str(row["Answer"])}])
    files = task.files("problems", str(tmp_path))
    assert len(files) == 2
    whole = (write(tmp_path / "SVAMP.json", rows),)
    assert task.read(files, "problems") == task.read(whole, "problems")
    assert len({task.digest(one) for one in (files, files[:1], files[1:], files[::-1], whole)}) == 5
    assert task.files("problems", str(tmp_path)) == whole
    write(files[1], [rows[0]])
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet, row 1: .*'chal-1' appears again"):
        task.read(files, "problems")


def test_variations_of_a_story_never_cross_the_splits_of_svamp(tmp_path: Path) -> None:
    task = load_task("svamp")
    assert isinstance(task, FixedTask)
    row = SAMPLES["svamp"].rows["problems"][0]
    things = ("red pens", "old hats", "big boats at sea", "fish", "toys for dogs and cats")
    rows = [
        {**row, "ID": f"{thing}-{n}", "Body": f"{name} had {n + 7} {thing} and lost {n} on a {thing} trip"}
        for thing in things
        for n, name in enumerate(("Ann", "Bob", "Cem"))
    ]
    problems = task.read((write(tmp_path / "SVAMP.json", rows),), "problems")
    assert [problem.cluster for problem in problems] == [f"{thing}-0" for thing in things for _ in range(3)]
    assert {task.parts[split] for split in task.splits} == {"problems"}


def test_math_shepherd_reads_trls_format_and_keeps_what_is_clearly_right_or_wrong(tmp_path: Path) -> None:
    task = load_task("math_shepherd")
    assert isinstance(task, FixedTask)
    question, right = "How many are 1+2?", ("Step 1: 1+2=3. +", "Step 2: Three. The answer is: 3 +")
    wrong = [("Step 1: 1+2=3. +", f"Step 2: So {n}. The answer is: {n} -") for n in range(4, 20)]
    lucky = ("Step 1: 1+2=5. -", "Step 2: No. The answer is: 3 +")
    mislabelled = ("Step 1: The answer is: 3.0 -",)
    rows = [labelled(question, *steps) for steps in (right, lucky, mislabelled, right, *wrong)]
    rows.append({"input": "No step ки", "label": "No step -"})
    rows.append({"input": f"An early ки mark? {right[0][:-1]}ки", "label": f"An early + mark? {right[0]}"})
    (problem,) = task.read((write(tmp_path / "math-shepherd.jsonl", rows),), "train")
    text = "Step 1: 1+2=3.\nStep 2: Three. The answer is: 3"
    assert (problem.prompt, problem.answer) == (f"Question: {question}\nAnswer:\n", "3")
    assert problem.metadata["right"] == [text]
    assert len(problem.metadata["wrong"]) == 8
    refused: Counter[str] = Counter()
    pairs = task.preferences([problem], count=7, seed=0, refused=refused)
    assert len({pair.rejected for pair in pairs}) == 7
    assert {pair.chosen for pair in pairs} == {text}
    assert not any("3.0" in pair.rejected for pair in pairs)  # right, whatever its label says
    assert refused == {"wrong_solution": 1}
    with pytest.raises(DataError, match="give 7 of 8"):
        task.preferences([problem], count=8, seed=0)
    trl = [
        {
            "prompt": question,
            "completions": [step[:-2] for step in steps],
            "labels": [step[-1] == "+" for step in steps],
        }
        for steps in (right, lucky, mislabelled, right, *wrong)
    ]
    assert task.read((write(tmp_path / "trl.parquet", trl),), "train") == (problem,)
    trl[1]["labels"] = [True]
    with pytest.raises(DataError, match=r"line 2: `labels` must have one for each"):
        task.read((write(tmp_path / "trl.jsonl", trl),), "train")


def test_what_trains_prefers_the_right_solution(name: str, task: FixedTask, folder: Path) -> None:
    if not task.makes_mistakes:
        assert "finetune" not in task.parts or name in ("gsm8k", "svamp", "hendrycks_math")
        return
    part = task.parts["finetune"]
    problems = task.read(task.files(part, str(folder)), part)
    known = {problem.id: problem for problem in problems}
    pairs = task.preferences(problems, count=len(problems), seed=0)
    assert len({(pair.problem_id, pair.rejected) for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert task.grade(known[pair.problem_id], pair.chosen)
        assert not task.grade(known[pair.problem_id], pair.rejected)


@pytest.mark.published
@pytest.mark.skipif(not REAL.is_dir(), reason="the published data is not here")
@pytest.mark.parametrize("name", sorted(name for name, sample in SAMPLES.items() if sample.real), indirect=True)
def test_the_real_files_hold_what_is_said(name: str, task: FixedTask) -> None:
    sample = SAMPLES[name]
    for part, size in sample.sizes.items():
        problems = task.read(task.files(part, str(REAL / sample.real)), part)
        assert len(problems) == size
        assert all(task.grade(problem, problem.solution) for problem in problems)


# ---------------------------------------------------------------------------------------------------- in a recipe


@pytest.fixture
def asking(recipe: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The small recipe with GSM8K from files, whose candidates an engine of one's own writes."""
    for part, rows in SAMPLES["gsm8k"].rows.items():
        write(tmp_path / f"{part}.jsonl", rows)
    recipe["tasks"]["words"] = {
        "kind": "gsm8k",
        "path": str(tmp_path),
        "problems": {"finetune": 0, "dev": 5, "test": "all"},
    }
    recipe["plugins"] = ["json"]
    recipe["evaluate"]["best_of_n"] |= {"tasks": ["words"], "candidates": {"engine": "json:loads", "samples": 64}}
    return recipe


def plan_of(load: Load, data: Mapping[str, Any]) -> Plan:
    loaded = load(data)
    assert task_problems(loaded) == []
    return make_plan(with_counts(loaded))


def wrongs(load: Load, data: Mapping[str, Any]) -> list[str]:
    return [problem.one_line() for problem in task_problems(load(data))]


def test_all_becomes_a_number_and_identity_is_the_content(asking: dict[str, Any], load: Load, tmp_path: Path) -> None:
    def made(data: Mapping[str, Any]) -> dict[str, Any]:
        return {stage.label: stage for stage in plan_of(load, data).stages if "words" in stage.label}

    first = made(asking)
    assert first["problems words test"].spec.count == 3
    assert first["problems words test"].source_path == str(tmp_path / "test.jsonl")
    asking["tasks"]["words"]["problems"]["test"] = 3
    assert made(asking)["problems words test"].fingerprint == first["problems words test"].fingerprint
    write(tmp_path / "copy.json", SAMPLES["gsm8k"].rows["test"])
    asking["tasks"]["words"]["path"] = {"train": str(tmp_path / "train.jsonl"), "test": str(tmp_path / "copy.json")}
    other = made(asking)
    assert other["problems words test"].fingerprint != first["problems words test"].fingerprint
    assert other["problems words dev"].fingerprint == first["problems words dev"].fingerprint
    moved = tmp_path / "moved"
    moved.mkdir()
    for part in ("train", "test"):
        (tmp_path / f"{part}.jsonl").rename(moved / f"{part}.jsonl")
    asking["tasks"]["words"]["path"] = str(moved)
    assert {one.fingerprint for one in made(asking).values()} == {one.fingerprint for one in first.values()}


def test_what_two_published_parts_share_trains_nobody(asking: dict[str, Any], load: Load, tmp_path: Path) -> None:
    for part, rows in SAMPLES["strategyqa"].rows.items():
        write(tmp_path / f"{part}.jsonl", rows)
    asking["tasks"]["words"] |= {"kind": "strategyqa", "problems": {"finetune": "all", "dev": 4, "test": "all"}}
    made = {stage.label: stage for stage in plan_of(load, asking).stages if "words" in stage.label}
    specs = {split: made[f"problems words {split}"].spec for split in ("dev", "test")}
    assert (specs["dev"].count, specs["test"].count, specs["test"].left_out) == (4, 2, ())
    assert len(specs["dev"].left_out) == 1
    assert PROBLEMS.read(json.loads(canonical_json(specs["dev"].identity()))) == specs["dev"]
    loaded = with_counts(load(asking))
    assert loaded.recipe.tasks["words"].problems.finetune == 30 - 1 - 4


def test_what_is_fixed_can_be_kept_out_of_a_corpus_whatever_is_taken_of_it(asking: dict[str, Any], load: Load) -> None:
    asking["corpus"]["decontaminate"] = {"against": ["words"]}
    asking["tasks"]["words"]["problems"] = {"test": 1}
    one = plan_of(load, asking)
    asking["tasks"]["words"]["problems"] = {"test": "all", "dev": 2}
    other = plan_of(load, asking)
    corpora = [{stage for stage in plan.stages if stage.kind.name == "corpus"} for plan in (one, other)]
    assert [stage.fingerprint for stage in corpora[0]] == [stage.fingerprint for stage in corpora[1]]
    (part, *_) = [stage for stage in one.stages if stage.kind.name == "corpus_part"]
    assert {name: item.stage.spec.count for name, item in part.inputs.items()} == {"problems-words": 3}
    asking["corpus"]["decontaminate"] = {"against": ["sums"]}
    assert any("must name fixed sets of problems" in line for line in wrongs(load, asking))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"problems": {"base": 4, "test": 1}}, "it has none for base"),
        (
            {"kind": "gsm_symbolic", "problems": {"test": "all"}, "path": None},
            "`all` is for a fixed number of problems",
        ),
        ({"kind": "gsm_symbolic", "problems": {"test": 3}}, "has no `path`"),
        ({"problems": {"finetune": "all", "dev": "all", "test": 1}}, "one split at most may take all that is left"),
    ],
    ids=["split", "all", "path", "two"],
)
def test_what_a_task_cannot_give_is_told_with_its_line(
    asking: dict[str, Any], load: Load, changes: Mapping[str, Any], says: str
) -> None:
    asking["tasks"]["words"] |= changes
    lines = wrongs(load, asking)
    assert any(says in line and ".yaml:" in line for line in lines), lines


def test_levels_are_an_option_that_counts_know(asking: dict[str, Any], load: Load, tmp_path: Path) -> None:
    rows = [{**SAMPLES["math500"].rows["test"][0], "level": n % 5 + 1, "unique_id": f"{n}"} for n in range(12)]
    hard = {"kind": "math500", "path": str(write(tmp_path / "m.jsonl", rows)), "problems": {"test": "all"}}
    asking["tasks"]["hard"] = hard
    asking["evaluate"]["best_of_n"]["tasks"] = ["hard"]

    def made() -> dict[str, Any]:
        return {stage.label: stage for stage in plan_of(load, asking).stages}

    assert made()["problems hard test"].spec.count == 12
    hard["options"] = {"levels": [5, 1]}
    assert made()["problems hard test"].spec.count == 5
    hard["problems"] = {"test": 6}
    with pytest.raises(ProblemList, match="5 of 6 are left for test"):
        with_counts(load(asking))
    for wrong in ([6], [True], [5, 5], [], 5, ["5"]):
        hard["options"] = {"levels": wrong}
        assert any("`levels` of task 'math500' must list levels" in line for line in wrongs(load, asking))
    asking["tasks"]["words"]["options"] = {"levels": [5]}
    assert any("an option of task 'gsm8k' must be known" in line for line in wrongs(load, asking))


def test_a_task_without_mistakes_neither_trains_nor_is_simulated(asking: dict[str, Any], load: Load) -> None:
    asking["tasks"]["words"]["problems"]["finetune"] = 20
    asking["finetune"] |= {"tasks": ["words"], "samples": 16}
    asking["evaluate"]["best_of_n"]["candidates"]["engine"] = "simulated"
    asking["evaluate"]["pair_accuracy"] = {"tasks": ["words"], "samples": 4}
    lines = wrongs(load, asking)
    assert len(lines) == 3
    assert all("'gsm8k' knows no wrong solutions" in line for line in lines)


@pytest.mark.parametrize(
    ("counts", "says"), [({"test": 4}, "3 of 4 are left for test"), ({"dev": 20, "finetune": 11}, "left for dev")]
)
def test_more_problems_than_there_are_is_known_before_anything_runs(
    asking: dict[str, Any], load: Load, counts: Mapping[str, int], says: str
) -> None:
    asking["tasks"]["words"]["problems"] = {"test": 1, **counts}
    with pytest.raises(ProblemList) as told:
        with_counts(load(asking))
    (problem,) = told.value.problems
    assert says in problem.one_line()
    assert ".yaml:" in problem.one_line()


def test_several_pairs_a_problem_are_for_tasks_that_know_how_many_there_are(
    asking: dict[str, Any], load: Load, tmp_path: Path
) -> None:
    (sample,) = SAMPLES["commonsense_qa"].rows["train"][:1]
    rows = [{**sample, "id": f"q{n}", "question": f"{n} {sample['question']}"} for n in range(24)]
    files = {"train": write(tmp_path / "train.json", rows), "validation": write(tmp_path / "val.json", rows[:3])}
    asking["tasks"]["everyday"] = {
        "kind": "commonsense_qa",
        "path": {part: str(path) for part, path in files.items()},
        "problems": {"finetune": 20, "dev": "all", "test": 3},
    }
    asking["finetune"]["tasks"] = ["everyday"]
    asking["evaluate"]["pair_accuracy"] = {"tasks": ["everyday"], "samples": 6}

    def pairs(samples: int) -> dict[str, int]:
        """What fine-tuning pairs are read by, each with their number."""
        asking["finetune"]["samples"] = samples
        found = {}
        for stage in plan_of(load, asking).stages:
            for item in stage.inputs.values():
                if item.stage.label == "preferences everyday finetune" and item.stage.kind.name == "preferences":
                    found[stage.kind.name] = item.stage.spec.count
        return found

    readers = {"encode", "overlap", "shallow_score"}
    assert pairs(16) == pairs(20) == dict.fromkeys(readers, 20)
    assert pairs(30) == dict.fromkeys(readers, 30)
    assert pairs(40) == dict.fromkeys(readers, 40)
    asking["finetune"]["samples"], asking["evaluate"]["pair_accuracy"]["samples"] = 41, 7
    with pytest.raises(ProblemList) as told:
        with_counts(load(asking))
    tuning, judging = (problem.one_line() for problem in told.value.problems)
    assert "`finetune.samples` must fit" in tuning
    assert "needs 41, and 20 finetune problems give 40" in tuning
    assert "`evaluate.pair_accuracy.samples` must fit" in judging
    assert "needs 7, and 3 test problems give 6" in judging
    assert all(".yaml:" in line for line in (tuning, judging))
    asking["finetune"] |= {"tasks": ["sums"], "samples": 33}  # one made for the recipe
    (line,) = wrongs(load, asking)
    assert "needs 33 of 32 (one pair a problem)" in line


def test_contradictions_of_counts_are_found_when_they_are_numbers(asking: dict[str, Any], load: Load) -> None:
    asking["evaluate"]["best_of_n"]["candidates"]["part_size"] = 1
    asking["tasks"]["words"]["problems"] = {"test": "all"}
    assert isinstance(with_counts(load(asking)).recipe.tasks["words"].problems.test, int)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's cache, with nothing in it, and no hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    hub_file.cache_clear()
    return tmp_path / "cache"


def test_a_plan_assumes_what_is_published_until_it_is_fetched(asking: dict[str, Any], load: Load, cache: Path) -> None:
    asking["tasks"]["words"] |= {"path": None, "problems": {"finetune": 7, "dev": 5, "test": "all"}}
    asking["corpus"]["decontaminate"] = {"against": ["words"]}
    assumed = with_counts(load(asking), fetches=False)
    assert [task.kind for task in not_fetched(assumed).values()] == ["gsm8k"]
    assert ".yaml:" in next(iter(not_fetched(assumed)))
    gsm8k = load_task("gsm8k")
    assert isinstance(gsm8k, FixedTask)
    snapshot = cache / f"datasets--{gsm8k.hub.id.replace('/', '--')}" / "snapshots" / gsm8k.hub.revision / "main"
    snapshot.mkdir(parents=True)
    for part, size in gsm8k.hub.problems.items():
        rows = [{"question": f"{part}: what is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(size)]
        write(snapshot / f"{part}-00000-of-00001.parquet", rows)
    fetched = with_counts(load(asking), fetches=False)
    assert not not_fetched(fetched)
    plans = [make_plan(loaded) for loaded in (assumed, fetched, with_counts(load(asking)))]
    counts = [[(one.label, getattr(one.spec, "count", None)) for one in plan.stages] for plan in plans]
    assert counts[0] == counts[1] == counts[2]
    assert ("problems words test", 1_319) in counts[0]
    made = [{one.fingerprint for one in plan.stages} for plan in plans]
    assert made[1] == made[2] != made[0]


def test_no_more_is_assumed_than_is_published(asking: dict[str, Any], load: Load, cache: Path) -> None:
    asking["tasks"]["words"] |= {"path": None, "problems": {"finetune": 7_000, "dev": 474, "test": 1}}
    with pytest.raises(ProblemList) as told:
        with_counts(load(asking), fetches=False)
    assert "openai/gsm8k has 7,473 in 'train', and 7,474 are asked for" in str(told.value.problems[0])
    asking["tasks"]["words"]["problems"]["dev"] = 473
    assert not_fetched(with_counts(load(asking), fetches=False))
    asking["tasks"]["words"]["path"] = ""
    assert any("`path` must be a folder or a file, but it is empty" in line for line in wrongs(load, asking))


def test_it_is_known_how_much_is_published(task: FixedTask) -> None:
    assert set(task.hub.problems) == set(task.parts.values())


@pytest.mark.usefixtures("cache")
def test_a_hub_that_is_away_is_told(task: FixedTask) -> None:
    with pytest.raises(HarnessError) as told:
        task.files(task.parts["test"], None)
    assert told.value.exit_code == 2
    assert f"the data set {task.hub.id}" in told.value.rule
    assert "name a copy as `path`" in told.value.remedy


def test_a_hub_that_is_away_says_one_thing_to_all_who_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a plan can say it once; each of the library's own messages has its own address."""
    together = threading.Barrier(3)

    def nobody_answers(self: HfApi, name: str, **_: Any) -> None:
        together.wait(timeout=30)
        raise OSError(f"Cannot reach {name}")

    monkeypatch.setattr(HfApi, "dataset_info", nobody_answers)
    monkeypatch.setattr(datasets, "_away", [])
    names = ["nobody/one", "nobody/two", "nobody/three"]
    with ThreadPoolExecutor(3) as pool:
        problems = list(pool.map(lambda name: hub_problem(name, "main"), names))
    hub_problem.cache_clear()
    assert len({problem.value for problem in problems if problem is not None}) == 1
    assert [name in problem.rule for name, problem in zip(names, problems, strict=True) if problem is not None] == [
        True
    ] * 3
