"""What files come to: worked out once for as long as they stay as they are, for later commands too.

A plan asks for the digest of every local file it is made from, and counts the problems of every data set. Corpora of
100 GB and half a million rows would make looking at one a matter of minutes, so the answers are kept in the user's
cache folder. Digests of the harness's own code are there too: parsing it takes as long as a plan. A file stays as it is
where size and time of change do, as for git and make.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from harness.store.identity import file_digest, fingerprint

LARGE = 32 << 20  # bytes from which on reading takes longer than looking up
FOLDER = "codepmp-harness"

T = TypeVar("T")


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    facts = path.stat()
    return _digest(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=1 << 20)
def _digest(path: Path, size: int, changed: int) -> str:
    return remembered(lambda: "sha256", [path], lambda: file_digest(path))


def remembered(what: Callable[[], Any], files: Sequence[Path], make: Callable[[], T]) -> T:
    """What `make` gives, looked up where the files are large and it was made of them before.

    Args:
        what: says, with the files, all that decides it; plain JSON data.
        make: gives plain JSON data.

    Raises:
        OSError: a file is not there.
    """
    before = _facts(files)
    if sum(size for _, size, _ in before) < LARGE:
        return make()
    place = _folder() / f"{fingerprint([what(), before])}.json"
    with contextlib.suppress(OSError, ValueError):  # not there, or half of it: it is made again
        return cast(T, json.loads(place.read_text(encoding="utf-8")))
    made = make()
    if _facts(files) == before:
        with contextlib.suppress(OSError):  # who cannot keep it makes it every time
            _keep(place, json.dumps(made))
    return made


class CodeNotes:
    """Texts about the code of a folder: one file in the cache, which forgets all of them once the code changes."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path(at) / name for at, _, names in os.walk(folder) for name in names if name.endswith(".py"))
        self._state = fingerprint(_facts(found))
        self._place = _folder() / f"code-{fingerprint(os.fspath(folder))}.json"
        self._texts: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # not there, or half of it
            kept = json.loads(self._place.read_text(encoding="utf-8"))
            self._texts = dict(kept["texts"]) if kept["state"] == self._state else {}

    def text(self, key: str, make: Callable[[], str]) -> str:
        """What `make` gives, which depends on the key and the code alone."""
        if not isinstance(self._texts.get(key), str):
            self._texts[key] = make()
            with contextlib.suppress(OSError):
                _keep(self._place, json.dumps({"state": self._state, "texts": self._texts}))
        return self._texts[key]


def _facts(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    found = ((path, path.stat()) for path in files)
    return [(os.fspath(path.resolve()), facts.st_size, facts.st_mtime_ns) for path, facts in found]


def _folder() -> Path:
    """Of the user (XDG Base Directory Specification); no two versions of a file share a name in it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / FOLDER


def _keep(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, written = tempfile.mkstemp(dir=place.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(written, place)
