"""The twins in recipes/cpu: every recipe of the paper and its open questions has one, which asks the same question."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.cli.workspace import open_workspace
from harness.recipe.claims import AxisValues, Claim
from harness.recipe.load import LoadedRecipe, load_recipe
from harness.recipe.schema import EXPERIMENT_FIELDS, identity_of

ROOT = Path(__file__).parents[2]
CPU = ROOT / "recipes" / "cpu"
ORIGINALS = {
    path.stem: path for folder in ("paper", "open-questions") for path in (ROOT / "recipes" / folder).glob("*.yaml")
}
WANTS_AN_IMPORT = "pair-order"  # of a reward model: it has no twin
OLDER = ("loss-combinations", "loss-weights")  # twins in their question, made of small.yaml; their results are kept
TWINS = sorted(ORIGINALS.keys() - {WANTS_AN_IMPORT, *OLDER})

# What a twin may change; `*` stands for any name. Everything else is its original's.
MAY_DIFFER = (
    "model",
    "corpus",
    "pairs.count",
    "pairs.part_size",
    "pairs.spare",
    "pairs.max_tokens",
    *(f"pairs.{writer}" for writer in ("prompt", "chosen", "rejected", "construction", "strong", "weak", "clip")),
    *(f"tasks.*.{key}" for key in ("kind", "import", "options", "path", "problems", "max_tokens")),
    "pretrain.schedule.warmup_pairs",
    *(f"{training}.{key}" for training in ("pretrain", "finetune") for key in ("learning_rate", "global_batch")),
    *(f"{training}.precision" for training in ("pretrain", "finetune")),
    "finetune.samples",
    *(f"finetune.tune.{axis}" for axis in ("learning_rate", "epochs", "global_batch")),
    *(f"evaluate.best_of_n.{key}" for key in ("tasks", "n", "candidates")),
    "evaluate.choices",  # made tasks have no options: `best_of_n` asks them, see `asked`
    "evaluate.pair_accuracy.samples",
    "evaluate.code_pairs.count",
)


def test_every_recipe_has_a_twin() -> None:
    assert ORIGINALS.keys() - {WANTS_AN_IMPORT} <= {path.stem for path in CPU.glob("*.yaml")}
    opening, _, _ = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8").partition("\n## ")
    assert f"`{WANTS_AN_IMPORT}.yaml`" in opening
    assert "recipes/cpu" in opening


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything that has no keys of its own, or may differ as a whole."""
    if isinstance(value, Mapping) and value and not may_differ(path):
        for key, one in value.items():
            yield from leaves(one, f"{path}.{key}" if path else key)
    else:
        yield path, value


def may_differ(path: str) -> bool:
    return any(re.fullmatch(re.escape(one).replace(r"\*", r"[^.]+"), path) for one in MAY_DIFFER)


def kept(experiment: Any) -> dict[str, Any]:
    """What a twin must not change of a setting."""
    tree = {key: value for key, value in identity_of(experiment).items() if key in EXPERIMENT_FIELDS}
    if tree["evaluate"]["best_of_n"] is None:  # with `choices` it is there in the twin
        del tree["evaluate"]["best_of_n"]
    return {path: value for path, value in leaves(tree) if not may_differ(path)}


def asked(experiment: Any) -> dict[str, set[str]]:
    """Evaluation -> tasks; `choices` count as `best_of_n`."""
    found: dict[str, set[str]] = {}
    for evaluation, tasks in experiment.evaluate.asked.items():
        found.setdefault(evaluation.replace("choices", "best_of_n"), set()).update(tasks)
    return found


def axes(loaded: LoadedRecipe) -> dict[str, list[str]]:
    """Axis -> names of its values; of one of counts, what number each has."""
    return {
        axis: [str(number) for number in range(len(values))] if is_count(axis) else list(values)
        for axis, values in loaded.recipe.ablations.valued.items()
    }


def is_count(axis: str) -> bool:
    return axis in ("pairs.count", "finetune.samples")


def side(loaded: LoadedRecipe, values: str | AxisValues) -> Any:
    """A side of a claim with counts by their number on their axis."""
    if isinstance(values, str):
        return values
    valued = loaded.recipe.ablations.valued
    return {axis: list(valued[axis]).index(value) if is_count(axis) else value for axis, value in values.items()}


def claims(loaded: LoadedRecipe) -> dict[str, Any]:
    return {name: contrast(loaded, claim) for name, claim in loaded.recipe.claims.items()}


def contrast(loaded: LoadedRecipe, claim: Claim) -> Any:
    on = {evaluation.replace("choices", "best_of_n"): tasks for evaluation, tasks in claim.on.items()}
    words = re.sub(r"[\d.,]+M?", "N", claim.says) if any(map(is_count, claim.better)) else claim.says
    return words, side(loaded, claim.better), side(loaded, claim.than), on, claim.margin, claim.rule, claim.each


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_asks_what_its_original_asks(name: str) -> None:
    original, twin = load_recipe(ORIGINALS[name]), load_recipe(CPU / f"{name}.yaml")
    assert axes(twin) == axes(original)
    assert twin.recipe.ablations.mode == original.recipe.ablations.mode
    assert twin.recipe.ablations.exclude == original.recipe.ablations.exclude
    assert claims(twin) == claims(original)
    for its, theirs in zip(twin.settings, original.settings, strict=True):
        assert kept(its.experiment) == kept(theirs.experiment), its.name
        assert asked(its.experiment) == asked(theirs.experiment), its.name
    distinct = [len({repr(one.experiment) for one in loaded.settings}) for loaded in (twin, original)]
    assert distinct[0] == distinct[1] == len(twin.settings)


def test_all_twins_plan_without_a_network(tmp_path: Path) -> None:
    for name in TWINS:
        workspace = open_workspace(CPU / f"{name}.yaml", [], tmp_path / "workdir")
        assert workspace.work().to_run, name
        head = (CPU / f"{name}.yaml").read_text(encoding="utf-8").partition("\nextends:")[0].replace("#", " ")
        assert re.search(r"`harness plan` says about \d+ minutes\.", " ".join(head.split())), name
