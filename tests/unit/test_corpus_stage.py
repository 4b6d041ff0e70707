"""The corpus stage on every kind of source: what is planned is what is read, and what it finds is in its record."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from pydantic import TypeAdapter

from harness.errors import DataError
from harness.events import EventLog
from harness.pipeline.corpus import PART_BYTES, part_specs
from harness.recipe.corpus import CorpusSource
from harness.recipe.schema import identity_of
from harness.sources.resolve import resolve_corpus
from harness.stages import corpus, corpus_part, pairs_part
from harness.stages.context import Given, StageContext
from harness.store.artifacts import Candidates, Corpus, CorpusPart, Pairs

ROOT = Path(__file__).parents[2]
BLOCK: TypeAdapter[CorpusSource] = TypeAdapter(CorpusSource)
PROBLEM = {
    "id": "sums-7",
    "cluster": "c",
    "split": "test",
    "prompt": "Anna picks 23 apples on Monday and twice as many on Tuesday. How many apples does she have in all?",
    "answer": "69",
    "solution": "On Tuesday she picks 46 apples, and 23 + 46 = 69 in all.",
    "text": "",
    "metadata": "{}",
}
Run = Callable[..., dict[str, Any]]
READABLE = '''def {name}(values, limit):
    """{docstring}"""
    total = {number}
    for value in values:
        if value > limit + {number}:
            total += value * {number}
    return total  # the sum
'''
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def prose(number: int, words: int = 30) -> str:
    """Words that differ from one number to another."""
    return " ".join(f"{WORDS[(number * 7 + place * place) % 10]}{number * 31 % 97}" for place in range(words))


def planned(block: CorpusSource, part_bytes: int = PART_BYTES) -> list[dict[str, Any]]:
    """What the parts are asked, as it comes out of a record."""
    specs: list[dict[str, Any]] = json.loads(
        json.dumps([spec.identity() for spec in part_specs(block, part_bytes=part_bytes)])
    )
    return specs


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def events(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.jsonl")
    yield log
    log.close()


def write_pool(folder: Path, *problems: dict[str, str]) -> None:
    """A pool of problems, with a candidate each."""
    folder.mkdir(exist_ok=True)
    (folder / Candidates.file).unlink(missing_ok=True)
    rest = {"cluster": "c", "index": 0, "text": "", "answer": None, "correct": False, "error_type": "", "seen": True}
    Candidates(folder).write(
        [{**rest, "source": "", "problem": one["id"], "prompt": one["prompt"]} for one in problems]
    )


@pytest.fixture
def run(tmp_path: Path, events: EventLog) -> Run:
    """Plan a block and run its stages; the artifact lies in `corpus`, the pool's of questions in `problems`."""
    problems = tmp_path / "problems"
    write_pool(problems, PROBLEM)

    def run(
        block: dict[str, Any], *, plan: list[dict[str, Any]] | None = None, part_bytes: int = PART_BYTES
    ) -> dict[str, Any]:
        parsed = BLOCK.validate_python(block)
        judged = {"pool-sums": Given(directory=problems)} if parsed.decontaminate else {}
        parts = {}
        for number, spec in enumerate(plan or planned(parsed, part_bytes)):
            folder = emptied(tmp_path / "parts" / str(number))
            corpus_part.run(StageContext(spec=spec, inputs=judged, directory=folder, events=events))
            parts[f"part-{number:05d}"] = Given(directory=folder)
        spec = json.loads(json.dumps({**identity_of(parsed), **resolve_corpus(parsed), "seed": 1}))
        if parsed.decontaminate:
            del spec["decontaminate"]["against"]
        folder = emptied(tmp_path / "corpus")
        result = corpus.run(StageContext(spec=spec, inputs=parts, directory=folder, events=events))
        return {**result, "parts": len(parts)}

    return run


def rows(folder: Path) -> list[dict[str, Any]]:
    return list(Corpus(folder / "corpus").stream())


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    """Twenty repositories with a Python file, a Go file and a text each."""
    for number in range(20):
        folder = tmp_path / "repositories" / f"repository{number}"
        folder.mkdir(parents=True)
        code = READABLE.format(name=f"f{number}", docstring=f"Say what {prose(number, 6)} is.", number=number)
        (folder / "a.py").write_text(code)
        (folder / "b.go").write_text(f"// Package b does {prose(number, 5)}.\npackage b\n\nvar x = `{prose(number)}`\n")
        (folder / "c.txt").write_text(f"What is {prose(number, 4)} for?\n\n{prose(number + 40)}\n")
    return tmp_path / "repositories"


