"""The workdir's own MLflow database: a file that is there whole or not at all, and that can always be made again.

MLflow makes its tables in dozens of steps that sqlite does not undo: a file in which they were interrupted, or which
two processes made at once, is never opened again. So they are made in a temporary file, which then takes its place.
"""

from __future__ import annotations

import glob
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

from alembic.script import ScriptDirectory
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from harness.errors import MissingRequirement
from harness.store.record import NEW, replacing
from harness.tracking.places import sqlite_uri
from harness.tracking.words import first_line

BESIDE = ("", "-journal", "-wal", "-shm")  # sqlite's files; a journal would be played into the next of its name
BROKEN = "broken"
LOCKED_SECONDS = 10.0  # to wait for somebody who writes


def prepare(path: Path, artifacts: Path) -> Path | None:
    """Have a whole database at `path`. The caller holds a lock on it.

    One of an older MLflow is brought up to date if it can be. What MLflow cannot open is set aside and an empty one
    takes its place: everything in it can be shown again.

    Args:
        artifacts: where files of runs go.

    Returns:
        Where a broken one was put; None if there was none.

    Raises:
        MissingRequirement: it is locked or cannot be read or written now, which says nothing of what it holds.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path) and (_is_whole(path) or _renew(path, artifacts)):
            return None
        with _unfinished(path) as new:
            _migrate(new, artifacts)
            return _set_aside(path) if os.path.lexists(path) else None
    except (sqlite3.OperationalError, SQLAlchemyError, MlflowException, OSError) as error:
        raise MissingRequirement(
            "MLflow's database must be readable and writable",
            f"{path}: {first_line(error)}",
            "see what else uses it and whether the disk has room, then `harness sync` the recipe",
        ) from error


def require_whole(path: Path) -> None:
    """Refuse a database that MLflow cannot open.

    Raises:
        MissingRequirement: it cannot, or the file cannot be read now.
    """
    try:
        whole = _is_whole(path)
    except (sqlite3.OperationalError, OSError) as error:
        raise MissingRequirement("MLflow's database must be readable", f"{path}: {first_line(error)}") from error
    if not whole:
        raise MissingRequirement("MLflow's database must be whole", f"{path} is not", "`harness sync` makes it anew")


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A temporary file that replaces `path`. What a process that was killed left of its own is removed.

    It has a name of its own, since MLflow keeps connections by address.
    """
    for left in path.parent.glob(f"{glob.escape(path.name)}.*{NEW}*"):
        left.unlink()
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{NEW}")
    beside = [temporary.with_name(temporary.name + suffix) for suffix in BESIDE]
    try:
        with replacing(path, temporary):
            yield temporary
    finally:
        for one in beside:
            one.unlink(missing_ok=True)


def _migrate(path: Path, artifacts: Path) -> None:
    """Let MLflow make or complete its tables."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # takes a second that looking does not need

    store = SqlAlchemyStore(sqlite_uri(path), artifacts.as_uri())
    store.engine.dispose()


def _is_whole(path: Path) -> bool:
    """Whether a file is a sound database whose tables are those of this MLflow."""
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path, LOCKED_SECONDS)) as database:
            version = database.execute("SELECT version_num FROM alembic_version").fetchone()
            return bool(version == (_version(),) and database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
    except sqlite3.DatabaseError:
        pass  # not sqlite's, or damaged
    return False


def _version() -> str | None:
    """What MLflow's last migration is called."""
    return ScriptDirectory(str(files("mlflow.store") / "db_migrations")).get_current_head()


def _renew(path: Path, artifacts: Path) -> bool:
    """Bring a copy of a file up to date and put it in place; False where MLflow cannot."""
    if not path.is_file():
        return False
    try:
        with _unfinished(path) as copied:
            with closing(sqlite3.connect(path, LOCKED_SECONDS)) as database, closing(sqlite3.connect(copied)) as copy:
                database.backup(copy)
            _migrate(copied, artifacts)
            if not _is_whole(copied):
                raise MlflowException("it is damaged")
    except (sqlite3.DatabaseError, SQLAlchemyError, MlflowException):
        return False
    return True


def _set_aside(path: Path) -> Path:
    stem = path.with_name(f"{path.name}.{BROKEN}-{time.strftime('%Y%m%dT%H%M%S')}")
    aside, number = stem, 1
    while os.path.lexists(aside):
        number += 1
        aside = stem.with_name(f"{stem.name}-{number}")
    for suffix in BESIDE:
        one = path.with_name(path.name + suffix)
        if os.path.lexists(one):
            one.rename(aside.with_name(aside.name + suffix))
    return aside
