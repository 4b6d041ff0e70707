"""`harness plan` of several recipes in one workdir: what each costs, what it adds to those before it, and together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cli.console import output, print_json, visible
from harness.cli.price import hours, percent, prices_of
from harness.cli.tables import print_table, table
from harness.cli.workspace import open_workspace
from harness.errors import HarnessError, MissingRequirement, ProblemList
from harness.plan.plan import without_collections
from harness.plan.price import Price, StagePrice
from harness.recipe.lock import SUFFIX as LOCK
from harness.recipe.runtime import Gpus
from harness.report.words import duration, listing, memory, plural


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A recipe's share of several that are planned together; GPU-hours and bytes of what is left to run.

    Attributes:
        refused: why it cannot be planned here; then nothing else is known.
        added: what it adds to the recipes before it.
    """

    recipe: Path
    refused: str = ""
    settings: int = 0
    stages: int = 0
    left: int = 0
    hours: float = 0.0
    added_stages: int = 0
    added: float = 0.0
    added_disk: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Together:
    recipes: tuple[Planned, ...]
    price: Price | None
    """Of every stage once, as the first recipe that wants it prices it; None where no recipe could be planned."""

    @property
    def apart(self) -> float:
        """GPU-hours if each recipe were run in a workdir of its own."""
        return sum(one.hours for one in self.recipes)


def recipes_in(paths: Sequence[Path]) -> list[Path]:
    """Recipes, and of a folder those right below it, by name.

    Raises:
        MissingRequirement: a folder holds none.
    """
    found: list[Path] = []
    for path in paths:
        below = [path]
        if path.is_dir():
            below = sorted(one for one in path.glob("*.yaml") if not one.name.endswith(LOCK))
        if not below:
            raise MissingRequirement(f"no recipe (*.yaml) in {path}", "", "name another folder")
        found += below
    return found


def plan_together(recipes: Sequence[Path], assignments: Sequence[str], workdir: Path | None) -> Together:
    """Plan recipes in one workdir, in the order in which they would be run."""
    planned: list[Planned] = []
    together: dict[str, StagePrice] = {}
    gpus: Gpus | None = None
    for recipe in recipes:
        try:
            workspace = open_workspace(recipe, assignments, workdir, fetches=False)
        except HarnessError as error:
            problems = error.problems if isinstance(error, ProblemList) else [error]
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            planned.append(Planned(recipe=recipe, refused=f"{problems[0]}{more}"))
            continue
        work = workspace.work()
        prices = prices_of(workspace, work)
        gpus = max(filter(None, (gpus, prices.price.gpus)), key=lambda one: one.count)
        priced = {one.stage.fingerprint: one for one in prices.price.stages}
        new = [key for key in priced if key not in together]
        together |= {key: priced[key] for key in new}
        sizes = {one.stage.fingerprint: one.size or 0.0 for one in prices.disk.stages}
        planned.append(
            Planned(
                recipe=recipe,
                settings=len(workspace.plan.settings),
                stages=len(workspace.plan.stages),
                left=len(work.to_run),
                hours=prices.price.gpu_hours,
                added_stages=len(new),
                added=sum(priced[key].gpu_hours or 0.0 for key in new),
                added_disk=sum(sizes.get(key, 0.0) for key in new),
            )
        )
    price = None if gpus is None else Price(gpus=gpus, stages=tuple(together.values()))
    return Together(recipes=tuple(planned), price=price)


@without_collections()
def show_plans(recipes: Sequence[Path], assignments: Sequence[str], workdir: Path | None, *, as_json: bool) -> None:
    """Print what several recipes cost together."""
    together = plan_together(recipes, assignments, workdir)
    if as_json:
        print_json(together_data(together))
        return
    console = output()
    columns = ("settings", "stages", "to run", "GPU-hours", "added", "GPU-hours added", "disk added")
    shown = table("recipes in one workdir, in this order", "recipe", *columns, right=columns)
    for one in together.recipes:
        if not one.refused:
            numbers = (one.settings, one.stages, one.left)
            shown.add_row(
                one.recipe.stem,
                *(f"{number:,}" for number in numbers),
                hours(one.hours),
                f"{one.added_stages:,}",
                hours(one.added),
                memory(one.added_disk),
            )
    print_table(shown)
    price = together.price
    if price is not None:
        saved = 1 - price.gpu_hours / together.apart if together.apart else 0.0
        console.print(
            f"together {hours(price.gpu_hours)} GPU-hours of {price.gpus.kind}, about {duration(price.wall)} on "
            f"{price.gpus.count:,}; {hours(together.apart)} with a separate workdir each: sharing between recipes "
            f"saves {percent(saved)}"
        )
        if price.unknown:
            console.print(f"{plural(price.unknown, 'stage')} of models of unknown size are in no sum")
    reasons: dict[str, list[str]] = {}
    for one in together.recipes:
        reasons.setdefault(one.refused, []).append(one.recipe.stem)
    reasons.pop("", None)
    for reason, names in reasons.items():
        console.print(visible(f"not planned: {listing(names)}: {reason}"), style="red")


def together_data(together: Together) -> dict[str, Any]:
    """For `--json`."""
    price = together.price
    return {
        "recipes": [{**vars(one), "recipe": str(one.recipe)} for one in together.recipes],
        "gpus": None if price is None else price.gpus.model_dump(mode="json"),
        "gpu_hours": None if price is None else price.gpu_hours,
        "gpu_hours_apart": together.apart,
        "wall_seconds": None if price is None else price.wall,
        "unknown_stages": None if price is None else price.unknown,
    }
