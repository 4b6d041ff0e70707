"""Every kind of source as one stream of documents."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

from harness.corpus.document import Document, unpack
from harness.corpus.files import read_files
from harness.corpus.huggingface import read_huggingface
from harness.corpus.python_packages import read_functions
from harness.corpus.tables import documents_of_rows, read_json_lines, read_parquet
from harness.errors import DataError
from harness.plan.files import SourceFile, listing
from harness.plan.sources import corpus_files
from harness.recipe.corpus import PYTHON, CorpusSource, Files, HuggingFace, JsonLines, Parquet, PythonPackages

_BLOCK: TypeAdapter[CorpusSource] = TypeAdapter(CorpusSource)
_RESOLVED = ("python", "versions", "files", "commit", "seed")


def block_of(spec: Mapping[str, Any]) -> CorpusSource:
    """The recipe's block in a corpus stage's spec, without what planning has added to it."""
    return _BLOCK.validate_python({key: value for key, value in spec.items() if key not in _RESOLVED})


def read_documents(spec: Mapping[str, Any], counts: Counter[str]) -> Iterator[Document]:
    """The documents of a corpus stage's spec, in the source's order, whatever they are worth.

    Args:
        counts: what was read, and what of it gave no document, by name.

    Raises:
        MissingRequirement, DataError: what the source needs is not there, is damaged, or is not what was planned.
    """
    block = block_of(spec)
    if isinstance(block, PythonPackages):
        for function in read_functions(block.packages, counts=counts):
            yield Document(
                cluster=function.package,
                path=function.module,
                name=function.qualified_name,
                unit="function",
                language=PYTHON,
                description=function.docstring,
                text=function.source,
            )
        return
    for document in _whole_documents(block, spec, counts):
        yield from unpack(document, chunk_characters=block.chunk_characters, counts=counts)


def _whole_documents(
    block: Files | Parquet | JsonLines | HuggingFace, spec: Mapping[str, Any], counts: Counter[str]
) -> Iterator[Document]:
    if isinstance(block, Files):
        return read_files(_files_as_planned(block, spec), block.languages, counts)
    columns = list(dict.fromkeys(block.columns.by_purpose.values()))
    if isinstance(block, HuggingFace):
        rows = read_huggingface(spec, columns)
    elif isinstance(block, Parquet):
        rows = read_parquet(_files_as_planned(block, spec), columns, counts)
    else:
        rows = read_json_lines(_files_as_planned(block, spec), counts)
    return documents_of_rows(itertools.islice(rows, block.rows), block.columns, block.language, counts)


def _files_as_planned(block: Files | Parquet | JsonLines, spec: Mapping[str, Any]) -> list[SourceFile]:
    files = corpus_files(block)
    found = {entry["name"]: entry for entry in listing(files)}
    changed = [entry["name"] for entry in spec["files"] if found.get(entry["name"]) != entry]
    if changed or len(found) != len(spec["files"]):
        raise DataError(
            "the files of the corpus must stay as they were when planned",
            f"changed: {', '.join(changed[:5]) or 'there are more'}",
            "run again, which plans anew",
        )
    return files
