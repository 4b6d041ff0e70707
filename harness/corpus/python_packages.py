"""Documented functions of the standard library and of installed packages: real code without a download.

Files are found and parsed, never imported. Functions inside functions are left out: they lean on names that are not
theirs. What is kept and what is dropped is for `clean` to decide.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.corpus.normalise import FunctionNode, parse_quietly, print_function, strip
from harness.corpus.tally import Tally
from harness.sources.resolve import STANDARD_LIBRARY, import_names, is_standard_library, resolve_versions

# Tests describe no task of their own, and the other folders are programs or other people's packages.
_SKIPPED_FOLDERS = frozenset({"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """A documented function.

    Attributes:
        package: what it is split by: the name asked for, or the top-level module for the standard library.
        module: dotted name of its module.
        qualified_name: "Class.method" or "function".
        docstring: cleaned; empty only where undocumented functions were asked for.
        source: normalised text (`harness.corpus.normalise`), without docstring and decorators.
    """

    package: str
    module: str
    qualified_name: str
    docstring: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A documented function as parsed: its qualified name, and `node`, from which `source` was printed."""

    name: str
    docstring: str
    source: str
    node: FunctionNode


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    package: str
    module: str
    path: Path


def read_functions(packages: Sequence[str], *, counts: Tally | None = None) -> Iterator[Function]:
    """Every documented function of the packages, in order of package, path and line; see `read_parsed`."""
    return (function for function, _ in read_parsed(packages, counts=counts))


def read_parsed(
    packages: Sequence[str], *, counts: Tally | None = None, undocumented: bool = False
) -> Iterator[tuple[Function, FunctionNode]]:
    """Every documented function of the packages with what it was printed from.

    Args:
        packages: names as `harness.sources.resolve.resolve_versions` takes them; a repeated name is read once.
        counts: if given, "files", "functions", and what is unreadable or unparsable are added to it.
        undocumented: functions without a docstring too.

    Raises:
        MissingRequirement: naming every package that is not installed.
    """
    tally = Tally() if counts is None else counts
    for package in resolve_versions(packages):
        for file in _files(package):
            tally["files"] += 1
            try:
                text = file.path.read_bytes()
            except OSError:
                tally.pass_over("unreadable_files", file.module)
                continue
            if b"def " not in text:
                continue
            try:
                tree = parse_quietly(text)
            except SyntaxError:
                tally.pass_over("unparsable_files", file.module)
                continue
            for found in functions_of(tree, tally, undocumented=undocumented):
                function = Function(
                    package=file.package,
                    module=file.module,
                    qualified_name=found.name,
                    docstring=found.docstring,
                    source=found.source,
                )
                yield function, found.node


def functions_of(tree: ast.Module, tally: Tally, *, undocumented: bool = False) -> Iterator[Found]:
    """Every documented function of a file, in order of line.

    Args:
        tree: is changed by it: docstrings and decorators are taken out.
        tally: "functions" and "unparsable_functions" are added to it.
        undocumented: functions without a docstring too; theirs is empty.
    """
    for prefix, node in _definitions(tree.body, ""):
        docstring = ast.get_docstring(node) or ""
        if not docstring and not undocumented:
            continue
        strip(node)
        try:
            source = print_function(node)
        except SyntaxError:
            tally["unparsable_functions"] += 1
            continue
        tally["functions"] += 1
        yield Found(name=prefix + node.name, docstring=docstring, source=source, node=node)


def _definitions(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, FunctionNode]]:
    """Functions of a module or class body, those under `if` and `try` included, with the classes around them."""
    waiting = [(prefix, statement) for statement in reversed(body)]
    while waiting:  # no recursion: each `elif` is an `if` within the one before
        prefix, statement = waiting.pop()
        inner: list[ast.stmt] = []
        if isinstance(statement, FunctionNode):
            yield prefix, statement
        elif isinstance(statement, ast.ClassDef):
            prefix, inner = f"{prefix}{statement.name}.", statement.body
        elif isinstance(statement, ast.If):
            inner = [*statement.body, *statement.orelse]
        elif isinstance(statement, ast.Try):
            handlers = [line for handler in statement.handlers for line in handler.body]
            inner = [*statement.body, *handlers, *statement.orelse, *statement.finalbody]
        waiting.extend((prefix, line) for line in reversed(inner))


def _files(package: str) -> Iterator[_File]:
    if is_standard_library(package):
        root = Path(sysconfig.get_path("stdlib"))
        for path in _python_files(root):
            module = _module_name(path, root)
            top = module.partition(".")[0]
            if package in (STANDARD_LIBRARY, top):
                yield _File(package=top, module=module, path=path)
        return
    for name in import_names(package):
        for root, path in _installed_files(name):
            yield _File(package=package, module=_module_name(path, root), path=path)


def _installed_files(name: str) -> Iterator[tuple[Path, Path]]:
    """(folder that is on the import path, file) for each file of a top-level package or module."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return
    for location in spec.submodule_search_locations or ():
        for path in _python_files(Path(location)):
            yield Path(location).parent, path
    if not spec.submodule_search_locations and spec.origin and spec.origin.endswith(".py"):
        yield Path(spec.origin).parent, Path(spec.origin)


def _python_files(root: Path) -> list[Path]:
    files: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
        files.extend(Path(folder, name) for name in names if name.endswith(".py") and not name.startswith("test_"))
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def _module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
