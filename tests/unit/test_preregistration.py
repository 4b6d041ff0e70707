"""Claims that were written before their test problems were scored, and those that were not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli.run_command import run_command
from harness.errors import StoreError
from harness.plan.plan import Plan, make_plan
from harness.plan.preregistration import REGISTER, exploratory_claims, register_claims
from harness.recipe.load import load_recipe
from harness.store.store import Store
from tests.report_store import SMALL, fill, publish

CLAIM = {
    "says": "PMP helps",
    "better": "rm+lm",
    "than": "no-pmp",
}
OTHERWISE = ("finetune.samples=320", "evaluate.best_of_n.candidates.samples=32", "tasks.logic.problems.test=90")
TASK = "logic"


def plan_with(folder: Path, claims: Mapping[str, Any], *assignments: str) -> Plan:
    told = {name: {**CLAIM, "on": {"best_of_n": [TASK]}, **claim} for name, claim in claims.items()}
    data = yaml.safe_load(SMALL.read_text(encoding="utf-8")) | {"claims": told}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return make_plan(load_recipe(path, assignments))


def score(plan: Plan, store: Store, finished: float) -> None:
    """Finish one evaluation of the claims' task, and what it is made from."""
    outcome = next(one.stage for one in plan.outcomes if (one.task, one.metric) == (TASK, "best_of_n"))
    needed = plan.graph.in_order([outcome])
    fill(plan, store, wanted=lambda stage: stage in needed and stage is not outcome)
    publish(store, outcome, finished=finished)


def names(plan: Plan, store: Store) -> set[str]:
    return {name for name, *_ in exploratory_claims(plan, store)}


def test_a_claim_counts_from_when_it_was_first_seen(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan = plan_with(tmp_path, {"first": {}})
    register_claims(plan, store)
    score(plan, store, finished=4e9)  # after everything that is registered here
    assert names(plan, store) == set()
    # renamed, restarted, with other settings and problems beside it: the same claim on the same stream of problems
    renamed = plan_with(tmp_path, {"other-name": {}}, "name=renamed", *OTHERWISE)
    register_claims(renamed, store)
    assert names(renamed, store) == set()


@pytest.mark.parametrize("edit", [{"margin": 0.3}, {"says": "PMP hurts"}, {"better": "rm"}, {"rule": "equivalence"}])
def test_what_is_edited_after_the_first_score_is_exploratory(tmp_path: Path, edit: dict[str, Any]) -> None:
    store = Store(tmp_path / "store")
    plan = plan_with(tmp_path, {"first": {}})
    register_claims(plan, store)
    score(plan, store, finished=4e9)
    register_claims(plan, store)
    register = store.root / REGISTER
    known = json.loads(register.read_text())
    register.write_text(json.dumps({**known, "scored": dict.fromkeys(known["scored"], 1e9)}))  # long ago
    before = json.loads(register.read_text())["claims"]
    later = plan_with(tmp_path, {"first": edit})
    register_claims(later, store)
    assert {one: time for one, time in json.loads(register.read_text())["claims"].items() if one in before} == before
    assert names(later, store) == {"first"}
    assert set(exploratory_claims(later, store).values()) == {1e9}


def test_a_score_of_another_recipe_and_model_counts_and_is_not_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    other = plan_with(tmp_path, {}, "name=another")
    score(other, store, finished=1e9)
    plan = plan_with(tmp_path, {"late": {}}, *OTHERWISE)
    assert names(plan, store) == {"late"}
    register_claims(plan, store)
    for record in list(store.records("best_of_n")):
        store.discard(record)
    assert set(exploratory_claims(plan, store).values()) == {1e9}


def test_a_damaged_register_names_the_remedy(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.create()
    (store.root / REGISTER).write_text('{"claims": []}')
    with pytest.raises(StoreError, match="is damaged; delete it"):
        register_claims(plan_with(tmp_path, {"first": {}}), store)


def test_plan_says_which_claims_come_too_late(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = tmp_path / "workdir"
    plan = plan_with(tmp_path, {"late": {}})
    arguments = ["plan", str(tmp_path / "recipe.yaml"), "--workdir", str(workdir)]
    assert run_command(arguments) == 0
    assert "exploratory" not in capsys.readouterr().out
    store = Store(workdir / "store")
    store.create()
    score(plan, store, finished=1e9)
    assert run_command(arguments) == 0
    assert "were first scored (2001-09-09 01:46 UTC): late" in " ".join(capsys.readouterr().out.split())
    assert run_command([*arguments, "--json"]) == 0
    (claim,) = json.loads(capsys.readouterr().out)["claims"]
    assert claim["first_scored"] == 1e9
