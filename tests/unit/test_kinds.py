"""Stage kinds: their code is where they say, what it imports counts, and only what decides a result does."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.pipeline import code
from harness.pipeline.code import PACKAGE, code_of
from harness.pipeline.kinds import CHAPTERS, KINDS
from harness.pipeline.tasks import CANDIDATES_PART, PROBLEMS

Digest = Callable[..., str]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_a_module_that_runs(kind: str) -> None:
    path = PACKAGE.parent / f"{KINDS[kind].module.replace('.', '/')}.py"
    functions = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert "run" in functions
    assert path in code_of((KINDS[kind].module,))
    assert KINDS[kind].code_version >= 1


def test_every_kind_is_in_the_chapter_that_makes_it() -> None:
    """And has a name of its own, in capitals, by which others ask for it."""
    for name, kind in KINDS.items():
        assert kind in [vars(chapter).get(name.upper()) for chapter in CHAPTERS], name
    assert len({kind.module for kind in KINDS.values()}) == len(KINDS)


def names(modules: tuple[str, ...]) -> set[str]:
    return {path.relative_to(PACKAGE).as_posix() for path in code_of(modules)}


def test_what_is_imported_counts_and_plumbing_does_not() -> None:
    found = names((KINDS["pretrain"].module,))
    assert {"stages/pretrain.py", "stages/train.py", "models/losses.py", "training/loop.py"} <= found
    assert not [name for name in found if name.startswith(code.PLUMBING)]
    assert not [name for name in found if name.startswith(("tasks/", "corpus/", "evaluation/"))]


def test_a_task_is_code_of_its_own_stages_alone() -> None:
    found = names(PROBLEMS.modules({"task": "gsm_symbolic"}))
    assert "tasks/built_in/gsm_symbolic.py" in found
    assert "tasks/built_in/circuit_logic.py" not in found
    assert "tasks/built_in/circuit_logic.py" not in names((CANDIDATES_PART.module,))
    assert "tasks/none.py" not in names(PROBLEMS.modules({"task": "mine.tasks:none"}))


def test_digests_are_the_same_every_time_and_differ_between_kinds() -> None:
    first = {kind: code.code_digest(KINDS[kind].module) for kind in KINDS}
    code._code.cache_clear()
    assert {kind: code._digest_of((KINDS[kind].module,)) for kind in KINDS} == first
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
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Digest]:
    """Digest of a module `stage` of a package, with its other modules by name."""
    numbers = iter(range(1_000))
    caches = (code.code_digest, code.code_of, code._imports_of, code._code, code._notes)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def digest(stage: str, **others: str) -> str:
        folder = tmp_path / str(next(numbers)) / "package"
        folder.mkdir(parents=True)
        for name, text in {"stage": stage, **others}.items():
            (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(code, "PACKAGE", folder)
        for cache in caches:
            cache.cache_clear()
        return code.code_digest("package.stage")

    yield digest
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()


def test_what_another_python_noted_is_not_taken(digest: Digest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The syntax trees of two minor versions differ, and both may work for one user."""
    ours = digest("import os\n")
    monkeypatch.setattr(code, "_digest_of", lambda modules: "of another syntax tree")
    code.code_digest.cache_clear()
    assert code.code_digest("package.stage") == ours  # noted
    monkeypatch.setattr(code, "PYTHON", "3.99")
    code.code_digest.cache_clear()
    assert code.code_digest("package.stage") == "of another syntax tree"


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
def test_what_changes_no_result_changes_no_digest(digest: Digest, old: str, new: str) -> None:
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
def test_what_may_change_a_result_changes_the_digest(digest: Digest, old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert digest(CODE.replace(old, new)) != digest(CODE)


def test_a_file_counts_where_it_is_imported(digest: Digest) -> None:
    stage = "from package.helper import x\n"
    whole = digest(stage, helper="from package import far\nx = 1", far="y = 1", other="z = 1")
    assert digest(stage, helper="from package import far\nx = 1", far="y = 1", other="z = 2") == whole
    assert digest(stage, helper="from package import far\nx = 2", far="y = 1", other="z = 1") != whole
    assert digest(stage, helper="from package import far\nx = 1", far="y = 2", other="z = 1") != whole
    inside = "def run():\n    from package.helper import x\n"
    assert digest(inside, helper="x = 1") != digest(inside, helper="x = 2")