AGAINST = {"against": ["sums"]}
FILES = {"kind": "files", "heldout": 0.2, "base": 0.2, "min_characters": 20, "near_duplicate": 0.95}
FILES |= {"decontaminate": AGAINST}


def test_files_by_language(run: Run, repositories: Path, tmp_path: Path) -> None:
    block = {**FILES, "paths": [f"{repositories}/*"], "languages": ["python", "go", "text"]}
    result = run(block)
    found = rows(tmp_path)
    assert result["languages"] == {"python": 20, "go": 20, "text": 20}
    assert result["units"] == {"document": 40, "function": 20}
    assert result["read"] == {"files": 60, "functions": 20}
    assert sum(result["kept"].values()) == len(found) == result["cleaning"]["kept"] == 60
    assert result["groups"] == sum(row["split"] == "base" for row in found) > 0
    splits = {
        cluster: {row["split"] for row in found if row["cluster"] == cluster}
        for cluster in {r["cluster"] for r in found}
    }
    assert len(splits) == 20
    assert all(len(split) == 1 for split in splits.values())
    (function,) = [row for row in found if row["path"] == "repository3/a.py"]
    assert (function["name"], function["unit"], function["language"]) == ("f3", "function", "python")
    assert "#" not in function["text"]
    (text,) = [row for row in found if row["path"] == "repository3/c.txt"]
    assert text["description"].startswith("What is ")
    assert text["text"] == prose(43)
    again = rows(tmp_path)
    run(block)
    assert rows(tmp_path) == again


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_questions_and_answers_from_tables(run: Run, tmp_path: Path, kind: str) -> None:
    """Text with a licence, filtered; the same rows give the same documents from either kind."""
    table = [
        {
            "question": f"How does one {prose(number, 5)}?",
            "answer": prose(number),
            "terms": "CC-BY-SA-4.0" if number % 4 else "unknown",
            "tongue": "text" if number % 5 else "german",
            "thread": f"thread{number // 2}",
        }
        for number in range(60)
    ]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(table), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    columns = {"text": "answer", "description": "question", "licence": "terms", "language": "tongue"}
    result = run(
        {
            **FILES,
            "kind": kind,
            "paths": [str(path)],
            "columns": {**columns, "cluster": "thread"},
            "licences": ["cc-by-sa-4.0"],
            "languages": ["text"],
        }
    )
    assert result["cleaning"]["licence"] == sum(not n % 4 for n in range(60) if n % 5)
    assert result["cleaning"]["language"] == 12
    found = rows(tmp_path)
    kept = [row for n, row in enumerate(table) if n % 4 and n % 5]
    assert [(row["description"], row["text"], row["cluster"]) for row in found] == [
        (row["question"], row["answer"], row["thread"]) for row in kept
    ]
    assert {row["unit"] for row in found} == {"document"}
    few = run(
        {
            **FILES,
            "kind": kind,
            "paths": [str(path)],
            "columns": {"text": "answer"},
            "rows": 40,
            "min_description_characters": 0,
        }
    )
    assert few["read"]["rows"] == 40


def test_python_files_in_a_table_are_their_functions(run: Run, tmp_path: Path) -> None:
    files = [
        "\n".join(READABLE.format(name=f"f{n}", docstring=f"Say {prose(n, 6)}.", number=n) for n in (k, k + 50))
        for k in range(30)
    ]
    pyarrow.parquet.write_table(pa.table({"content": files}), tmp_path / "a.parquet")
    block = {**FILES, "kind": "parquet", "paths": [f"{tmp_path}/*.parquet"], "columns": {"text": "content"}}
    result = run({**block, "language": "Python", "near_duplicate": 1.0})
    assert result["units"] == {"function": 60}
    assert result["read"] == {"functions": 60, "rows": 30}


def test_functions_without_a_docstring_are_kept_where_models_describe(run: Run, tmp_path: Path) -> None:
    block = {
        "kind": "python_packages",
        "packages": ["json", "email", "logging"],
        "heldout": ["json"],
        "base": ["logging"],
    }
    documented = run(block)
    few = rows(tmp_path)
    everything = run({**block, "min_docstring_characters": 0})
    many = rows(tmp_path)
    texts = {row["text"] for row in many}
    assert {row["text"] for row in few} < texts
    assert documented["read"]["functions"] < everything["read"]["functions"]
    assert {bool(row["description"]) for row in many} == {True, False}
    folder = tmp_path / "repositories" / "bare"
    for number in range(12):
        (folder / str(number)).mkdir(parents=True)
        code = READABLE.format(name=f"f{number}", docstring="", number=number).replace('    """"""\n', "")
        (folder / str(number) / "a.py").write_text(code)
    bare = {**FILES, "paths": [f"{folder}/*"], "near_duplicate": 1.0, "min_description_characters": 0}
    assert run(bare)["units"] == {"function": 12}


