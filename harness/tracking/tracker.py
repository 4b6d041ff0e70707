"""What a tracker can do. The record is the truth: a tracker is brought to the store's state, never read for results.

A suite in `tests/contract` holds every tracker to this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.tracking.view import View


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What bringing a tracker up to date took, in runs.

    Attributes:
        replaced: runs made anew, because they held what cannot be taken back (another value of a parameter or metric).
        retired: runs the recipe no longer asks for; they stay, and are no longer compared.
    """

    created: int = 0
    updated: int = 0
    replaced: int = 0
    unchanged: int = 0
    retired: int = 0

    @property
    def changes(self) -> int:
        return self.created + self.updated + self.replaced + self.retired


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Web addresses of an experiment: all runs, the table of settings, curves by setting, settings side by side."""

    experiment: str
    table: str
    curves: str
    comparison: str


class Tracker(Protocol):
    """Shows experiments."""

    def show(self, view: View) -> Applied:
        """Bring one experiment up to date. Doing it twice changes nothing the second time.

        Raises:
            MissingRequirement: the tracker does not answer, or refuses; what was shown until then stays.
        """
        ...

    def addresses(self, experiment: str, base: str) -> Addresses:
        """Where to look at an experiment, on the server at `base`.

        Raises:
            MissingRequirement: the tracker does not answer, or has no such experiment.
        """
        ...
