"""The stages a corpus is made by: parts, which read and judge documents one by one, and the stage that gathers them.

How a corpus is cut follows from what a plan may look at: names of packages, sizes of files, the ends of Parquet files.
What is gathered does not depend on the cut. A part's identity names what it reads and what it is judged by, not the
rest of the corpus, so another package or file is read without reading the others again.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from harness.pipeline.graph import Graph, Stage
from harness.pipeline.kind import Basis, Kind, Known, Spec, absent
from harness.pipeline.tasks import TaskStages
from harness.recipe.corpus import (
    Columns,
    CorpusSource,
    Files,
    HuggingFace,
    JsonLines,
    Parquet,
    PythonPackages,
)
from harness.recipe.lock import DATASETS, NO_LOCK, Lock
from harness.recipe.schema import Experiment, identity_of
from harness.recipe.tasks import TaskBlock
from harness.sources import resolve
from harness.sources.files import SourceFile, file_bytes, named, row_group_bytes
from harness.store.artifacts import Corpus, CorpusPart
from harness.store.identity import fingerprint

# What a part reads, unpacked, as far as a plan can tell: some seconds of work, so that starting it costs little and
# a small corpus still is a part or two.
PART_BYTES = 4 << 20
MOST_PARTS = 50_000  # beyond it parts are larger: inputs of a stage are few enough to plan

ASSUMED_BASE_DOCUMENTS = 1_000  # of a corpus, for the base model
ASSUMED_PART_BYTES = 300_000.0  # some hundred documents and their shingles
ASSUMED_SHARE = 0.3  # of its parts: texts pack to a quarter, the shingles beside them hardly, and copies go


# --------------------------------------------------------------------------------------------------------- kinds


class Check(Spec):
    """How documents are compared with evaluation problems."""

    n: int
    threshold: float


class Decontaminated(Check):
    on_hit: Literal["drop", "fail"]


class _PartSpec(Spec):
    """What a part judges each document by."""

    min_characters: int
    max_characters: int
    min_description_characters: int
    decontaminate: Check | None
    python: str  # the normal form of code is that of the Python that prints it


class PackagesPart(_PartSpec):
    kind: Literal["python_packages"]
    packages: tuple[str, ...]
    versions: Mapping[str, str]


class _DocumentsPart(_PartSpec):
    languages: tuple[str, ...] | None
    chunk_characters: int | None


class FilesPart(_DocumentsPart):
    kind: Literal["files"]
    languages: tuple[str, ...]
    files: tuple[Mapping[str, Any], ...]


class _RowsPart(_DocumentsPart):
    columns: Columns
    language: str
    licences: tuple[str, ...] | None
    rows: int | None


class TablePart(_RowsPart):
    kind: Literal["parquet", "jsonl"]
    files: tuple[Mapping[str, Any], ...]


class HubPart(_RowsPart):
    kind: Literal["huggingface"]
    id: str
    revision: str
    configuration: str | None
    data_files: tuple[str, ...] | None
    split: str
    commit: str


PartSpec = PackagesPart | FilesPart | TablePart | HubPart


class _CorpusSpec(Spec):
    """What documents are judged by together. What says where they are is identity too, and read by the parts alone."""

    model_config = ConfigDict(extra="allow")

    near_duplicate: float
    decontaminate: Decontaminated | None
    seed: int


class NamedCorpus(_CorpusSpec):
    """Split by the names of packages."""

    kind: Literal["python_packages"]
    heldout: tuple[str, ...]
    dev: tuple[str, ...] = absent(())
    base: tuple[str, ...]


class SharedCorpus(_CorpusSpec):
    """Split by shares of clusters."""

    kind: Literal["files", "parquet", "jsonl", "huggingface"]
    heldout: float
    dev: float = absent(0.0)
    base: float


CorpusSpec = NamedCorpus | SharedCorpus


class GatheredCorpus(Kind[CorpusSpec]):
    def groups(self, stage: Stage[CorpusSpec], known: Known) -> float:
        return ASSUMED_BASE_DOCUMENTS

    def payload(self, stage: Stage[CorpusSpec], known: Known) -> tuple[float | None, Basis]:
        parts = [item.stage for item in stage.inputs.values() if item.stage.kind is CORPUS_PART]
        return ASSUMED_SHARE * sum(part.kind.size(part, known)[0] or 0.0 for part in parts), "assumed"


CORPUS_PART: Kind[PartSpec] = Kind(
    "corpus_part",
    2,
    Annotated[PartSpec, Field(discriminator="kind")],
    CorpusPart,
    row_bytes=ASSUMED_PART_BYTES,
    seconds=5.0,  # of some ten thousand functions
)
CORPUS = GatheredCorpus(
    "corpus", 4, Annotated[CorpusSpec, Field(discriminator="kind")], Corpus, seconds=2.0, dataset=True
)


# ------------------------------------------------------------------------------------------------------ planning

# Of a corpus block, what documents are judged by together, or what says where they are.
_OF_ALL = ("heldout", "dev", "base", "near_duplicate", "decontaminate", "packages", "paths", "data_files")


class CorpusStages(TaskStages):
    """Adds the corpus to the tasks."""

    def corpus(self, experiment: Experiment) -> Stage[CorpusSpec]:
        """Cleaned documents; with decontamination its identity names the fixed set it was checked against.

        Raises:
            MissingRequirement: something the source needs is not installed, not there or not readable.
        """

        def build() -> Stage[CorpusSpec]:
            block = experiment.corpus
            against = () if block.decontaminate is None else block.decontaminate.against
            fixed = dict(self._against(experiment, name) for name in against)
            return corpus_stage(self.graph, block, fixed, self.data_seed, lock=self.lock)

        return self._remember(("corpus", self._corpus_key(experiment)), build)

    def _against(self, experiment: Experiment, name: str) -> tuple[str, Stage]:
        """(name of an input, a fixed set of problems), of a task's source or an imported pool."""
        task = experiment.tasks.get(name)
        if isinstance(task, TaskBlock):
            return f"problems-{name}", self.fixed_problems(name, task)
        return f"pool-{name}", self.imported("pool", name if task is None else task.imported)

    def _corpus_key(self, experiment: Experiment) -> str:
        """What decides a setting's corpus."""
        return self._once("corpus", experiment, lambda: self._corpus_text(experiment))

    def _corpus_text(self, experiment: Experiment) -> str:
        check = experiment.corpus.decontaminate
        tasks = () if check is None else (experiment.tasks[name] for name in check.against if name in experiment.tasks)
        return "|".join([self._text(experiment.corpus), *map(self._text, tasks)])


