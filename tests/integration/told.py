"""What a tracker must hold of a finished recipe, computed anew from plan, records, events and the analysis alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.cli.workspace import Workspace
from harness.events import Metrics, read_events
from harness.pipeline.graph import Stage
from harness.plan.rows import Variant
from harness.report.words import REFERENCES
from harness.store.record import EVENTS
from tests.integration.pipelines import folder_of, of_kind, record_of
from tests.toys.mlflow_servers import held

METRICS = {"area": "bon_area"}
Told = dict[str, dict[str, list[tuple[int, str]]]]  # name of a run -> metric -> (step, value as text)


def shown_metrics(uri: str, experiment: str) -> Told:
    """Every metric of every run but the time and memory it took, as a server has it."""
    return {
        run["name"]: {
            name: [(step, value) for step, value, _ in points]
            for name, points in run["metrics"].items()
            if not name.startswith("system/")
        }
        for run in held(uri, experiment).values()
    }


HEADLINES = ("area", "pair_accuracy")


def told_by_the_store(workspace: Workspace) -> Told:
    """The same by what the workdir says."""
    found: Told = {"report": {}}
    for setting in workspace.plan.settings:
        for variant in setting.variants:
            seeds = {"pretrain": variant.pretrain_seed, "finetune": variant.finetune_seed}
            words = " ".join(f"{name} {seed}" for name, seed in seeds.items() if seed is not None)
            found[f"{setting.name} {words}"] = {**_curves(workspace, variant), **_results(workspace, variant)}
    (path,) = (workspace.store.root / "analysis").glob("*/analysis.json")
    analysis = json.loads(path.read_text(encoding="utf-8"))
    values: dict[tuple[str, str], list[float]] = {}
    for one in analysis["estimates"]:
        if one["kind"] == "setting":
            values.setdefault((one["task"], one["metric"]), []).append(one["estimate"])
    for part, suffix in (("estimates", ""), ("differences", "_minus_baseline")):
        for one in analysis[part]:
            row = one["row"]
            kind = one.get("kind", "setting")
            name = row if kind == "setting" else f"reference: {REFERENCES[kind, row][0]}"
            metrics = found.setdefault(name, {})
            same = values[one["task"], one["metric"]] if kind == "setting" else []
            if len(same) > 1 and len(set(same)) == 1 and one["metric"] not in HEADLINES:
                continue  # the same for every setting
            key = _metric(one["task"], one["metric"]) + suffix
            for end, value in (("", "estimate"), ("_low", "low"), ("_high", "high")):
                metrics[key + end] = [(0, repr(float(one[value])))]
    return found


def _metric(task: str, metric: str) -> str:
    name = METRICS.get(metric, metric.replace("@", "_at_"))
    return f"{task}/{name}"


def _curves(workspace: Workspace, variant: Variant) -> dict[str, list[tuple[int, str]]]:
    phases: dict[str, list[Stage]] = {"base": of_kind(workspace, "base")}
    if variant.pretrained is not None:
        phases["pretrain"] = [variant.pretrained.inputs["trunk"].stage, variant.pretrained]
    if variant.finetuned is not None:
        phases["finetune"] = [variant.finetuned]
    found: dict[str, list[tuple[int, str]]] = {}
    for phase, stages in phases.items():
        for name, points in _points(folder_of(workspace.store, stage) for stage in stages).items():
            found[f"{phase}/{name}"] = points
    return found


def _points(folders: Iterable[Path]) -> Mapping[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for folder in folders:
        for event in read_events(folder / EVENTS):
            if isinstance(event, Metrics):
                for name, value in event.values.items():
                    found.setdefault(name, []).append((event.step, repr(float(value))))
    return found


def _results(workspace: Workspace, variant: Variant) -> dict[str, list[tuple[int, str]]]:
    return {
        _metric(outcome.task, metric): [(0, repr(float(value)))]
        for outcome in variant.outcomes
        for metric, value in record_of(workspace.store, outcome.stage).result["means"].items()
    }
