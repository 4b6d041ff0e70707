"""What a corpus or a plugin is read from, so that a plan can make it part of an identity.

Of packages it looks only at installation metadata: it must not import the packages it names, nor read their code.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
import symtable
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from harness.errors import MissingRequirement
from harness.recipe.corpus import CorpusSource, Files, HuggingFace, JsonLines, Parquet, PythonPackages
from harness.sources.files import JSON_LINES, PARQUET, SourceFile, check_columns, endings_of, find_files, listing

STANDARD_LIBRARY = "stdlib"


def resolve_versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed version of each package.

    Args:
        packages: "stdlib" (the whole standard library), one of its top-level modules ("email"), or the name of an
            installed import package ("sklearn") or distribution ("scikit-learn").

    Returns:
        Name as given -> version, in the order given. The standard library's version is Python's own. An import
        package shared by several distributions has all of them: "first==1.0 second==2.0".

    Raises:
        MissingRequirement: naming every package that is not installed.
    """
    search_path = tuple(sys.path)
    versions = {name: _version(name, search_path) for name in packages}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        raise MissingRequirement(
            "every package of the corpus must be installed",
            f"not found: {', '.join(missing)}",
            "install them, or take them out of `corpus.packages`",
        )
    return {name: version for name, version in versions.items() if version is not None}


@functools.cache
def distribution_version(name: str) -> str:
    """The installed version of a distribution; unlike `resolve_versions` it does not look at everything installed.

    Raises:
        MissingRequirement: it is not installed.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        rule = "the packages that grade answers must be installed"
        raise MissingRequirement(rule, f"not found: {name}", "install the harness again") from None


def import_names(package: str) -> tuple[str, ...]:
    """The top-level import names a package name stands for, sorted: ("sklearn",) for "scikit-learn".

    Raises:
        MissingRequirement: the package is not installed.
    """
    if _owners(package, tuple(sys.path)):
        return (package,)
    distribution = _distribution(package)
    names = frozenset[str]() if distribution is None else _import_names(distribution)
    if not names:
        raise MissingRequirement(
            "a package of the corpus must be installed", f"not found: {package}", "install it, or leave it out"
        )
    return tuple(sorted(names))


def is_standard_library(package: str) -> bool:
    """Whether the name is "stdlib" or one of the standard library's top-level modules."""
    return package == STANDARD_LIBRARY or package in sys.stdlib_module_names


@functools.cache
def _version(package: str, search_path: tuple[str, ...]) -> str | None:
    """Cached because every variant of a recipe asks for the grader's packages; None if not installed."""
    if is_standard_library(package):
        return platform.python_version()
    owners = sorted({owner.metadata["Name"] for owner in _owners(package, search_path)})
    if len(owners) == 1:
        return importlib.metadata.version(owners[0])
    if owners:
        return " ".join(f"{owner}=={importlib.metadata.version(owner)}" for owner in owners)
    distribution = _distribution(package)
    return None if distribution is None else distribution.version


def _owners(package: str, search_path: tuple[str, ...]) -> list[Distribution]:
    """The installed distributions that this import package is from."""
    return [one for one, names in _installed(search_path) if package in names]


@functools.cache
def _installed(search_path: tuple[str, ...]) -> list[tuple[Distribution, frozenset[str]]]:
    """Every distribution on this search path, and what it can be imported as."""
    return [(one, _import_names(one)) for one in importlib.metadata.distributions(path=list(search_path))]


def _import_names(distribution: Distribution) -> frozenset[str]:
    """As `importlib.metadata.packages_distributions` finds them, but the lists of files are read as text: as paths they
    take a third of a second, which is a third of `harness plan`.
    """
    if named := distribution.read_text("top_level.txt"):
        return frozenset(named.split())
    listed = distribution.read_text("RECORD")
    files = [str(file) for file in distribution.files or ()] if listed is None else listed.splitlines()
    found = (line.split(",")[0].strip('"').split("/") for line in files)
    return frozenset(parts[0].removesuffix(".py") for parts in found if parts[-1].endswith(".py"))


