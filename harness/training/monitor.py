"""Watches a training: smoothed losses for its result, and the rule by which it has diverged.

It is part of the saved training state, so an interrupted training ends with the same result as an uninterrupted one. It
must not know about models or optimizers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import TrainingDiverged

LOSSES = ("loss_rm", "loss_lm")
"""Watched one by one: in their sum, a language-model loss near 10 would hide a Bradley-Terry loss of 15."""

SMOOTHING = 0.95
"""Weight of the past in the smoothed values: they look back over about 20 steps."""

PATIENCE_STEPS = 10
"""No verdict before so many steps: the smoothed loss would rest on single batches."""

RUNAWAY_FACTOR = 3.0
RUNAWAY_OFFSET = 1.0
"""A loss ran away if it, smoothed, exceeds factor x its first value + offset. Its first value is the model's before any
update: near 0.69 for a fresh Bradley-Terry head, near ln(vocabulary), 8 to 12, for an untrained language model; noise
does not reach the bound and a blown-up training does at once. The offset keeps a training that starts near loss 0 from
failing over a small rise."""

DOMINANCE = 10.0
"""One loss dominates where its weighted gradient is so many times the other's: the other then hardly moves anything."""


@dataclass(kw_only=True)
class Monitor:
    """Running sums since the training began, whatever process each step ran in.

    Attributes:
        tokens: tokens that went through the model (padding not counted).
        groups: pairs or texts trained on.
        weighted, weights: exponentially weighted sum of each value, and of the weights themselves.
        first: each loss's first value.
    """

    tokens: int = 0
    groups: int = 0
    weighted: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)

    def observe(self, values: Mapping[str, float], *, tokens: int, groups: int) -> None:
        """Takes in one step's values; one absent from a step (a batch without pairs) keeps its average."""
        self.tokens += tokens
        self.groups += groups
        for name, value in values.items():
            self.weighted[name] = SMOOTHING * self.weighted.get(name, 0.0) + (1 - SMOOTHING) * value
            self.weights[name] = SMOOTHING * self.weights.get(name, 0.0) + (1 - SMOOTHING)
            self.first.setdefault(name, value)

    def smoothed(self) -> dict[str, float]:
        """Averages over about the last 20 steps, free of a start-up bias."""
        return {name: total / self.weights[name] for name, total in self.weighted.items()}

    def require_stable(self, step: int, warmup_steps: int) -> None:
        """Raises TrainingDiverged if, after the warm-up, one of the losses ran away. `step` counts from 1."""
        if step <= max(warmup_steps, PATIENCE_STEPS):
            return
        smoothed = self.smoothed()
        for name in LOSSES:
            bound = RUNAWAY_FACTOR * self.first.get(name, 0.0) + RUNAWAY_OFFSET
            if smoothed.get(name, 0.0) > bound:
                raise TrainingDiverged(
                    f"the smoothed {name} must stay below {RUNAWAY_FACTOR} x its first value + {RUNAWAY_OFFSET}"
                    f" = {bound:.4g}",
                    f"at step {step} it is {smoothed[name]:.4g}",
                    "lower the learning rate or lengthen the warm-up",
                )


def dominance(values: Mapping[str, float]) -> str | None:
    """A line on the loss that dominates by its gradient, if one does.

    Args:
        values: `grad_norm_rm` and `grad_norm_lm` among them.
    """
    rm, lm = values["grad_norm_rm"], values["grad_norm_lm"]
    if max(rm, lm) <= DOMINANCE * min(rm, lm):
        return None
    larger, smaller = ("RM", "LM") if rm > lm else ("LM", "RM")
    return (
        f"the {larger} loss dominates: weighted gradient norms are {rm:.3g} (RM) and {lm:.3g} (LM), more than"
        f" {DOMINANCE:g} to 1; raise the weight of the {smaller} loss or lower the other's"
    )


def require_finite(step: int, values: Mapping[str, float]) -> None:
    """Raises TrainingDiverged, naming all values, if one of them is not a finite number."""
    if not all(math.isfinite(value) for value in values.values()):
        told = ", ".join(f"{name} = {value:.6g}" for name, value in values.items())
        raise TrainingDiverged(
            "loss and gradient must stay finite",
            f"at step {step} {told}",
            "lower the learning rate, lengthen the warm-up or use fp32",
        )
