"""Every kind of source as one stream of documents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from harness.corpus.document import Document, of_function, unpack
from harness.corpus.files import read_files
from harness.corpus.huggingface import read_huggingface
from harness.corpus.python_packages import read_functions
from harness.corpus.tables import documents_of_rows, read_json_lines, read_parquet
from harness.corpus.tally import Tally
from harness.pipeline.corpus import FilesPart, HubPart, PackagesPart, PartSpec, TablePart
from harness.sources.files import files_named


def read_documents(spec: PartSpec, counts: Tally) -> Iterator[Document]:
    """The documents of a part of a corpus, in the source's order, whatever they are worth.

    Args:
        spec: of a `corpus_part` stage, see `harness.pipeline.corpus`.
        counts: what was read, and what of it gave no document, by name.

    Raises:
        MissingRequirement, DataError: what the source needs is not there, is damaged, or is not what was planned.
    """
    undocumented = spec.min_description_characters == 0
    if isinstance(spec, PackagesPart):
        yield from map(of_function, read_functions(spec.packages, counts=counts, undocumented=undocumented))
        return
    for document in _whole_documents(spec, counts):
        yield from unpack(document, chunk_characters=spec.chunk_characters, counts=counts, undocumented=undocumented)


def _whole_documents(spec: FilesPart | TablePart | HubPart, counts: Tally) -> Iterator[Document]:
    if isinstance(spec, FilesPart):
        return read_files(files_named(spec.files), spec.languages, counts)
    columns = spec.columns
    names = list(dict.fromkeys(columns.by_purpose.values()))
    if isinstance(spec, HubPart):
        rows = read_huggingface(spec, names, counts)
    elif spec.kind == "parquet":
        rows = read_parquet(files_named(spec.files), names, counts)
    else:
        rows = read_json_lines(files_named(spec.files), counts)
    return documents_of_rows(itertools.islice(rows, spec.rows), columns, spec.language, counts)