def test_no_document_need_be_for_the_base_model(run: Run) -> None:
    block = {"kind": "python_packages", "packages": ["json", "email"], "heldout": ["json"]}
    result = run(block)
    assert result["kept"].keys() == {"train", "heldout"}
    assert result["groups"] == result["characters"] == 0
    assert run({**block, "base": []})["kept"] == result["kept"]


def test_a_planted_problem_is_dropped_and_told(run: Run, repositories: Path, tmp_path: Path) -> None:
    planted = repositories / "repository3" / "planted.txt"
    planted.write_text(f"A text with a question in it.\n\nIt goes: {PROBLEM['prompt']} {PROBLEM['solution']}\n")
    near = repositories / "repository4" / "near.txt"
    near.write_text("Another question in a text.\n\n" + PROBLEM["prompt"].replace("Anna", "BERTA") + "\nWell.\n")
    block = {**FILES, "paths": [f"{repositories}/*"], "languages": ["text"]}
    result = run(block)
    assert result["cleaning"]["contaminated"] == result["contamination"]["documents"] == 2
    assert result["contamination"]["checked"] == {"sums": 1}
    assert [(one["document"], one["problem"]) for one in result["contamination"]["examples"]] == [
        ("repository3/planted.txt", "sums-7"),
        ("repository4/near.txt", "sums-7"),
    ]
    assert not {"repository3/planted.txt", "repository4/near.txt"} & {row["path"] for row in rows(tmp_path)}
    with pytest.raises(DataError, match=r"2 documents do; first repository3/planted\.txt") as caught:
        run({**block, "decontaminate": {**AGAINST, "on_hit": "fail"}})
    assert caught.value.exit_code == 1
    unchecked = run({**block, "decontaminate": None})
    assert unchecked["contamination"] is None
    assert unchecked["cleaning"]["kept"] == result["cleaning"]["kept"] + 2
    assert run({**block, "decontaminate": {**AGAINST, "threshold": 0.9}})["cleaning"]["contaminated"] == 1


def test_a_problem_without_spaces_is_found_and_what_cannot_be_looked_for_is_told(
    run: Run, repositories: Path, tmp_path: Path, events: EventLog
) -> None:
    question = "小明星期一摘了二十三个苹果,星期二摘了两倍那么多的苹果,请问他一共有多少个苹果?"
    short = {**PROBLEM, "id": "sums-9", "prompt": "几个?"}
    write_pool(tmp_path / "problems", {**PROBLEM, "prompt": question}, short)
    (repositories / "repository3" / "planted.txt").write_text(f"文章里的一个问题。\r\n\r\n题目:{question}请回答。" * 3)
    (repositories / "repository4" / "binary.txt").write_bytes(bytes(range(256)) * 4)
    block = {**FILES, "paths": [f"{repositories}/*"], "languages": ["text"], "min_description_characters": 1}
    result = run(block)
    assert result["contamination"]["checked"] == result["contamination"]["too_short"] == {"sums": 1}
    assert [one["document"] for one in result["contamination"]["examples"]] == ["repository3/planted.txt"]
    assert result["passed_over"] == {"files_not_text": ["repository4/binary.txt"]}
    with pytest.raises(DataError, match=r"1 documents do; first repository3/planted\.txt"):
        run({**block, "decontaminate": {**AGAINST, "on_hit": "fail"}})
    events.close()
    warned = (tmp_path / "events.jsonl").read_text()
    assert "problems too short to search for: 1 of 2 of sums" in warned


def without_parts(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name != "parts"}


