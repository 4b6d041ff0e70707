"""Outputs of every kind of stage, as committed in golden.json: they change only together with `code_version`.

When results are meant to change: raise the kind's `code_version` in `harness/plan/kinds.py`, then run

    pytest tests/golden --update-golden

which refuses where outputs changed although nothing of the stage's identity did. Only when the libraries recorded in
golden.json are others too, it takes over what they compute.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.cli.app import run_command
from harness.cli.workspace import Workspace, open_workspace
from harness.plan.graph import Input, Stage
from harness.plan.kinds import KINDS
from harness.store.identity import fingerprint
from tests.golden.summaries import SUMMARIES, summarise
from tests.integration.pipelines import every_kind, folder_of, record_of, run
from tests.toys.published import rows_of_pairs, rows_of_pool, rows_of_scores, write_classifier, write_lines
from tests.toys.small_models import save_small_model

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.json"
REFRESH = "pytest tests/golden --update-golden"
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn", "rensa", "reasoning-gym")

# Versions of what is installed are identity, but say nothing about our code.
OF_THE_MACHINE = frozenset({"python", "versions", "source", "digest", "files"})
TOLERANCE = 1e-3
SMALLEST = 1e-4

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
    """The golden recipe, with a tiny model where it names one."""
    model = save_small_model(folder / "small")
    text = (HERE / "golden.yaml").read_text(encoding="utf-8").replace("MODEL", str(model))
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
    for stage in every_kind(workspace):
        summary = summarise(
            record_of(workspace.store, stage), folder_of(workspace.store, stage), exact=not is_trained(stage)
        )
        kinds[stage.kind]["stages"][own_identity(stage)] = {"label": stage.label, **rounded(summary)}
    return {"libraries": {name: importlib.metadata.version(name) for name in LIBRARIES}, "kinds": kinds}


@cache
def own_identity(stage: Stage) -> str:
    """A stage's identity as far as our code and recipe make it."""
    spec = {key: value for key, value in stage.spec.items() if key not in OF_THE_MACHINE}
    inputs = {name: [own_identity(given.stage), given.rows] for name, given in stage.inputs.items()}
    identity = {"kind": stage.kind, "code_version": stage.identity["code_version"], "spec": spec, "inputs": inputs}
    return fingerprint(identity)[:12]


@cache
def is_trained(stage: Stage) -> bool:
    """Whether floating-point training enters a stage's outputs."""
    fits = stage.kind == "shallow_score" and stage.spec["scorer"] != "length"
    trains = KINDS[stage.kind].trains or KINDS[stage.kind].accelerated
    return fits or trains or any(is_trained(given.stage) for given in inputs_of(stage))


def inputs_of(stage: Stage) -> list[Input]:
    return list(stage.inputs.values())


def rounded(data: Any) -> Any:
    """Floats to six significant digits: what golden.json holds."""
    if isinstance(data, float):
        return float(f"{data:.6g}")
    if isinstance(data, dict):
        return {key: rounded(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [rounded(value) for value in data]
    return data


def differences(ours: Any, golden: Any, path: str = "") -> list[str]:
    """Where two summaries differ by more than the last bits of a training could make them."""
    if isinstance(ours, float) and isinstance(golden, float):
        same = math.isclose(ours, golden, rel_tol=TOLERANCE, abs_tol=SMALLEST)
        return [] if same else [f"{path}: {ours} instead of {golden}"]
    if isinstance(ours, dict) and isinstance(golden, dict):
        keys = sorted(set(ours) | set(golden))
        return [line for key in keys for line in differences(ours.get(key), golden.get(key), f"{path}/{key}")]
    if isinstance(ours, list) and isinstance(golden, list) and len(ours) == len(golden):
        pairs = enumerate(zip(ours, golden, strict=True))
        return [line for index, (one, other) in pairs for line in differences(one, other, f"{path}/{index}")]
    return [] if ours == golden else [f"{path}: {ours!r} instead of {golden!r}"]


def unexplained(found: Golden, golden: Golden, kind: str) -> list[str]:
    """Differences of stages whose identity is the one in golden.json."""
    known = golden["kinds"].get(kind, {"stages": {}})["stages"]
    return [
        f"{stage['label']}{line}"
        for identity, stage in found["kinds"][kind]["stages"].items()
        if identity in known
        for line in differences(stage, known[identity])
    ]


def read_golden() -> Golden:
    data: Golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return data


def update(found: Golden) -> None:
    """Write golden.json, unless that would hide that results changed."""
    if GOLDEN.exists():
        golden = read_golden()
        if golden["libraries"] == found["libraries"]:
            for kind in KINDS:
                assert not unexplained(found, golden, kind), (
                    f"first raise the code_version of {kind!r} in plan/kinds.py"
                )
    GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def golden(found: Golden, request: pytest.FixtureRequest) -> Golden:
    if request.config.getoption("update_golden", default=False):
        update(found)
    return read_golden()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_outputs_change_only_with_the_code_version(found: Golden, golden: Golden, kind: str) -> None:
    changed = unexplained(found, golden, kind)
    libraries = "" if found["libraries"] == golden["libraries"] else f" (libraries: {differences_of_libraries(found)})"
    assert not changed, (
        f"outputs of {kind!r} changed and its code_version did not{libraries}: raise it in harness/plan/kinds.py, "
        f"then {REFRESH}\n" + "\n".join(changed[:20])
    )
    ours, theirs = found["kinds"][kind]["stages"], golden["kinds"].get(kind, {"stages": {}})["stages"]
    assert set(ours) == set(theirs), f"golden.json is of other recipes or code versions of {kind!r}: {REFRESH}"
    assert golden["kinds"][kind]["code_version"] == KINDS[kind].code_version
    assert ours, "the golden recipe has every kind of stage"


def differences_of_libraries(found: Golden) -> str:
    return "; ".join(differences(found["libraries"], read_golden()["libraries"]))


def test_every_kind_has_a_summary() -> None:
    assert set(SUMMARIES) == set(KINDS)


def test_a_change_is_noticed_and_last_bits_are_not() -> None:
    golden = {"steps": 4, "loss": 0.69, "digest": "a", "rows": [1, 2.0]}
    assert not differences({**golden, "loss": 0.69001}, golden)
    assert len(differences({**golden, "loss": 0.70}, golden)) == 1
    assert len(differences({**golden, "steps": 5, "digest": "b"}, golden)) == 2
    assert len(differences({**golden, "rows": [1]}, golden)) == 1
    assert len(differences({**golden, "rows": [1, 3.0]}, golden)) == 1
    assert len(differences({"steps": 4}, golden)) == 3


def test_new_outputs_at_an_old_identity_are_refused(found: Golden, tmp_path: Path, monkeypatch: Any) -> None:
    copy = tmp_path / "golden.json"
    monkeypatch.setattr(sys.modules[__name__], "GOLDEN", copy)
    update(found)
    update(found)
    changed = json.loads(json.dumps(found))
    stage = next(iter(changed["kinds"]["corpus"]["stages"].values()))
    stage["outputs"]["digest"] = "another"
    with pytest.raises(AssertionError, match="raise the code_version of 'corpus'"):
        update(changed)
    assert read_golden() == json.loads(json.dumps(found))
    update({**changed, "libraries": {**found["libraries"], "torch": "0.0"}})
    assert read_golden()["libraries"]["torch"] == "0.0"
