"""Documented functions of the standard library and of installed packages: real code without a download.

Files are found and parsed, never imported. Functions inside functions are left out: they lean on names that are not
theirs. What is kept and what is dropped is for `clean` to decide.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
        node: what `source` was printed from, where it was parsed just now.
    """

    package: str
    module: str
    qualified_name: str
    docstring: str
    source: str
    node: FunctionNode | None = field(default=None, compare=False, repr=False)


def read_functions(
    packages: Sequence[str], *, counts: Tally | None = None, undocumented: bool = False
) -> Iterator[Function]:
    """Every documented function of the packages, in order of package, path and line.

    Args:
        packages: names as `harness.sources.resolve.resolve_versions` takes them; a repeated name is read once.
        counts: if given, "files", "functions", and what is unreadable or unparsable are added to it.
        undocumented: functions without a docstring too.

    Raises:
        MissingRequirement: naming every package that is not installed.
    """
    tally = Tally() if counts is None else counts
    for package, module, path in itertools.chain.from_iterable(map(_files, resolve_versions(packages))):
        tally["files"] += 1
        try:
            text = path.read_bytes()
        except OSError:
            tally.pass_over("unreadable_files", module)
            continue
        yield from functions_of(text, tally, package=package, module=module, undocumented=undocumented)


def functions_of(
    text: str | bytes, tally: Tally, *, package: str, module: str, undocumented: bool = False
) -> Iterator[Function]:
    """Every documented function of a file, in order of line.

    Args:
        tally: "functions", "unparsable_functions" and "unparsable_files" are added to it.
        package, module: where the file is from.
        undocumented: functions without a docstring too; theirs is empty.
    """
    if (text.find(b"def ") if isinstance(text, bytes) else text.find("def ")) < 0:  # most have none: not parsed
        return
    try:
        tree = parse_quietly(text)
    except SyntaxError:
        tally.pass_over("unparsable_files", module)
        return
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
        yield Function(
            package=package,
            module=module,
            qualified_name=prefix + node.name,
            docstring=docstring,
            source=source,
            node=node,
        )


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


def _files(package: str) -> Iterator[tuple[str, str, Path]]:
    """(what it is split by, dotted name of the module, path) of each of a package's files."""
    if is_standard_library(package):
        root = Path(sysconfig.get_path("stdlib"))
        for path in _python_files(root):
            module = _module_name(path, root)
            top = module.partition(".")[0]
            if package in (STANDARD_LIBRARY, top):
                yield top, module, path
        return
    for name in import_names(package):
        for root, path in _installed_files(name):
            yield package, _module_name(path, root), path


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