def _distribution(package: str) -> Distribution | None:
    """By its own name, in any spelling ("pyyaml" for "PyYAML")."""
    try:
        return importlib.metadata.distribution(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def plugin_digest(kind: str) -> str:
    """SHA-256 of the source file behind `package.module:name`, found without importing it.

    Raises:
        MissingRequirement: there is no such package or module, or no such name in it.
    """
    module, _, name = kind.partition(":")
    package, *rest = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        origin = Path(spec.origin)
        candidates = [origin] if not rest else []
        folder = origin.parent.joinpath(*rest)
        candidates += [folder.with_suffix(".py"), folder / "__init__.py"] if rest else []
        for path in candidates:
            if path.is_file():
                code = path.read_bytes()
                _require_name(name, module, code)
                return hashlib.sha256(code).hexdigest()
    raise MissingRequirement(
        "a plugin must be importable",
        f"there is no module {module!r}",
        "install its package, name its folder in PYTHONPATH, or correct the name",
    )


def _require_name(name: str, module: str, code: bytes) -> None:
    try:
        table = symtable.symtable(importlib.util.decode_source(code), module, "exec")
    except (SyntaxError, ValueError) as error:
        raise MissingRequirement("a plugin must be importable", f"{module} says: {error}", "correct it") from error
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_local()}
    if name not in names and "__getattr__" not in names and b"import *" not in code:
        raise MissingRequirement("a plugin must have what is named", f"{module!r} has no {name!r}", "correct the name")


def needs_hub() -> None:
    """That datasets of the hub can be read here.

    Raises:
        MissingRequirement: the extra is not installed.
    """
    if importlib.util.find_spec("datasets") is None:
        raise MissingRequirement(
            "`corpus.kind: huggingface` needs the package datasets",
            "it is not installed",
            "pip install -e '.[hub]'",
        )


def resolve_corpus(block: CorpusSource) -> dict[str, Any]:
    """What decides a corpus beside its block's settings: versions of packages, contents of files, a hub's commit.

    The normal form of code is that of the Python that prints it, so its version is part of it.

    Raises:
        MissingRequirement: something is not installed, not there or not readable.
    """
    found: dict[str, Any] = {"python": platform.python_version()}
    if isinstance(block, PythonPackages):
        found["versions"] = resolve_versions(block.packages)
    elif isinstance(block, HuggingFace):
        found["commit"] = block.commit
    else:
        found["files"] = listing(corpus_files(block))
    return found


def corpus_files(block: Files | Parquet | JsonLines) -> list[SourceFile]:
    """The files of a block, in the order they are read.

    Raises:
        MissingRequirement: a path leads nowhere.
    """
    return find_files(block.paths, _endings(block))


def corpus_looks(block: CorpusSource) -> Iterator[tuple[str, Callable[[Any], object], Hashable]]:
    """(key of the block, how to look, for what) of everything that must be there before anything runs.

    How to look raises MissingRequirement; equal looks for equal things find the same.
    """
    if isinstance(block, PythonPackages):
        for index, package in enumerate(block.packages):
            yield f"packages.{index}", _look_for_package, package
    elif isinstance(block, HuggingFace):
        yield "kind", _look_for_hub, None
    else:
        for index, pattern in enumerate(block.paths):
            yield f"paths.{index}", _look_into, _Pattern.of(block, pattern)


@dataclass(frozen=True)
class _Pattern:
    """A path of a corpus and what its files must hold."""

    pattern: str
    kind: str
    endings: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, block: Files | Parquet | JsonLines, pattern: str) -> _Pattern:
        columns = () if isinstance(block, Files) else tuple(block.columns.by_purpose.items())
        return cls(pattern, block.kind, _endings(block), columns)


def _look_for_package(package: str) -> None:
    resolve_versions([package])


def _look_for_hub(_: None) -> None:
    needs_hub()


def _look_into(asked: _Pattern) -> None:
    for file in find_files([asked.pattern], asked.endings):
        if asked.columns:
            check_columns(file, asked.kind, dict(asked.columns))


def _endings(block: Files | Parquet | JsonLines) -> tuple[str, ...]:
    if isinstance(block, Files):
        return endings_of(block.languages)
    return PARQUET if isinstance(block, Parquet) else JSON_LINES
