"""Sharing is exact: what a choice does not decide keeps its fingerprint, what it decides changes, and no more.

Stages of two plans are matched by their role: the variant and task they serve, and the way there through inputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ProblemList
from harness.pipeline.graph import Stage
from harness.plan.plan import Plan, make_plan
from harness.plan.rows import Variant
from harness.recipe.load import setting_of
from harness.report.collect import collect
from harness.report.overview import overview
from harness.store.store import Store

MakePlan = Callable[..., Plan]
Role = tuple[str, ...]

# Every leaf of an experiment: another value, and the kinds of stages whose own choices or inputs it changes. All that
# reads those changes with them; nothing else may.
DATA = ("corpus",)
READING = ("corpus", "corpus_part")
PAIRS = ("pairs_part",)
HELDOUT_AND_TRAIN = ("pairs",)
PMP = ("trunk_state", "pretrain")
TRAINED_PAIRS = ("pairs", "encode", *PMP, "shallow_score")
LEAVES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "model.family": ("qwen2", ("base",)),
    "model.vocabulary": (600, ("tokenizer", "base")),
    "model.hidden_size": (48, ("base",)),
    "model.layers": (3, ("base",)),
    "model.heads": (2, ("base",)),
    "model.key_value_heads": (4, ("base",)),
    "model.intermediate_size": (96, ("base",)),
    "model.tie_embeddings": (False, ("base",)),
    "model.base.learning_rate": (0.002, ("base",)),
    "model.base.schedule.kind": ("linear", ("base",)),
    "model.base.schedule.warmup": (0.1, ("base",)),
    "model.base.global_batch": (16, ("base",)),
    "model.base.precision": ("bf16", ("base",)),
    "model.base.weight_decay": (0.2, ("base",)),
    "model.base.clip_norm": (2.0, ("base",)),
    "model.base.betas": ([0.9, 0.99], ("base",)),
    "model.base.texts": (72, ("base",)),
    "corpus.packages": (["email", "logging", "http", "json", "xml"], DATA),
    "corpus.heldout": (["json"], DATA),
    "corpus.dev": (["json"], DATA),
    "corpus.base": (["json"], DATA),
    "corpus.min_characters": (90, READING),
    "corpus.max_characters": (500, READING),
    "corpus.min_docstring_characters": (30, READING),
    "corpus.near_duplicate": (0.7, DATA),
    "pairs.count": (320, TRAINED_PAIRS),
    "pairs.prompt.max_characters": (100, PAIRS),
    "pairs.chosen": ({"from": "mutation", "edits": [1, 1], "kinds": ["constant"]}, PAIRS),
    "pairs.rejected.edits": ([1, 2], PAIRS),
    "pairs.rejected.kinds": (["arithmetic"], PAIRS),
    "pairs.part_size": (40, ("pairs", *PAIRS)),
    "pairs.spare": (1.5, ("pairs",)),
    "pairs.max_tokens": (256, ("encode",)),
    "pairs.match_length": ({"drafts": 3, "tolerance": 0.5}, PAIRS),
    "pairs.flip_rate": (0.2, ("pairs_part",)),
    "pairs.train_rejected": ({"from": "shuffled"}, ("pairs_part",)),
    "pairs.filter": ({"min_agreement": 0.6}, ("pairs_part",)),
    "pairs.end_token": ("end_of_code", ("encode",)),
    "pairs.quality.min_consistency": (0.8, ()),  # checks are no outcomes: see test_pair_quality_plan.py
    "pairs.quality.on_fail": ("stop", ()),
    "pairs.quality.most_pairs": (500, ()),
    "tasks.sums.kind": ("circuit_logic", ("problems", "preferences", "candidates_part")),
    "tasks.sums.problems.base": (16, ("problems",)),
    "tasks.sums.problems.finetune": (40, ("problems", "preferences")),
    "tasks.sums.problems.dev": (10, ("problems", "preferences")),
    "tasks.sums.problems.test": (18, ("problems", "candidates")),
    "tasks.sums.options": ({"difficulty": 2}, ("problems",)),
    "tasks.sums.max_tokens": (128, ("encode",)),
    "tasks.logic.kind": ("gsm_symbolic", ("problems", "preferences", "candidates_part")),
    "tasks.logic.problems.base": (16, ("tokenizer", "base", "overlap")),
    "tasks.logic.problems.finetune": (40, ("problems", "preferences")),
    "tasks.logic.problems.dev": (10, ("problems", "preferences")),
    "tasks.logic.problems.test": (11, ("problems", "candidates_part")),
    "tasks.logic.options": ({"difficulty": 2}, ("problems",)),
    "tasks.logic.max_tokens": (128, ("encode",)),
    "pretrain.learning_rate": (0.002, PMP),
    "pretrain.schedule.kind": ({"kind": "cosine", "warmup": 0.1}, ("pretrain",)),
    "pretrain.schedule.warmup_pairs": (32, PMP),
    "pretrain.schedule.decay": (0.4, PMP),
    "pretrain.schedule.allow_decay_inside_warmup": (True, ()),
    "pretrain.global_batch": (16, PMP),
    "pretrain.average": ({"over": "steps", "count": 2, "every_pairs": 16}, ("pretrain",)),
    "pretrain.epochs": (2, PMP),
    "pretrain.precision": ("bf16", PMP),
    "pretrain.weight_decay": (0.2, PMP),
    "pretrain.clip_norm": (2.0, PMP),
    "pretrain.betas": ([0.9, 0.99], PMP),
    "pretrain.loss.rm": (0.5, PMP),
    "pretrain.loss.lm": (0.5, PMP),
    "pretrain.loss.margin": (0.5, PMP),
    "pretrain.loss.labels": ("coin", PMP),
    "pretrain.loss.lm_normalization": ("sequence", PMP),
    "finetune.learning_rate": (0.002, ("finetune",)),
    "finetune.schedule.kind": ("linear", ("finetune",)),
    "finetune.schedule.warmup": (0.1, ("finetune",)),
    "finetune.global_batch": (16, ("finetune",)),
    "finetune.precision": ("bf16", ("finetune", "score")),
    "finetune.weight_decay": (0.2, ("finetune",)),
    "finetune.clip_norm": (2.0, ("finetune",)),
    "finetune.betas": ([0.9, 0.99], ("finetune",)),
    "finetune.tasks": (["logic", "sums"], ("finetune", "shallow_score")),
    "finetune.replay": (24, ("finetune",)),
    "finetune.samples": (40, ("finetune", "shallow_score")),
    "finetune.epochs": (2, ("finetune",)),
    "finetune.loss.rm": (0.5, ("finetune",)),
    "finetune.loss.lm": (0.5, ("finetune",)),
    "finetune.loss.margin": (0.5, ("finetune",)),
    "finetune.loss.lm_normalization": ("sequence", ()),
    "finetune.head": ("linear_probe", ("finetune",)),
    "finetune.select": (None, ("finetune",)),
    "finetune.select.every_steps": (3, ("finetune",)),
    "finetune.tune": ({"epochs": [1, 2]}, ("finetune",)),  # `tuned` in its place
    "evaluate.best_of_n.tasks": (["sums"], ()),
    "evaluate.best_of_n.n": ([1, 2, 8], ("best_of_n", "pool_baselines")),
    "evaluate.best_of_n.candidates.samples": (16, ("candidates_part",)),
    "evaluate.best_of_n.candidates.accuracy": (0.5, ("candidates_part",)),
    "evaluate.best_of_n.candidates.part_size": (4, ("candidates_part", "candidates")),
    "evaluate.pair_accuracy.tasks": (["logic"], ()),
    "evaluate.pair_accuracy.samples": (24, ("preferences",)),
    "evaluate.code_pairs.count": (140, ("pairs", "encode")),
    "evaluate.split": ("dev", ("problems", "preferences", "candidates_part", "overlap")),
    "evaluate.reference_scorers": (["ngrams"], ()),
    "evaluate.retention": (True, ()),
    "evaluate.failures": ("calibrated", ()),  # looks are no outcomes: see test_plan.py
    "evaluate.overlap.n": (8, ("overlap",)),
    "evaluate.overlap.threshold": (0.5, ("overlap",)),
    "evaluate.overlap.near_equal": (0.6, ("overlap",)),
    "evaluate.overlap.masked": (True, ("overlap",)),
    "evaluate.overlap": (None, ("best_of_n", "pair_accuracy", "pool_baselines")),
    "evaluate.probes": ({"every_pairs": 32}, ()),
}
# Choices of one built-in value: another would be code of one's own (see the tests of plugins).
ONE_CHOICE = {
    "model.source", "corpus.kind", "pairs.prompt.from", "pairs.chosen.from", "pairs.rejected.from",
    "pairs.quality.judges",
    "pairs.judges", "pairs.order",  # models and imports, see test_pair_stages_plan.py
    "finetune.select.metric", "finetune.select.split", "evaluate.best_of_n.candidates.engine",
    "evaluate.best_of_n.candidates.options",  # of an engine of one's own only
    "evaluate.best_of_n.candidates.writer",  # of models only
    "pretrain.on",  # the other goes with another loss, see test_controls.py
    "pretrain.match",  # becomes `pairs.count`, see test_match.py
    "pretrain.from",  # names what only a workdir has, see test_forks.py
    "corpus.decontaminate",  # names what only a workdir has, see test_imports_plan.py
    "tasks.sums.path", "tasks.logic.path",  # of published data only, see test_fixed_tasks.py
    "evaluate.imported",  # names what only a workdir has, see test_imports_plan.py
    "pretrain.loss.kind", "finetune.loss.kind",
}  # fmt: skip
NO_EXPERIMENT: dict[str, Any] = {
    "name": "other",
    "notes": "Another note.",
    "tags": {"paper": "yes"},
    "plugins": ["email"],
    "runtime": {
        "workdir": "elsewhere", "slots": 3, "device": "cpu", "row_tokens": 1024, "rows_per_micro_batch": 1,
        "checkpoint_seconds": 1.0, "log_every": 1, "loss_balance_every": 7, "on_imbalance": "stop",
        "tensor_parallel": 2,
        "keep": {"base": "record"}, "stale_code": "rerun",
        "training": {
            "processes": 2, "nodes": 2, "launch": ["srun"], "rendezvous": "here:29400", "sharing": "fsdp",
            "activation_checkpointing": True, "compile": True,
        },
        "budget": {"hours": 1.0, "stages": 9, "gpu_hours": 2.0, "disk_gb": 9.0, "pairs_a_document": 5.0},
        "gpus": {"kind": "a100-80gb", "count": 8, "utilisation": 0.4, "writing_utilisation": 0.1},
        "tracking": "none", "tracking_uri": "sqlite:///elsewhere.db",
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _full(recipe: dict[str, Any]) -> None:
    recipe["evaluate"]["best_of_n"]["candidates"]["options"] = {}


def leaves(data: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key, value in data.items():
        here = f"{path}{key}"
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{here}.")
        else:
            yield here


def set_at(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`data` with one leaf changed; a schedule's kind changes its whole block."""
    data = copy.deepcopy(data)
    *blocks, key = path.split(".")
    if isinstance(value, dict) and key in value:
        *blocks, key = blocks
    here = data
    for block in blocks:
        here = here[block]
    here[key] = value
    return data


