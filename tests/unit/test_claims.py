"""Claims: what they compare, how small an effect they can show, and that they make nothing again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.cli.run_command import run_command
from harness.cli.workspace import Workspace, open_workspace
from harness.errors import ProblemList
from harness.evaluation.seeds import SeededValues
from harness.evaluation.statistics import Components as IntervalParts
from harness.evaluation.statistics import SeedVariance
from harness.pipeline.comparing import ANALYSIS
from harness.plan.analysis import analysis_stage
from harness.plan.claims import ClaimPower, claim_metric_problems, claims_power
from harness.plan.power import Design, SeedSpread, chi_square_ratios, enough, half_width, smallest_effect, t_quantile
from harness.recipe.claims import Rule, comparisons
from harness.recipe.load import LoadedRecipe, load_recipe
from harness.stages.analysis import Key, _differences
from harness.stages.outcome_tables import Run, Table
from harness.store.identity import fingerprint

TINY = Path(__file__).parents[1] / "recipes" / "tiny.yaml"
THREE = "seeds: {pretrain: 3, finetune: 3}\n"
HELPS = "claims: {helps: {says: PMP helps, better: {loss: rm+lm}, than: {loss: no-pmp}, on: {best_of_n: all}}}\n"


def recipe(folder: Path, text: str, parent: Path = TINY) -> Path:
    path = folder / "claims.yaml"
    path.write_text(f"extends: {parent}\n{text}", encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------------ the numbers


def test_quantiles_are_scipys() -> None:
    for degrees in (1, 1.4, 2, 2.9, 4, 7.9, 8, 30, 500, 1e9):
        for probability in (0.1, 0.8, 0.95, 0.975, 0.999):
            expected = float(stats.t.ppf(probability, degrees))
            assert t_quantile(probability, degrees) == pytest.approx(expected, rel=5e-4)
    for degrees in (1, 2, 5, 30, 200):
        at = (np.arange(12) + 0.5) / 12
        assert list(chi_square_ratios(degrees)) == pytest.approx((stats.chi2.ppf(at, degrees) / degrees).tolist(), 1e-3)


@pytest.mark.parametrize("degrees", [2.0, 4.0, 18.0])
def test_the_half_width_is_that_of_the_analysis(degrees: float) -> None:
    parts = [(2e-4, degrees), (3e-4, 79.0), (1e-4, degrees * 79.0), (1e-4, 2 * degrees)]
    seed, problems, rest, more = (SeedVariance(variance=one, degrees_of_freedom=many) for one, many in parts)
    theirs = IntervalParts(estimate=0.0, seed=seed, problems=problems, rest=rest, more=(more,), clusters=80, pooled=0.0)
    for level in (0.9, 0.95):
        ours = half_width(level, parts[0], parts[1], parts[2], parts[3:])
        assert ours == pytest.approx(theirs.half_width(level), rel=5e-4)


PROBLEMS, PROBLEM, SEED, REST = 300, 0.04, 2e-4, 0.06


def rows(generator: np.random.Generator, effect: float, finetunes: int, arms: int) -> dict[Key, Table]:
    """Arms of three PMP seeds of which each is `effect` better than the one before, with known components."""
    names = tuple(f"p{index}" for index in range(PROBLEMS))
    runs: list[Run] = [(seed, other) for seed in range(3) for other in range(finetunes)]
    tables: dict[Key, Table] = {}
    for arm in range(arms):  # half of each variance is one arm's: a difference has two
        problem = np.sqrt(PROBLEM / 2) * generator.normal(size=PROBLEMS)
        luck = np.sqrt(SEED / 2) * generator.normal(size=(3, 1, 1))
        luck = luck + np.sqrt(REST / 2) * generator.normal(size=(3, 1, PROBLEMS))
        if finetunes > 1:
            luck = luck + np.sqrt(SEED / 2) * generator.normal(size=(1, finetunes, 1))
        values = (arm * effect + problem + luck + np.zeros((3, finetunes, 1))).reshape(len(runs), PROBLEMS)
        tables["task", "best_of_n", "setting", f"arm {arm}"] = Table(
            data="",
            values={"area": SeededValues.of_runs(values, runs)},
            problems={"area": names},
            clusters={"area": names},
        )
    return tables


@pytest.mark.parametrize(("finetunes", "arms"), [(1, 2), (3, 2), (1, 5)])
def test_at_the_minimum_detectable_effect_four_in_five_intervals_lie_above_zero(finetunes: int, arms: int) -> None:
    spreads = [SeedSpread(count=3, variance=SEED, rest=REST, settings=arms - 1)]
    if finetunes > 1:
        spreads.append(SeedSpread(count=finetunes, variance=SEED, rest=0.0, settings=arms - 1))
    design = Design(problems=PROBLEMS, clusters=PROBLEMS, problem=PROBLEM, seeds=tuple(spreads))
    effect = smallest_effect(design, "superiority")
    generator = np.random.default_rng(8)
    found = [_differences(rows(generator, effect, finetunes, arms), "arm 0", 0)[0] for _ in range(200)]
    assert np.mean([one["low"] > 0 for one in found]) == pytest.approx(0.8, abs=0.06)
    # What the analysis stores of them are the components they were made with.
    for name, true in (("problem", PROBLEM), ("pretrain", SEED), ("pretrain_rest", REST)):
        assert np.mean([one["components"][name] for one in found]) == pytest.approx(true, rel=0.25)
    assert (found[0]["components"]["finetune"] is None) == (finetunes == 1)


def test_rules_and_more_seeds_or_problems() -> None:
    def effect(rule: Rule, seeds: int = 3, problems: int = 500) -> float:
        spread = SeedSpread(count=seeds, variance=1e-4, rest=0.05)
        return smallest_effect(Design(problems=problems, clusters=problems, problem=0.02, seeds=(spread,)), rule)

    assert effect("non_inferiority") == effect("superiority")  # the same limit of the same interval
    assert effect("superiority", 10) < effect("superiority", 5) < effect("superiority", 3)
    assert effect("superiority", problems=5_000) < effect("superiority")
    # Without seeds and with many clusters these are the textbook's numbers.
    plain = Design(problems=10_000, clusters=10_000, problem=1.0, seeds=())
    assert smallest_effect(plain, "superiority") == pytest.approx(0.01 * (1.96 + 0.842), rel=2e-3)
    assert smallest_effect(plain, "equivalence") == pytest.approx(0.01 * (1.645 + 1.282), rel=2e-3)

    spread = SeedSpread(count=3, variance=1e-4, rest=0.05)
    design = Design(problems=500, clusters=500, problem=0.02, seeds=(spread,))
    (more,) = enough(design, "superiority", 0.02)  # seeds alone: 3 seeds of this spread are too few for any problems
    assert more.problems is None
    assert more.seeds is not None
    assert effect("superiority", more.seeds) <= 0.02 < effect("superiority", more.seeds - 1)
    (both,) = enough(design, "superiority", 0.008)
    assert both.seeds is not None
    assert both.problems is not None
    assert effect("superiority", both.seeds, both.problems) <= 0.008


# ---------------------------------------------------------------------------------------------------- in recipes

AXES = """ablations:
  axes:
    loss: {rm: {pretrain.loss: {rm: 1.0, lm: 0.0}}}
    pairs.count: [32, 64]
  exclude: [{loss: no-pmp, pairs.count: 64}]
