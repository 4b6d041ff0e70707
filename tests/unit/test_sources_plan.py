"""Versions and digests that become identity, found by looking and never by importing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from harness.errors import MissingRequirement
from harness.sources.resolve import import_names, is_standard_library, plugin_digest, resolve_versions


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of made-up packages whose import would raise, with their installation metadata."""
    folder = tmp_path / "site"
    add(folder, "one-dist", "1.5", "onepkg")
    add(folder, "first_half", "1.0", "shared")
    add(folder, "second_half", "2.0", "shared")
    (folder / "onepkg" / "deep").mkdir()
    (folder / "onepkg" / "deep" / "__init__.py").write_text("raise SystemExit\nclass Task: ...\n")
    (folder / "onepkg" / "tasks.py").write_text("raise SystemExit\nclass Task: ...\n")
    (folder / "single.py").write_text("raise SystemExit\nclass Task: ...\n")
    (folder / "namespace").mkdir()
    (folder / "namespace" / "inner.py").write_text("raise SystemExit\nclass Task: ...\n")
    monkeypatch.syspath_prepend(folder)
    return folder


def add(folder: Path, distribution: str, version: str, package: str) -> None:
    information = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (information / "top_level.txt").write_text(f"{package}\n")
    (information / "RECORD").write_text(f"{package}/__init__.py,,\n")
    (folder / package).mkdir(exist_ok=True)
    (folder / package / "__init__.py").write_text("raise SystemExit\nclass Task: ...\n")


def test_versions_of_what_is_installed() -> None:
    assert resolve_versions(["numpy", "pyyaml", "yaml", "stdlib", "email"]) == {
        "numpy": importlib.metadata.version("numpy"),
        "pyyaml": importlib.metadata.version("PyYAML"),
        "yaml": importlib.metadata.version("PyYAML"),
        "stdlib": platform.python_version(),
        "email": platform.python_version(),
    }
    assert list(resolve_versions(["yaml", "email", "numpy"])) == ["yaml", "email", "numpy"]
    assert resolve_versions([]) == {}


def test_versions_without_importing(site: Path) -> None:
    assert resolve_versions(["onepkg", "one-dist", "shared"]) == {
        "onepkg": "1.5",
        "one-dist": "1.5",
        "shared": "first_half==1.0 second_half==2.0",
    }
    assert not {"onepkg", "shared"} & set(sys.modules)


def test_a_new_search_path_is_looked_at_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingRequirement):
        resolve_versions(["latecomer"])
    add(tmp_path / "late", "late-dist", "0.1", "latecomer")
    monkeypatch.syspath_prepend(tmp_path / "late")
    assert resolve_versions(["latecomer"]) == {"latecomer": "0.1"}


def test_the_first_of_two_installed_versions_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, version in (("first", "1.0"), ("second", "2.0")):
        add(tmp_path / folder, "twice-dist", version, "twice")
    monkeypatch.syspath_prepend(tmp_path / "second")
    monkeypatch.syspath_prepend(tmp_path / "first")
    assert resolve_versions(["twice", "twice-dist"]) == {"twice": "1.0", "twice-dist": "1.0"}


def test_everything_missing_is_told_at_once() -> None:
    with pytest.raises(MissingRequirement, match="not found: no_such_thing, nor-this; install them") as caught:
        resolve_versions(["numpy", "no_such_thing", "email", "nor-this"])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["", "../numpy", "numpy/..", "a b", ".", "numpy.linalg"])
def test_names_that_are_no_packages(name: str) -> None:
    with pytest.raises(MissingRequirement):
        resolve_versions([name])


def test_import_names(site: Path) -> None:
    assert import_names("numpy") == ("numpy",)
    assert import_names("scikit-learn") == ("sklearn",)
    assert import_names("one-dist") == ("onepkg",)
    with pytest.raises(MissingRequirement, match="not found: nothing"):
        import_names("nothing")


def test_owners_are_those_of_the_standard_library(site: Path) -> None:
    """Later Pythons list compiled modules too, which no corpus is read from."""
    expected = importlib.metadata.packages_distributions()
    for name in {"shared", "onepkg", "numpy", "yaml", "sklearn", "google", "mlflow"} & set(expected):
        found = resolve_versions([name])[name]
        owners = sorted(set(expected[name]))
        versions = [importlib.metadata.version(owner) for owner in owners]
        several = " ".join(f"{owner}=={version}" for owner, version in zip(owners, versions, strict=True))
        assert found == (versions[0] if len(owners) == 1 else several)
    for name in sorted(set(expected) - set(sys.stdlib_module_names)):
        if (spec := PathFinder.find_spec(name)) and (spec.origin or "").endswith(".py"):  # without anyone's hooks
            assert import_names(name) == (name,)


def test_the_standard_library() -> None:
    assert all(is_standard_library(name) for name in ("stdlib", "email", "json", "ast"))
    assert not any(is_standard_library(name) for name in ("numpy", "Email", "email.message", ""))


def test_digests_of_plugins_are_those_of_their_files(site: Path) -> None:
    for kind, file in {
        "onepkg:Task": "onepkg/__init__.py",
        "onepkg.tasks:Task": "onepkg/tasks.py",
        "onepkg.deep:Task": "onepkg/deep/__init__.py",
        "single:Task": "single.py",
    }.items():
        assert plugin_digest(kind) == hashlib.sha256((site / file).read_bytes()).hexdigest(), kind
    assert not {"onepkg", "single"} & set(sys.modules)


def test_a_changed_plugin_has_another_digest(site: Path) -> None:
    before = plugin_digest("onepkg.tasks:Task")
    (site / "onepkg" / "tasks.py").write_text("raise SystemExit\nclass Task: x = 2\n")
    assert plugin_digest("onepkg.tasks:Task") != before


def test_a_plugin_must_have_what_is_named(site: Path) -> None:
    with pytest.raises(MissingRequirement, match=r"'onepkg.tasks' has no 'Tusk'; correct the name"):
        plugin_digest("onepkg.tasks:Tusk")
    (site / "onepkg" / "tasks.py").write_text("class Task:\n")
    with pytest.raises(MissingRequirement, match=r"a plugin must be importable, but onepkg.tasks says: expected an"):
        plugin_digest("onepkg.tasks:Task")


@pytest.mark.parametrize("kind", ["nowhere:x", "nowhere.deep:x", "onepkg.missing:x", "onepkg.deep.missing:x"])
def test_a_plugin_that_is_not_there(site: Path, kind: str) -> None:
    with pytest.raises(MissingRequirement, match="a plugin must be importable, but there is no module"):
        plugin_digest(kind)
