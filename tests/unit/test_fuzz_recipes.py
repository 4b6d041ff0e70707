"""Hundreds of slips in every shipped recipe: none is a traceback, and none that is accepted means something else.

What an accepted mutant means is read a second time by an oracle of its own (YAML, `extends`, axes, defaults), which
shares no code with the loader. All mutants are seeded, so a failure names one that can be made again.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import math
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from harness.cli.run_command import run_command
from harness.recipe.load import LoadedRecipe, load_recipe

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "recipes").rglob("*.yaml")), *sorted((ROOT / "tests" / "recipes").rglob("*.yaml"))]
RECIPES = [recipe for recipe in FILES if recipe.parent.name != "overlay"]
WANT_HUB = ("paper", "open-questions", "controls")  # whose recipes want data of the hub
TWINS = [recipe for recipe in RECIPES if "overlay/" in recipe.read_text(encoding="utf-8")]  # one of which will do
WANT_IMPORTS = ("claims-135m", "claims-135m-dev", "claims-135m-first")
PLANNED = [
    one
    for one in RECIPES
    if one.parent.name not in WANT_HUB
    and one.stem not in WANT_IMPORTS
    and (one not in TWINS or one.stem == "pair-count")
]
MUTANTS = 560
MOST_TRIES = 50
MOST_VARIANTS_PLANNED = 50
MOST_PARTS_PLANNED = 200
NOT_IDENTITY = ("name", "notes", "tags", "runtime")

TYPES = ["null", "~", "true", "no", "on", "'3'", "[1]", "{a: 1}", "3.5", "-1", "0", "1e400", "999999999999", "0x10"]
TYPES += ["1_000", ".nan", "-.inf", "''", "2020-01-01", "1:30", "<<", "=", "[]", "{}", "[[1, 2], [3]]", "9" * 50, "x y"]
TAGS = ["!!str ", "!!int ", "!!python/object/apply:os.system ", "!custom ", "! ", "!!binary ", "!!set ", "!!null "]
WORDS = ["é", "\u202e", "\u00a0", "\u200b", "\ufeff", "😀", "\t", "\x00", "\x07", "\x85", "\u2028"]
ESCAPED = [r'"\ud800"', r'"\0"', r'"\x1b[31m"', r'"a\nb"', r'"\u202e"', r'"\U0010ffff"']
PATHS = ["../../etc", "/etc/passwd", "a/b", "..", ".", "a\\\\b", "~root", "$HOME", "-rf", "con:..:x", "pkg..mod:x"]


# --------------------------------------------------------------------------------------------------- mutations


def nodes(text: str) -> tuple[list[yaml.ScalarNode], list[yaml.Node]]:
    """Keys and values of a recipe, with their places in the text."""
    keys: list[yaml.ScalarNode] = []
    values: list[yaml.Node] = []

    def walk(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                keys.append(key)
                values.append(value)
                walk(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                values.append(item)
                walk(item)

    root = yaml.compose(text, yaml.SafeLoader)
    assert root is not None
    walk(root)
    return keys, values


class Text:
    """A recipe's text to be changed at one place."""

    def __init__(self, text: str, source: random.Random) -> None:
        self.text = text
        self.source = source
        self.keys, self.values = nodes(text)
        self.scalars = [value for value in self.values if isinstance(value, yaml.ScalarNode)]
        self.lists = [value for value in self.values if value.end_mark.index - value.start_mark.index > 1]
        self.lists = [value for value in self.lists if text[value.start_mark.index] in "[{"]

    def replace(self, node: yaml.Node, new: str) -> str:
        return self.text[: node.start_mark.index] + new + self.text[node.end_mark.index :]

    def of(self, node: yaml.Node) -> str:
        return self.text[node.start_mark.index : node.end_mark.index]

    def lines(self) -> list[str]:
        return self.text.splitlines(keepends=True)


def typo_in_key(text: Text) -> str:
    node = text.source.choice(text.keys)
    word, place = text.of(node), text.source.randrange(len(text.of(node)))
    letter = text.source.choice("abcdefghijklmnopqrstuvwxyz_.-")
    ways = [
        word[:place] + word[place + 1 :],
        word[:place] + letter + word[place:],
        word[:place] + letter + word[place + 1 :],
    ]
    return text.replace(node, text.source.choice([*ways, word.upper(), word.replace("_", "-"), word + word]))


