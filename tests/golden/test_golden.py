"""Outputs of every kind of stage, as committed in golden.json: they change only together with `code_version`.

When results are meant to change: raise the kind's `code_version` in its chapter of `harness/pipeline/`, then run

    pytest tests/golden --update-golden

which refuses where outputs changed although no code version upstream did and the recipe is the same. Only when the
libraries recorded in golden.json are others too, it takes over what they compute.
"""

from __future__ import annotations

import copy
import importlib.metadata
import itertools
import json
import math
import re
import sys
from collections.abc import Container, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.cli.report import report_on
from harness.cli.run_command import run_command
from harness.cli.workspace import Workspace, open_workspace
from harness.pipeline.graph import Input, Stage
from harness.pipeline.kinds import KINDS
from harness.report.overview import read_json_of
from harness.report.words import reference_rows
from harness.tracking.build import Finished, build_view
from tests.golden.summaries import Summary, condense, digest, summarise
from tests.integration.pipelines import every_kind, folder_of, record_of, run
from tests.toys import lm_eval_tasks, published
from tests.toys.lm_eval_tasks import write_lm_eval_tasks
from tests.toys.published import (
    rows_of_choices,
    rows_of_pairs,
    rows_of_pool,
    rows_of_rewardbench2,
    rows_of_rm_bench,
    rows_of_scores,
    write_classifier,
    write_lines,
)
from tests.toys.small_models import save_small_model

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.json"
REFRESH = "pytest tests/golden --update-golden"
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn", "rensa", "reasoning-gym")

TOLERANCE = 1e-4
MOST_VALUES = 5
UPSTREAM = "upstream"  # kind -> the kinds its stages are made from, itself among them

Golden = dict[str, Any]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The golden recipe, run."""
    sys.path.insert(0, str(HERE / "site"))  # workers take over the path
    try:
        workdir = tmp_path_factory.mktemp("golden")
        import_assets(tmp_path_factory.mktemp("published"), workdir)
        made = open_workspace(golden_recipe(tmp_path_factory.mktemp("recipe")), [], workdir)
        made.store.create()
        summary = run(made, every_kind(made))
        assert not summary.failed, [(outcome.task.label, outcome.reason) for outcome in summary.failed]
        yield made
    finally:
        sys.path.remove(str(HERE / "site"))


def golden_recipe(folder: Path) -> Path:
    """The golden recipe, with a tiny model and files of data where it names them."""
    model = save_small_model(folder / "small")
    named = {
        "MODEL": model,
        "CHOICES": write_lines(folder / "choices.jsonl", rows_of_choices(6)),
        "BENCH2": write_lines(folder / "bench2.jsonl", rows_of_rewardbench2()),
        "STYLES": write_lines(folder / "styles.jsonl", rows_of_rm_bench()),
        "LM_EVAL": write_lm_eval_tasks(folder / "lm_eval"),
    }
    text = (HERE / "golden.yaml").read_text(encoding="utf-8")
    for word, path in named.items():
        text = text.replace(word, str(path))
    recipe = folder / "golden.yaml"
    recipe.write_text(text, encoding="utf-8")
    return recipe


def import_assets(folder: Path, workdir: Path) -> None:
    """Bring in what the golden recipe names."""
    pool = rows_of_pool(16)
    assets = {
        "pool": write_lines(folder / "pool.jsonl", pool),
        "pairs": write_lines(folder / "pairs.jsonl", rows_of_pairs(90)),
        "scores": write_lines(folder / "scores.jsonl", rows_of_scores(pool)),
        "checkpoint": write_classifier(folder / "checkpoint"),
    }
    for what, path in assets.items():
        words = ["--name", f"golden-{what}", "--licence", "CC0-1.0", "--source", "tests/toys/published.py"]
        assert run_command(["import", what, str(path), *words, "--workdir", str(workdir)]) == 0


@pytest.fixture(scope="module")
def found(workspace: Workspace) -> Golden:
    """What the stages gave just now, in the form of golden.json."""
    kinds: Golden = {kind: {"code_version": KINDS[kind].code_version, "stages": {}} for kind in KINDS}
    upstream: dict[str, set[str]] = {kind: {kind} for kind in KINDS}
    for stage in every_kind(workspace):
        upstream[stage.kind.name] |= kinds_behind(stage)
        stages = kinds[stage.kind.name]["stages"]
        stages[unused(stage.label, stages)] = rounded(
            summarise(record_of(workspace.store, stage), folder_of(workspace.store, stage), exact=not is_trained(stage))
        )
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"libraries": libraries, "recipe": recipe_digest(), "kinds": kinds, UPSTREAM: upstream}


def recipe_digest() -> str:
    """Of what is run: the recipe, the packages it reads and what is imported."""
    files = [HERE / "golden.yaml", *sorted((HERE / "site").rglob("*.py"))]
    files += [Path(published.__file__), Path(lm_eval_tasks.__file__)]
    return digest([path.read_text(encoding="utf-8") for path in files])


def unused(label: str, taken: Container[str]) -> str:
    """A label, numbered where several stages bear it."""
    numbered = (label if number == 1 else f"{label} ({number})" for number in itertools.count(1))
    return next(name for name in numbered if name not in taken)


@cache
def kinds_behind(stage: Stage) -> frozenset[str]:
    """The kind of a stage and of everything it is made from."""
    return frozenset({stage.kind.name}).union(*(kinds_behind(given.stage) for given in inputs_of(stage)))


@cache
def is_trained(stage: Stage) -> bool:
    """Whether floating-point training enters a stage's outputs."""
    fits = stage.kind.name == "shallow_score" and stage.identity["spec"]["scorer"] != "length"
    trains = stage.kind.trains or stage.kind.accelerated
    return fits or trains or any(is_trained(given.stage) for given in inputs_of(stage))


