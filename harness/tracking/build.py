"""From plan and store to what a tracker shows. Reads records, events and the analysis; computes and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from harness.pipeline.evaluations.pair_accuracy import PairAccuracy
from harness.pipeline.graph import Stage
from harness.pipeline.training_kinds import AVERAGE, BASE
from harness.pipeline.tuning import TUNED, tries_of
from harness.plan.analysis import baseline_of
from harness.plan.plan import Plan, PlannedSetting
from harness.plan.rows import IMPORTED, POOL, Variant
from harness.recipe.schema import Recipe
from harness.report.curves import CurveReader, Point
from harness.search.state import SearchState
from harness.store.identity import fingerprint
from harness.store.store import Snapshot, Store
from harness.tracking.compared import axis_key, axis_values, constant, headlines, in_words, setting_parameters
from harness.tracking.search import search_runs
from harness.tracking.stages import StageFacts
from harness.tracking.view import File, Kind, RunView, Status, View
from harness.tracking.words import (
    DIFFERENCE,
    ESTIMATE,
    LONGEST_TAG,
    clipped,
    key,
    metric_key,
)

Metrics = dict[str, tuple[Point, ...]]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a finished run adds to the store.

    Attributes:
        analysis: the comparison's JSON, {} while there is none; `made` is when, in seconds since the epoch.
        references: (kind, row) of the analysis -> what people call a reference scorer.
        report: files of the report.
    """

    analysis: Mapping[str, Any] = field(default_factory=dict)
    made: float = 0.0
    references: Mapping[tuple[str, str], str] = field(default_factory=dict)
    report: tuple[File, ...] = ()


def build_view(
    plan: Plan,
    store: Store,
    states: Mapping[str, str],
    finished: Finished | None,
    retracted: Mapping[str, str] = MappingProxyType({}),
    search: SearchState | None = None,
) -> View:
    """What a tracker shall show of a recipe.

    Args:
        states: how far each stage of the plan is, by fingerprint: `done`, `failed`, `blocked`, `running` or other.
        finished: None while a run goes on; then settings have no means yet, and the view is not `whole`.
        retracted: fingerprint -> why, of stages made from something that is not to be trusted.
        search: what the recipe's search has come to.
    """
    builder = _Builder(plan, store, states, finished, retracted)
    runs = list(builder.settings())
    if finished is not None:
        runs += [*builder.references(), *builder.imported(), *builder.report()]
    recipe = plan.loaded.recipe
    if recipe.search is not None and search is not None:
        runs += search_runs(recipe.name, recipe.search, search)
    return View(
        experiment=recipe.name,
        note=recipe.notes,
        runs=tuple(runs),
        whole=finished is not None,
        columns=builder.columns,
        axes=tuple(axis_key(axis.label) for axis in plan.loaded.axes),
        ordered=bool(finished is not None and finished.analysis.get("ranks")),
    )


