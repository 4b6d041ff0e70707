"""Which setting the others are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plan.plan import PlannedSetting

BY_DEFAULT = "by default: `baseline` in the recipe chooses another"


def chosen_baseline(settings: Sequence[PlannedSetting], named: str | None) -> PlannedSetting | None:
    """The setting that the recipe's `baseline` names; None without one, and while that setting waits for its match."""
    return next((one for one in settings if named in (one.name, *one.names)), None)


def baseline_setting(settings: Sequence[PlannedSetting], named: str | None) -> PlannedSetting:
    """The one that the recipe names, else the first without PMP, else the first; where a search has chosen all of
    them the first, which is 1:1.
    """
    chosen = chosen_baseline(settings, named)
    if chosen is not None:
        return chosen
    if all(one.setting.chosen for one in settings):
        return settings[0]
    return next((one for one in settings if one.setting.experiment.pretrain is None), settings[0])
