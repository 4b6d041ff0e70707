"""What a plan's rows are judged by: each seed of a setting, of a reference scorer, of a row from outside."""

from __future__ import annotations

from dataclasses import dataclass

from harness.pipeline.graph import Stage

POOL, IMPORTED = "pool", "imported"  # the row of what a pool gives without a scorer; the kind of a row from outside

ON_PAIRS_OF = " on pairs of "
"""In a reference's name between the scorer and a setting, where settings are judged on different code pairs."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One evaluated thing: `metric` (the evaluation, or what gives its baselines) of a row on a task."""

    task: str
    metric: str
    stage: Stage


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Pair accuracy on a task of a run's stable path after so many pairs."""

    pairs: int
    task: str
    stage: Stage


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A setting with one combination of seeds. `pretrain_seed` is None for an arm without PMP.

    `pretrained` and `finetuned` are its training stages; a reference scorer has none, and where held-out code alone
    judges nothing is fine-tuned. `checks` look at the training pairs, `probes` at its PMP on the way, `dev` at what a
    search chose it by; none of them is an outcome.
    """

    setting: str
    pretrain_seed: int | None
    finetune_seed: int | None
    outcomes: tuple[Outcome, ...]
    pretrained: Stage | None = None
    finetuned: Stage | None = None
    checks: tuple[Stage, ...] = ()
    probes: tuple[Probe, ...] = ()
    dev: tuple[Outcome, ...] = ()

    @property
    def targets(self) -> tuple[Stage, ...]:
        """Everything asked for by name."""
        return (
            *(outcome.stage for outcome in self.outcomes),
            *self.checks,
            *(probe.stage for probe in self.probes),
            *(outcome.stage for outcome in self.dev),
        )
