"""Controls that keep everything of PMP but the preference: labels by a coin, trivial pairs, training on texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.corpus.python_packages import Function
from harness.errors import HarnessError
from harness.events import Event, Metrics
from harness.models.losses import LossWeights
from harness.models.packing import Group
from harness.pairs.construct import Reference, Shuffled, Written, by_docstring, construct
from harness.pipeline.graph import Stage
from harness.pipeline.optimization import LossSpec
from harness.plan.plan import Plan
from harness.stages.order import coin, subset_order, with_replay
from harness.stages.pair_order import turned_labels
from harness.store.artifacts import Tokens
from harness.training.checkpoints import ResumePoint
from harness.training.gradients import accumulate_gradients
from tests.toys.small_training import CASES, HALF, SETTINGS, STEPS, Pairs, build, train_case

MakePlan = Callable[..., Plan]


# --------------------------------------------------------------------------------------------------- coin labels

RM, LM, BOTH = (
    LossWeights(rm=1.0, lm=0.0, margin=0.3),
    LossWeights(rm=0.0, lm=1.0),
    LossWeights(rm=1.0, lm=1.0, margin=0.3),
)
GROUPS: list[Group] = [*Pairs().groups[:9], Pairs().groups[9][:2], *Pairs().groups[10:14]]  # a text among pairs
TURNED = np.array([number % 3 == 1 for number in range(len(GROUPS))])


def gradient(
    groups: list[Group], loss: LossWeights, turned: Any = None, *, row_tokens: int = 64, rows: int = 1
) -> dict[str, torch.Tensor]:
    model = build("both-losses").double()
    accumulate_gradients(model, groups, loss=loss, turned=turned, row_tokens=row_tokens, rows_per_micro_batch=rows)
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def assert_close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[name], second[name], rtol=1e-6, atol=1e-8) for name in first)


def test_turned_labels_turn_the_rm_loss_and_nothing_else() -> None:
    swapped = [
        [group[0], group[2], group[1]] if other and len(group) == 3 else group
        for group, other in zip(GROUPS, TURNED, strict=True)
    ]
    preference = gradient(GROUPS, RM, TURNED)
    assert_close(preference, gradient(swapped, RM))
    assert not torch.allclose(preference["head.weight"], gradient(GROUPS, RM)["head.weight"])
    language = gradient(GROUPS, LM, TURNED)
    assert all(
        torch.equal(one, other) for one, other in zip(language.values(), gradient(GROUPS, LM).values(), strict=True)
    )
    both = gradient(GROUPS, BOTH, TURNED)
    zero = torch.zeros(())
    assert_close(both, {name: preference.get(name, zero) + language.get(name, zero) for name in both})


@pytest.mark.parametrize(("row_tokens", "rows"), [(1, 1), (40, 3), (4096, 1)])
def test_packing_moves_no_turned_label(row_tokens: int, rows: int) -> None:
    assert_close(gradient(GROUPS, BOTH, TURNED, row_tokens=row_tokens, rows=rows), gradient(GROUPS, BOTH, TURNED))


def test_a_turned_training_resumes_and_says_both_accuracies(tmp_path: Path) -> None:
    def values(events: list[Event]) -> list[dict[str, float]]:
        return [dict(event.values) for event in events if isinstance(event, Metrics)]

    events: list[Event] = []
    whole, stopped = build("turned"), build("turned")
    train_case("turned", whole, emit=events.append)
    point = ResumePoint(directory=tmp_path, every_seconds=0)
    train_case("turned", stopped, stop=HALF, resume=point)
    train_case("turned", stopped, resume=point)
    assert all(torch.equal(one, stopped.state_dict()[name]) for name, one in whole.state_dict().items())
    plain: list[Event] = []
    train_case("both-losses", build("both-losses"), emit=plain.append)
    assert [set(one) ^ set(other) for one, other in zip(values(events), values(plain), strict=True)] == [
        {"label_accuracy"}
    ] * STEPS
    first, turned = values(events)[0], CASES["turned"][2]["turned"][: SETTINGS.global_batch]
    assert first["accuracy"] == values(plain)[0]["accuracy"], "of the chosen side, before any step"
    assert 0 < turned.sum() < len(turned)
    all_turned = values(train_first(np.ones(SETTINGS.global_batch, dtype=bool)))[0]
    assert all_turned["label_accuracy"] == pytest.approx(1 - all_turned["accuracy"])


def train_first(turned: Any) -> list[Event]:
    events: list[Event] = []
    train_case("both-losses", build("both-losses"), stop=1, emit=events.append, turned=turned)
    return events


def test_a_pair_has_one_label_in_every_epoch_and_count(tmp_path: Path) -> None:
    Tokens(tmp_path).write(((2 * row, [[1], [2], [3]]) for row in range(300)), 10)  # every other pair did not fit
    few, all_ = Tokens(tmp_path).open(limit=100), Tokens(tmp_path).open()
    order = np.concatenate([np.arange(100), np.random.default_rng(1).permutation(100)])
    loss = LossSpec(rm=1.0, lm=1.0, margin=0.0, coin=4)
    turned = turned_labels(loss, few, order)
    again = turned_labels(loss, all_, np.arange(300))
    assert turned is not None
    assert again is not None
    assert (turned == again[order]).all()
    assert (again == coin(4, 2 * np.arange(300))).all()
    assert 0.4 < again.mean() < 0.6
    assert (again != coin(5, 2 * np.arange(300))).any()
    assert turned_labels(loss.model_copy(update={"coin": None}), few, order) is None


# ------------------------------------------------------------------------------------------------- trivial pairs

FUNCTION = Function(
    package="p",
    module="p.m",
    qualified_name="f",
    docstring="Add up what is larger than one.",
    source="def f(xs):\n    total = 0\n    for x in xs:\n        if x > 1:\n            total += x\n    return total",
)


DESCRIBED = by_docstring(80)


def tokens_of(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


def test_a_shuffled_side_is_the_chosen_one_in_another_order() -> None:
    written = {
        (slot, 0): f"```python\ndef f(xs):\n    return sum(x for x in xs if x > {slot})\n```" for slot in range(6)
    }
    for chosen in (Reference(), Written(answers=written)):
        arguments: dict[str, Any] = {
            "seed": 3,
            "chosen": chosen,
            "rejected": Shuffled(),
            "descriptions": by_docstring(80),
        }
        pairs, _ = construct([FUNCTION], start=0, stop=6, **arguments)
        assert len(pairs) == 6
        for pair in pairs:
            assert Counter(tokens_of(pair.rejected)) == Counter(tokens_of(pair.chosen))
            assert re.sub(r"\S", "", pair.rejected) == re.sub(r"\S", "", pair.chosen)
            assert tokens_of(pair.rejected) != tokens_of(pair.chosen)
        assert len({pair.rejected for pair in pairs}) == 6
        assert construct([FUNCTION], start=4, stop=6, **arguments)[0] == pairs[4:]


# --------------------------------------------------------------------------------------------------------- plans


def of(plan: Plan, kind: str, label: str = "") -> list[Stage]:
    return [stage for stage in plan.stages if stage.kind.name == kind and label in stage.label]


def fingerprints(plan: Plan, kind: str, label: str = "") -> list[str]:
    return [stage.fingerprint for stage in of(plan, kind, label)]


def spec_of(stage: Stage) -> dict[str, Any]:
    spec: dict[str, Any] = stage.identity["spec"]
    return spec


def refused(planned: MakePlan, recipe: dict[str, Any], *assignments: str) -> str:
    with pytest.raises(HarnessError) as caught:
        planned(recipe, *assignments)
    return str(caught.value)


def test_a_coin_is_identity_of_the_rm_loss_alone(recipe: dict[str, Any], planned: MakePlan) -> None:
    assert "coin" not in str([spec_of(one) for one in planned(recipe).stages])
    plan = planned(recipe, "pretrain.loss.labels=coin", "seeds.data=7")
    for stage in (*of(plan, "trunk_state"), *of(plan, "pretrain")):
        assert spec_of(stage)["training"]["loss"]["coin"] == 7
    alone = "pretrain.loss={rm: 0.0, lm: 1.0}"
    without = planned(recipe, alone)
    with_coin = planned(recipe, alone, "pretrain.loss.labels=coin")
    assert fingerprints(with_coin, "pretrain") == fingerprints(without, "pretrain")


def test_lm_only_reads_the_same_pairs_in_the_same_order(recipe: dict[str, Any], planned: MakePlan) -> None:
    both, lm = planned(recipe, "seeds.pretrain=2"), planned(recipe, "seeds.pretrain=2", "pretrain.loss.rm=0.0")
    for before, after in zip(of(both, "pretrain"), of(lm, "pretrain"), strict=True):
        assert after.inputs["tokens"].identity() == before.inputs["tokens"].identity()
        assert spec_of(after)["order"] == spec_of(before)["order"]


def test_trivial_pairs_are_trained_on_and_never_judge(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["evaluate"]["code_pairs"] = {"count": 16}
    plain, trivial = planned(recipe), planned(recipe, "pairs.train_rejected={from: shuffled}")
    assert fingerprints(trivial, "pairs", "heldout") == fingerprints(plain, "pairs", "heldout") != []
    (before, after) = (spec_of(of(plan, "pairs_part", "train")[0]) for plan in (plain, trivial))
    assert after == {**before, "rejected": {"from": "shuffled", "only_functions": True}}
    recipe["pairs"] |= {"chosen": {"from": "shuffled"}, "rejected": {"from": "reference"}}
    assert "`chosen.from` is shuffled" in refused(planned, recipe)


def test_training_on_the_corpus_reads_what_the_base_model_read(recipe: dict[str, Any], planned: MakePlan) -> None:
    lm, on = "pretrain.loss={rm: 0.0, lm: 1.0}", "pretrain.on=corpus"
    pairs, corpus = planned(recipe, lm), planned(recipe, lm, on)
    (base,) = of(corpus, "base")
    for before, after in zip(of(pairs, "pretrain"), of(corpus, "pretrain"), strict=True):
        assert after.inputs["tokens"].stage is base.inputs["tokens-corpus"].stage
        same = ("training", "schedule", "start_step", "stop_step", "warmup_steps")
        assert all(spec_of(after)[name] == spec_of(before)[name] for name in same)
    assert not of(corpus, "pair_quality")
    assert "language-model loss alone" in refused(planned, recipe, on)


def test_replay_adds_pairs_that_pmp_reads_and_moves_no_other_stage(recipe: dict[str, Any], planned: MakePlan) -> None:
    plain, replayed = planned(recipe), planned(recipe, "finetune.replay=24")
    assert fingerprints(replayed, "pretrain") == fingerprints(plain, "pretrain") != []
    for before, after in zip(of(plain, "finetune"), of(replayed, "finetune"), strict=True):
        assert spec_of(after) == {**spec_of(before), "replay": 24}
        assert set(after.inputs) - set(before.inputs) == {"tokens-code"}
    # one stage, with PMP or without it in the same recipe: the same pairs
    axes = {"pmp": {"one": {"pretrain": None}, "two": {}}}
    together = planned({**recipe, "ablations": {"axes": axes}}, "finetune.replay=24")
    alone = planned(recipe, "finetune.replay=24", "pretrain=null")
    assert set(fingerprints(alone, "finetune")) < set(fingerprints(together, "finetune"))
    assert of(alone, "pair_quality")
    assert "more than `pairs.count`" in refused(planned, recipe, "finetune.replay=1_000_000")


def test_replay_keeps_the_draw_of_preferences() -> None:
    order = subset_order(3, [40, 30], 20)
    more, most = (with_replay(order, 3, 2, 50, count) for count in (10, 50))
    for mixed, count in ((more, 10), (most, 50)):
        assert sorted(mixed[mixed[:, 0] < 2].tolist()) == sorted(order.tolist())
        assert len(set(mixed[mixed[:, 0] == 2][:, 1].tolist())) == count
    assert set(more[more[:, 0] == 2][:, 1].tolist()) < set(range(50))
    assert (np.flatnonzero(more[:, 0] == 2) != np.arange(20, 30)).any(), "mixed in, not appended"
    assert more.tolist() != with_replay(order, 4, 2, 50, 10).tolist()
