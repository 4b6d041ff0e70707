"""Stage kinds: their code is where the table says, all of it counts, and only what it does counts."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from harness.plan import kinds
from harness.plan.kinds import KINDS, PACKAGE, Kind, module_of, source_digest

# Rooms below any stage's own work: what they decide is in the spec, not in the code.
PLUMBING = ("errors.py", "events.py", "recipe/", "store/", "plan/", "stages/context.py")


# Imports of a name or two that decide nothing: a dataclass, the names of metrics, how a table is written.
NAMES_ONLY = {
    ("stages/functions.py", "corpus/python_packages.py"),
    ("pairs/answers.py", "corpus/python_packages.py"),
    ("pairs/construct.py", "corpus/python_packages.py"),
    ("stages/analysis.py", "stages/pool_baselines.py"),
    ("stages/pair_accuracy.py", "stages/pools.py"),
}


def file_of(module: str) -> Path | None:
    """The file of a module of ours below the package; None for anything else."""
    parts = module.split(".")
    if parts[0] != "harness":
        return None
    path = PACKAGE.joinpath(*parts[1:])
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def imports_of(path: Path) -> set[Path]:
    """Files of ours that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {file for name in names if (file := file_of(name)) is not None}


def code_of(kind: str) -> set[str]:
    """Every file of ours that decides a kind's results, relative to the package."""
    found: set[Path] = set()
    waiting = [PACKAGE / "stages" / f"{kind}.py"]
    while waiting:
        path = waiting.pop()
        if path not in found and not below(path).startswith(PLUMBING):
            found.add(path)
            waiting.extend(other for other in imports_of(path) if (below(path), below(other)) not in NAMES_ONLY)
    return {below(path) for path in found if path.read_text().strip()}


def below(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def listed(kind: str) -> set[str]:
    paths = [PACKAGE / source for source in KINDS[kind].sources]
    files = [file for path in paths for file in (path.glob("*.py") if path.is_dir() else [path])]
    return {below(file) for file in files}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_a_module_that_runs(kind: str) -> None:
    assert module_of(kind) == f"harness.stages.{kind}"
    path = PACKAGE / "stages" / f"{kind}.py"
    functions = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert "run" in functions
    assert f"stages/{kind}.py" in KINDS[kind].sources


@pytest.mark.parametrize("kind", KINDS)
def test_sources_exist(kind: str) -> None:
    for source in KINDS[kind].sources:
        path = PACKAGE / source
        assert path.is_file() or any(path.glob("*.py")), source
    assert len(set(KINDS[kind].sources)) == len(KINDS[kind].sources)
    assert KINDS[kind].code_version >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_code_that_decides_a_result_is_left_out(kind: str) -> None:
    assert sorted(code_of(kind) - listed(kind)) == []


def test_the_exceptions_are_still_imports() -> None:
    for importer, imported in NAMES_ONLY:
        assert PACKAGE / imported in imports_of(PACKAGE / importer), importer


def test_digests_are_the_same_every_time_and_differ_between_kinds() -> None:
    first = {kind: source_digest(kind) for kind in KINDS}
    source_digest.cache_clear()
    kinds._code.cache_clear()
    assert {kind: source_digest(kind) for kind in KINDS} == first
    assert len(set(first.values())) == len(KINDS)


CODE = '''"""Module."""

# A comment.
LIMIT = 3


def run(context):
    """What it does."""
    # why
    return {"n": LIMIT + context}


class Helper:
    """A helper."""

    def method(self):
        """Only a docstring."""
'''


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Digest of one file's code, as that of a kind whose only source it is."""
    numbers = iter(range(1_000))

    def digest(code: str) -> str:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        (folder / "stage.py").write_text(code)
        monkeypatch.setattr(kinds, "PACKAGE", folder)
        monkeypatch.setattr(kinds, "KINDS", {"made up": Kind(code_version=1, sources=("stage.py",))})
        source_digest.cache_clear()
        return source_digest("made up")

    yield digest
    source_digest.cache_clear()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# A comment.\n", ""),
        ("    # why\n", "    # because of equation 3\n\n"),
        ('"""Module."""\n', '"""Another.\n\nMuch longer."""\n'),
        ('"""What it does."""', '"""What it really does."""'),
        ('    """What it does."""\n', ""),
        ('"""A helper."""', "'''A helping hand.'''"),
        ("LIMIT = 3", "LIMIT  =  3"),
        ('{"n": LIMIT + context}', "{'n': (LIMIT\n        + context)}"),
    ],
)
def test_what_changes_no_result_changes_no_digest(digest: object, old: str, new: str) -> None:
    assert callable(digest)
    assert CODE.count(old) == 1
    assert digest(CODE.replace(old, new)) == digest(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", 'LIMIT = "3"'),
        ("LIMIT + context", "context + LIMIT"),
        ("LIMIT = 3", "LIMIT: int = 3"),
        ('"""Only a docstring."""', "return None"),
        ("class Helper", "class Helping"),
        ('{"n":', '{"m":'),
        ("    # why\n", '    "a text that is no docstring"\n'),
    ],
)
def test_what_may_change_a_result_changes_the_digest(digest: object, old: str, new: str) -> None:
    assert callable(digest)
    assert CODE.count(old) == 1
    assert digest(CODE.replace(old, new)) != digest(CODE)


def test_a_folder_counts_with_all_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "PACKAGE", tmp_path)
    monkeypatch.setattr(kinds, "KINDS", {"made up": Kind(code_version=1, sources=("room",))})

    def digest(**files: str) -> str:
        shutil.rmtree(tmp_path / "room", ignore_errors=True)
        (tmp_path / "room").mkdir()
        for name, code in files.items():
            (tmp_path / "room" / f"{name}.py").write_text(code)
        source_digest.cache_clear()
        kinds._code.cache_clear()
        return source_digest("made up")

    whole = digest(a="x = 1", b="y = 2")
    assert digest(b="y = 2", a="x = 1") == whole
    assert len({whole, digest(a="x = 1"), digest(a="x = 1", b="y = 3"), digest(a="y = 2", b="x = 1")}) == 4
    source_digest.cache_clear()
    kinds._code.cache_clear()