"""


def compared(loaded: LoadedRecipe, better: str, than: str, folder: Path) -> list[tuple[tuple[str, ...], ...]]:
    claims = f"claims: {{x: {{says: so, better: {better}, than: {than}, on: {{best_of_n: all}}}}}}\n"
    made = load_recipe(recipe(folder, AXES + claims))
    return [(one.better, one.than) for one in comparisons(made.recipe.claims["x"], loaded.settings)]


def test_settings_that_are_equal_on_other_axes_are_compared(tmp_path: Path) -> None:
    loaded = load_recipe(recipe(tmp_path, AXES))
    assert compared(loaded, "{loss: rm+lm}", "{loss: rm}", tmp_path) == [
        (("rm+lm, count=32",), ("rm, count=32",)),
        (("rm+lm, count=64",), ("rm, count=64",)),
    ]
    # An axis that a side names need not be equal; a list takes settings together.
    assert compared(loaded, "{loss: rm+lm, pairs.count: [32, 64]}", "{loss: no-pmp}", tmp_path) == [
        (("rm+lm, count=32", "rm+lm, count=64"), ("no-pmp, count=32",))
    ]
    assert compared(loaded, "'rm, count=64'", "'rm, count=32'", tmp_path) == [(("rm, count=64",), ("rm, count=32",))]


def test_all_that_is_wrong_with_claims_is_said_at_once(tmp_path: Path) -> None:
    text = f"""{AXES}claims:
  a: {{says: so, better: rm+lm, than: 'rm, count=32', on: {{best_of_n: all}}}}
  b: {{says: so, better: {{los: rm}}, than: {{loss: no-pmp}}, on: {{choices: all}}}}
  c: {{says: so, better: {{loss: rm}}, than: {{loss: lm}}, on: {{best_of_n: [math]}}}}
  d: {{says: so, better: {{loss: rm}}, than: {{loss: no-pmp}}, on: {{pair_accuracy: [code, logic]}}}}
  e: {{says: so, better: {{loss: rm}}, than: {{pairs.count: 32}}, on: {{best_of_n: all}}}}