def corpus_stage(
    graph: Graph,
    block: CorpusSource,
    problems: Mapping[str, Stage],
    seed: int,
    *,
    part_bytes: int = PART_BYTES,
    lock: Lock = NO_LOCK,
) -> Stage[CorpusSpec]:
    """The stage of a corpus's cleaned documents.

    Args:
        problems: pools and problems that no document may hold, by input name; empty where nothing is decontaminated.
        seed: the data seed.
        part_bytes, lock: see `part_specs`.

    Raises:
        MissingRequirement: something the source needs is not installed, not there or not readable.
    """
    block = _locked(block, lock)
    check: dict[str, Any] = {name: stage.fingerprint for name, stage in problems.items()}
    if block.decontaminate is not None:
        check |= {"n": block.decontaminate.n, "threshold": block.decontaminate.threshold}
    affinity = f"corpus:{fingerprint(check)}"  # a worker holds the problems as they are looked for
    parts = {
        f"part-{number:05d}": graph.stage(
            CORPUS_PART, spec, problems, label=f"corpus part {number + 1}", affinity=affinity
        )
        for number, spec in enumerate(part_specs(block, part_bytes=part_bytes, lock=lock))
    }
    chosen = identity_of(block)
    if block.decontaminate is not None:
        del chosen["decontaminate"]["against"]  # names; what they name stands among the parts' inputs
    spec = CORPUS.read({**chosen, **resolve.resolve_corpus(block), "seed": seed})
    return graph.stage(CORPUS, spec, parts, label="corpus")


