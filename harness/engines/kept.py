"""Texts that survive an interruption: an engine is asked list by list, and each finished list is kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.engines.base import Completion, Generator, Request
from harness.store.identity import SHORT, fingerprint
from harness.store.record import replacing

AT_ONCE = 256
"""Requests in a list, of an engine that does not say."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A Generator that asks another for `at_once` texts at a time and keeps them in a folder, under what was asked.

    Lists that are there already are read and not asked for again. They begin at the same requests in every attempt, so
    that the engine sees the same batches (see `Generator`).

    Args:
        generator: an engine; its `at_once`, if it has one, is the length of a list.
        progress: told (texts there are, texts wanted) after each list.
    """

    generator: Generator
    folder: Path
    progress: Callable[[int, int], None] = lambda done, total: None

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Serve all requests, see the protocol."""
        self.folder.mkdir(exist_ok=True)
        at_once = getattr(self.generator, "at_once", AT_ONCE)
        completions: list[Completion] = []
        for start in range(0, len(requests), at_once):
            completions += self._list(requests[start : start + at_once])
            self.progress(len(completions), len(requests))
        return completions

    def _list(self, requests: Sequence[Request]) -> list[Completion]:
        path = self.folder / f"texts-{fingerprint([asdict(request) for request in requests])[:SHORT]}.parquet"
        found = _read(path)
        if found is None:
            found = self.generator.generate(requests)
            _write(path, found)
        return found


def _read(path: Path) -> list[Completion] | None:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).column("completion").to_pylist()
    except (FileNotFoundError, pa.ArrowInvalid):  # invalid: the machine went down before the file was on its disk
        return None
    return [Completion(**json.loads(row)) for row in rows]


def _write(path: Path, completions: Sequence[Completion]) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    table = pa.table({"completion": [json.dumps(asdict(completion)) for completion in completions]})
    with replacing(path) as unfinished:
        pyarrow.parquet.write_table(table, unfinished, compression="zstd")