def key_deleted(text: Text) -> str:
    node = text.source.choice(text.keys)
    after = text.text[node.end_mark.index :].lstrip(": ")
    return text.text[: node.start_mark.index] + after


def line_deleted(text: Text) -> str:
    lines = text.lines()
    del lines[text.source.randrange(len(lines))]
    return "".join(lines)


def line_repeated(text: Text) -> str:
    lines = text.lines()
    lines.insert(text.source.randrange(len(lines)), text.source.choice(lines))
    return "".join(lines)


def lines_swapped(text: Text) -> str:
    lines = text.lines()
    one, other = text.source.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]
    return "".join(lines)


def indentation(text: Text) -> str:
    lines = text.lines()
    place = text.source.randrange(len(lines))
    lines[place] = text.source.choice([" " + lines[place], "  " + lines[place], lines[place][1:], "\t" + lines[place]])
    return "".join(lines)


def other_type(text: Text) -> str:
    return text.replace(text.source.choice(text.values), text.source.choice(TYPES))


def nothing(text: Text) -> str:
    return text.replace(text.source.choice(text.values), text.source.choice(["null", "", "~"]))


def number(text: Text) -> str:
    numbers = [node for node in text.scalars if re.fullmatch(r"[-+]?[0-9][0-9_.e+-]*", text.of(node))]
    node = text.source.choice(numbers)
    word = text.of(node)
    value = float(word.replace("_", ""))
    whole = int(value)
    ways = [str(whole + 1), str(whole - 1), "0", str(-whole), str(whole * 10), str(whole // 2), f"{value}", f"'{word}'"]
    ways += [f"{word}0", f"{word}e3", f"-{word}", f"{word}_", f"{word}.", f"{word},", str(whole * 10**12), "1e-320"]
    return text.replace(node, text.source.choice(ways))


def repeated_key(text: Text) -> str:
    node = text.source.choice(text.keys)
    return text.replace(node, f"{text.of(node)}: {text.source.choice(TYPES)}, {text.of(node)}")


def key_of_another_place(text: Text) -> str:
    one, other = text.source.sample(text.keys, 2)
    return text.replace(one, text.of(other))


def value_of_another_place(text: Text) -> str:
    one, other = text.source.sample(text.scalars, 2)
    return text.replace(one, text.of(other))


def tag(text: Text) -> str:
    node = text.source.choice([*text.keys, *text.values])
    return text.replace(node, text.source.choice(TAGS) + text.of(node))


def anchor(text: Text) -> str:
    node = text.source.choice(text.values)
    return text.replace(node, text.source.choice(["&a ", "*a ", "&a *a", "&a [*a] #", "<<: *a, "]) + text.of(node))


def anchor_and_alias(text: Text) -> str:
    """One value written as an alias of another."""
    first, second = sorted(text.source.sample(text.scalars, 2), key=lambda node: node.start_mark.index)
    changed = text.replace(second, "*a")
    return changed[: first.start_mark.index] + "&a " + changed[first.start_mark.index :]


def list_or_mapping(text: Text) -> str:
    node = text.source.choice(text.lists or text.values)
    inside = text.of(node)[1:-1]
    ways = [f"[{inside}]", f"{{{inside}}}", inside, f"[{text.of(node)}]", f"{{a: {text.of(node)}}}", f"({inside})"]
    return text.replace(node, text.source.choice(ways))


def odd_character(text: Text) -> str:
    place = text.source.randrange(len(text.text))
    return text.text[:place] + text.source.choice(WORDS) + text.text[place:]


def escaped_character(text: Text) -> str:
    return text.replace(text.source.choice([*text.keys, *text.scalars]), text.source.choice(ESCAPED))


def path_as_name(text: Text) -> str:
    return text.replace(text.source.choice([*text.keys, *text.scalars]), text.source.choice(PATHS))


def absurd_size(text: Text) -> str:
    node = text.source.choice(text.values)
    ways = [
        "9" * 39,
        "1e308",
        "x" * 5_000,
        "[" * 500 + "]" * 500,
        "[" + "1, " * 200 + "1]",
        "{a: " * 80 + "1" + "}" * 80,
    ]
    return text.replace(node, text.source.choice(ways))


def cut_off(text: Text) -> str:
    return text.text[: text.source.randrange(len(text.text))]


def document(text: Text) -> str:
    lines = text.lines()
    mark = text.source.choice(["---\n", "...\n", "%YAML 1.1\n", "--- !x\n", "? a\n", "- a\n", ": a\n", "# a\n", "@\n"])
    lines.insert(text.source.randrange(len(lines)), mark)
    return "".join(lines)


def bytes_changed(text: Text) -> bytes:
    content = bytearray(text.text.encode())
    for _ in range(text.source.randint(1, 3)):
        content[text.source.randrange(len(content))] = text.source.randrange(256)
    return bytes(content)


MUTATIONS: list[Callable[[Text], str | bytes]] = [
    typo_in_key, key_deleted, line_deleted, line_repeated, lines_swapped, indentation, other_type, nothing, number,
    repeated_key, key_of_another_place, value_of_another_place, tag, anchor, anchor_and_alias, list_or_mapping,
    odd_character, escaped_character, path_as_name, absurd_size, cut_off, document, bytes_changed,
]  # fmt: skip
EACH = -(-MUTANTS // (len(PLANNED) * len(MUTATIONS)))
CASES = [(recipe, mutation) for recipe in PLANNED for mutation in MUTATIONS]
SAMPLE = CASES[::2]  # every recipe, and, as there is an odd number of them, every mutation


@functools.cache
def mutants(recipe: Path, mutation: Callable[[Text], str | bytes]) -> tuple[bytes, ...]:
    """Different mutants of a recipe, always the same ones."""
    original = recipe.read_text(encoding="utf-8")
    found: list[bytes] = []
    for number in range(MOST_TRIES * EACH):
        if len(found) == EACH:
            break
        made = mutation(Text(original, random.Random(f"{recipe.name} {mutation.__name__} {number}")))
        content = made if isinstance(made, bytes) else made.encode()
        if content != original.encode() and content not in found:
            found.append(content)
    return tuple(found)


# ------------------------------------------------------------------------------------------------------ oracle


class Ambiguous(Exception):
    """A file that must not be accepted."""


def plain(word: str) -> Any:
    """What a word without quotes means in YAML 1.2's core schema (numbers in base ten, `_` between digits)."""
    if word in ("", "~", "null", "Null", "NULL"):
        return None
    if word in ("true", "True", "false", "False"):
        return word in ("true", "True")
    if word[0] in "+-.0123456789" and not re.search(r"[^-+.0-9eE_infa]", word):
        digits = word.replace("_", "")
        for read in (int, float):
            with contextlib.suppress(ValueError):
                return read(digits.replace(".inf", "inf").replace(".nan", "nan"))
    return word


def strictly(content: bytes) -> Any:
    text = content.decode("utf-8")
    if any(getattr(event, "tag", None) is not None for event in yaml.parse(text, yaml.BaseLoader)):
        raise Ambiguous("it has tags")

    def build(node: yaml.Node) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [build(item) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            if any(not isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
                raise Ambiguous("its keys are no words, or repeat")
            return {key.value: build(value) for key, value in node.value}
        assert isinstance(node, yaml.ScalarNode)
        return plain(node.value) if node.style is None else node.value

    root = yaml.compose(text, yaml.BaseLoader)
    return None if root is None else build(root)


def joined(old: Any, new: Any, path: tuple[str, ...] = ()) -> Any:
    """A mapping onto another; replaced where `kind`, `from`, `source` or `engine` says it is another sort of thing, and
    where it is a value of an axis.
    """
    axis_value = path[:2] == ("ablations", "axes") and len(path) == 4
    if not (isinstance(old, dict) and isinstance(new, dict)) or axis_value:
        return new
    for key in ("kind", "from", "source", "engine"):
        if key in old and key in new and old[key] != new[key] and not isinstance(old[key], dict | list):
            return new
    if "construction" in old and "construction" not in new and (new.get("chosen") or new.get("rejected")):
        return new
    return {
        key: joined(old[key], new[key], (*path, key)) if key in old and key in new else {**old, **new}[key]
        for key in [*old, *new]
    }


def overridden(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    if not rest:
        return {**data, first: joined(data.get(first), value)}
    return {**data, first: overridden(data.get(first, {}), rest, value)}


def meaning(path: Path, below: dict[str, Any] | None = None) -> dict[str, Any]:
    data: dict[str, Any] = strictly(path.read_bytes())
    parents = data.pop("extends", None)
    inherited = below or {}
    claims = dict(inherited.get("claims") or {})
    for parent in parents if isinstance(parents, list) else [] if parents is None else [parents]:
        inherited = meaning(path.parent / parent, inherited)
        claims |= inherited.get("claims") or {}
    inherited = {key: value for key, value in inherited.items() if key != "claims"}  # they are about its settings
    if data.get("claims"):
        data["claims"] = {name: {**claims.get(name, {}), **claim} for name, claim in data["claims"].items()}
    return joined(inherited, data)


def settings(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every setting's data."""
    ablations = data.get("ablations") or {}
    base = {key: value for key, value in data.items() if key not in ("ablations", "search", "claims", "baseline")}
    axes: list[list[tuple[str, str, dict[str, Any]]]] = []
    for axis, chosen in (ablations.get("axes") or {}).items():
        if isinstance(chosen, dict) and "factor" in chosen:
            between = math.floor(math.log(chosen["last"] / chosen["first"], chosen["factor"]) + 1e-9)
            chosen = [round(chosen["first"] * chosen["factor"] ** step) for step in range(between + 1)]
        if isinstance(chosen, dict):
            axes.append([(axis, name, overrides) for name, overrides in chosen.items() if overrides is not None])
        elif chosen is not None:
            axes.append([(axis, f"{axis.split('.')[-1]}={value}", {axis: value}) for value in chosen])
    if ablations.get("mode", "grid") == "grid":
        combinations = list(itertools.product(*axes))
    elif ablations["mode"] == "zip":
        combinations = list(zip(*axes, strict=True))
    else:
        first = [axis[0] for axis in axes]
        combinations = [tuple(first)]
        combinations += [
            (*first[:index], value, *first[index + 1 :]) for index, axis in enumerate(axes) for value in axis[1:]
        ]
    asked = [
        [override for _, _, overrides in combination for override in overrides.items()]
        for combination in combinations
        if not any(_excludes(exclusion, combination) for exclusion in ablations.get("exclude", ()))
    ]
    if not axes:
        asked = [[]]
    asked += [list(inclusion["set"].items()) for inclusion in ablations.get("include", ())]
    for overrides in asked:
        result = base
        for path, value in overrides:
            result = overridden(result, path, value)
        yield result


def _excludes(exclusion: Mapping[str, Any], combination: tuple[tuple[str, str, Any], ...]) -> bool:
    names = {axis: name for axis, name, _ in combination}
    return all(names[axis] in (str(value), f"{axis.split('.')[-1]}={value}") for axis, value in exclusion.items())


def without_nulls(chosen: Any) -> Any:
    """Values of an axis without those that null drops."""
    return {name: one for name, one in chosen.items() if one is not None} if isinstance(chosen, dict) else chosen


def differences(value: Any, data: Any, path: str = "") -> Iterator[str]:
    """Where a loaded value is not what its data say; what the data leave out must be the field's default."""
    if path == "ablations" and data is None:
        data = {}
    if path == "ablations.axes":
        data = {axis: without_nulls(chosen) for axis, chosen in data.items() if chosen is not None}
    if path == "tasks":
        data = {task: block for task, block in data.items() if block is not None}
    if isinstance(value, BaseModel):
        names = {field.alias or name: name for name, field in type(value).model_fields.items()}
        names |= {name: name for name in value.model_extra or {}}
        yield from (f"{path}.{key} is not loaded" for key in set(data) - set(names))
        for key, name in names.items():
            below = f"{path}.{key}" if path else key
            if key in data:
                yield from differences(getattr(value, name), data[key], below)
            elif getattr(value, name) != type(value).model_fields[name].get_default(call_default_factory=True):
                yield f"{below} is not its default"
    elif isinstance(value, Mapping) and isinstance(data, dict) and list(value) == list(data):
        for key in value:
            yield from differences(value[key], data[key], f"{path}.{key}")
    elif isinstance(value, (list, tuple)) and isinstance(data, list) and len(value) == len(data):
        for index, (one, other) in enumerate(zip(value, data, strict=True)):
            yield from differences(one, other, f"{path}.{index}")
    elif isinstance(value, float) and type(data) in (int, float):
        if value != data:
            yield f"{path}: {value!r} for {data!r}"
    elif type(value) is not type(data) or value != data:
        yield f"{path}: {value!r} for {data!r}"


# ------------------------------------------------------------------------------------------------------- tests


def shell(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, output and complaints of a command in this process; whatever it raises, the test sees."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run_command([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def planned(path: Path) -> list[str] | None:
    """Fingerprints of the stages a recipe plans; None where the machine lacks something, which is told with a place."""
    code, out, complaints = shell("plan", path, "--json")
    assert "Traceback" not in out + complaints
    if code == 2:
        assert_told_with_places(complaints)
        return None
    assert code == 0, complaints
    return sorted(stage["fingerprint"] for stage in json.loads(out)["stages"])


def assert_told_with_places(complaints: str) -> None:
    lines = complaints.splitlines()
    assert lines
    for line in lines:
        assert re.match(r"\S+:[1-9][0-9]*: .+(, but .+; .+|, got .+|; .+)", line), line


def is_small(loaded: LoadedRecipe) -> bool:
    recipe = loaded.recipe
    variants = len(loaded.settings) * recipe.seeds.pretrain * recipe.seeds.finetune
    if recipe.search is not None:
        variants += (1 + recipe.search.confirm.best) * recipe.search.confirm.seeds.pretrain
    parts = max(
        one.experiment.pairs.count * (1 + one.experiment.pairs.spare) // one.experiment.pairs.part_size
        for one in loaded.settings
    )
    pool = max(task.problems.test for task in recipe.tasks.values())
    if recipe.evaluate.candidates is not None:
        parts = max(parts, pool // recipe.evaluate.candidates.part_size)
    return variants <= MOST_VARIANTS_PLANNED and parts <= MOST_PARTS_PLANNED


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all recipes, for those that extend another; workdirs would be below it, too."""
    for recipe in FILES:
        copy = tmp_path / recipe.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recipe, copy)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_enough_mutants() -> None:
    assert sum(len(mutants(recipe, mutation)) for recipe, mutation in SAMPLE) >= 250
    assert {recipe for recipe, _ in SAMPLE} == set(PLANNED)
    assert {mutation for _, mutation in SAMPLE} == set(MUTATIONS)


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.stem for recipe in RECIPES])
def test_shipped_recipes_mean_what_they_say(folder: Path, recipe: Path) -> None:
    """What the oracle is worth: it agrees on the originals, and sees every changed value."""
    path = folder / recipe.relative_to(ROOT)
    loaded, data = load_recipe(path), meaning(path)
    assert list(differences(loaded.recipe, data)) == []
    for setting, its in zip(loaded.settings, settings(data), strict=True):
        assert list(differences(setting.experiment, its)) == []
    assert list(differences(loaded.recipe, {**data, "name": "another"})) == [
        "name: " + repr(data["name"]) + " for 'another'"
    ]
    assert list(differences(loaded.recipe, {**data, "seeds": {"data": 77}}))
    assert list(differences(loaded.recipe, {key: value for key, value in data.items() if key != "notes"} | {"x": 1}))


@pytest.mark.sampled(
    ("recipe", "mutation"), CASES, SAMPLE, ids=lambda one: one.stem if isinstance(one, Path) else one.__name__
)
def test_no_mutant_is_a_traceback_or_means_something_else(
    folder: Path, recipe: Path, mutation: Callable[[Text], str | bytes]
) -> None:
    path = folder / recipe.relative_to(ROOT)
    original, stages = meaning(path), planned(path)
    assert stages
    for content in mutants(recipe, mutation):
        path.write_bytes(content)
        code, out, complaints = shell("validate", path)
        assert code in (0, 2)
        assert "Traceback" not in out + complaints
        if code == 2:
            assert_told_with_places(complaints)
            continue
        assert not complaints
        loaded, data = load_recipe(path), meaning(path)
        assert list(differences(loaded.recipe, data)) == []
        for setting, its in zip(loaded.settings, settings(data), strict=True):
            assert list(differences(setting.experiment, its)) == []
        if is_small(loaded):
            found = planned(path)
            if all(data.get(key) == original.get(key) for key in {*data, *original} - set(NOT_IDENTITY)):
                assert found in (stages, None)
    written = {one.relative_to(folder) for one in folder.rglob("*") if one.is_file()}
    assert written == {one.relative_to(ROOT) for one in FILES}  # and nothing else
