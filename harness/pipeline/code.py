"""Which code decides a stage's results: its module and all that this imports, apart from what identity covers.

Where the digest differs at equal `code_version`, a plan says so. It is environment, not identity.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from pathlib import Path

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind
from harness.sources.known_files import CodeNotes
from harness.store.record import Record

PACKAGE = Path(__file__).parent.parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"  # whose syntax trees the digests are of

PLUMBING = ("errors.py", "events.py", "recipe/", "store/", "pipeline/", "stages/context.py")
"""Below any stage's own work: what they decide is in the spec, not in the code."""


def source_digest(stage: Stage) -> str:
    """Digest of a stage's code without comments and docstrings."""
    return code_digest(*stage.kind.modules(stage.identity["spec"]))


def is_stale(kind: Kind, record: Record) -> bool:
    """Whether a kind's stage was made by other code than there is now."""
    return record.environment.get("source_digest") != code_digest(*kind.modules(record.identity["spec"]))


@functools.cache
def code_digest(*modules: str) -> str:
    """Digest of modules' code without comments and docstrings, what they import included."""
    return _notes().text(" ".join((PYTHON, *modules)), lambda: _digest_of(modules))


@functools.cache
def _notes() -> CodeNotes:
    return CodeNotes(PACKAGE)


def _digest_of(modules: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for file in sorted(code_of(modules)):
        digest.update(_code(file).encode())
    return digest.hexdigest()


@functools.cache
def code_of(modules: tuple[str, ...]) -> frozenset[Path]:
    """Files of ours that modules are made of, what they import included, inside functions too."""
    found: set[Path] = set()
    waiting = [file for module in modules if (file := _file_of(module)) is not None]
    while waiting:
        path = waiting.pop()
        if path not in found and not path.relative_to(PACKAGE).as_posix().startswith(PLUMBING):
            found.add(path)
            waiting += _imports_of(path)
    return frozenset(found)


def _file_of(module: str) -> Path | None:
    """The file of a module of ours; None for anything else."""
    first, *rest = module.split(".")
    if first != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*rest)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@functools.cache
def _imports_of(path: Path) -> tuple[Path, ...]:
    names: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(file for name in names if (file := _file_of(name)) is not None)


@functools.cache
def _code(path: Path) -> str:
    tree = _tree(path)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
