"""Learning rate as a pure function of the step, so that resuming and branching need no scheduler state.

Steps count from 0; step s is the (s + 1)-th update. Warm-up rises linearly and its last step reaches the peak; a
decay's first step still has the peak and it would be 0 one step after its last, so no update is ever made at rate 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FRACTION_DECIMALS = 6
"""A warm-up fraction times the steps is rounded here before it is rounded up: 0.07 · 100 must be 7 steps, not 8."""


@dataclass(frozen=True, kw_only=True)
class Wsd:
    """Warm-up, stable, decay (MiniCPM, arXiv 2404.06395), linear to 0. A trunk is the same schedule without a decay.

    Attributes:
        peak: the stable learning rate.
        warmup_steps: absolute, so that every pair count shares the trunk.
        decay_start: first step of the decay, or None for a trunk.
        decay_steps: its length.
    """

    peak: float
    warmup_steps: int
    decay_start: int | None = None
    decay_steps: int = 0


@dataclass(frozen=True, kw_only=True)
class _Anneal:
    """From the peak to 0 after a warm-up of ceil(warmup · total_steps) steps."""

    peak: float
    warmup: float
    total_steps: int

    @property
    def warmup_steps(self) -> int:
        return math.ceil(round(self.warmup * self.total_steps, FRACTION_DECIMALS))

    def done(self, step: int) -> float:
        """How much of the way down lies before `step`, from 0 to 1."""
        return _progress(step, self.warmup_steps, self.total_steps - self.warmup_steps)


class Cosine(_Anneal):
    """Half a cosine."""


class Linear(_Anneal):
    """A straight line."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The peak throughout, after the warm-up."""

    peak: float
    warmup_steps: int = 0


Schedule = Wsd | Cosine | Linear | Constant


def learning_rate(schedule: Schedule, step: int) -> float:
    """The rate of step `step`, from 0. A decay that begins inside the warm-up scales it: the factors multiply."""
    rate = schedule.peak * _warmup_factor(step, schedule.warmup_steps)
    match schedule:
        case Wsd(decay_start=int(start)):
            return rate * (1.0 - _progress(step, start, schedule.decay_steps))
        case Cosine():
            return rate * 0.5 * (1.0 + math.cos(math.pi * schedule.done(step)))
        case Linear():
            return rate * (1.0 - schedule.done(step))
    return rate


def _warmup_factor(step: int, warmup_steps: int) -> float:
    return 1.0 if step >= warmup_steps else (step + 1) / warmup_steps


def _progress(step: int, start: int, steps: int) -> float:
    """How much of [start, start + steps) lies before `step`, from 0 to 1."""
    if step <= start:
        return 0.0
    return 1.0 if step >= start + steps else (step - start) / steps
