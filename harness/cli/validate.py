"""`harness validate`: is the recipe sound?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.cli.console import output
from harness.cli.workspace import load_checked


def validate_recipe(recipe: Path, assignments: Sequence[str]) -> None:
    """Raise every error of the recipe, or say what it asks for."""
    loaded = load_checked(recipe, assignments)
    seeds = loaded.recipe.seeds
    output().print(
        f"{loaded.recipe.name}: valid, {len(loaded.settings)} settings, "
        f"seeds {seeds.pretrain} pretrain x {seeds.finetune} finetune",
    )
