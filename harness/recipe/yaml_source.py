"""YAML with a line for every value. Safe types only; tags, repeated keys and absurd sizes are refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import ProblemList, RecipeError

MOST_BYTES = 500_000
MOST_VALUES = 100_000  # after aliases are written out: a few lines of aliases can ask for billions
DEEPEST = 64


@dataclass(frozen=True, kw_only=True)
class Location:
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, kw_only=True)
class Source:
    """Plain data and where each of its values stands (key path -> location)."""

    data: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], Location]
    file: str

    def locate(self, path: tuple[str, ...]) -> Location:
        """The place of `path`, or of the nearest block around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, Location(file=self.file, line=1))


class _Loader(yaml.SafeLoader):
    """Numbers and booleans as in YAML 1.2: `3e-6` is a number, `no` and `on` are words. No tags."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem=f"tags like {event.tag} are not allowed", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9][0-9_]*$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$"),
    list("-+0123456789."),
)


class _Builder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[tuple[str, ...], Location] = {}
        self.count = 0

    def refuse(self, node: yaml.Node, rule: str, value: str, remedy: str) -> ProblemList:
        where = str(Location(file=self.file, line=node.start_mark.line + 1))
        return ProblemList([RecipeError(rule, value, remedy, where)])

    def build(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        self.count += 1
        if self.count > MOST_VALUES or len(path) > DEEPEST:
            raise self.refuse(node, "a recipe must be of a sane size", "its aliases or nesting explode", "simplify it")
        self.lines.setdefault(path, Location(file=self.file, line=node.start_mark.line + 1))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, str(index))) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                raise self.refuse(key_node, "keys must be plain words", "this one is not", "use `extends` to share")
            key = str(key_node.value)
            if not key.isprintable():  # a message that shows it would show something else
                raise self.refuse(key_node, "keys must be plain words", f"this one is {key!r}", "correct it")
            if key in result:
                raise self.refuse(key_node, "a key may occur once", f"`{key}` occurs twice", "drop one")
            self.lines[(*path, key)] = Location(file=self.file, line=key_node.start_mark.line + 1)
            result[key] = self.build(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        match node.tag:
            case "tag:yaml.org,2002:str" if not any("\ud800" <= character <= "\udfff" for character in text):
                return text
            case "tag:yaml.org,2002:null":
                return None
            case "tag:yaml.org,2002:bool":
                return text.lower() == "true"
            case "tag:yaml.org,2002:int" if len(text) < 40:
                return int(text.replace("_", ""))
            case "tag:yaml.org,2002:float" if len(text) < 40:
                return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
        raise self.refuse(node, "values must be plain YAML", f"found {node.tag}", "write a text, number or true/false")


def _compose(text: str, file: str) -> tuple[Any, dict[tuple[str, ...], Location]]:
    builder = _Builder(file)
    try:
        node = yaml.compose(text, Loader=_Loader)
        return (None if node is None else builder.build(node, ())), builder.lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _unreadable(f"{file}:{line}", (error.problem or "it is not").removeprefix("but ")) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _unreadable(f"{file}:{line}", f"the character U+{error.character:04X} is not allowed") from None
    except (RecursionError, ValueError) as error:
        raise _unreadable(f"{file}:1", f"it cannot be parsed ({type(error).__name__})") from None


def _unreadable(where: str, value: str) -> ProblemList:
    return ProblemList([RecipeError("a recipe must be valid YAML", value, "correct the syntax", where)])


def read_yaml(path: Path) -> Source:
    """Read a recipe file.

    Raises:
        ProblemList: missing, unreadable, too large, not YAML, or not a mapping.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problem = RecipeError("a recipe must be a readable file", f"{path}: {reason}", "check the path")
        raise ProblemList([problem]) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(f"{path}:{line}", "it is not UTF-8 text") from None
    if len(content) > MOST_BYTES:
        raise _unreadable(f"{path}:1", f"it is larger than {MOST_BYTES:,} bytes")
    data, lines = _compose(text, str(path))
    if not isinstance(data, dict):
        raise _unreadable(f"{path}:1", "it is not a mapping of keys to values")
    return Source(data=data, lines=lines, file=str(path))


def parse_value(text: str, where: str) -> Any:
    """One YAML value, as `--set` takes it."""
    data, _ = _compose(text, where)
    return data


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would read as something else than text."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if "\n" in value else None)


def _represent_whole(dumper: yaml.SafeDumper, value: int) -> yaml.Node:
    text = f"{value:_}" if abs(value) >= 10_000 else str(value)  # as recipes write them: 28_000_000
    return dumper.represent_scalar("tag:yaml.org,2002:int", text)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(int, _represent_whole)


def flow_text(value: Any) -> str:
    """A value on one line, as recipes are written: what `parse_value` reads as the same value."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")