def inputs_of(stage: Stage) -> list[Input]:
    return list(stage.inputs.values())


def rounded(summary: Summary) -> Summary:
    """Floats to six significant digits: what golden.json holds."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in summary.items()}


def same(ours: Summary, golden: Summary) -> bool:
    """Whether two summaries differ by no more than the last bits of a training could make them."""
    return ours.keys() == golden.keys() and all(
        math.isclose(value, golden[key], rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        if isinstance(value, float)
        else value == golden[key]
        for key, value in ours.items()
    )


def changed(found: Golden, golden: Golden, kind: str) -> list[str]:
    """Stages of a kind that are other than in golden.json."""
    ours, theirs = found["kinds"][kind]["stages"], golden["kinds"].get(kind, {"stages": {}})["stages"]
    return [
        f"{label}: {ours.get(label)} instead of {theirs.get(label)}"
        for label in sorted({*ours, *theirs})
        if label not in ours or label not in theirs or not same(ours[label], theirs[label])
    ]


def unexplained(found: Golden, golden: Golden, kind: str) -> list[str]:
    """The same, if neither the recipe nor a code version of what they are made from is another."""

    def version(side: Golden, name: str) -> int | None:
        return side["kinds"].get(name, {}).get("code_version")

    upstream = found[UPSTREAM][kind]
    if found["recipe"] != golden["recipe"] or any(version(found, name) != version(golden, name) for name in upstream):
        return []
    return changed(found, golden, kind)


def read_golden() -> Golden:
    data: Golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return data


def kept(found: Golden) -> Golden:
    """What golden.json holds of it."""
    return {name: value for name, value in found.items() if name != UPSTREAM}


def update(found: Golden) -> None:
    """Write golden.json, unless that would hide that results changed."""
    if GOLDEN.exists():
        golden = read_golden()
        if golden["libraries"] == found["libraries"]:
            for kind in KINDS:
                assert not unexplained(found, golden, kind), (
                    f"first raise the code_version of {kind!r} in harness/pipeline"
                )
    lines = json.dumps(kept(found), indent=1, sort_keys=True)
    lines = re.sub(r"\{[^{}]*\}|\[[^][]*\]", lambda block: " ".join(block[0].split()), lines)  # a stage a line
    GOLDEN.write_text(lines + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def golden(found: Golden, request: pytest.FixtureRequest) -> Golden:
    if request.config.getoption("update_golden", default=False):
        update(found)
    return read_golden()


@pytest.mark.slow("the first of them runs the golden recipe")
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_outputs_change_only_with_the_code_version(found: Golden, golden: Golden, kind: str) -> None:
    libraries = "" if found["libraries"] == golden["libraries"] else ", libraries are others"
    wrong = unexplained(found, golden, kind)
    assert not wrong, (
        f"outputs of {kind!r} changed and no code_version did{libraries}: raise it in harness/pipeline, "
        f"then {REFRESH}\n" + "\n".join(wrong[:20])
    )
    others = changed(found, golden, kind)
    assert not others, f"golden.json is of another recipe or code version: {REFRESH}\n" + "\n".join(others[:20])
    assert golden["kinds"][kind]["code_version"] == KINDS[kind].code_version
    assert found["kinds"][kind]["stages"], "the golden recipe has every kind of stage"
    assert all(len(stage) <= MOST_VALUES for stage in found["kinds"][kind]["stages"].values())


def test_a_change_is_noticed_and_last_bits_are_not() -> None:
    data = {"steps": 4, "losses": [0.69, 0.51], "texts": ["a", "b"]}
    golden = condense(data)
    assert same(condense({**data, "losses": [0.690001, 0.51]}), golden)
    others = (
        {"losses": [0.70, 0.51]},
        {"losses": [0.69]},
        {"losses": [0.51, 0.70]},
        {"steps": 5},
        {"texts": ["a", "c"]},
        {"texts": ["b", "a"]},
        {"more": None},
    )
    assert not any(same(condense({**data, **other}), golden) for other in others)


def test_new_outputs_at_an_old_code_version_are_refused(found: Golden, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys.modules[__name__], "GOLDEN", tmp_path / "golden.json")
    update(found)
    update(found)
    assert read_golden() == kept(found)
    other = copy.deepcopy(found)
    next(iter(other["kinds"]["corpus"]["stages"].values()))["digest"] = "another"
    with pytest.raises(AssertionError, match="raise the code_version of 'corpus'"):
        update(other)
    assert read_golden() == kept(found)
    other["kinds"]["corpus_part"]["code_version"] += 1  # which corpora are made from
    update(other)
    assert read_golden() == kept(other)
    next(iter(other["kinds"]["base"]["stages"].values()))["mean"] += 0.01
    update({**other, "libraries": {**found["libraries"], "torch": "0.0"}})
    assert read_golden()["libraries"]["torch"] == "0.0"


def test_all_that_was_computed_is_reported(workspace: Workspace) -> None:
    """Every kind of stage and setting goes through every format; the numbers are those of other tests."""
    report = report_on(workspace)
    assert not report.failure
    assert all(path.stat().st_size for path in report.files.paths)
    shown = {row["row"] for board in json.loads(report.files.json.read_text())["boards"] for row in board["rows"]}
    names = {setting.name for setting in workspace.plan.settings}
    assert names <= shown
    seen = report.overview
    analysis = read_json_of(workspace.store, seen.statuses, seen.analysis)
    assert analysis is not None
    finished = Finished(
        analysis=analysis, references={row: label for row, (label, _) in reference_rows(workspace.plan).items()}
    )
    states = {key: one.state for key, one in seen.statuses.items()}
    view = build_view(workspace.plan, workspace.store, states, finished)
    assert names <= {run.params.get("setting", run.name.removeprefix("setting ")) for run in view.runs}
    assert {run.name for run in view.runs if run.kind == "reference"} >= {
        "reference: n-grams on pairs of imported",
        "imported: published-rm",
    }
