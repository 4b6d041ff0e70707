"""What large files come to is worked out once, and again when a file or what decides it changes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from harness.errors import MissingRequirement
from harness.pipeline.counts import with_counts
from harness.sources import known_files
from harness.sources.known_files import CodeNotes, digest_of, remembered
from harness.tasks.fixed import FixedTask
from harness.tasks.registry import load_task
from tests.conftest import Load
from tests.toys.samples import SAMPLES
from tests.unit.test_tasks_fixed import asking, write

__all__ = ["asking"]


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's cache folder; every file counts as large."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known_files, "LARGE", 1)
    return tmp_path / "cache" / known_files.FOLDER


class Made:
    """Counts how often something was made."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> int:
        self.times += 1
        return self.times


def test_it_is_made_again_only_where_a_file_or_what_decides_it_changed(tmp_path: Path) -> None:
    made, one, other = Made(), tmp_path / "one", tmp_path / "other"
    for file in (one, other):
        file.write_text("text")

    def ask(what: str, *files: Path) -> int:
        return remembered(lambda: what, files, made)

    assert [ask("a", one), ask("a", one), ask("b", one), ask("a", one, other)] == [1, 1, 2, 3]
    os.utime(one, ns=(0, 1))
    assert [ask("a", one), ask("a", one), ask("a", one, other)] == [4, 4, 5]
    one.write_text("longer text")
    assert ask("a", one) == 6
    one.unlink()
    with pytest.raises(FileNotFoundError):
        ask("a", one)


def test_small_files_are_looked_at_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    monkeypatch.setattr(known_files, "LARGE", 5)
    made, file = Made(), tmp_path / "one"
    file.write_text("text")
    assert [remembered(lambda: "a", [file], made) for _ in range(2)] == [1, 2]
    assert not kept.exists()


def test_what_changed_while_it_was_read_is_not_kept(tmp_path: Path, kept: Path) -> None:
    file = tmp_path / "one"
    file.write_text("text")
    remembered(lambda: "a", [file], lambda: file.write_text("longer text"))
    assert not kept.exists()


def test_a_damaged_or_missing_cache_costs_time_alone(tmp_path: Path, kept: Path) -> None:
    made, file = Made(), tmp_path / "one"
    file.write_text("text")
    remembered(lambda: "a", [file], made)
    (entry,) = kept.iterdir()
    entry.write_text('{"half')
    assert [remembered(lambda: "a", [file], made) for _ in range(2)] == [2, 2]
    entry.unlink()
    kept.rmdir()
    kept.write_text("no folder")
    assert [remembered(lambda: "a", [file], made) for _ in range(2)] == [3, 4]


def test_a_digest_is_that_of_the_file(tmp_path: Path, kept: Path) -> None:
    file = tmp_path / "one"
    for content in (b"one", b"other"):
        file.write_bytes(content)
        for _ in range(2):
            known_files._digest.cache_clear()  # as for another command
            assert digest_of(file) == hashlib.sha256(content).hexdigest()
    assert len(list(kept.iterdir())) == 2


def test_problems_are_counted_once(
    asking: dict[str, object], load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = with_counts(load(asking))
    reads = []
    read = FixedTask.read
    monkeypatch.setattr(FixedTask, "read", lambda self, *files: reads.append(files) or read(self, *files))
    assert with_counts(load(asking)).recipe == first.recipe
    assert not reads
    monkeypatch.setattr("harness.pipeline.counts.code_digest", lambda *modules: "other code")
    assert with_counts(load(asking)).recipe == first.recipe
    assert reads
    reads.clear()
    write(tmp_path / "test.jsonl", SAMPLES["gsm8k"].rows["test"][:2])
    changed = with_counts(load(asking)).recipe.tasks["words"].problems
    assert (changed.test, first.recipe.tasks["words"].problems.test) == (2, 3)
    assert reads
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(Exception, match=r"test\.jsonl|holds no test"):
        with_counts(load(asking))


def test_what_cannot_be_read_is_said_every_time(tmp_path: Path) -> None:
    task = load_task("gsm8k")
    assert isinstance(task, FixedTask)
    with pytest.raises(MissingRequirement):
        task.digest((tmp_path / "none.jsonl",))


def test_notes_about_code_are_forgotten_once_any_of_it_changes(tmp_path: Path, kept: Path) -> None:
    folder, asked = tmp_path / "code", list[str]()
    (folder / "inner").mkdir(parents=True)
    for file in ("a.py", "inner/b.py", "notes.txt"):
        (folder / file).write_text("x = 1\n")

    def note(key: str) -> str:
        return CodeNotes(folder).text(key, lambda: asked.append(key) or f"of {key}")

    assert [note("k"), note("l"), note("k")] == ["of k", "of l", "of k"]
    assert asked == ["k", "l"]
    (folder / "notes.txt").write_text("another text\n")
    note("k")
    assert asked == ["k", "l"]
    (folder / "inner" / "b.py").write_text("x = 23\n")
    assert note("k") == "of k"
    assert asked == ["k", "l", "k"]
    (place,) = kept.iterdir()
    for damaged in ("{", "[]", '{"state": 1}', '{"state": "", "texts": 3}'):
        place.write_text(damaged)
        assert note("k") == "of k"
    (folder / "c.py").write_text("")
    note("k")
    assert asked == ["k", "l", *["k"] * 6]
    assert len(list(kept.iterdir())) == 1