def roles(plan: Plan) -> dict[Role, Stage]:
    """Every stage a plan needs, under each of its roles."""
    found: dict[Role, Stage] = {}

    def walk(role: Role, stage: Stage) -> None:
        found[role] = stage
        for name, item in stage.inputs.items():
            walk((*role, name), item.stage)

    for variant in (*plan.variants, *plan.references):
        for outcome in variant.outcomes:
            walk((*names(variant), outcome.task, outcome.metric), outcome.stage)
    return found


def names(variant: Variant) -> tuple[str, str, str]:
    return (variant.setting, str(variant.pretrain_seed), str(variant.finetune_seed))


def own(stage: Stage) -> dict[str, Any]:
    """What a stage itself chooses: its spec, which inputs it has, and how much of each it reads."""
    return {"spec": dict(stage.spec), "inputs": {name: item.rows for name, item in stage.inputs.items()}}


def fingerprints(plan: Plan) -> set[str]:
    return {stage.fingerprint for stage in plan.stages}


def outcomes(plan: Plan) -> dict[Role, str]:
    return {
        (*names(variant), outcome.task, outcome.metric): outcome.stage.fingerprint
        for variant in plan.variants
        for outcome in variant.outcomes
    }


def test_every_leaf_of_an_experiment_is_here(recipe: dict[str, Any], planned: MakePlan) -> None:
    whole = planned(recipe).loaded.recipe.model_dump(mode="json", by_alias=True)
    others = (*NO_EXPERIMENT, "seeds", "ablations", "baseline", "claims", "search")
    experiment = {key: value for key, value in whole.items() if key not in others}
    assert set(leaves(experiment)) - set(LEAVES) == ONE_CHOICE
    assert set(leaves(recipe)) - {"name"} == set(leaves(experiment))  # the recipe of these tests leaves nothing out


