"""`harness init`: what it writes is a recipe that plans, and it destroys nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from harness.cli.init import found_recipe
from harness.cli.run_command import run_command
from harness.cli.workspace import open_workspace
from harness.errors import RecipeError
from harness.recipe.load import load_recipe
from harness.recipe.schema import EXPERIMENT_FIELDS
from harness.recipe.yaml_source import flow_text, parse_value

RECIPES = Path(__file__).parents[2] / "recipes"


def init(*arguments: object) -> int:
    return run_command(["init", *map(str, arguments)])


def stages(recipe: Path, folder: Path) -> set[str]:
    return {stage.fingerprint for stage in open_workspace(recipe, [], folder).plan.stages}


def switched_on(recipe: Path) -> Path:
    """The recipe with every commented-out line in effect."""
    path = recipe.with_name("on.yaml")
    path.write_text(re.sub(r"^#(?! [^ ])", "", recipe.read_text(encoding="utf-8"), flags=re.MULTILINE))
    return path


def test_a_recipe_to_begin_from_plans_and_explains_every_block(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "studies" / "first.yaml"
    assert init(path) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [f"harness plan {path}", f"harness run {path}"]
    loaded = load_recipe(path)
    assert (loaded.recipe.name, len(loaded.settings)) == ("first", 4)
    assert stages(path, tmp_path / "workdir")
    lines = path.read_text(encoding="utf-8").splitlines()
    for block in (*EXPERIMENT_FIELDS, "seeds", "ablations", "runtime"):
        (number,) = [number for number, line in enumerate(lines) if line.startswith(f"{block}:")]
        assert lines[number - 1].startswith("# "), block


@pytest.mark.parametrize("parent", ["paper/loss-combinations", "paper/pair-count-full", "cpu/loss-weights"])
def test_a_variation_says_what_its_parent_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "some" / "where" / "else.yaml"
    assert init(path, "--from", f"recipes/{parent}", "--name", "mine") == 0
    said = re.findall(r"^extends: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert said == [os.path.relpath(RECIPES / f"{parent}.yaml", path.parent)]
    base = load_recipe(RECIPES / f"{parent}.yaml")
    for recipe, claims in ((path, {}), (switched_on(path), base.recipe.claims)):
        loaded = load_recipe(recipe)
        assert loaded.recipe == base.recipe.model_copy(update={"name": "mine", "claims": claims})
        assert [(one.name, one.values) for one in loaded.settings] == [(one.name, one.values) for one in base.settings]
    on = switched_on(path).read_text(encoding="utf-8")
    assert re.search(r"^seeds: .*\n(.*\n)*pairs: .*\n(.*\n)*runtime: ", on, re.MULTILINE)
    assert ("\nablations:" in on) == ("axes" in (base.data.get("ablations") or {}))


def test_a_variation_shares_the_stages_of_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    assert init(path, "--from", RECIPES / "quickstart.yaml") == 0
    assert stages(path, tmp_path / "workdir") == stages(RECIPES / "quickstart.yaml", tmp_path / "workdir")


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("of mine", encoding="utf-8")
    assert init(path) == init(path, "--from", "paper/main") == 2
    assert path.read_text(encoding="utf-8") == "of mine"
    assert f"{path} exists, and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a b.yaml"], "choose one with `--name`"),
        (["quickstart.yaml", "--from", "quickstart"], "two recipes of one name"),
        (["new.yaml", "--from", "paper/mian"], r"did you mean `paper/main`\?.*paper/schedule, quickstart"),
    ],
)
def test_what_cannot_be_is_one_error_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(*arguments) == 2
    assert re.search(told, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_without_a_clone_recipes_are_found_by_path_alone(tmp_path: Path) -> None:
    (tmp_path / "near.yaml").write_text("name: near", encoding="utf-8")
    assert found_recipe(f"{tmp_path}/near", shipped=tmp_path / "recipes") == tmp_path / "near.yaml"
    with pytest.raises(RecipeError, match=rf"did you mean `{tmp_path}/near`\?"):
        found_recipe(f"{tmp_path}/naer", shipped=tmp_path / "recipes")
    with pytest.raises(RecipeError, match="recipes come with a clone"):
        found_recipe("paper/main", shipped=tmp_path / "recipes")


@pytest.mark.parametrize(
    "value",
    [
        *("no", "1e-6", "true", "null", "~", "3", "", " x", "a: b", "#", "é\n", "a " * 100),
        *(28_000_000, -12_345, 1e-6, 3.0, float("inf"), True, None, ["on", {"1e-5": {}}]),
    ],
)
def test_a_value_on_one_line_reads_as_itself(value: Any) -> None:
    text = flow_text(value)
    assert "\n" not in text
    read = parse_value(text, "here")
    assert (type(read), read) == (type(value), value)