@pytest.mark.parametrize("kind", ["files", "parquet", "jsonl"])
def test_how_a_corpus_is_cut_changes_nothing_in_it(run: Run, tmp_path: Path, kind: str) -> None:
    """Copies, near copies and planted problems lie in several parts; some parts hold nothing that may be kept."""
    chance = random.Random(0)
    texts: list[str] = []
    for number in range(240):
        draw = chance.random()
        if number > 20 and draw < 0.4:
            text = texts[chance.randrange(len(texts))]
            texts.append(text if draw < 0.2 else text.replace("total", "sum", 1))
        elif draw < 0.45:
            texts.append(f"Well.\n\nIt goes: {PROBLEM['prompt']} {PROBLEM['solution']} {number}")
        elif draw < 0.5 or 100 <= number < 130:
            texts.append("x = 1")
        else:
            texts.append(READABLE.format(name=f"f{number}", docstring=f"Say {prose(number, 6)}.", number=number))
    block: dict[str, Any] = {**FILES, "min_description_characters": 0, "near_duplicate": 0.8}
    if kind == "files":
        for number, text in enumerate(texts):
            path = tmp_path / "data" / f"repository{number % 30:02}" / f"{number}.{'txt' if 'goes' in text else 'py'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        block |= {"paths": [f"{tmp_path}/data/*"], "languages": ["python", "text"]}
    else:
        (tmp_path / "data").mkdir()
        block |= {"kind": kind, "paths": [f"{tmp_path}/data"], "columns": {"text": "text"}, "language": "python"}
        for start in range(0, len(texts), 80):
            path = tmp_path / "data" / f"{start:03}.{kind}"
            if kind == "parquet":
                pyarrow.parquet.write_table(pa.table({"text": texts[start : start + 80]}), path, row_group_size=9)
            else:
                path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[start : start + 80]))
    whole = run(block)
    expected = rows(tmp_path)
    written = (tmp_path / "corpus" / "corpus.parquet").read_bytes()
    assert whole["parts"] == 1
    for reason in ("exact_duplicate", "near_duplicate", "contaminated") if kind == "files" else ("exact_duplicate",):
        assert whole["cleaning"][reason] >= 5
    cuts = set()
    for part_bytes in (1, 700, 3_000, 20_000):
        found = run(block, part_bytes=part_bytes)
        assert without_parts(found) == without_parts(whole)
        assert rows(tmp_path) == expected
        assert (tmp_path / "corpus" / "corpus.parquet").read_bytes() == written
        cuts.add(found["parts"])
    assert max(cuts) == {"files": 240, "parquet": 27, "jsonl": 3}[kind]
    assert len(cuts) > 2 or kind == "jsonl"


def test_packages_read_apart_are_packages_read_together(run: Run, tmp_path: Path) -> None:
    packages = ["json", "email", "logging", "json"]
    block = {"kind": "python_packages", "packages": packages, "heldout": ["json"], "base": ["logging"]}
    apart = run(block)
    expected = rows(tmp_path)
    first, *_ = planned(BLOCK.validate_python(block))
    together = run(block, plan=[{**first, "packages": packages}])
    assert (apart["parts"], together["parts"]) == (3, 1)
    assert without_parts(apart) == without_parts(together)
    assert rows(tmp_path) == expected
    assert {row["cluster"] for row in expected} == set(packages)


def test_a_warm_worker_reads_the_problems_once(repositories: Path, tmp_path: Path, events: EventLog) -> None:
    block = BLOCK.validate_python({**FILES, "paths": [f"{repositories}/*"], "languages": ["text"]})
    write_pool(tmp_path / "asked", PROBLEM)
    held: dict[str, Any] = {}
    for number, spec in enumerate(planned(block, 1)[:2]):
        folder = emptied(tmp_path / "parts" / str(number))
        given = {"pool-sums": Given(directory=tmp_path / "asked")}
        corpus_part.run(StageContext(spec=spec, inputs=given, directory=folder, events=events, held=held))
        shutil.rmtree(tmp_path / "asked", ignore_errors=True)
        assert CorpusPart(folder).facts()["contamination"]["checked"] == {"sums": 1}


def test_a_corpus_without_anything_usable(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "short"}) + "\n")
    with pytest.raises(DataError, match=r"none of 1 was kept \(description short 1\); widen the bounds") as caught:
        run({**FILES, "kind": "jsonl", "paths": [f"{tmp_path}/a.jsonl"], "columns": {"text": "text"}})
    assert caught.value.exit_code == 1
    (tmp_path / "a.py").write_text("x = 1\n")
    with pytest.raises(DataError, match="none of 0 was kept; read more"):
        run({**FILES, "paths": [f"{tmp_path}/a.py"]})


def test_one_repository_cannot_be_split(run: Run, repositories: Path) -> None:
    with pytest.raises(DataError, match=r"no split of the corpus may be empty.*raise its share, or read more"):
        run({**FILES, "paths": [f"{repositories}/repository1"], "languages": ["text", "go"]})


def test_files_that_changed_since_they_were_planned(run: Run, repositories: Path) -> None:
    block = BLOCK.validate_python({**FILES, "paths": [f"{repositories}/*"], "languages": ["text"]})
    asked = {**FILES, "paths": [f"{repositories}/*"], "languages": ["text"]}
    plan = planned(block)
    before = run(asked, plan=plan)
    (repositories / "one-more").mkdir()
    (repositories / "one-more" / "c.txt").write_text("Something else.\n")
    assert run(asked, plan=plan) == before, "what was not planned is not read"
    (repositories / "repository7" / "c.txt").write_text("Something else.\n")
    with pytest.raises(DataError, match="changed: repository7; run again"):
        run(asked, plan=plan)
    (repositories / "repository7" / "c.txt").unlink()
    with pytest.raises(DataError, match="changed: repository7; run again"):
        run(asked, plan=plan)


def test_mutations_are_made_of_functions_alone_and_the_rest_is_counted(
    run: Run, repositories: Path, tmp_path: Path, events: EventLog
) -> None:
    run({**FILES, "paths": [f"{repositories}/*"], "languages": ["python", "go", "text"]})
    documents = [row for row in rows(tmp_path) if row["split"] == "train"]
    functions = [row for row in documents if row["unit"] == "function"]
    assert 0 < len(functions) < len(documents)
    spec: dict[str, Any] = {
        "prompt": {"from": "docstring", "max_characters": 200},
        "chosen": {"from": "reference"},
        "rejected": {"from": "mutation", "edits": [1, 2], "kinds": ["arithmetic", "comparison", "variable"]},
        "split": "train",
        "seed": 1,
        "start": 0,
        "stop": 2 * len(functions),
    }
    (tmp_path / "part").mkdir()
    context = StageContext(
        spec=spec,
        inputs={"corpus": Given(directory=tmp_path / "corpus")},
        directory=tmp_path / "part",
        events=events,
    )
    result = pairs_part.run(context)
    assert result["counts"]["documents_unfit"] == len(documents) - len(functions)
    assert result["groups"] > len(functions)
    assert {row["chosen"] for row in Pairs(tmp_path / "part").stream()} <= {row["text"] for row in functions}


MEASURE = """
import resource, sys
from pathlib import Path
from harness.events import EventLog
from harness.pipeline.corpus import part_specs
from harness.recipe.corpus import JsonLines
from harness.recipe.schema import identity_of
from harness.stages import corpus, corpus_part
from harness.stages.context import Given, StageContext
folder = Path(sys.argv[1])
block = JsonLines.model_validate(dict(
    kind="jsonl", paths=[str(folder / "texts")], columns={"text": "text"}, decontaminate=None,
    min_characters=80, max_characters=3000, min_description_characters=0, near_duplicate=0.9))
events = EventLog(folder / "e")
parts = {}
for number, spec in enumerate(part_specs(block, part_bytes=1)):
    parts[f"part-{number:05d}"] = Given(directory=folder / f"part-{number}")
    (folder / f"part-{number}").mkdir()
    corpus_part.run(StageContext(spec=spec.identity(), inputs={}, directory=folder / f"part-{number}", events=events))
(folder / "corpus").mkdir()
spec = {**identity_of(block), "seed": 0}
result = corpus.run(StageContext(spec=spec, inputs=parts, directory=folder / "corpus", events=events))
print(result["cleaning"]["kept"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_memory_grows_by_what_finds_copies_and_not_by_the_text(tmp_path: Path) -> None:
    """Of 2.6 kB of text with 330 shingles a document, some hundred bytes of keys stay in memory."""
    few, many = 4_000, 12_000
    peaks = []
    for count in (few, many):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "texts").mkdir()
        for first in range(0, count, 2_000):
            with (folder / "texts" / f"{first // 2_000:02}.jsonl").open("w") as file:
                for number in range(first, first + 2_000):
                    text = " ".join(f"{number * 7919 % 100_003:x}{place}" for place in range(330))
                    file.write(json.dumps({"text": text}) + "\n")
        told = subprocess.run(
            [sys.executable, "-c", MEASURE, str(folder)], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        kept, peak = map(int, told.split())
        assert kept == count
        peaks.append(peak)
    grown = (peaks[1] - peaks[0]) / (many - few)
    assert grown < 1_000, f"{grown:.0f} bytes a document; texts and shingles held would be 30,000"
