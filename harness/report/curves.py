"""Training curves from the stages' events, thinned for drawing. A PMP curve runs through its trunk into its branch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.events import Metrics, read_events
from harness.pipeline import training
from harness.pipeline.graph import Stage
from harness.pipeline.training import TRUNK_STATE, trunk_of
from harness.plan.plan import Plan, Variant
from harness.report.status import Statuses
from harness.store.record import EVENTS
from harness.store.store import Store

MOST_POINTS = 1_000
BASE, PMP, FINETUNE = "base", "pmp", "finetune"
LOSSES = ("loss_rm", "loss_lm")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One loss of one training run: `phase` is base, pmp or finetune; `retracted` if something behind it is."""

    phase: str
    setting: str
    seed: str
    metric: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    retracted: bool


Points = dict[int, dict[str, float]]


def training_curves(plan: Plan, statuses: Statuses, store: Store) -> tuple[Curve, ...]:
    """Losses of every finished training; a run that settings share stands under the first of them."""
    reader = _Reader(plan, statuses, store)
    found: list[Curve] = []
    for stage in plan.stages:
        if stage.kind is training.BASE:
            found += _curves(BASE, "base", "", reader.points(stage), bool(statuses[stage.fingerprint].retracted))
    seen: set[str] = set()
    for setting in plan.settings:
        for variant in setting.variants:
            for phase, trained in ((PMP, variant.pretrained), (FINETUNE, variant.finetuned)):
                if trained is not None and trained.fingerprint not in seen:
                    seen.add(trained.fingerprint)
                    points = reader.whole_run(trained)
                    retracted = bool(statuses[trained.fingerprint].retracted)
                    found += _curves(phase, setting.name, _seed(variant, phase), points, retracted)
    return tuple(found)


class _Reader:
    """Reads metrics of finished stages and knows which trunk states belong together."""

    def __init__(self, plan: Plan, statuses: Statuses, store: Store) -> None:
        self._statuses = statuses
        self._store = store
        self._trunks: dict[str, list[Stage]] = {}
        for stage in plan.stages:
            if stage.kind is TRUNK_STATE:
                self._trunks.setdefault(trunk_of(stage.identity), []).append(stage)

    def points(self, stage: Stage) -> Points:
        """{step: metrics} of a finished stage; of an unfinished one nothing."""
        if self._statuses[stage.fingerprint].record is None:
            return {}
        path = self._store.directory(stage.kind.name, stage.fingerprint) / EVENTS
        return {event.step: dict(event.values) for event in read_events(path) if isinstance(event, Metrics)}

    def whole_run(self, stage: Stage) -> Points:
        """A training's metrics from step 0, those of the trunk states it was reached by included."""
        if "trunk" not in stage.inputs:
            return self.points(stage)
        own = self.points(stage)
        if not own:
            return {}
        trunk = stage.inputs["trunk"].stage
        points: Points = {}
        for state in self._trunks[trunk_of(trunk.identity)]:
            if state.spec.step <= trunk.spec.step:
                points |= self.points(state)
        return dict(sorted((points | own).items()))


def _seed(variant: Variant, phase: str) -> str:
    pmp = "" if variant.pretrain_seed is None else f"PMP seed {variant.pretrain_seed}"
    tuned = f"fine-tuning seed {variant.finetune_seed}" if phase == FINETUNE else ""
    return ", ".join(filter(None, (pmp, tuned)))


def _curves(phase: str, setting: str, seed: str, points: Points, retracted: bool) -> list[Curve]:
    found = []
    for metric in LOSSES:
        have = [(step, values[metric]) for step, values in points.items() if metric in values]
        if have:
            thin = thinned(have, MOST_POINTS)
            steps, values = zip(*thin, strict=True)
            found.append(
                Curve(
                    phase=phase,
                    setting=setting,
                    seed=seed,
                    metric=metric,
                    steps=tuple(steps),
                    values=tuple(values),
                    retracted=retracted,
                )
            )
    return found


def thinned(points: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At most `most` points, evenly chosen, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(index * last / (most - 1))] for index in range(most)]


def of_phase(curves: Iterable[Curve], phase: str, metric: str) -> list[Curve]:
    """The curves of one figure."""
    return [curve for curve in curves if curve.phase == phase and curve.metric == metric]
