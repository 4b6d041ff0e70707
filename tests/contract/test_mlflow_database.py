"""The workdir's own MLflow database is there whole or not at all, whoever is killed, and can always be made again."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from harness.errors import MissingRequirement
from harness.tracking import mlflow_database
from harness.tracking.mlflow_database import prepare, require_whole
from harness.tracking.mlflow_tracker import MlflowTracker
from harness.tracking.places import place_of
from tests.contract.test_trackers import family
from tests.toys.mlflow_servers import ENOUGH_SECONDS, held, put_database

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of mlflow's own use of its libraries
]

PREPARE = """
import sys
from pathlib import Path
from filelock import FileLock
from harness.tracking.mlflow_database import prepare

path = Path(sys.argv[1])
with FileLock(path.with_name("lock")):
    print(prepare(path, path.with_name("artifacts")))
"""


def preparing(path: Path) -> subprocess.Popen[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", PREPARE, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def shows(path: Path) -> None:
    """A tracker on it works."""
    place = place_of(None, path.parents[1])
    assert place.database == path
    assert MlflowTracker(place.uri, place.artifacts).show(family("e"))["created"] == 3
    assert len(held(place.uri, "e")) == 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "workdir" / "mlflow" / "mlflow.db"


def test_a_kill_in_the_middle_leaves_nothing_that_hinders_the_next(path: Path) -> None:
    process = preparing(path)
    deadline = time.monotonic() + ENOUGH_SECONDS
    while not any(new.stat().st_size > 100_000 for new in path.parent.glob("*.new")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not path.exists()
    assert prepare(path, path.with_name("artifacts")) is None
    assert not list(path.parent.glob("*.new*"))
    shows(path)


def test_two_at_once_make_one(path: Path) -> None:
    answers = [process.communicate(timeout=ENOUGH_SECONDS) for process in [preparing(path), preparing(path)]]
    assert [out for out, _ in answers] == ["None\n", "None\n"]
    assert sorted(one.name for one in path.parent.iterdir() if one.suffix != "") == ["mlflow.db"]
    shows(path)


def interrupted(path: Path) -> None:
    """What a process that was killed while it made the tables in place left: later tables, an earlier version."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        database.commit()


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def scribbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 40] = b"\xff" * (4096 * 37)
    path.write_bytes(content)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "keep").touch()


def nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = {one.__name__: one for one in (interrupted, cut, scribbled, folder, nowhere)}


@pytest.mark.sampled("damage", list(DAMAGES), ["interrupted", "scribbled", "folder"])
def test_what_cannot_be_opened_is_set_aside_once(path: Path, migrated: Path, damage: str) -> None:
    put_database(migrated, path)
    DAMAGES[damage](path)
    path.with_name("mlflow.db-journal").write_bytes(b"of the broken one")
    with pytest.raises(MissingRequirement, match="harness sync"):
        require_whole(path)
    aside = prepare(path, path.with_name("artifacts"))
    assert aside is not None
    assert aside.is_symlink() or aside.exists()
    assert not path.with_name("mlflow.db-journal").exists()
    require_whole(path)
    assert prepare(path, path.with_name("artifacts")) is None
    shows(path)


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
    assert prepare(path, path.with_name("artifacts")) is None
    shows(path)


def test_one_that_is_locked_is_left_alone(path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_database(migrated, path)
    monkeypatch.setattr(mlflow_database, "LOCKED_SECONDS", 0.1)
    with closing(sqlite3.connect(path)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(MissingRequirement, match="locked"):
            prepare(path, path.with_name("artifacts"))
    assert prepare(path, path.with_name("artifacts")) is None


@pytest.mark.parametrize("name", ["100 %", "a%41b", "what?", "a#b", "[x]*", "größe", "a+b&c=d;e", "a:b@c"])
def test_it_lies_in_its_workdir_whatever_that_is_called(tmp_path: Path, migrated: Path, name: str) -> None:
    path = tmp_path / name / "mlflow" / "mlflow.db"
    put_database(migrated, path)
    assert prepare(path, path.with_name("artifacts")) is None
    shows(path)
    assert [one.name for one in tmp_path.iterdir()] == [name]
    assert list((tmp_path / name / "mlflow" / "artifacts").rglob("recipe.yaml"))


def test_two_workdirs_whose_names_begin_alike_share_nothing(tmp_path: Path, migrated: Path) -> None:
    for name in ("a?1", "a?2", "a", "a%3F1"):
        path = tmp_path / name / "mlflow" / "mlflow.db"
        put_database(migrated, path)
        shows(path)
