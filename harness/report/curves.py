"""Training curves from the events of the stages that made a training, thinned for drawing, for reports and trackers.

A PMP curve runs through its trunk into its branch. Curves only grow while a training lasts: which steps are shown
depends on how many are planned, so that a tracker adds points and removes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.events import Metrics, read_events
from harness.pipeline import training_kinds
from harness.pipeline.graph import Stage
from harness.pipeline.training_kinds import TRUNK_STATE, Training, trunk_of
from harness.pipeline.tuning import TUNED, chosen_of
from harness.plan.plan import Plan
from harness.plan.rows import Variant
from harness.report.status import Statuses
from harness.store.record import EVENTS
from harness.store.store import Snapshot, Store

MOST_POINTS = 1_000
"""Points of one metric of one training: enough for any screen, and one batch of MLflow's."""

MOST_SETTINGS = 12
"""Settings whose curves a report draws: lines of more can no longer be told apart."""

BASE, PMP, FINETUNE = "base", "pmp", "finetune"
LOSSES = ("loss_rm", "loss_lm")
BALANCE = "balance"
"""Of both losses: the norm of the reward-model loss's weighted gradient over that of the language-model loss's."""

NORMS = ("grad_norm_rm", "grad_norm_lm")


@dataclass(frozen=True, kw_only=True, slots=True)  # a large recipe has millions
class Point:
    """A metric's value at a step; `time` is milliseconds since the epoch."""

    step: int
    value: float
    time: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One loss of one training run, or the balance of both.

    Attributes:
        phase: base, pmp or finetune.
        retracted: whether something behind it is.
    """

    phase: str
    setting: str
    seed: str
    metric: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    retracted: bool


class CurveReader:
    """Reads each training's events once, however many variants share it."""

    def __init__(self, snapshot: Snapshot, stages: Iterable[Stage]) -> None:
        self._snapshot = snapshot
        self._planned = [stage for stage in stages if stage.kind is TRUNK_STATE]
        self._points: dict[str, dict[str, tuple[Point, ...]]] = {}
        self._states: dict[str, list[tuple[int, Path]]] | None = None

    def points(self, stage: Stage) -> dict[str, tuple[Point, ...]]:
        """{metric: points} of a training from step 0 up to its last event, finished or not."""
        if stage.kind is TUNED:
            record = self._snapshot.record(stage.kind.name, stage.fingerprint)
            return {} if record is None else self.points(chosen_of(stage, record.result))
        if not isinstance(stage.kind, Training):  # a mean of trainings
            return {}
        if stage.fingerprint not in self._points:
            ended = self._snapshot.record(stage.kind.name, stage.fingerprint) is not None
            self._points[stage.fingerprint] = _points(self._events(stage), stage.kind.steps(stage), ended=ended)
        return self._points[stage.fingerprint]

    def _events(self, stage: Stage) -> dict[int, Metrics]:
        """{step: event}, ascending."""
        folders = [self._folder(stage)]
        if "trunk" in stage.inputs:
            trunk = stage.inputs["trunk"].stage
            states = self._trunk_states()[trunk_of(trunk.identity)]
            folders = [*(folder for step, folder in states if step <= trunk.spec.step), *folders]
        events = (event for folder in folders for event in read_events(folder / EVENTS))
        return dict(sorted({event.step: event for event in events if isinstance(event, Metrics)}.items()))

    def _folder(self, stage: Stage) -> Path:
        """Where a stage's events are: with its record or, without one, where it is being built."""
        store = self._snapshot.store
        finished = self._snapshot.record(stage.kind.name, stage.fingerprint) is not None
        return (store.directory if finished else store.partial)(stage.kind.name, stage.fingerprint)

    def _trunk_states(self) -> dict[str, list[tuple[int, Path]]]:
        """{trunk: (step, folder) of its states}: those in the store, as another recipe may have trained the first part
        of this plan's trunks, and this plan's own, done or not."""
        if self._states is None:
            store = self._snapshot.store
            found = {(trunk_of(stage.identity), stage.spec.step): self._folder(stage) for stage in self._planned}
            for record in store.records(TRUNK_STATE.name, besides=frozenset(found.values())):
                state = (trunk_of(record.identity), int(record.identity["spec"]["step"]))
                found[state] = store.directory(record.kind, record.fingerprint)
            self._states = {}
            for (trunk, step), folder in sorted(found.items()):
                self._states.setdefault(trunk, []).append((step, folder))
        return self._states


