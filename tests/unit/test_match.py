"""Arms matched by FLOPs: as many pairs as compute what another arm does, or a refusal before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli.workspace import Workspace, open_workspace
from harness.errors import ProblemList
from harness.pipeline.kind import Known
from harness.pipeline.weights import weights_of
from harness.plan.cost import estimate
from harness.store.store import Snapshot

Open = Callable[..., Workspace]
BOTH = {"pairs.count": 320}
LM = {"pretrain.loss": {"rm": 0.0, "lm": 1.0}, "pretrain.match": {"flops": "rm+lm"}}
TOKENS = (20, 50, 30)  # of prompt, chosen and rejected


@pytest.fixture
def opened(recipe: dict[str, Any], tmp_path: Path) -> Open:
    def opened(values: dict[str, Any], **changes: Any) -> Workspace:
        recipe["pairs"]["count"] = changes.pop("most", 800)
        recipe["ablations"] = {"axes": {"loss": values}}
        recipe["seeds"] = {"pretrain": 2, "finetune": 1}
        recipe["pretrain"] |= changes
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(recipe), encoding="utf-8")
        return open_workspace(path, [], tmp_path / "workdir")

    return opened


def counted(workspace: Workspace, finish: Callable[..., Any]) -> None:
    (tally,) = [stage for stage in workspace.plan.stages if stage.kind.name == "tally"]
    finish(tally, result={"groups": 800, "segments": [800 * tokens for tokens in TOKENS]})
    (encode,) = (item.stage for item in tally.inputs.values())
    told = {"groups": 800, "tokens": 800 * 100, "prompt_tokens": 800 * 20, "response_tokens": 800 * 80}
    finish(encode, result=told)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    from harness.store.store import Store

    found = Store(tmp_path / "workdir" / "store")
    found.create()
    return found


def test_it_waits_for_counted_tokens_and_then_computes_as_much(opened: Open, finish: Callable[..., Any]) -> None:
    before = opened({"rm+lm": BOTH, "lm": LM})
    assert [setting.name for setting in before.plan.settings] == ["rm+lm"]
    counted(before, finish)
    after = opened({"rm+lm": BOTH, "lm": LM})
    assert [setting.name for setting in after.plan.settings] == ["rm+lm", "lm"]
    experiment = after.plan.settings[1].setting.experiment
    known = Known(Snapshot(after.store), after.plan.stages)
    trained_before, trained_after = (one.plan.settings[0].variants[1].finetuned for one in (before, after))
    assert trained_before is not None
    assert trained_after is not None
    weights = weights_of(trained_after, known)
    assert weights is not None
    prompt, chosen, rejected = TOKENS
    both = weights.layers * (prompt + chosen + rejected) + weights.vocabulary * chosen
    alone = weights.layers * (prompt + chosen) + weights.vocabulary * chosen
    assert experiment.pairs.count * alone == pytest.approx(320 * both, rel=0.02)
    # What else is trained stays what it was: the most that may be read decides the order, solved or not.
    assert trained_before.fingerprint == trained_after.fingerprint
    trained = [stage for stage in after.plan.stages if stage.kind.name in ("pretrain", "trunk_state")]
    costs = estimate(trained, after.plan.stages, after.store, 1, known).costs
    flops = {name: sum(c.flops or 0.0 for c in costs if f"rm={name}" in c.stage.label) for name in ("1", "0")}
    # The plan's own estimate takes both sides to be equally long: 40 tokens instead of 50 and 30.
    assert flops["0"] / flops["1"] == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize(
    ("values", "changes", "told"),
    [
        ({"rm+lm": BOTH, "lm": LM}, {"most": 328}, "that takes 408 pairs, and it may read 328"),
        ({"rm+lm": {"pairs.count": 192}, "lm": LM}, {"global_batch": 64}, r"whole steps of 64 pairs are 5.6 % off"),
    ],
)
def test_what_cannot_hold_is_refused(
    opened: Open, finish: Callable[..., Any], values: dict[str, Any], changes: dict[str, Any], told: str
) -> None:
    counted(opened(values, **changes), finish)
    with pytest.raises(ProblemList, match=f"recipe.yaml:.*'lm' must compute as much as 'rm\\+lm'.*{told}"):
        opened(values, **changes)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rm+lm": BOTH, "lm": {**LM, "pretrain.match": {"flops": "rm+ml"}}}, "did you mean"),
        ({"none": {"pretrain": None}, "lm": {**LM, "pretrain.match": {"flops": "none"}}}, "'none' has no PMP"),
        ({"lm": {**LM, "pretrain.match": {"flops": "lm"}}}, "'lm' has one"),
    ],
)
def test_a_wrong_partner_is_one_clear_error(opened: Open, values: dict[str, Any], told: str) -> None:
    with pytest.raises(ProblemList, match=told):
        opened(values)
