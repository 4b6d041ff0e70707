"""`harness init`: a commented recipe to begin from, whole or as a variation of another recipe.

A clone's own recipes are found by name from every folder. A wheel carries none, and then `--from` takes paths alone.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice
from pathlib import Path
from typing import Any

from harness.cli.console import clipped, output, visible
from harness.errors import RecipeError
from harness.recipe.blocks import WSD, TinyModel
from harness.recipe.fields import NAME_PATTERN, PACKAGE, without_nulls
from harness.recipe.load import LoadedRecipe, load_recipe
from harness.recipe.lock import SUFFIX as LOCK
from harness.recipe.problems import suggestion
from harness.recipe.yaml_source import flow_text
from harness.report.words import plural

TEMPLATE = Path(__file__).with_name("init.yaml")
SHIPPED = PACKAGE.parent / "recipes"
SCHEMA = "recipe.schema.json"  # tells the recipes of a clone from what else may lie beside an installed package
SUFFIX = ".yaml"
OVERLAYS = "overlay"  # a folder of parts of recipes, which are none
MOST_LISTED = 60
LONGEST = 110  # characters of a line

HEADER = """\
# A variation of {name}: {settings}.
# Lines with `#` right before a key hold present values: to change one, take the `#` away, also from the keys that it
# stands under. docs/recipes.md has every field.
"""
AXES = """
# Which settings there are. `axis: null` drops an axis, `value: null` a value of it; a new name adds one. A value is
# replaced as a whole: take the `#` from all of its lines.
"""
COUNTS = """
# How much: repetitions, and counts that decide what it costs.
"""
CLAIMS = """
# What it means to show. `extends` brings along those claims alone that are named here.
"""
RUNTIME = """
# How to run; nothing here changes a result.
"""
# Of `runtime`, what a machine usually decides.
FIRST_CHANGED = ("workdir", "device", "slots", "row_tokens", "tracking")


def write_recipe(file: Path | None, parent: str | None, name: str | None) -> None:
    """Write a new recipe and print what to do next.

    Raises:
        RecipeError: there is a file already, no such recipe to extend, or no name that a recipe may have.
        ProblemList: the recipe to extend is wrong.
    """
    path = file or Path(f"{name or 'recipe'}{SUFFIX}")
    chosen = path.stem if name is None else name
    if not re.fullmatch(NAME_PATTERN, chosen):
        rule = "a recipe's name must be up to 64 letters, digits and `_.+-`, and begin with a letter or digit"
        raise RecipeError(rule, f"got {clipped(chosen)}", "choose one with `--name`")
    if os.path.lexists(path):
        raise RecipeError(f"{path} exists, and `harness init` overwrites nothing", "", "name another file")
    if parent is None:
        text = TEMPLATE.read_text(encoding="utf-8").replace("name: NAME ", f"name: {flow_text(chosen)} ", 1)
    else:
        loaded = load_recipe(found_recipe(parent))
        if loaded.recipe.name == chosen:
            rule = "two recipes of one name would write one report"
            raise RecipeError(rule, f"{loaded.path} is {chosen} too", "choose another one with `--name`")
        text = variation(loaded, path, chosen)
    if _is_clone(SHIPPED):
        text = f"# yaml-language-server: $schema={_relative(SHIPPED / SCHEMA, path)}\n{text}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as new:
        new.write(text)
    shown = shlex.quote(str(path))
    output().print(f"{visible(str(path))} is written. Next:\nharness plan {shown}\nharness run {shown}")


# ------------------------------------------------------------------------------------------------ which recipe


def found_recipe(asked: str, shipped: Path = SHIPPED) -> Path:
    """The recipe that `--from` names, with or without `.yaml`: a path from here, or a name in the clone's recipes.

    Raises:
        RecipeError: there is none; lists those that are near.
    """
    places: list[Path] = [Path(), *((shipped.parent, shipped) if _is_clone(shipped) else ())]
    for place in places:
        for path in (place / asked, place / f"{asked}{SUFFIX}"):
            if os.path.isfile(path):
                return path
    near = list(islice(dict.fromkeys(_near(asked, shipped)), MOST_LISTED))
    remedy = suggestion(asked.removesuffix(SUFFIX), near) or "correct it"
    listed = f"{remedy} There are {', '.join(near)}" if near else "give the path of one; recipes come with a clone"
    raise RecipeError(f"no recipe {clipped(asked)} to vary", "", listed)


def _is_clone(shipped: Path) -> bool:
    return (shipped / SCHEMA).is_file()


def _near(asked: str, shipped: Path) -> Iterable[str]:
    """Recipes in the folder that was named, and those of the clone."""
    folder = Path(asked).parent
    own = sorted(shipped.rglob(f"*{SUFFIX}")) if _is_clone(shipped) else []
    own = [path for path in own if path.parent.name != OVERLAYS]
    found = [*sorted(folder.glob(f"*{SUFFIX}")), *(path.relative_to(shipped) for path in own)]
    return (str(path.with_suffix("")) for path in found if not path.name.endswith(LOCK))


def _relative(path: Path, file: Path) -> str:
    return Path(os.path.relpath(path.resolve(), file.parent.resolve())).as_posix()


# ------------------------------------------------------------------------------------------------ a variation


def variation(loaded: LoadedRecipe, file: Path, name: str) -> str:
    """The text of a recipe that extends another one, whose values one may change stand in it as comments."""
    recipe = loaded.recipe
    settings = f"{plural(len(loaded.settings), 'setting')}, seeds {recipe.seeds.pretrain} x {recipe.seeds.finetune}"
    lines = [HEADER.format(name=recipe.name, settings=settings)]
    lines.append(f"extends: {flow_text(_relative(loaded.path, file))}\nname: {flow_text(name)}\n")
    lines.append(f"#notes: {flow_text(recipe.notes)}\n")
    lines.append(COUNTS)
    on_axes = {path for setting in loaded.settings for path in setting.places}
    for key, block in counts_of(loaded).items():
        lines += switched_off(key, block, on_axes)
    ablations = axes_of(loaded)
    if ablations:
        lines += [AXES, *switched_off("ablations", ablations)]
    if claims := loaded.data.get("claims"):
        lines += [CLAIMS, *switched_off("claims", claims)]
    runtime = {key: getattr(recipe.runtime, key) for key in FIRST_CHANGED}
    lines += [RUNTIME, *switched_off("runtime", runtime)]
    return "".join(lines)


def counts_of(loaded: LoadedRecipe) -> dict[str, Any]:
    """Seeds and counts of a recipe as it says them."""
    recipe = loaded.recipe
    counts: dict[str, Any] = {"seeds": recipe.seeds.model_dump(exclude={"first"})}
    if isinstance(recipe.model, TinyModel):
        counts["model"] = {"base": {"texts": recipe.model.base.texts}}
    counts["pairs"] = {"count": recipe.pairs.count}
    counts["tasks"] = {name: {"problems": _problems(task.problems)} for name, task in recipe.tasks.items()}
    if recipe.pretrain is not None:
        schedule = recipe.pretrain.schedule
        counts["pretrain"] = {"global_batch": recipe.pretrain.global_batch}
        if isinstance(schedule, WSD):
            counts["pretrain"]["schedule"] = {"warmup_pairs": schedule.warmup_pairs}
    counts["finetune"] = {"samples": recipe.finetune.samples, "global_batch": recipe.finetune.global_batch}
    evaluate = recipe.evaluate
    judged: dict[str, Any] = {}
    if evaluate.candidates is not None:
        judged["best_of_n"] = {"candidates": {"samples": evaluate.candidates.samples}}
    if evaluate.pair_accuracy is not None:
        judged["pair_accuracy"] = {"samples": evaluate.pair_accuracy.samples}
    if evaluate.code_pairs is not None:
        judged["code_pairs"] = {"count": evaluate.code_pairs.count}
    if judged:
        counts["evaluate"] = judged
    if recipe.search is not None:
        counts["search"] = {"trials": recipe.search.trials}
    return counts


def _problems(problems: Any) -> dict[str, Any]:
    return {split: getattr(problems, split) for split in problems.asked}


def axes_of(loaded: LoadedRecipe) -> dict[str, Any]:
    """The ablations of a recipe as it says them, without what null has dropped."""
    said: Mapping[str, Any] = loaded.data.get("ablations") or {}
    axes = {axis: without_nulls(values) for axis, values in without_nulls(said.get("axes") or {}).items()}
    return {**said, "axes": axes} if axes else {}


def switched_off(key: str, value: Any, axes: Set[str] = frozenset(), path: str = "") -> Iterator[str]:
    """Lines of `key: value` as comments, one an entry where entries are blocks or do not fit on a line.

    Args:
        axes: paths that axes set, so that what stands here is overridden.
        path: of the block that holds the key.
    """
    depth = path.count("/")
    start, here = f"#{'  ' * depth}{flow_text(key)}:", f"{path}{key}/"
    line = f"{start} {flow_text(value)}"
    if isinstance(value, Mapping) and (len(line) > LONGEST or (_holds_blocks(value) and depth < _depth_of(here))):
        yield f"{start}\n"
        for name, one in value.items():
            yield from switched_off(name, one, axes, here)
    elif isinstance(value, list) and len(line) > LONGEST:
        yield f"{start}\n"
        yield from (f"#{'  ' * depth}  - {flow_text(one)}\n" for one in value)
    else:
        below = value if isinstance(value, Mapping) else ()
        dotted = here.replace("/", ".")
        set_by_axes = sorted(axes & {dotted.rstrip("."), *(f"{dotted}{name}" for name in below)})
        yield line + (f"  # an axis sets {', '.join(set_by_axes)}" if set_by_axes else "") + "\n"


def _holds_blocks(value: Mapping[str, Any]) -> bool:
    return any(isinstance(one, Mapping) for one in value.values())


def _depth_of(path: str) -> int:
    """How deep blocks are always taken apart: down to the values of axes, elsewhere one level."""
    return 3 if path.startswith("ablations/axes/") else 2 if path == "ablations/" else 1
