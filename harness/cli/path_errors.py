"""Errors of paths and machines in our form: every path that a command is given comes here if nobody checked it."""

from __future__ import annotations

import errno
import os

from harness.cli.console import clipped
from harness.errors import NO_SPACE, HarnessError, RecipeError, StageError

# What a machine can do to any file: a disk is read-only or broken, or one on the network is away.
AWAY = (errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EREMOTEIO, errno.EHOSTDOWN)
ENVIRONMENT = (errno.EROFS, errno.EIO, *AWAY)
# What a path can be: forbidden, a link to itself, too long, below a file, a folder for a file or the other way round.
UNUSABLE = (
    *(errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR),
    *(errno.EEXIST, errno.ENOTEMPTY, errno.ENXIO, errno.EINVAL),
)


def path_error(error: OSError) -> HarnessError | None:
    """What to say of a path that cannot be used; None where it is a mistake of ours, not of a path or a machine."""
    place = "" if error.filename is None else f"{clipped(os.fsdecode(error.filename))}: "
    if error.errno in NO_SPACE:
        return StageError("files must be written", f"{place}the disk is full", "make space and run again")
    if error.errno in ENVIRONMENT:
        return StageError("files must be read and written", f"{place}{error.strerror}", "fix it and run again")
    if error.errno in UNUSABLE:
        return RecipeError("a path must be usable", f"{place}{error.strerror}", "choose another one")
    return None