"""
    path = recipe(tmp_path, text)
    with pytest.raises(ProblemList) as raised:
        load_recipe(path)
    told = [error.one_line() for error in raised.value.problems]
    for line, words in (
        (8, "'rm+lm' is not one of rm+lm, count=32"),
        (9, "'los' is not one of loss, pairs.count"),
        (9, "`evaluate.choices` is not there"),
        (10, "'lm' is not one of rm+lm, no-pmp, rm"),
        (10, "'math' is not one of logic"),
        (11, "none has pairs.count: count=64, as 'rm, count=64' has"),
        (12, "is on both sides"),
    ):
        assert [one for one in told if one.startswith(f"{path}:{line}:") and words in one], (line, words, told)
    assert len(told) == 7


def test_a_metric_is_one_of_the_claims_evaluation(tmp_path: Path) -> None:
    head = f"{AXES}claims:\n  a: {{says: so, better: 'rm, count=32', than: {{loss: no-pmp, pairs.count: 32}}, "
    loaded = load_recipe(recipe(tmp_path, f"{head}metric: area, on: {{pair_accuracy: all}}}}\n"))
    (problem,) = claim_metric_problems(loaded)
    assert "claims.yaml:8: `claims.a.metric` must be a metric of pair_accuracy, but 'area' is not" in problem.one_line()
    assert not list(
        claim_metric_problems(load_recipe(recipe(tmp_path, f"{head}metric: area, on: {{best_of_n: all}}}}\n")))
    )
    with pytest.raises(ProblemList, match="a claim with a `metric` must be on one evaluation"):
        load_recipe(recipe(tmp_path, f"{head}metric: area, on: {{best_of_n: all, pair_accuracy: all}}}}\n"))


def test_a_baseline_that_is_no_setting_is_refused_where_it_stands(tmp_path: Path) -> None:
    path = recipe(tmp_path, f"{AXES}baseline: rm+lm, count=46\n")
    with pytest.raises(ProblemList) as raised:
        load_recipe(path)
    (told,) = [error.one_line() for error in raised.value.problems]
    assert told.startswith(f"{path}:7:")
    assert "no setting is named 'rm+lm, count=46'; this recipe has rm+lm, count=32" in told
    assert "did you mean `rm+lm, count=64`?" in told


def test_claims_stay_with_their_recipe_and_change_no_stage(tmp_path: Path) -> None:
    plain = open_workspace(recipe(tmp_path, THREE), [], tmp_path / "workdir").plan
    path = recipe(tmp_path, THREE + HELPS)
    claiming = open_workspace(path, [], tmp_path / "workdir").plan
    assert claiming.loaded.recipe.claims
    assert [one.fingerprint for one in claiming.stages] == [one.fingerprint for one in plain.stages]
    everything = frozenset(one.fingerprint for one in plain.stages)
    ours, theirs = (analysis_stage(plan, everything) for plan in (claiming, plain))
    assert ours is not None
    assert theirs is not None
    assert ours.fingerprint == theirs.fingerprint
    (tmp_path / "below").mkdir()
    assert load_recipe(recipe(tmp_path / "below", "name: below\n", path)).recipe.claims == {}


# -------------------------------------------------------------------------------------------------------- in plans


def power(workspace: Workspace) -> list[ClaimPower]:
    return claims_power(workspace.plan, workspace.store)


def test_a_claim_that_the_analysis_could_not_make_says_why(tmp_path: Path) -> None:
    (few,) = power(open_workspace(recipe(tmp_path, HELPS), ["seeds.pretrain=2"], tmp_path / "workdir"))
    assert few.effect is None
    assert "2 PMP seeds: fewer than 3 claim nothing" in few.lacking
    (untrained,) = power(
        open_workspace(recipe(tmp_path, THREE + HELPS.replace("best_of_n: all", "pair_accuracy: [code]")), [], tmp_path)
    )
    assert "no-pmp has no trained reward head on code" in untrained.lacking


def publish_analysis(workspace: Workspace, number: int, components: dict[str, float | None]) -> None:
    """A finished analysis of another recipe on the same task."""
    identity = {"kind": ANALYSIS.name, "code_version": ANALYSIS.code_version, "spec": {"number": number}, "inputs": {}}
    one = {"task": "logic", "evaluation": "best_of_n", "kind": "setting", "problems": 8, "clusters": 4}
    same = {
        **one,
        "low": 0.0,
        "high": 0.0,
        "components": dict.fromkeys(components, 0.0),
    }  # models: no spread to measure
    one |= {"low": -0.1, "high": 0.1}
    with workspace.store.build(ANALYSIS.name, fingerprint(identity), resumable=False) as building:
        assert building is not None
        content = {"differences": [{**one, "components": components}, same, {**one, "components": components}]}
        (building.directory / "analysis.json").write_text(json.dumps(content), encoding="utf-8")
        building.publish(
            kind=ANALYSIS.name, identity=identity, result={}, environment={}, run={"finished": float(number)}
        )


def test_components_measured_in_the_workdir_come_first_and_what_they_lack_is_assumed(tmp_path: Path) -> None:
    workspace = open_workspace(recipe(tmp_path, THREE + HELPS), [], tmp_path / "workdir")
    workspace.store.create()
    (before,) = power(workspace)
    assert before.components is not None
    assert before.components.source == "measured in results/small; spread of PMP seeds assumed"
    assert (before.problems, before.seeds) == (8, {"pretrain": 3, "finetune": 3})
    parts = {"problem": 8e-6, "pretrain": 1e-6, "pretrain_rest": 0.0, "finetune": None, "finetune_rest": None}
    publish_analysis(workspace, 1, dict.fromkeys(parts, 1.0))
    publish_analysis(workspace, 2, parts)  # the later one
    (after,) = power(workspace)
    assert after.components is not None
    assert after.components.source.startswith("measured here, analysis/")
    assert after.components.source.endswith("spread of fine-tuning seeds assumed")
    assert after.components.pretrain == 1e-6
    assert after.components.finetune == pytest.approx(8e-6 / 8)
    assert after.detectable
    assert not before.detectable
    assert before.effect is not None
    assert after.effect is not None
    assert after.effect < before.effect / 10


def test_settings_that_differ_in_fine_tuning_alone_are_not_more_seeds_before_it(tmp_path: Path) -> None:
    """A claim on held-out code, of two losses on each of several sample sizes: the models are two."""
    loss = "loss: {rm: {pretrain.loss: {rm: 1.0, lm: 0.0}}}"
    on_code = HELPS.replace("best_of_n: all", "pair_accuracy: [code]").replace("no-pmp", "rm")
    effects = []
    for axes in (loss, f"{loss}, finetune.samples: [8, 16, 24]"):
        workdir = tmp_path / str(len(effects))
        (one,) = power(
            open_workspace(recipe(tmp_path, f"{THREE}ablations: {{axes: {{{axes}}}}}\n{on_code}"), [], workdir)
        )
        effects.append(one.effect)
    assert effects[0] is not None
    assert effects[0] == effects[1]


def test_plan_prints_claims_within_100_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, workdir = recipe(tmp_path, THREE + HELPS), str(tmp_path / "workdir")
    assert run_command(["plan", str(path), "--workdir", workdir]) == 0
    lines = capsys.readouterr().out.partition("claims: minimum")[2].splitlines()
    assert any(
        line.startswith("helps on logic: an effect of 1 point cannot be distinguished from noise; ") for line in lines
    )
    assert max(map(len, lines)) <= 100
    assert run_command(["plan", str(path), "--workdir", workdir, "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["claims"]
    assert one["comparisons"] == [{"better": ["rm+lm"], "than": ["no-pmp"]}]
    assert one["effect"] > one["margin"] == 0.01
    assert not one["detectable"]


def test_power_is_worked_out_without_heavy_libraries() -> None:
    code = (
        "import sys, harness.plan.claims; "
        "assert not {'torch', 'scipy', 'sklearn', 'transformers'} & set(sys.modules), 'heavy'; "
        "import harness.plan.power, harness.recipe.claims"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_committed_components_are_what_results_hold() -> None:
    """Half widths of the differences of results/loss-weights follow from the components committed for them."""
    root = Path(__file__).parents[2]
    data = json.loads((root / "harness" / "plan" / "components.json").read_text(encoding="utf-8"))
    (one,) = [entry for entry in data["measured"] if entry["on"] == "code"]
    report = json.loads((root / one["results"] / "report.json").read_text(encoding="utf-8"))
    (board,) = [board for board in report["boards"] if board["task"] == "code"]
    found = [row["differences"]["pair_accuracy"] for row in board["rows"] if row.get("differences")]
    assert len(found) == one["differences"]
    halves = [(difference["high"] - difference["low"]) / 2 for difference in found]
    spread = one["problem"] / one["problems"] + (one["pretrain"] + one["pretrain_rest"] / one["problems"]) / 5
    assert 1.96 * spread**0.5 < np.mean(halves) < 2.78 * spread**0.5  # t at infinite, and at four degrees of freedom