@pytest.mark.parametrize("path", LEAVES)
def test_a_choice_changes_what_depends_on_it_and_nothing_else(
    recipe: dict[str, Any], planned: MakePlan, path: str
) -> None:
    value, expected = LEAVES[path]
    before, after = roles(planned(recipe)), roles(planned(set_at(recipe, path, value)))
    common = before.keys() & after.keys()
    deciding = {before[role].kind.name for role in common if own(before[role]) != own(after[role])}
    assert sorted(deciding) == sorted(expected)
    for role in common:
        one, other = before[role], after[role]
        same_inputs = all(
            one.inputs[name].identity() == item.identity() for name, item in other.inputs.items() if name in one.inputs
        )
        assert (one.fingerprint == other.fingerprint) == (own(one) == own(other) and same_inputs), role
    if not expected:
        assert all(before[role].fingerprint == after[role].fingerprint for role in common)
    else:
        assert any(before[role].fingerprint != after[role].fingerprint for role in common)


@pytest.mark.parametrize("path", LEAVES)
def test_every_choice_can_be_reported(recipe: dict[str, Any], planned: MakePlan, tmp_path: Path, path: str) -> None:
    plan, store = planned(set_at(recipe, path, LEAVES[path][0])), Store(tmp_path)
    assert collect(plan, store, overview(plan, store, None)).methods


