"""Reading functions from packages: what is found, under which name, in which order, and what is left alone."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from harness.corpus.python_packages import Function, read_functions
from harness.corpus.tally import Tally
from harness.errors import MissingRequirement
from harness.sources.resolve import import_names, resolve_versions

PLAIN = 'def {name}(a):\n    """Add one to a number."""\n    return a + 1\n'


@pytest.fixture(scope="module")
def standard_library() -> tuple[list[Function], Tally]:
    counts = Tally()
    return list(read_functions(["stdlib"], counts=counts)), counts


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution "planted-functions" 1.2.3 with the import package `planted_package`."""
    package = tmp_path / "planted_package"
    metadata = tmp_path / "planted_functions-1.2.3.dist-info"
    (package / "tests").mkdir(parents=True)
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-functions\nVersion: 1.2.3\n")
    (metadata / "top_level.txt").write_text("planted_package\n")
    (package / "__init__.py").write_text("raise RuntimeError('must never be imported')\n" + PLAIN.format(name="first"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def test_versions_of_import_names_distributions_and_the_standard_library() -> None:
    versions = resolve_versions(["stdlib", "email", "yaml", "pyyaml", "numpy"])
    assert list(versions) == ["stdlib", "email", "yaml", "pyyaml", "numpy"]
    assert versions["stdlib"] == versions["email"] == platform.python_version()
    assert versions["yaml"] == versions["pyyaml"] != platform.python_version()
    assert "yaml" in import_names("PyYAML")
    assert import_names("yaml") == ("yaml",)


def test_every_missing_package_is_named_before_anything_is_read() -> None:
    with pytest.raises(MissingRequirement) as caught:
        resolve_versions(["numpy", "no_such_package_a", "no-such-package-b"])
    assert "no_such_package_a, no-such-package-b" in caught.value.value
    assert "numpy" not in caught.value.value
    with pytest.raises(MissingRequirement):
        next(read_functions(["stdlib", "no_such_package_a"]))


def test_a_package_is_read_and_not_imported(planted: Path) -> None:
    functions = list(read_functions(["planted-functions"]))
    assert [(f.package, f.module, f.qualified_name) for f in functions] == [
        ("planted-functions", "planted_package", "first")
    ]
    assert functions[0].docstring == "Add one to a number."
    assert functions[0].source == "def first(a):\n    return a + 1"
    assert "planted_package" not in sys.modules
    assert resolve_versions(["planted_package"]) == {"planted_package": "1.2.3"}
    assert next(read_functions(["planted_package"])).package == "planted_package"


def test_unparsable_files_are_counted_and_test_folders_skipped(planted: Path) -> None:
    (planted / "broken.py").write_text("def broken(:\n")
    (planted / "null.py").write_bytes(b"def null():\n    '''\0'''\n")
    (planted / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\n" + PLAIN.format(name="é").encode("latin-1"))
    (planted / "tests" / "helper.py").write_text(PLAIN.format(name="skipped"))
    (planted / "test_first.py").write_text(PLAIN.format(name="skipped"))
    counts = Tally()
    functions = list(read_functions(["planted_package"], counts=counts))
    assert [function.qualified_name for function in functions] == ["first", "é"]
    assert counts == {"files": 4, "unparsable_files": 2, "functions": 2}


def test_where_functions_are_looked_for(planted: Path) -> None:
    body = '    """Documented."""\n    return 1\n'
    nested = f"def outer():\n{body.replace('return 1', 'pass')}    def inner():\n        '''Documented.'''\n"
    (planted / "places.py").write_text(
        f"class A:\n    class B:\n        async def method(self):\n            '''Documented.'''\n{nested}"
        f"try:\n    import x\nexcept ImportError:\n    def fallback():\n        '''Documented.'''\n"
        f"if True:\n    def guarded():\n        '''Documented.'''\nelse:\n    def other():\n        '''Documented.'''\n"
        "def silent():\n    return 1\ndef blank():\n    '''   '''\n"
    )
    names = [f.qualified_name for f in read_functions(["planted_package"]) if f.module.endswith(".places")]
    assert names == ["A.B.method", "outer", "fallback", "guarded", "other"]


def test_the_standard_library_is_split_by_top_level_module(
    standard_library: tuple[list[Function], Tally],
) -> None:
    functions, counts = standard_library
    packages = {function.package for function in functions}
    assert {"email", "argparse", "json", "textwrap"} <= packages
    assert packages <= sys.stdlib_module_names | {"__phello__"}
    assert not packages & {"test", "idlelib", "lib2to3", "site-packages"}
    assert all(function.module.split(".")[0] == function.package for function in functions)
    assert not any({"test", "tests"} & set(function.module.split(".")) for function in functions)
    assert len(functions) == counts["functions"] > 4_000


def test_one_module_of_the_standard_library_is_what_the_whole_has_of_it(
    standard_library: tuple[list[Function], Tally],
) -> None:
    functions, _ = standard_library
    assert list(read_functions(["email", "email"])) == [f for f in functions if f.package == "email"]


def test_order_is_by_package_asked_then_path(standard_library: tuple[list[Function], Tally]) -> None:
    functions, _ = standard_library
    expected = [f for f in functions if f.package == "textwrap"] + [f for f in functions if f.package == "json"]
    assert list(read_functions(["textwrap", "json"])) == expected
