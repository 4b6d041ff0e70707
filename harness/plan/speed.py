"""How long stages take on this machine: of each kind a time that is spent always, and a time that grows with its work.

Measured on the plan's finished stages; else on those of `harness doctor --calibrate`; else by the rate at which other
recipes trained the plan's models in the workdir; else assumed. Standard library only.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

from harness.errors import StoreError, reason_of
from harness.events import Metrics, read_events
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Basis, Kind, Known, Work
from harness.pipeline.training_kinds import FINETUNE, PRETRAIN, TRUNK_STATE
from harness.store.record import EVENTS

CALIBRATION = "calibration.json"

# Used only until something was measured in this workdir; `plan` says so.
ASSUMED_FLOPS_PER_SECOND = 3.0e10  # one CPU thread on a tiny model
MOST_READ = 20  # trainings of other recipes whose events are read

Point = tuple[float, float]
"""(work, seconds) of a finished stage: FLOPs where a model runs, else rows."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Seconds of a kind's stages: `fixed` and `each` times their work, neither below 0."""

    fixed: float
    each: float

    def seconds(self, work: float) -> float:
        return self.fixed + self.each * work


def fit(points: Sequence[Point]) -> Line:
    """The line through a kind's finished stages that is nearest by relative error.

    Stages of one size say nothing of the slope: then every stage takes their mean.
    """
    sizes: dict[float, list[float]] = defaultdict(list)
    for work, seconds in points:
        sizes[work].append(seconds)
    means = {work: mean(seconds) for work, seconds in sizes.items()}
    if len(means) == 1:
        return Line(fixed=next(iter(means.values())), each=0.0)
    weights = {work: len(sizes[work]) / max(seconds, 1e-3) ** 2 for work, seconds in means.items()}
    total = sum(weights.values())
    middle = sum(weights[work] * work for work in means) / total
    level = sum(weights[work] * means[work] for work in means) / total
    spread = sum(weights[work] * (work - middle) ** 2 for work in means)
    slope = sum(weights[work] * (work - middle) * (means[work] - level) for work in means) / (spread or math.inf)
    if slope <= 0:
        return Line(fixed=level, each=0.0)
    squares = sum(weights[work] * work**2 for work in means)
    if level < slope * middle and squares:  # through nothing at no work
        return Line(fixed=0.0, each=sum(weights[work] * work * means[work] for work in means) / squares)
    return Line(fixed=max(0.0, level - slope * middle), each=slope)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `harness doctor --calibrate` measured: a line a kind, by name.

    Attributes:
        error: median relative error with which the lines meet the stages they were fitted to.
    """

    lines: Mapping[str, Line]
    error: float

    def save(self, workdir: Path) -> None:
        kinds = {name: [line.fixed, line.each] for name, line in sorted(self.lines.items())}
        (workdir / CALIBRATION).write_text(
            json.dumps({"error": self.error, "kinds": kinds}, indent=1) + "\n", encoding="utf-8"
        )


def read_calibration(workdir: Path) -> Calibration | None:
    """A workdir's calibration, if there is one.

    Raises:
        StoreError: its file is none.
    """
    path = workdir / CALIBRATION
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        kinds, error = saved["kinds"], float(saved["error"])
        lines = {str(name): Line(fixed=float(fixed), each=float(each)) for name, (fixed, each) in kinds.items()}
        for number in (error, *(number for line in lines.values() for number in (line.fixed, line.each))):
            if not 0 <= number < math.inf:
                raise ValueError("its numbers must be finite and not below 0")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
        rule, remedy = "a calibration must be what `harness doctor --calibrate` writes", "calibrate again, or remove it"
        raise StoreError(rule, f"{path} is not: {reason_of(failure)}", remedy) from None
    return Calibration(lines=lines, error=error)


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """What is known of times in a workdir.

    Attributes:
        measured: of kinds that have finished stages here.
        pooled: FLOP/s of all finished stages that run models; without any, of other recipes' trainings of the same
            models; None without these.
        error: median relative error of the calibration, if there is one: on the plan's finished stages, and while there
            are none on its own.
    """

    measured: Mapping[Kind, Line] = field(default_factory=dict)
    calibration: Calibration | None = None
    pooled: float | None = None
    error: float | None = None

    def line(self, kind: Kind, *, models: bool) -> tuple[Line, Basis]:
        """The line of a kind, and what it rests on.

        Args:
            models: its stages run a model.
        """
        if kind in self.measured:
            return self.measured[kind], "measured"
        if self.calibration is not None and kind.name in self.calibration.lines:
            return self.calibration.lines[kind.name], "calibrated"
        if models:
            rate = self.pooled or ASSUMED_FLOPS_PER_SECOND
            return Line(fixed=0.0, each=1 / rate), "measured" if self.pooled else "assumed"
        return Line(fixed=kind.seconds, each=0.0), "assumed"


def amount_of(stage: Stage, work: Work, known: Known) -> tuple[float, bool]:
    """(what a stage's time grows with, whether that is a model's FLOPs)."""
    return (work.flops, True) if work.flops else (stage.kind.rows(stage, known), work.flops is None)


def work_of(stage: Stage, known: Known) -> tuple[float, bool]:
    return amount_of(stage, stage.kind.work(stage, known), known)


def points_of(stages: Iterable[Stage], known: Known) -> dict[Kind, list[tuple[Stage, Point]]]:
    """Finished stages by kind, with their work and the seconds they took."""
    found: dict[Kind, list[tuple[Stage, Point]]] = defaultdict(list)
    for stage in stages:
        record = known.record(stage)
        if record is not None:
            spent = float(known.snapshot.store.run_facts(record)["seconds"])
            found[stage.kind].append((stage, (work_of(stage, known)[0], spent)))
    return found


def speeds_of(stages: Sequence[Stage], known: Known) -> Speeds:
    """What the finished ones of a plan's stages, and the workdir's calibration, say of times."""
    calibration = read_calibration(known.snapshot.store.root.parent)
    found = points_of(stages, known)
    measured = {kind: _measured(points, known) for kind, points in found.items()}
    flops = seconds = 0.0
    for points in found.values():
        for stage, (work, spent) in points:
            if work_of(stage, known)[1]:
                flops, seconds = flops + work, seconds + spent
    errors = [] if calibration is None else relative_errors(calibration.lines, found) or [calibration.error]
    return Speeds(
        measured=measured,
        calibration=calibration,
        pooled=flops / seconds if seconds else _rate_elsewhere(stages, known),
        error=median(errors) if errors else None,
    )


def _rate_elsewhere(stages: Sequence[Stage], known: Known) -> float | None:
    """Median FLOP/s, as they logged them, of other recipes' trainings that began with a model of the plan."""
    store, models = known.snapshot.store, {stage.fingerprint for stage in stages if known.record(stage) is not None}
    rates: list[float] = []
    for record in (record for kind in (FINETUNE, TRUNK_STATE, PRETRAIN) for record in store.records(kind.name)):
        if len(rates) < MOST_READ and models & {str(record.identity["inputs"].get(name)) for name in ("base", "start")}:
            events = read_events(store.directory(record.kind, record.fingerprint) / EVENTS)
            logged = [event.values["flop_per_second"] for event in events if isinstance(event, Metrics)]
            rates += [median(logged)] if logged else []
    return median(rates) if rates else None


def _measured(points: Sequence[tuple[Stage, Point]], known: Known) -> Line:
    """The line of a kind; where all finished stages of a model's kind are of one size, time grows with their FLOPs."""
    line = fit([point for _, point in points])
    stage, (work, _) = points[0]
    if line.each == 0.0 and work and work_of(stage, known)[1] and len({point[0] for _, point in points}) == 1:
        return Line(fixed=0.0, each=line.fixed / work)
    return line


def relative_errors(lines: Mapping[str, Line], found: Mapping[Kind, Sequence[tuple[Stage, Point]]]) -> list[float]:
    """How far the lines of kinds are from finished stages, each relative to the time that it took."""
    return [
        abs(lines[kind.name].seconds(work) - spent) / spent
        for kind, points in found.items()
        if kind.name in lines
        for _, (work, spent) in points
        if spent > 0
    ]
