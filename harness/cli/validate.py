"""`harness validate`: is the recipe sound?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.cli.console import output
from harness.cli.workspace import load_checked
from harness.report.words import plural


def validate_recipe(recipe: Path, assignments: Sequence[str]) -> None:
    """Raise every error of the recipe, or say what it asks for."""
    loaded = load_checked(recipe, assignments)
    seeds, search = loaded.recipe.seeds, loaded.recipe.search
    asked = []
    if search is not None:
        over = plural(len(search.parameters), "parameter")
        asked.append(f"a search of {plural(search.trials, 'trial')} over {over}")
    if search is None or loaded.data.get("ablations"):
        settings = plural(len(loaded.settings), "setting")
        asked.append(f"{settings}, seeds {seeds.pretrain} pretrain x {seeds.finetune} finetune")
    output().print(f"{loaded.recipe.name}: valid, {' and '.join(asked)}")
