"""Finding tasks by name: built-in, plugin, and every way to get it wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import MissingRequirement, RecipeError
from harness.tasks.registry import BUILT_IN, load_task
from harness.tasks.task import Task

PLUGIN = """
from harness.tasks.task import Problem, Task

class Mine(Task):
    name, licence, source, distribution = "mine", "MIT", "here", "a-distribution-nobody-has"

    def problems(self, count_by_split, *, seed, options=None):
        return []

    def extract(self, text):
        return None

    def grade(self, problem, text):
        return False

class Unfinished(Task):
    name = "unfinished"

instance = Mine()
number = 3
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "plugin_of_tests.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plugin_of_tests", raising=False)
    return "plugin_of_tests"


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_built_in(name: str) -> None:
    assert load_task(name).name == name


def test_near_name_is_suggested() -> None:
    with pytest.raises(RecipeError, match="did you mean 'gsm_symbolic'"):
        load_task("gsm_symbolik")
    with pytest.raises(RecipeError, match=f"use one of {', '.join(BUILT_IN)}"):
        load_task("zzz")


@pytest.mark.parametrize("place", [":name", ".module:name", "module:", "a b:c", "module:a.b"])
def test_malformed_places(place: str) -> None:
    with pytest.raises(RecipeError, match="neither"):
        load_task(place)


@pytest.mark.parametrize("name", ["Mine", "instance"])
def test_plugin(plugin: str, name: str) -> None:
    task = load_task(f"{plugin}:{name}")
    assert isinstance(task, Task)
    assert task.name == "mine"
    with pytest.raises(MissingRequirement, match="pip install a-distribution-nobody-has"):
        _ = task.version


@pytest.mark.parametrize(
    ("name", "message"),
    [("Missing", "has no 'Missing'"), ("number", "it is a int"), ("Unfinished", "without arguments")],
)
def test_bad_plugins(plugin: str, name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_task(f"{plugin}:{name}")


def test_absent_module() -> None:
    with pytest.raises(RecipeError, match="importable"):
        load_task("a_module_nobody_has:Task")


def test_loading_a_task_imports_no_library() -> None:
    source = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from harness.tasks.registry import BUILT_IN, load_task\n"
        "versions = [load_task(name).version for name in BUILT_IN]\n"
        "print(sorted({'reasoning_gym', 'torch', 'sklearn', 'pandas'} & set(sys.modules)), len(versions))"
    )
    root = __file__.rsplit("/tests/", 1)[0]
    done = subprocess.run([sys.executable, "-c", source, root], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[] {len(BUILT_IN)}"


def test_every_task_is_in_the_list() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|.*\| ([\w.+-]+) \|[^|]*\|$", text, re.MULTILINE)
    known = {name: load_task(name).licence for name in BUILT_IN}
    assert {name: licence for name, licence in listed if name != "kind"} == known