class _Builder:
    def __init__(
        self,
        plan: Plan,
        store: Store,
        states: Mapping[str, str],
        finished: Finished | None,
        retracted: Mapping[str, str],
    ) -> None:
        self.plan = plan
        self.states = states
        self.retracted = retracted
        self.goes_on = finished is None
        self.finished = finished or Finished()
        snapshot = Snapshot(store)
        self.stages = StageFacts(plan, snapshot, states)
        self.curves = CurveReader(snapshot, plan.stages)
        self.seeds = plan.loaded.recipe.seeds
        self.columns = headlines(plan)
        self.constant = constant(self.finished.analysis.get("estimates", ()), self.columns)
        self.params = setting_parameters(plan)

    # ---------------------------------------------------------------------------------------------- settings

    def settings(self) -> Iterable[RunView]:
        """Settings that anything of their own is done for, each followed by its variants."""
        baseline = baseline_of(self.plan)
        for setting in self.plan.settings:
            setting_key = self._key("setting", setting.variants[:1])
            variants = [
                self._variant(setting, variant, setting_key) for variant in setting.variants if self._begun(variant)
            ]
            if variants:
                yield self._setting(setting, setting_key, variants, is_baseline=setting.name == baseline)
                yield from variants

    def _key(self, kind: Kind, variants: Iterable[Variant]) -> str:
        """A setting is named by what its first seeds are judged on: further seeds belong to the same."""
        outcomes = [outcome.stage.fingerprint for variant in variants for outcome in variant.outcomes]
        return fingerprint({"recipe": self.plan.loaded.recipe.name, "kind": kind, "outcomes": outcomes})

    def _begun(self, variant: Variant) -> bool:
        return any(self.states[stage.fingerprint] in ("done", "failed", "running") for stage in _own(variant))

    def _setting(
        self, setting: PlannedSetting, setting_key: str, variants: list[RunView], *, is_baseline: bool
    ) -> RunView:
        closure = self.stages.closure(outcome.stage for variant in setting.variants for outcome in variant.outcomes)
        status = self._status(setting.variants)
        metrics, told = self._compared("setting", setting.name)
        if status == "FINISHED":
            metrics |= self.stages.spent(closure)
        tags = self._tags(setting) | told | self.stages.versions(closure)
        tags |= {"harness.compared": "yes", "harness.baseline": "yes" if is_baseline else "no"}
        doubt = self._doubt(setting.variants)
        tags |= doubt
        seeds = setting.setting.experiment.seeds
        tags |= {"seeds.pretrain": str(seeds.pretrain), "seeds.finetune": str(seeds.finetune)}
        return RunView(
            kind="setting",
            key=setting_key,
            name=setting.name + _mark(doubt),
            status=status,
            start=min(variant.start for variant in variants),
            end=max(variant.end for variant in variants),
            params=self.params[setting.name],
            tags=tags,
            metrics=metrics,
            note=in_words(self.plan, setting),
            datasets=self.stages.datasets(closure, [stage for one in setting.variants for stage in _trained(one)]),
            files=(
                File(name="recipe.yaml", content=_yaml(setting.setting.experiment)),
                File(name="stages.csv", content=self.stages.table(closure)),
                *(file for file in self.finished.report if file.name == "report.md"),
            ),
        )

    def _tags(self, setting: PlannedSetting) -> dict[str, str]:
        tags = axis_values(self.plan, setting) | {
            "setting": setting.name,
            "mlflow.source.name": self.plan.loaded.recipe.name,
            "mlflow.source.type": "LOCAL",
        }
        return tags | {key(f"recipe.{name}"): value for name, value in self.plan.loaded.recipe.tags.items()}

    # ---------------------------------------------------------------------------------------------- variants

    def _variant(self, setting: PlannedSetting, variant: Variant, setting_key: str) -> RunView:
        seeds = {"pretrain": variant.pretrain_seed, "finetune": variant.finetune_seed}
        told = " ".join(f"{name} {seed}" for name, seed in seeds.items() if seed is not None)
        closure = self.stages.closure(outcome.stage for outcome in variant.outcomes)
        status = self._status([variant])
        metrics = self._curves(variant, closure) | self._results(variant) | self._probes(variant)
        if status == "FINISHED":
            metrics |= self.stages.spent(closure)
        params = self.params[setting.name]
        params = params | {f"seed.{name}": str(seed) for name, seed in seeds.items() if seed is not None}
        start, end = self.stages.times(_own(variant))
        tags = self._tags(setting) | self.stages.versions(closure) | {"harness.compared": "no"}
        doubt = self._doubt([variant])
        tags |= doubt
        tags |= {f"stage.{stage.kind.name}": stage.name for stage in _trained(variant)}
        tags |= self._chosen(variant)
        tags |= {key(f"stage.{outcome.metric}.{outcome.task}"): outcome.stage.name for outcome in variant.outcomes}
        return RunView(
            kind="variant",
            key=self._key("variant", [variant]),
            parent=setting_key,
            name=f"{setting.name} {told}{_mark(doubt)}",
            status=status,
            start=start,
            end=end,
            params=params | {"seed.data": str(self.seeds.data)},
            tags=tags,
            metrics=metrics,
            datasets=self.stages.datasets(closure, _trained(variant)),
            files=(File(name="stages.csv", content=self.stages.table(closure)),),
        )

    def _chosen(self, variant: Variant) -> dict[str, str]:
        """What `finetune.tune` chose, once it is known, and whether that is an end of what was tried."""
        tuned = variant.finetuned
        record = None if tuned is None or tuned.kind is not TUNED else self.stages.record(tuned)
        if tuned is None or record is None:
            return {}
        result = record.result
        chosen = {name: str(result["tries"][result["chosen"]][name]) for name, _ in tuned.spec.axes}
        ends = {name: f" (the {end} tried)" for name, end in result["edges"].items()}
        return {f"tuned.{name}": value + ends.get(name, "") for name, value in chosen.items()}

    def _curves(self, variant: Variant, closure: Iterable[Stage]) -> Metrics:
        trainings = [
            *(("base", stage) for stage in closure if stage.kind is BASE),
            ("pretrain", variant.pretrained),
            ("finetune", variant.finetuned),
        ]
        return {
            key(f"{phase}/{name}"): points
            for phase, stage in trainings
            if stage is not None
            for name, points in self.curves.points(stage).items()
        }

    def _results(self, variant: Variant) -> Metrics:
        found: Metrics = {}
        for outcome in variant.outcomes:
            record = self.stages.record(outcome.stage)
            if record is not None:
                for metric, value in record.result["means"].items():
                    found[metric_key(outcome.task, metric)] = _single(value, self.stages.finished(record))
        return found

    def _probes(self, variant: Variant) -> Metrics:
        """Pair accuracy along the trunk, a point at the pairs that were read."""
        found: dict[str, list[Point]] = {}
        for probe in variant.probes:
            record = self.stages.record(probe.stage)
            if record is not None:
                value, made = float(record.result["means"][PairAccuracy.headline]), self.stages.finished(record)
                point = Point(step=probe.pairs, value=value, time=round(made * 1000))
                found.setdefault(key(f"probe/{probe.task}"), []).append(point)
        return {name: tuple(points) for name, points in found.items()}

    def _status(self, variants: Iterable[Variant]) -> Status:
        states = {self.states[outcome.stage.fingerprint] for variant in variants for outcome in variant.outcomes}
        if states <= {"done"}:
            return "FINISHED"
        if states & {"failed", "blocked"}:
            return "FAILED"
        return "RUNNING" if self.goes_on or "running" in states else "SCHEDULED"

    def _doubt(self, variants: Iterable[Variant]) -> dict[str, str]:
        """A tag that says why numbers of these variants are not to be trusted; none where all are."""
        stages = [stage for variant in variants for stage in _own(variant)]
        reasons = dict.fromkeys(self.retracted.get(stage.fingerprint, "") for stage in stages)
        told = "; ".join(filter(None, reasons))
        return {"harness.retracted": clipped(told, LONGEST_TAG)} if told else {}

    # -------------------------------------------------------------------------------- references and comparison

    def references(self) -> Iterable[RunView]:
        """Rows that understand nothing, and the oracle."""
        for (kind, row), label in self.finished.references.items():
            source = POOL if kind == "pool" else row
            variants = [variant for variant in self.plan.references if variant.setting == source]
            yield from self._reference(kind, row, f"reference: {label}", variants, {"reference": label})

    def imported(self) -> Iterable[RunView]:
        """Rows from outside."""
        for variant in self.plan.imported:
            asset = self.plan.assets[variant.setting]
            params = {"imported": f"{asset.what} {asset.name}", "digest": asset.spec.digest}
            params |= {key: asset.result[key] for key in ("licence", "source")}
            yield from self._reference(IMPORTED, variant.setting, f"imported: {variant.setting}", [variant], params)

    def _reference(
        self, kind: str, row: str, name: str, variants: Sequence[Variant], params: Mapping[str, str]
    ) -> Iterable[RunView]:
        """A row that was not trained here, where the analysis has it."""
        metrics, told = self._compared(kind, row)
        if not metrics:
            return
        outcomes = [outcome.stage for variant in variants for outcome in variant.outcomes]
        closure = self.stages.closure(outcomes)
        start, end = self.stages.times(outcomes)
        doubt = self._doubt(variants)
        tags = told | self.stages.versions(closure) | doubt | {"harness.compared": "yes"}
        yield RunView(
            kind="reference",
            key=fingerprint({"variants": self._key("reference", variants[:1]), "row": row}),
            name=name + _mark(doubt),
            status=self._status(variants),
            start=start,
            end=end,
            params=params,
            tags=tags | {"setting": name},
            metrics=metrics,
            datasets=self.stages.datasets(closure, ()),
            files=(File(name="stages.csv", content=self.stages.table(closure)),),
        )

    def report(self) -> Iterable[RunView]:
        """The report with all settings, and the recipe with all its axes."""
        if not self.finished.report:
            return
        recipe = self.plan.loaded.recipe
        moment = round(self.finished.made * 1000)
        yield RunView(
            kind="report",
            key=fingerprint({"recipe": recipe.name, "kind": "report"}),
            name="report",
            status="FINISHED",
            start=moment,
            end=moment,
            params={},
            tags={"harness.compared": "no", "mlflow.source.name": recipe.name},
            metrics={},
            files=(File(name="recipe.yaml", content=_yaml(recipe)), *self.finished.report),
        )

    def _compared(self, kind: str, row: str) -> tuple[Metrics, dict[str, str]]:
        """What the analysis has of a row: metrics; and tags that a table shows, of each headline and its difference
        from the baseline with intervals, in a few digits, and of what the intervals are over and how they were made."""
        metrics: Metrics = {}
        on_dev = self.plan.loaded.recipe.evaluate.split == "dev"
        tags = {"harness.split": "dev problems"} if on_dev else {}
        for part, ending, tag, what, form in (
            ("estimates", "", ESTIMATE, "", ".3f"),
            ("differences", "_minus_baseline", DIFFERENCE, "difference.", "+.3f"),
        ):
            for one in self.finished.analysis.get(part, ()):
                if (one["kind"], one["row"]) != (kind, row):
                    continue
                name = metric_key(one["task"], one["metric"])
                if kind == "setting" and name in self.constant:
                    continue
                for end, value in (("", "estimate"), ("_low", "low"), ("_high", "high")):
                    metrics[name + ending + end] = _single(one[value], self.finished.made)
                if name in self.columns:
                    estimate, low, high = (format(one[value], form) for value in ("estimate", "low", "high"))
                    tags[tag + name] = f"{estimate} [{low}, {high}]"
                method = f"{100 * one['level']:g} %, over {one['covers']}; {one['method']}"
                tags[key(f"interval.{what}{one['task']}.{one['evaluation']}")] = clipped(method, LONGEST_TAG)
        first = {name: metrics[name] for name in self.columns if name in metrics}
        return first | metrics, tags  # pages that compare runs open with the metric that was written first


def _mark(doubt: Mapping[str, str]) -> str:
    """What a run's name ends with where its numbers are not to be trusted: a page of runs cannot say it otherwise."""
    return " (retracted)" if doubt else ""


def _trained(variant: Variant) -> list[Stage]:
    return [stage for stage in (variant.pretrained, variant.finetuned) if stage is not None]


def _own(variant: Variant) -> list[Stage]:
    """What is done for a variant and not for every arm alike."""
    stages = _trained(variant)
    averaged = [item.stage for stage in stages if stage.kind is AVERAGE for item in stage.inputs.values()]
    tried = [one for stage in stages if stage.kind is TUNED for one in tries_of(stage)]
    trunks = [stage.inputs["trunk"].stage for stage in [*averaged, *stages] if "trunk" in stage.inputs]
    return [*trunks, *averaged, *tried, *stages, *(outcome.stage for outcome in variant.outcomes)]


def _single(value: float, seconds: float) -> tuple[Point, ...]:
    return (Point(step=0, value=float(value), time=round(seconds * 1000)),)


def _yaml(recipe: Recipe) -> str:
    data = recipe.model_dump(mode="json", by_alias=True, exclude={"runtime"})
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
