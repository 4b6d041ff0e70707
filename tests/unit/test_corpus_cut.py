"""How a corpus is cut into parts: by what a plan may look at, few for a small one, each known by what it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from pydantic import TypeAdapter

from harness.errors import MissingRequirement
from harness.pipeline import corpus as corpus_stages
from harness.pipeline.corpus import PART_BYTES, corpus_stage, part_specs
from harness.pipeline.graph import Graph, Stage
from harness.plan.plan import make_plan
from harness.recipe.corpus import CorpusSource
from harness.recipe.load import load_recipe

ROOT = Path(__file__).parents[2]
BLOCK: TypeAdapter[CorpusSource] = TypeAdapter(CorpusSource)
POOL = {"against": ["asked"]}
HUB = {"kind": "huggingface", "id": "owner/name", "columns": {"text": "code"}}


def cut(block: dict[str, Any], part_bytes: int = PART_BYTES) -> list[dict[str, Any]]:
    return [spec.identity() for spec in part_specs(BLOCK.validate_python(block), part_bytes=part_bytes)]


def parts(block: dict[str, Any], graph: Graph) -> list[Stage]:
    stage = corpus_stage(graph, BLOCK.validate_python(block), {}, 0, part_bytes=600)
    return [item.stage for item in stage.inputs.values()]


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """Ten repositories of three files with 100 bytes each."""
    for number in range(10):
        folder = tmp_path / "repositories" / f"repository{number}"
        folder.mkdir(parents=True)
        for name in "abc":
            (folder / f"{name}.py").write_text(f"# {number} {name} ".ljust(99, "-") + "\n")
    return tmp_path / "repositories"


def test_the_quickstart_has_a_part_a_package() -> None:
    plan = make_plan(load_recipe(ROOT / "recipes" / "quickstart.yaml"))
    found = [stage.identity["spec"]["packages"] for stage in plan.stages if stage.kind.name == "corpus_part"]
    assert found == [[name] for name in ("numpy", "pandas", "matplotlib", "networkx", "scipy", "sklearn", "sympy")]
    assert len({stage.affinity for stage in plan.stages if stage.kind.name == "corpus_part"}) == 1


def test_files_are_cut_by_their_bytes(repositories: Path) -> None:
    block = {"kind": "files", "paths": [f"{repositories}/*"]}
    assert [len(cut(block, size)) for size in (1, 100, 101, 450, 10_000)] == [30, 30, 15, 6, 1]
    (spec,) = cut(block)
    assert [entry["names"] for entry in spec["files"]] == [["a.py", "b.py", "c.py"]] * 10
    first = cut(block, 450)[0]
    assert [(Path(entry["root"]).name, entry["names"], entry["bytes"]) for entry in first["files"]] == [
        ("repository0", ["a.py", "b.py", "c.py"], 300),
        ("repository1", ["a.py", "b.py"], 200),
    ]
    large = repositories / "repository4" / "b.py"
    large.write_text("-" * 5_000)
    assert [sum(entry["bytes"] for entry in spec["files"]) for spec in cut(block, 1_000)] == [1_000, 5_300, 1_000, 600]


def test_a_parquet_file_is_cut_at_its_row_groups_by_the_columns_that_are_read(tmp_path: Path) -> None:
    table = pa.table({"code": [f"{n:03}" * 50 for n in range(100)], "other": ["x" * 10_000] * 100})
    for name in ("a", "b"):
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=10, use_dictionary=False)
    pyarrow.parquet.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    block = {"kind": "parquet", "paths": [str(tmp_path)], "columns": {"text": "code"}}
    specs = cut(block, 4_000)
    groups = [[(entry["names"], entry.get("groups")) for entry in spec["files"]] for spec in specs]
    assert groups[0] == [(["a.parquet"], [0, 3])]
    assert groups[3] == [(["a.parquet"], [9, 10]), (["b.parquet"], [0, 2])]
    assert groups[6] == [(["b.parquet"], [8, 10]), (["empty.parquet"], [0, 1])]
    assert len(groups) == 7
    (whole,) = cut(block)
    assert [entry["names"] for entry in whole["files"]] == [["a.parquet", "b.parquet"], ["empty.parquet"]]
    assert len(cut({**block, "rows": 50}, 4_000)) == 1, "how many rows a part has is known when it is read"
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and then nothing of it")
    with pytest.raises(MissingRequirement, match=r"c\.parquet: Parquet"):
        cut(block)


def test_files_of_the_hub_that_are_named_one_by_one_are_a_part_each() -> None:
    named = ["data/0.parquet", "data/1.parquet"]
    assert [spec["data_files"] for spec in cut({**HUB, "data_files": named})] == [[name] for name in named]
    assert [spec["data_files"] for spec in cut({**HUB, "data_files": ["data/*.parquet", "more"]})] == [
        ["data/*.parquet", "more"]
    ]
    assert [spec["data_files"] for spec in cut({**HUB, "data_files": named, "rows": 10})] == [named]
    assert [spec["data_files"] for spec in cut(HUB)] == [None]


def test_what_is_added_reads_nothing_else_again(repositories: Path) -> None:
    graph = Graph()
    block = {"kind": "files", "paths": [f"{repositories}/*"], "decontaminate": POOL}
    before = parts(block, graph)
    assert len(before) == 5
    (repositories / "repository99").mkdir()
    (repositories / "repository99" / "a.py").write_text("x = 1\n")
    after = parts(block, graph)
    assert after[:5] == before
    assert len(after) == 6
    for other in (
        {"heldout": 0.1},
        {"base": 0.1},
        {"near_duplicate": 0.9},
        {"decontaminate": {**POOL, "on_hit": "fail"}},
    ):
        assert parts({**block, **other}, graph) == after
    for other in ({"min_characters": 90}, {"decontaminate": {**POOL, "n": 9}}, {"decontaminate": None}):
        assert not set(parts({**block, **other}, graph)) & set(after)
    checked = [{}, *({"decontaminate": one} for one in ({**POOL, "n": 9}, {**POOL, "threshold": 0.5}, None))]
    assert len({stage.affinity for other in checked for stage in parts({**block, **other}, graph)}) == 4
    packages = {"kind": "python_packages", "packages": ["email", "json"], "heldout": ["json"], "base": ["email"]}
    assert parts({**packages, "packages": ["email", "json", "xml"]}, graph)[:2] == parts(packages, graph)


def test_there_are_never_too_many_parts(repositories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_stages, "MOST_PARTS", 7)
    block = {"kind": "files", "paths": [f"{repositories}/*"]}
    specs = cut(block, 1)
    assert len(specs) == 6
    assert sum(len(entry["names"]) for spec in specs for entry in spec["files"]) == 30