# What reads, directly or not, the stages a choice decides: a second, independent account of the same thing.
DOWNSTREAM = {
    "model.layers": {"base", "trunk_state", "pretrain", "finetune", "score", "best_of_n", "pair_accuracy"},
    "pretrain.loss.lm": {"trunk_state", "pretrain", "finetune", "score", "best_of_n", "pair_accuracy"},
    "finetune.head": {"finetune", "score", "best_of_n", "pair_accuracy"},
    "evaluate.best_of_n.n": {"best_of_n", "pool_baselines"},
    "evaluate.pair_accuracy.samples": {"preferences", "encode", "score", "shallow_score", "pair_accuracy"},
    "evaluate.best_of_n.candidates.accuracy": {
        "candidates_part", "candidates", "encode", "score", "shallow_score", "best_of_n", "pool_baselines"
    },
}  # fmt: skip


@pytest.mark.parametrize("path", DOWNSTREAM)
def test_kinds_that_change_with_a_choice(recipe: dict[str, Any], planned: MakePlan, path: str) -> None:
    before, after = planned(recipe), planned(set_at(recipe, path, LEAVES[path][0]))
    kept = fingerprints(before) & fingerprints(after)
    expected = DOWNSTREAM[path] | ({"failures"} if "best_of_n" in DOWNSTREAM[path] else set())
    assert {stage.kind.name for stage in before.stages if stage.fingerprint not in kept} == expected
    assert {stage.kind.name for stage in after.stages if stage.fingerprint not in kept} == expected


def test_options_of_an_engine_of_ones_own_are_identity(recipe: dict[str, Any], planned: MakePlan) -> None:
    own_engine = set_at(
        {**recipe, "plugins": ["email"]}, "evaluate.best_of_n.candidates.engine", "email.message:Message"
    )
    plans = [planned(set_at(own_engine, "evaluate.best_of_n.candidates.options", {"words": words})) for words in (3, 4)]
    pools = [{stage.fingerprint for stage in plan.stages if stage.kind.name == "candidates_part"} for plan in plans]
    assert pools[0]
    assert not pools[0] & pools[1]


def test_a_setting_is_judged_by_what_it_trains_on_itself(recipe: dict[str, Any], planned: MakePlan) -> None:
    """Problems are looked for in a setting's own fine-tuning pairs, so another setting's move nothing of it."""

    def judging(plan: Plan, name: str) -> set[str]:
        [setting] = [setting for setting in plan.settings if setting.name == name]
        outcomes = [one for variant in setting.variants for one in variant.outcomes if one.task != "code"]
        return {one.stage.fingerprint for one in outcomes}

    axis = {"one": {"finetune.tasks": ["sums"]}, "both": {"finetune.tasks": ["sums", "logic"]}}
    recipe["ablations"] = {"axes": {"trained": axis}}
    recipe["finetune"] |= {"select": None, "samples": 32}
    recipe["tasks"]["logic"]["problems"]["base"] = 12
    before = planned(recipe)
    found = [stage for stage in before.stages if stage.kind.name == "overlap" and stage.label.startswith("sums")]
    names = {frozenset(name for name in stage.inputs if not name.startswith("problems-")) for stage in found}
    base = {"corpus", "base-sums", "base-logic"}
    assert names == {
        frozenset(base | {"preferences-sums"}),
        frozenset(base | {"preferences-sums", "preferences-logic"}),
    }
    after = planned(set_at(recipe, "tasks.more", {"kind": "gsm_symbolic", "problems": {"finetune": 32, "test": 1}}))
    assert judging(before, "one") == judging(after, "one")
    axis["both"] = {"finetune.tasks": ["sums", "logic", "more"]}
    after = planned(set_at(recipe, "tasks.more", {"kind": "gsm_symbolic", "problems": {"finetune": 32, "test": 1}}))
    assert judging(before, "one") == judging(after, "one")
    assert not judging(before, "both") & judging(after, "both")