def training_curves(plan: Plan, statuses: Statuses, store: Store) -> tuple[Curve, ...]:
    """Losses of the first settings' finished trainings; a run that they share stands under the first of them."""
    trainings = [(BASE, stage, "base", "") for stage in plan.stages if stage.kind is training_kinds.BASE]
    for setting in plan.settings[:MOST_SETTINGS]:
        for variant in setting.variants:
            for phase, stage in ((PMP, variant.pretrained), (FINETUNE, variant.finetuned)):
                if stage is not None:
                    trainings.append((phase, stage, setting.name, _seed(variant, phase)))
    records = (status.record for status in statuses.values() if status.record is not None)
    reader = CurveReader(Snapshot(store, records), plan.stages)
    found: dict[tuple[str, str], Curve] = {}
    for phase, stage, name, seed in trainings:
        status = statuses[stage.fingerprint]
        points = {} if status.record is None else _with_balance(reader.points(stage))
        for metric in (*LOSSES, BALANCE):
            if metric in points and (stage.fingerprint, metric) not in found:
                found[stage.fingerprint, metric] = Curve(
                    phase=phase,
                    setting=name,
                    seed=seed,
                    metric=metric,
                    steps=tuple(point.step for point in points[metric]),
                    values=tuple(point.value for point in points[metric]),
                    retracted=bool(status.retracted),
                )
    return tuple(found.values())


def _with_balance(points: Mapping[str, tuple[Point, ...]]) -> dict[str, tuple[Point, ...]]:
    """With the balance at each step at which both gradients were measured and the second is above 0."""
    rm, lm = ({point.step: point for point in points.get(name, ())} for name in NORMS)
    both = [(rm[step], lm[step]) for step in rm if step in lm and lm[step].value > 0]
    balance = tuple(Point(step=one.step, value=one.value / other.value, time=one.time) for one, other in both)
    return {**points, **({BALANCE: balance} if balance else {})}


def _seed(variant: Variant, phase: str) -> str:
    pmp = "" if variant.pretrain_seed is None else f"PMP seed {variant.pretrain_seed}"
    tuned = f"fine-tuning seed {variant.finetune_seed}" if phase == FINETUNE else ""
    return ", ".join(filter(None, (pmp, tuned)))


def _points(events: dict[int, Metrics], planned: int, *, ended: bool) -> dict[str, tuple[Point, ...]]:
    last = max(events, default=0)
    shown = set(spread(events, stride_of(max(planned, last)))) | ({last} if ended else set())
    names = sorted({name for event in events.values() for name in event.values})
    return {
        name: tuple(
            Point(step=step, value=float(event.values[name]), time=round(event.time * 1000))
            for step, event in events.items()
            if step in shown and name in event.values
        )
        for name in names
    }


def stride_of(steps: int) -> int:
    """Steps for which one point is shown: the least power of two that leaves room for the last step's beside them."""
    stride = 1
    while -(-steps // stride) >= MOST_POINTS:
        stride *= 2
    return stride


def spread(steps: Iterable[int], stride: int) -> list[int]:
    """Of ascending steps the first of every `stride`: what is chosen stays chosen when more are added."""
    firsts: dict[int, int] = {}
    for step in steps:
        firsts.setdefault((step - 1) // stride, step)
    return list(firsts.values())


def of_phase(curves: Iterable[Curve], phase: str, metric: str) -> list[Curve]:
    """The curves of one figure."""
    return [curve for curve in curves if curve.phase == phase and curve.metric == metric]
