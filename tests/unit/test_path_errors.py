"""What a command says of a path or a disk that fails it."""

from __future__ import annotations

import errno
import os

import pytest

from harness.cli.path_errors import path_error


def failed(number: int, *path: str) -> OSError:
    return OSError(number, os.strerror(number), *path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_in_the_words_of_a_failed_stage(number: int) -> None:
    told = path_error(failed(number, "/work/report.html"))
    assert told is not None
    assert told.exit_code == 1
    assert str(told) == "files must be written, but '/work/report.html': the disk is full; make space and run again"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT])
def test_a_disk_that_is_away_is_no_fault_of_the_recipe(number: int) -> None:
    told = path_error(failed(number))
    assert told is not None
    assert told.exit_code == 1
    assert str(told) == f"files must be read and written, but {os.strerror(number)}; fix it and run again"


def test_a_path_that_cannot_be_used_is_the_users_to_change() -> None:
    told = path_error(failed(errno.EACCES, "/root/wd"))
    assert told is not None
    assert told.exit_code == 2
    assert str(told) == "a path must be usable, but '/root/wd': Permission denied; choose another one"


def test_a_mistake_of_ours_is_not_explained_away() -> None:
    assert path_error(failed(errno.EBADF)) is None
    assert path_error(OSError("a library's own words")) is None