MORE_TO_JUDGE_BY: dict[str, dict[str, Any]] = {
    "another task": {"tasks.more": {"kind": "gsm_symbolic", "problems": {"finetune": 1, "dev": 1, "test": 9}}},
    "another test problem": {"tasks.sums.problems.test": 13},
    "another dev problem": {"tasks.logic.problems.dev": 9},
}


@pytest.mark.parametrize("more", MORE_TO_JUDGE_BY)
def test_more_to_judge_by_makes_nothing_anew_that_is_trained_on(
    recipe: dict[str, Any], planned: MakePlan, more: str
) -> None:
    recipe["finetune"]["select"] = None  # else dev problems choose the checkpoint
    before = planned(recipe)
    for path, value in MORE_TO_JUDGE_BY[more].items():
        recipe = set_at(recipe, path, value)
    if more == "another task":
        recipe["evaluate"]["best_of_n"]["tasks"] = ["sums", "logic", "more"]
    after = planned(recipe)
    judging = {"problems", "problem_splits", "candidates_part", "candidates", "encode", "score", "shallow_score"}
    judging |= {"overlap", "best_of_n", "pair_accuracy", "pool_baselines", "preferences", "failures"}
    changed = {stage.kind.name for stage in before.stages if stage.fingerprint not in fingerprints(after)}
    assert changed <= judging
    added = {stage.kind.name for stage in after.stages if stage.fingerprint not in fingerprints(before)}
    assert added
    assert added <= judging
    kept = [stage for stage in before.stages if stage.kind.name == "candidates_part"]  # pools grow
    kept += [stage for stage in before.stages if "preferences" in stage.label and "finetune" in stage.label]
    assert {stage.fingerprint for stage in kept} <= fingerprints(after)


@pytest.mark.parametrize("key", NO_EXPERIMENT)
def test_how_it_runs_and_what_it_is_called_is_no_identity(recipe: dict[str, Any], planned: MakePlan, key: str) -> None:
    before = planned(recipe)
    after = planned({**recipe, key: NO_EXPERIMENT[key]})
    assert [stage.identity for stage in after.stages] == [stage.identity for stage in before.stages]
    assert [stage.label for stage in after.stages] == [stage.label for stage in before.stages]


def test_every_runtime_choice_was_tried(recipe: dict[str, Any], planned: MakePlan) -> None:
    runtime = planned(recipe).loaded.recipe.runtime.model_dump()
    assert set(runtime) - {"executor"} == set(NO_EXPERIMENT["runtime"])
    assert all(runtime[key] != value for key, value in NO_EXPERIMENT["runtime"].items())


def test_the_data_seed_changes_all_data(recipe: dict[str, Any], planned: MakePlan) -> None:
    before, after = planned(recipe), planned({**recipe, "seeds": {"data": 1}})
    shared = fingerprints(before) & fingerprints(after)
    assert {stage.kind.name for stage in before.stages if stage.fingerprint in shared} == {"corpus_part"}
    one, other = roles(before), roles(after)
    deciding = {stage.kind.name for role, stage in one.items() if own(stage) != own(other[role])}
    assert deciding == {"corpus", "pairs_part", "problems", "preferences", "candidates_part", "base"}


def test_a_permission_changes_no_fine_tuning(recipe: dict[str, Any], planned: MakePlan) -> None:
    plans = []
    for allowed in (False, True):
        schedule = {"kind": "wsd", "warmup_pairs": 8, "decay": 0.5, "allow_decay_inside_warmup": allowed}
        recipe["finetune"]["schedule"] = schedule
        plans.append(planned(recipe))
    assert fingerprints(plans[0]) == fingerprints(plans[1])


# ----------------------------------------------------------------------- a setting in a grid is the setting alone


def test_one_more_setting_is_that_of_an_axis(recipe: dict[str, Any], load: Any) -> None:
    overrides = {"pretrain.loss.lm": 0.5, "finetune.samples": 40}
    loaded = load(recipe)
    one = setting_of(loaded, "trial-7", overrides)
    alone = make_plan(replace(loaded, settings=(one,)))
    recipe["ablations"] = {"axes": {"arm": {"a": {}, "trial-7": overrides}}}
    grid = make_plan(load(recipe))
    (mine,) = alone.settings
    assert mine.name == "trial-7"
    theirs = next(setting for setting in grid.settings if setting.name == "trial-7")
    ends = [
        [outcome.stage.fingerprint for one in setting.variants for outcome in one.outcomes]
        for setting in (mine, theirs)
    ]
    assert ends[0] == ends[1]
    with pytest.raises(ProblemList) as caught:
        setting_of(loaded, "wrong", {"pretrain.loss.lm": -1.0, "seeds.data": 3, "pretrain.los": 1})
    told = [problem.one_line() for problem in caught.value.problems]
    assert any("an axis may override" in line and "seeds.data" in line for line in told)
    assert any("`pretrain.loss.lm` expects at least 0" in line for line in told)
    assert any("unknown key `pretrain.los`" in line for line in told)


