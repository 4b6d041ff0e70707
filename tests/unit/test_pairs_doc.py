"""The recipes of docs/pairs.md are recipes, and it names every construction and property there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.plan.plan import make_plan
from harness.recipe.load import load_recipe
from harness.recipe.pairs import CONSTRUCTIONS, MadePairs, PairProperties

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "pairs.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)]
RECIPES = [block for block in BLOCKS if {"corpus", "pairs"} & block.keys()]


@pytest.mark.parametrize("block", RECIPES, ids=lambda block: next(iter(block)))
def test_a_block_extends_the_quickstart(tmp_path: Path, block: dict[str, Any]) -> None:
    path = tmp_path / "recipe.yaml"
    whole = {"extends": str(ROOT / "recipes" / "quickstart.yaml"), "name": "documented", **block}
    path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    loaded = load_recipe(path)
    if "pairs" in block:  # the corpora are the reader's own
        plan = make_plan(loaded)
        assert any(stage.kind.name == "pairs" for stage in plan.stages)
        if "ablations" in block:
            made = {setting.setting.values["pairs.construction"] for setting in plan.settings}
            assert made == {f"construction={name}" for name in CONSTRUCTIONS}


def test_all_constructions_and_properties_are_there() -> None:
    told = set(re.findall(r"`([\w-]+)[:`]", DOCUMENT))
    assert CONSTRUCTIONS.keys() <= told
    others = {"count", "max_tokens", "prompt", "part_size", "judges", "quality"}  # no properties: see the schema
    assert ({*PairProperties.model_fields, *MadePairs.model_fields} - others) <= told