def _locked(block: CorpusSource, lock: Lock) -> CorpusSource:
    """A data set of the hub at the commit that its revision stands for, if anybody knows it."""
    if not isinstance(block, HuggingFace):
        return block
    commit = lock.commit(DATASETS + block.id, block.revision)
    return block if commit is None else block.model_copy(update={"revision": commit})


def part_specs(block: CorpusSource, *, part_bytes: int = PART_BYTES, lock: Lock = NO_LOCK) -> Iterator[PartSpec]:
    """What each part reads and by what it judges a document, in the order of the corpus.

    Args:
        part_bytes: what a part reads, unpacked; one file or row group is never cut.
        lock: what is known of a data set of the hub: its commit, and the files that patterns stand for.
    """
    block = _locked(block, lock)
    judged = {key: value for key, value in identity_of(block).items() if key not in _OF_ALL}
    if isinstance(block, PythonPackages):
        judged["min_description_characters"] = judged.pop("min_docstring_characters")
    check = block.decontaminate
    judged["decontaminate"] = None if check is None else {"n": check.n, "threshold": check.threshold}
    judged["python"] = platform.python_version()  # the normal form of code is that of the Python that prints it
    for read in _cut(block, part_bytes, lock):
        yield CORPUS_PART.read({**judged, **read})


def _cut(block: CorpusSource, part_bytes: int, lock: Lock) -> Iterator[dict[str, Any]]:
    if isinstance(block, PythonPackages):
        for package, version in resolve.resolve_versions(block.packages).items():
            yield {"packages": [package], "versions": {package: version}}
    elif isinstance(block, HuggingFace):
        for files in _hub_files(block, lock):
            yield {"data_files": files, "commit": block.commit}
    else:
        for part in _by_size(_pieces(block), part_bytes):
            yield {"files": named(part)}


def _hub_files(block: HuggingFace, lock: Lock) -> Iterator[list[str] | None]:
    """Files are a part each where they are known; what patterns stand for only the hub knows, and then the lock."""
    known = lock.files.get((DATASETS + block.id, block.revision), {})
    if block.data_files is None or block.rows is not None or any(pattern not in known for pattern in block.patterns):
        yield None if block.data_files is None else list(block.data_files)
        return
    files = list(dict.fromkeys(file for named in block.data_files for file in known.get(named, (named,))))
    each = -(-len(files) // MOST_PARTS)
    yield from (files[start : start + each] for start in range(0, len(files), each))


def _pieces(block: Files | Parquet | JsonLines) -> list[tuple[SourceFile, int]]:
    """(what is not cut further, its bytes), in order. Where only so many rows are read, that is everything."""
    files = resolve.corpus_files(block)
    if not isinstance(block, Files) and block.rows is not None:
        return [(file, 0) for file in files]
    if isinstance(block, Parquet):
        columns = list(block.columns.by_purpose.values())
        return [piece for file in files for piece in _row_groups(file, row_group_bytes(file, columns))]
    return [(file, file_bytes(file)) for file in files]


def _row_groups(file: SourceFile, sizes: Iterable[int]) -> list[tuple[SourceFile, int]]:
    found = [(replace(file, groups=(number, number + 1)), size) for number, size in enumerate(sizes)]
    return found or [(file, 0)]


def _by_size(pieces: list[tuple[SourceFile, int]], part_bytes: int) -> Iterator[list[SourceFile]]:
    """Successive pieces of together `part_bytes` or a little more."""
    enough = max(part_bytes, sum(size for _, size in pieces) // MOST_PARTS)
    part: list[SourceFile] = []
    held = 0
    for piece, size in pieces:
        if part and piece.groups and part[-1].path == piece.path and part[-1].groups:
            part[-1] = replace(piece, groups=(part[-1].groups[0], piece.groups[1]))
        else:
            part.append(piece)
        held += size
        if held >= enough:
            yield part
            part, held = [], 0
    if part:
        yield part