@pytest.mark.parametrize("path", [path for path in LEAVES if path != "evaluate.split"])  # that one is no axis
def test_sharing_merges_nothing_that_differs(recipe: dict[str, Any], planned: MakePlan, path: str) -> None:
    """Each arm of an axis has the very stages it has when planned alone, whichever arm comes first."""
    value, _ = LEAVES[path]
    alone = {"a": outcomes(planned(recipe)), "b": outcomes(planned(set_at(recipe, path, value)))}
    key = path.rpartition(".")[0] if isinstance(value, dict) and "kind" in value else path
    arms: dict[str, Any] = {"a": {}, "b": {key: value}}
    for order in (["a", "b"], ["b", "a"]):
        recipe["ablations"] = {"axes": {"arm": {name: arms[name] for name in order}}}
        together = planned(recipe)
        named = {name: setting for setting in together.settings for name in setting.names}
        for name in order:
            found = {
                ("base", *names(variant)[1:], outcome.task, outcome.metric): outcome.stage.fingerprint
                for variant in named[name].variants
                for outcome in variant.outcomes
            }
            assert found == alone[name], name


def test_equal_asks_are_one_object(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["seeds"] = {"pretrain": 2, "finetune": 2}
    recipe["ablations"] = {
        "axes": {"arm": {"a": {}, "b": {"finetune.learning_rate": 0.01}, "no-pmp": {"pretrain": None}}}
    }
    plan = planned(recipe)
    assert len({stage.fingerprint for stage in plan.stages}) == len(plan.stages) == len(set(plan.stages))
    by_fingerprint = {stage.fingerprint: stage for stage in plan.stages}
    for stage in plan.stages:
        for item in stage.inputs.values():
            assert by_fingerprint[item.stage.fingerprint] is item.stage
    for one, other in zip(plan.settings[0].variants, plan.settings[1].variants, strict=True):
        assert one.pretrained is other.pretrained  # fine-tuning differs, PMP does not
        assert one.finetuned is not other.finetuned
    [base] = [stage for stage in plan.stages if stage.kind.name == "base"]
    assert all(
        variant.finetuned.inputs["start"].stage is base for variant in plan.settings[2].variants if variant.finetuned
    )


# ------------------------------------------------------------------------------------------ adding touches nothing


def grown(plan: Plan, larger: Plan) -> bool:
    """Apart from looks into a row's models, which are of all its seeds and the baseline, as the comparison is."""
    looks = {one.stage.fingerprint for one in (*plan.failures, *larger.failures)}
    return fingerprints(plan) - looks < fingerprints(larger) - looks


def test_more_seeds_touch_nothing(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["ablations"] = {"axes": {"arm": {"pmp": {}, "no-pmp": {"pretrain": None}}, "pairs.count": [80, 160]}}
    plans = [planned({**recipe, "seeds": {"pretrain": p, "finetune": f}}) for p, f in [(1, 1), (2, 1), (2, 3), (4, 5)]]
    for fewer, more in pairwise(plans):
        assert grown(fewer, more)


AXES: dict[str, tuple[dict[str, Any], str, Any]] = {
    "a loss": ({"loss": {"both": {}, "rm": {"pretrain.loss.lm": 0.0}}}, "loss", {"lm": {"pretrain.loss.rm": 0.0}}),
    "an arm without PMP": ({"arm": {"pmp": {}}}, "arm", {"no-pmp": {"pretrain": None}}),
    "a smaller count": ({"pairs.count": [160]}, "pairs.count", [80]),
    "a count between": ({"pairs.count": [80, 160]}, "pairs.count", [120]),
    "a count of no whole batches, without PMP": (
        {"arm": {"pmp": {}}},
        "arm",
        {"no": {"pretrain": None, "pairs.count": 999}},
    ),
    "a learning rate": ({"pretrain.learning_rate": [0.001]}, "pretrain.learning_rate", [0.002, 0.003]),
    "other pairs": ({"pairs.max_tokens": [128]}, "pairs.max_tokens", [64]),
    "another model": ({"model.layers": [2]}, "model.layers", [1, 3]),
}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("seeds", [1, 2])
def test_more_values_on_an_axis_touch_nothing(recipe: dict[str, Any], planned: MakePlan, axis: str, seeds: int) -> None:
    axes, name, more = AXES[axis]
    recipe["seeds"] = {"pretrain": seeds}
    recipe["ablations"] = {"axes": axes}
    before = planned(recipe)
    recipe["ablations"] = {
        "axes": {**axes, name: axes[name] + more if isinstance(more, list) else {**axes[name], **more}}
    }
    assert grown(before, planned(recipe))


def test_another_axis_touches_nothing(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["ablations"] = {"axes": {"pairs.count": [80, 160]}}
    before = planned(recipe)
    recipe["ablations"]["axes"]["finetune.head"] = ["carry", "reinit"]
    assert grown(before, planned(recipe))


def test_more_pairs_touch_nothing_that_was_trained_in_row_order(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["seeds"] = {"pretrain": 2}
    recipe["ablations"] = {"axes": {"pairs.count": [80, 160]}}
    before = planned(recipe)
    recipe["ablations"] = {"axes": {"pairs.count": [80, 160, 400]}}
    after = planned(recipe)
    later = outcomes(after)
    for role, fingerprint in outcomes(before).items():
        first_seed = role[1] == "0"  # other seeds draw their order from the recipe's most pairs
        assert (later[role] == fingerprint) == first_seed, role
    parts = {stage.fingerprint for stage in before.stages if stage.kind.name == "pairs_part"}
    assert parts <= fingerprints(after)
    encoded = [stage for stage in after.stages if stage.label == "encode pairs train"]
    assert [stage.identity["spec"]["limit"] for stage in encoded] == [400]  # one encoding serves all counts


# ---------------------------------------------------------------------------------------------------- trunks


def trunks(plan: Plan) -> list[Stage]:
    return [stage for stage in plan.stages if stage.kind.name == "trunk_state"]


def test_trunk_states_do_not_know_the_count(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["ablations"] = {"axes": {"pairs.count": [160, 320]}}
    both = planned(recipe)
    alone = [planned({**recipe, "pairs": {**recipe["pairs"], "count": count}, "ablations": {}}) for count in (160, 320)]
    assert [stage.identity["spec"]["step"] for stage in trunks(both)] == [16, 32]
    for plan, state in zip(alone, trunks(both), strict=True):
        assert [stage.fingerprint for stage in trunks(plan)] == [state.fingerprint]
    assert [stage.inputs["tokens"].rows for stage in trunks(both)] == [128, 256]
    assert len({stage.inputs["tokens"].stage.fingerprint for stage in trunks(both)}) == 1


def test_two_counts_may_branch_from_one_state(recipe: dict[str, Any], planned: MakePlan) -> None:
    """160 pairs that decay over the last 0.2 and 256 that decay over the last half leave the trunk at the same step."""
    recipe["ablations"] = {
        "mode": "zip",
        "axes": {"pairs.count": [160, 256], "pretrain.schedule.decay": [0.2, 0.5]},
    }
    plan = planned(recipe)
    [state] = trunks(plan)
    assert state.identity["spec"]["step"] == 16
    branches = [stage for stage in plan.stages if stage.kind.name == "pretrain"]
    assert [(branch.identity["spec"]["start_step"], branch.identity["spec"]["stop_step"]) for branch in branches] == [
        (16, 20),
        (16, 32),
    ]
    assert all(branch.inputs["trunk"].stage is state for branch in branches)


def test_trunk_states_run_in_order_of_step(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["seeds"] = {"pretrain": 2}
    recipe["ablations"] = {"axes": {"pairs.count": [320, 80, 160], "pretrain.loss.lm": [1.0, 0.5]}}
    plan = planned(recipe)
    order = {stage.fingerprint: place for place, stage in enumerate(plan.stages)}
    found: dict[tuple[Any, Any], list[int]] = {}
    for stage in trunks(plan):
        arm = (stage.identity["spec"]["order"]["seed"], stage.identity["spec"]["training"]["loss"]["lm"])
        found.setdefault(arm, []).append(stage.identity["spec"]["step"])
        for earlier in stage.after:
            assert earlier.spec.step < stage.spec.step
            assert order[earlier.fingerprint] < order[stage.fingerprint]
            assert (earlier.spec.order, earlier.spec.training) == (
                stage.spec.order,
                stage.spec.training,
            )
        assert len(stage.after) == (stage.identity["spec"]["step"] > 8)
    assert found == {(seed, lm): [8, 16, 32] for seed in (0, 1) for lm in (1.0, 0.5)}


def test_a_decay_over_everything_needs_no_trunk(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["pretrain"]["schedule"].update(decay=1.0, warmup_pairs=0)
    plan = planned(recipe)
    assert trunks(plan) == []
    [branch] = [stage for stage in plan.stages if stage.kind.name == "pretrain"]
    assert branch.inputs["base"].stage.kind.name == "base"
    assert (branch.identity["spec"]["start_step"], branch.identity["spec"]["stop_step"]) == (0, 20)


def test_only_seed_zero_is_free_of_the_most_pairs(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["seeds"] = {"pretrain": 2}
    recipe["ablations"] = {"axes": {"pairs.count": [80, 160]}}
    for stage in planned(recipe).stages:
        if stage.kind.name in ("trunk_state", "pretrain"):
            seed = stage.identity["spec"]["order"]["seed"]
            assert stage.identity["spec"]["order"] == ({"seed": 0} if seed == 0 else {"seed": seed, "rows": 160})
            assert stage.inputs["tokens"].rows == (160 if seed else stage.inputs["tokens"].rows)


# ----------------------------------------------------------------------------------------------- references


def test_reference_scorers_fit_what_there_is(recipe: dict[str, Any], planned: MakePlan) -> None:
    """The base experiment may ask for more pairs than any setting does."""
    recipe["pairs"]["count"] = 400
    recipe["ablations"] = {"axes": {"pairs.count": [80, 160]}}
    plan = planned(recipe)
    fitted = [
        stage
        for stage in plan.stages
        if stage.kind.name == "shallow_score" and stage.identity["spec"]["tasks"] == ["code"]
    ]
    assert len(fitted) == 2
    for stage in fitted:
        limit = stage.inputs["tokens-code"].stage.identity["spec"]["limit"]
        assert stage.identity["spec"]["samples"] == stage.inputs["tokens-code"].rows == limit == 160


def test_reference_scorers_read_what_fine_tuning_reads(recipe: dict[str, Any], planned: MakePlan) -> None:
    recipe["seeds"] = {"finetune": 2}
    plan = planned(recipe)
    for variant in plan.variants:
        assert variant.finetuned is not None
        fine = variant.finetuned
        scorers = [
            stage
            for stage in plan.stages
            if stage.kind.name == "shallow_score" and stage.identity["spec"]["seed"] == variant.finetune_seed
        ]
        assert len(scorers) == 2 * 4  # scorers x (two tasks x candidates and pairs)
        for stage in scorers:
            assert (stage.identity["spec"]["samples"], stage.identity["spec"]["tasks"]) == (
                fine.identity["spec"]["samples"],
                fine.identity["spec"]["tasks"],
            )
            for name in fine.identity["spec"]["tasks"]:
                assert stage.inputs[f"tokens-{name}"].identity() == fine.inputs[f"tokens-{name}"].identity()


@pytest.mark.parametrize("engine", ["transformers", "vllm", "simulated"])
def test_log_probability_is_a_reference_where_a_model_writes(
    recipe: dict[str, Any], planned: MakePlan, engine: str
) -> None:
    if engine != "simulated":
        writer = {"model": {"source": "hub", "id": "someone/something"}, "engine": engine, "max_tokens": 64}
        recipe["evaluate"]["best_of_n"]["candidates"] = {"engine": "model", "writer": writer, "samples": 8}
    recipe["evaluate"]["reference_scorers"] = ["logprob"]
    plan = planned(recipe)
    known = engine != "simulated"
    labels = sorted(stage.label for stage in plan.stages if stage.kind.name == "shallow_score")
    assert labels == (["score logprob on logic candidates", "score logprob on sums candidates"] if known else [])
    parts = [stage.identity["spec"] for stage in plan.stages if stage.kind.name == "candidates_part"]
    assert {spec.get("logprobs", False) for spec in parts} == {known}


def test_a_tasks_code_version_is_identity_of_what_its_mistakes_are_in(
    recipe: dict[str, Any], planned: MakePlan
) -> None:
    versions = {
        (stage.kind.name, stage.identity["spec"]["task"]): stage.identity["spec"].get("task_version", 1)
        for stage in planned(recipe).stages
        if stage.kind.name in ("preferences", "candidates_part", "problems") and "task" in stage.identity["spec"]
    }
    later = {key for key, version in versions.items() if version > 1}
    assert later == {("preferences", "gsm_symbolic"), ("candidates_part", "gsm_symbolic")}
