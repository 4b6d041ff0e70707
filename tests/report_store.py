"""A store filled with plausible results for the report's tests: real plan, real records, real analysis, no training."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from harness.events import Event, EventLog, Failed, Finished, Metrics, Started, Warned
from harness.execution.runner import make_task
from harness.execution.worker import run_task
from harness.pipeline.code import source_digest
from harness.pipeline.graph import Stage
from harness.pipeline.overlap import held_by
from harness.plan.analysis import analysis_stage
from harness.plan.plan import Plan, make_plan
from harness.recipe.load import load_recipe
from harness.stages.encode import RESULT
from harness.store.artifacts import Candidates, Failures, PairQuality, Pairs, ProblemValues
from harness.store.record import EVENTS
from harness.store.store import Store

SMALL = Path(__file__).parent.parent / "recipes" / "cpu" / "small.yaml"
PROBLEMS, CLUSTERS = 40, 12
FINISHED = 1_760_000_000.0  # seconds since the epoch of every stage's end
HOSTILE = "</script><script>alert(1)</script>"

Wanted = Callable[[Stage], bool]


def small(*assignments: str) -> Plan:
    return make_plan(load_recipe(SMALL, assignments))


def with_axes(folder: Path, axes: Mapping[str, Any]) -> Plan:
    """The small recipe with other ablation axes."""
    data = yaml.safe_load(SMALL.read_text(encoding="utf-8")) | {"ablations": {"axes": axes}}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return make_plan(load_recipe(path))


def fill(plan: Plan, store: Store, *, wanted: Wanted = lambda stage: True, text: str = "") -> None:
    """Publish every wanted stage whose inputs are there. `text` is put into pairs, candidates and a warning."""
    store.create()
    for stage in plan.stages:
        ready = all(store.record(item.stage.kind.name, item.stage.fingerprint) for item in stage.inputs.values())
        if ready and wanted(stage):
            publish(store, stage, text=text)


def publish(
    store: Store,
    stage: Stage,
    *,
    text: str = "",
    stale: bool = False,
    finished: float = FINISHED,
) -> None:
    """Publish one stage with results that depend on its label alone."""
    with store.build(stage.kind.name, stage.fingerprint, resumable=False) as building:
        assert building is not None
        log = EventLog(building.directory / EVENTS)
        for event in (Started(), *_events(stage, text), Finished()):
            log.emit(event)
        log.close()
        result = _MAKERS.get(stage.kind.name, _nothing)(stage, building.directory, text)
        digest = "other code" if stale else source_digest(stage)
        building.publish(
            kind=stage.kind.name,
            identity=stage.identity,
            result=result,
            environment={
                "device": "cpu",
                "python": "3.11.7",
                "libraries": {"torch": "2.13.0"},
                "source_digest": digest,
            },
            run={
                "label": stage.label,
                "seconds": 90.0 if stage.kind.name == "pretrain" else 1.5,
                "finished": finished,
                "attempts": 1,
                "peak_memory_bytes": 512_000_000,
            },
        )


def fail(store: Store, stage: Stage, reason: str) -> None:
    """Leave behind what a failed attempt leaves."""
    with store.build(stage.kind.name, stage.fingerprint, resumable=False) as building:
        assert building is not None
        log = EventLog(building.directory / EVENTS)
        log.emit(Started())
        log.emit(Failed(reason=reason))
        log.close()


def finished(plan: Plan, store: Store) -> frozenset[str]:
    return frozenset(stage.fingerprint for stage in plan.stages if store.record(stage.kind.name, stage.fingerprint))


def analyse(plan: Plan, store: Store) -> Stage | None:
    """Run the real analysis of what is finished."""
    stage = analysis_stage(plan, finished(plan, store))
    if stage is not None:
        task = make_task(stage, store, {})
        outcome = run_task(task, device="cpu", threads=1, held={})
        assert outcome.status == "done", outcome.reason
    return stage


def first(plan: Plan, kind: str, label: str = "") -> Stage:
    return next(stage for stage in plan.stages if stage.kind.name == kind and label in stage.label)


# --------------------------------------------------------------------------------------------------- results


def _generator(*key: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("/".join(key).encode()))


def _events(stage: Stage, text: str) -> Sequence[Event]:
    if stage.kind.name == "corpus" and text:
        return [Warned(message=text)]
    if stage.kind.name not in ("base", "trunk_state", "pretrain", "finetune"):
        return []
    start = int(stage.identity["spec"].get("start_step", 0))
    stop = int(stage.identity["spec"].get("stop_step", stage.identity["spec"].get("step", start + 60)))
    noise = _generator("events", stage.label)
    loss = stage.identity["spec"]["training"]["loss"]
    return [
        Metrics(
            step=step,
            values={
                **({"loss_rm": math.log(2) * 40 / (40 + step) + 0.02 * float(noise.normal())} if loss["rm"] else {}),
                **({"loss_lm": 3 + 4 * 20 / (20 + step) + 0.05 * float(noise.normal())} if loss["lm"] else {}),
            },
        )
        for step in range(start + 2, stop + 1, 2)
    ]


def _nothing(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    return {"groups": 1, "responses": 1, "characters": 100}


def _corpus(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    cleaning = {"read": 1_000, "kept": 700, "too_long": 200, "exact_duplicate": 100, "unparsable": 0}
    return {
        "groups": 200,
        "characters": 90_000,
        "kept": {"heldout": 50, "base": 200, "train": 450},
        "read": {"files": 120, "functions": 1_000},
        "cleaning": cleaning,
        "contamination": None,
        "passed_over": {},
    }


def _problems(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    return {"groups": stage.spec.count, "characters": 900}


def _problem_splits(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    counts = {name.removeprefix("problems-"): item.stage.spec.count for name, item in stage.inputs.items()}
    return {"problems": counts, "clusters": dict.fromkeys(counts, CLUSTERS)}


def _overlap(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    counts = {
        held_by(name): {"documents": 65, "plain_checked": 20, "plain": 0}
        for name in stage.inputs
        if not name.startswith("problems-")
    }
    return {"documents": 650, "checked": 20, "too_short": 1, "problems": 0, "held_by": counts}


def _preferences(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    return {"groups": 20, "characters": 900, "error_types": {"wrong_gate": 20}, "refused": {"wrong_gate": 3}}


def _pairs_part(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    return {"groups": 9, "counts": {"slots": 10, "pairs": 9, "retries": 2, "repeats": 0, "failed_too_few_sites": 1}}


def _pairs(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    rows = [
        {
            "id": f"train-{index}",
            "cluster": "package",
            "prompt": f"# Adds {index}.{text}\n",
            "chosen": f"def add(a):\n    {text or '# plain'}\n    return a + {index}\n",
            "rejected": f"def add(a):\n    {text or '# plain'}\n    return a - {index}\n",
            "detail": f"arithmetic@3{text}",
        }
        for index in range(9)
    ]
    Pairs(directory).write(rows)
    return {"groups": len(rows), "characters": 900}


def _pair_quality(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    one = {"estimate": 0.75, "low": 0.72, "high": 0.78}
    area = {"auc": 0.75, "within_pairs": one, "over_texts": one}
    side = {
        "parse_rate": 1.0,
        "compile_rate": 0.99,
        "states": {"compiles": 9},
        "mean_characters": 250.0,
        "mean_tokens": None,
        "truncated": {"known": 0, "cut": 0, "share": None},
        "repeated": 0.01,
    }
    numbers = {
        "pairs": 9,
        "sampled": 9,
        "clusters": 3,
        "verdict": "passes",
        "min_consistency": 0.7,
        "degenerate": bool(text),
        "reasons": [f"degenerate pairs: {text}"] if text else [],
        "alike": {"identical": 0.0, "same_tokens": 0.001, "near_identical": 0.6},
        "sides": {"chosen": side, "rejected": side},
        "both_parse": 1.0,
        "length_ratio": {"characters": 0.9, "tokens": None},
        "languages": {text or "Python": 1.0},
        "distinct_ngrams": {name: {"1": 0.1, "2": 0.3, "3": 0.5} for name in ("chosen", "rejected")},
        "separability": {"length": area, "unigrams": area, "ngrams": None},
        "gap": {"parse_rate": one, "static_score": {"estimate": None, "low": None, "high": None}},
        "judges": {
            "static": {
                "judged": 9,
                "preferring": 7,
                "agreement": one,
                "of_preferring": one,
                "shuffled": one,
                "position_bias": {"estimate": 0.125, "low": 0.1, "high": 0.15},
                "verdict": "passes",
            }
        },
    }
    example = {
        "why": "the static judge prefers the rejected side",
        "id": f"train-0{text}",
        "prompt": f"# Adds.{text}\n",
        "chosen": f"def add(a):\n    {text or '# plain'}\n    return a\n",
        "rejected": f"def add(a):\n    {text or '# plain'}\n    return -a\n",
        "detail": text,
    }
    content = {"numbers": numbers, "examples": [example]}
    PairQuality(directory).path.write_text(json.dumps(content), encoding="utf-8")
    return {"groups": 9, **numbers}


def _candidates(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    rows = [
        {
            "problem": "p0",
            "cluster": "c0",
            "prompt": f"Question: 2 & 3?{text}\nAnswer:\n",
            "index": index,
            "text": f"The answer is {index % 3}.{text}",
            "answer": str(index % 3),
            "correct": index % 3 == 0,
            "error_type": "" if index % 3 == 0 else f"slip_{index % 3}",
            "seen": index % 3 == 1,
            "source": f"model {index % 2}{text}",
        }
        for index in range(12)
    ]
    Candidates(directory).write(rows)
    return {
        "groups": PROBLEMS,
        "candidates": 64 * PROBLEMS,
        "correct": 1_000,
        "error_types": {"slip_1": 900, "slip_2": 660},
        "unseen_error_types": ["slip_2"],
        "characters": 900,
    }


def _failures(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    """A failure signature of rm+lm; what the others have does not stand the correction."""
    one = {"estimate": 0.25, "low": 0.125, "high": 0.375, "problems": PROBLEMS, "covers": "problems", "clusters": 12}
    category = [{"name": f"slip_1{text}", "picked": one, "drawn": 0.5}]
    side = {"text": f"The answer is 1.{text}", "answer": f"1{text}", "reward": -1.5}
    bins = [{"from": 0.5, "to": 0.6, "share": 1.0, "confidence": 0.55, "right": one}]
    content = {
        "key_size": 16,
        "bias": [{"feature": "characters", "all": one, "right": one, "wrong": None}],
        "margins": {"negative": one, "quantiles": {"0.5": 0.75}, "spread": 1.0},
        "errors": {
            "rate": one,
            "random_pick": 0.5,
            "by_difficulty": [{"from": 0.0, "to": 0.1, "random_pick": 0.95, "rate": one}],
            "by_type": category,
            "by_frequency": category,
        },
        "calibration": [
            {"name": "as trained", "temperatures": [1.0], "error": 0.0625, "overconfidence": one, "bins": bins}
        ],
        "disagreement": {"fine-tuning seeds": {"pairs": 1, "differ": one}},
        "ensembles": [
            {"over": "single models", "models": 1, "accuracy": one, "gain": None},
            {"over": "fine-tuning seeds", "models": 2, "accuracy": one, "gain": one},
        ],
        "worst": [
            {
                "problem": f"p0{text}",
                "prompt": f"Question: 2 & 3?{text}",
                "gap": 2.5,
                "pretrain_seed": 0,
                "finetune_seed": 1,
                "right": side,
                "wrong": side,
            }
        ],
    }
    Failures(directory).path.write_text(json.dumps(content), encoding="utf-8")
    falls = "rm+lm" in stage.label
    drop = {
        "rule": "falls with N",
        "p_value": 1e-6 if falls else 0.03,
        "estimate": -0.125,
        "covers": "problems",
        "n": 16,
    }
    constant = {"rule": "constant rewards", "p_value": None, "estimate": 0.0, "fires": False}
    return {"problems": PROBLEMS, "alarms": [drop | {"n": 16, "low": -0.25, "high": -0.0625}, constant]}


def _encode(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    """Where `text` says so, 11 of 1,000 candidates are cut, and 11 pairs left out."""
    cut = 11 if text else 0
    counts = {
        "responses": 1_000,
        "too_long_dropped": cut,
        "prompts_cut": 4,
        "responses_cut": cut,
        "cut": cut,
        "longest": 900,
    }
    return {**{key: 10 * (index + 1) for index, key in enumerate(RESULT)}, **counts}


def _trained(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    loss = stage.identity["spec"]["training"]["loss"]
    last = {name: value for name, value, on in (("loss_rm", 0.5, loss["rm"]), ("loss_lm", 3.5, loss["lm"])) if on}
    return {"steps": 60, "groups_trained": 1_920, "tokens_trained": 400_000, "last": {"loss": 4.0, **last}}


def _base(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    return {**_trained(stage, directory, text), "texts": 1_000, "parameters": 501_408}


def _write_values(directory: Path, task: str, columns: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, float]:
    ProblemValues(directory).write(
        [
            {"metric": metric, "problem": f"{task}-{at}", "cluster": f"{task}-{at % CLUSTERS}", "value": float(value)}
            for metric, values in columns.items()
            for at, value in enumerate(values)
        ]
    )
    return {metric: round(float(values.mean()), 6) for metric, values in columns.items()}


def _curves(stage: Stage, skill: float, task: str) -> dict[str, np.ndarray[Any, Any]]:
    sizes = stage.identity["spec"]["n"]
    ease = _generator("ease", task).uniform(0.1, 0.7, PROBLEMS)
    noise = _generator("noise", stage.label).normal(0, 0.03, PROBLEMS)
    curves = {f"bon@{n}": np.clip(ease + skill * math.log2(n) + noise * (n > 1), 0, 1) for n in sizes}
    inside = [curves[f"bon@{n}"] for n in sizes if n >= 2]
    return {**curves, "area": np.mean(inside, axis=0)}


def _task_of(stage: Stage) -> str:
    return stage.label.rpartition(" on ")[2].partition(" of ")[0] or stage.label


def _skill(label: str) -> float:
    known = {
        "better": 0.2,
        "rm+lm": 0.06,
        "ngrams": 0.015,
        "length": -0.01,
        "no-pmp": 0.03,
        " lm ": 0.035,
        " rm ": 0.055,
    }
    return next((value for name, value in known.items() if name in label), 0.02)


def _best_of_n(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    columns = _curves(stage, _skill(stage.label), _task_of(stage))
    for name, shift in (("right_over_wrong", 0.0), ("right_over_wrong_seen", 0.05), ("right_over_wrong_unseen", -0.05)):
        columns[name] = np.clip(columns["area"] + shift, 0, 1)
    means = _write_values(directory, _task_of(stage), columns)
    return {"problems": PROBLEMS, "smallest_pool": 64, "means": means}


def _pool_baselines(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    task = stage.label.removeprefix("baselines of the ").removesuffix(" pool")
    columns = {
        f"{name}/{metric}": values
        for name, skill in (("mean", 0.0), ("majority", 0.02), ("oracle", 0.12))
        for metric, values in _curves(stage, skill, task).items()
    }
    means = _write_values(directory, task, columns)
    return {"problems": PROBLEMS, "clusters": CLUSTERS, "smallest_pool": 64, "means": means}


def _pair_accuracy(stage: Stage, directory: Path, text: str) -> dict[str, Any]:
    chance = 0.5 + 4 * _skill(stage.label)
    values = (_generator("pairs", stage.label).random(PROBLEMS) < chance).astype(float)
    longer = np.arange(PROBLEMS) % 3 == 0
    columns = {"pair_accuracy": values, "chosen_longer": values[longer], "chosen_equal": values[~longer]}
    means = _write_values(directory, _task_of(stage), columns)
    return {"pairs": PROBLEMS, "means": means, "margin": 0.4}


_MAKERS: Mapping[str, Callable[[Stage, Path, str], dict[str, Any]]] = {
    "corpus": _corpus,
    "problems": _problems,
    "problem_splits": _problem_splits,
    "overlap": _overlap,
    "preferences": _preferences,
    "pairs_part": _pairs_part,
    "pairs": _pairs,
    "pair_quality": _pair_quality,
    "failures": _failures,
    "candidates": _candidates,
    "encode": _encode,
    "base": _base,
    "trunk_state": _trained,
    "pretrain": _trained,
    "finetune": _trained,
    "best_of_n": _best_of_n,
    "pool_baselines": _pool_baselines,
    "pair_accuracy": _pair_accuracy,
}
