"""What the import stages share: a private copy of what is read, checked against the digest that names the import."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.imports.files import content_digest, copy_content
from harness.pipeline.imports import IMPORTED
from harness.sources.rows import read_rows
from harness.stages.context import StageContext

FOLDER = "incoming"


@contextmanager
def incoming(context: StageContext, kind: str) -> Iterator[Path]:
    """The content to read; gone afterwards.

    Raises:
        DataError: nobody says where it is, since an import's files were dropped or damaged; or it has changed.
    """
    imported = context.how.imported
    if not imported:
        raise DataError(
            "an import's files must be in the workdir", "they were dropped or damaged", f"`harness import {kind}` again"
        )
    folder = context.directory / FOLDER
    copy = copy_content(kind, Path(imported["path"]), folder)
    try:
        if content_digest(kind, copy) != IMPORTED[kind].read(context.spec).digest:
            raise DataError("what is imported must stay as it is", "it changed meanwhile", "import it again")
        yield copy
    finally:
        shutil.rmtree(folder)


def rows_of(path: Path, columns: Set[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of a file, or of a folder's files one after another, whose names are in the places then."""
    if path.is_file():
        yield from read_rows(path, columns)
        return
    for file in sorted(path.iterdir()):
        try:
            yield from ((f"{file.name}, {place}", row) for place, row in read_rows(file, columns))
        except DataError as error:
            where = ", ".join(filter(None, (file.name, error.where)))
            raise DataError(error.rule, error.value, error.remedy, where) from None


def provenance(context: StageContext) -> dict[str, str]:
    """Name, licence and source as they were given, for the record."""
    return {key: context.how.imported[key] for key in ("name", "licence", "source")}
