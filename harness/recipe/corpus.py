"""The `corpus:` block: where documents come from, and what every source is cleaned by."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from harness.recipe.fields import Block, Count, Fraction, HubName, Line, Name, Names, as_tuple, problem, refuse
from harness.recipe.lock import is_commit

PYTHON = "python"
# Languages that `kind: files` knows, by the endings of their files.
LANGUAGES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        PYTHON: (".py",),
        "c": (".c", ".h"),
        "c#": (".cs",),
        "c++": (".cc", ".cpp", ".cxx", ".hpp", ".hh"),
        "go": (".go",),
        "java": (".java",),
        "javascript": (".js", ".mjs", ".jsx"),
        "julia": (".jl",),
        "kotlin": (".kt",),
        "lua": (".lua",),
        "markdown": (".md",),
        "php": (".php",),
        "r": (".r", ".R"),
        "ruby": (".rb",),
        "rust": (".rs",),
        "scala": (".scala",),
        "shell": (".sh",),
        "sql": (".sql",),
        "swift": (".swift",),
        "text": (".txt", ".rst"),
        "typescript": (".ts", ".tsx"),
    }
)

Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.+#-]{0,63}$")]
Languages = Annotated[tuple[Language, ...], BeforeValidator(as_tuple), Field(min_length=1)]
Paths = Annotated[tuple[Line, ...], BeforeValidator(as_tuple), Field(min_length=1)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class Decontamination(Block):
    """No document may hold a problem of a fixed set, whatever a recipe judges models by.

    Problems that models are judged by and that stand in what they were trained on are found where they are judged, see
    `evaluate.overlap`.
    """

    against: Names = Field(
        description="Tasks of published data, with all their test problems, or imported pools, with all their "
        "questions; whatever a recipe takes of them."
    )
    n: Annotated[int, Field(ge=3, le=100)] = Field(13, description="Words of an n-gram.")
    threshold: Fraction = Field(
        0.0, description="Share of a problem's n-grams above which a document that holds them is contaminated."
    )
    on_hit: Literal["drop", "fail"] = Field("drop", description="Leave the document out, or stop before any training.")


class CorpusBlock(Block):
    """What every source is cleaned by."""

    min_characters: Annotated[int, Field(ge=1, le=100_000)] = Field(80, description="Shorter documents are left out.")
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)] = Field(600, description="Longer documents are left out.")
    near_duplicate: Fraction = Field(0.8, description="Jaccard similarity from which two documents are one.")
    decontaminate: Decontamination | None = Field(None, description="Default: not at all.")

    @model_validator(mode="after")
    def _consistent(self) -> CorpusBlock:
        refuse(self._contradictions())
        return self

    def _contradictions(self) -> Iterator[PydanticCustomError]:
        if self.min_characters > self.max_characters:
            yield problem(
                "`min_characters` must not exceed `max_characters`",
                f"{self.min_characters} > {self.max_characters}",
                "swap them",
            )
        if self.near_duplicate == 0.0:
            yield problem("`near_duplicate` must be above 0", "from 0 on all documents are one", "raise it")


class PythonPackages(CorpusBlock):
    """Functions of installed Python code; the packages' versions are identity."""

    kind: Literal["python_packages"]
    packages: Names = Field(description='Import names; "stdlib" is the standard library, a package per module.')
    heldout: Names = Field(description="Packages kept for judging pair accuracy, never trained on.")
    dev: Annotated[tuple[Name, ...], BeforeValidator(as_tuple)] = Field(
        (), description="Packages whose pairs are for choosing settings (`search`), never trained on and no test."
    )
    base: Annotated[tuple[Name, ...], BeforeValidator(as_tuple)] = Field(
        (), description="Packages that only the base language model reads; a published model needs none."
    )
    min_docstring_characters: Annotated[int, Field(ge=0, le=100_000)] = Field(
        20, description="0 keeps functions without one too, for descriptions that a model writes."
    )

    def _contradictions(self) -> Iterator[PydanticCustomError]:
        splits = {"heldout": self.heldout, "dev": self.dev, "base": self.base}
        for one, other in combinations(splits, 2):
            both = sorted(set(splits[one]) & set(splits[other]))
            if both:
                yield problem(
                    f"`{one}` and `{other}` must not share a package",
                    f"both name {', '.join(both)}",
                    "drop it from one",
                )
        unknown = [name for names in splits.values() for name in names if not self._is_read(name)]
        if unknown:
            yield problem(
                "`heldout`, `dev` and `base` must name packages of `packages`",
                f"{unknown[0]!r} is not one of {', '.join(self.packages)}",
                "correct the name or add the package",
            )
        yield from super()._contradictions()

    def _is_read(self, name: str) -> bool:
        if "stdlib" in self.packages and name in sys.stdlib_module_names:
            return True
        return name in self.packages and name != "stdlib"


class DocumentsBlock(CorpusBlock):
    """What sources other than packages share: splits by share of clusters, and filters."""

    heldout: Share = Field(0.05, description="Share of clusters kept for judging pair accuracy, never trained on.")
    dev: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Share of clusters whose pairs are for choosing settings (`search`), never trained on."
    )
    base: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.05, description="Share of clusters that only the base language model reads; a published model needs none."
    )
    languages: Languages | None = Field(None, description="Languages kept. Default: all.")
    min_description_characters: Annotated[int, Field(ge=0, le=100_000)] = Field(
        20, description="0 keeps what has no description too."
    )
    chunk_characters: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="Cut documents at line ends into pieces of at most this length. Functions are never cut."
    )

    def _contradictions(self) -> Iterator[PydanticCustomError]:
        if self.heldout + self.dev + self.base >= 1.0:
            yield problem(
                "`heldout`, `dev` and `base` must leave something to train on",
                f"{self.heldout:g} + {self.dev:g} + {self.base:g} is all",
                "lower them",
            )
        if self.chunk_characters is not None and not (
            self.min_characters <= self.chunk_characters <= self.max_characters
        ):
            yield problem(
                "`chunk_characters` must lie between `min_characters` and `max_characters`",
                f"{self.chunk_characters} does not",
                "change one of them",
            )
        yield from super()._contradictions()


class Files(DocumentsBlock):
    """Folders of repositories: documented functions of Python files, documents of any other.

    Each folder that a pattern names is a repository, and a repository is a cluster.
    """

    kind: Literal["files"]
    paths: Paths = Field(description="Folders, files or patterns (`repositories/*`), from where `harness` is called.")
    languages: Languages = Field((PYTHON,), description="Languages read, by the endings of the files.")

    def _contradictions(self) -> Iterator[PydanticCustomError]:
        unknown = [name for name in self.languages if name not in LANGUAGES]
        if unknown:
            yield problem(
                "`languages` must be known by their files' endings",
                f"{unknown[0]!r} is not one of {', '.join(LANGUAGES)}",
                "correct the name",
            )
        yield from super()._contradictions()


class Columns(Block):
    """Which columns of a table say what. For questions and answers: `description` the question, `text` the answer."""

    text: Line = Field(description="Code or text. Python without a description is read as a file of functions.")
    description: Line | None = Field(None, description="Default: the leading comment or first paragraph.")
    licence: Line | None = Field(None, description="The row's licence, for `licences`. Default: unknown.")
    language: Line | None = Field(None, description="The row's language. Default: `language` of the corpus.")
    cluster: Line | None = Field(
        None, description="What splits keep together, as a repository. Default: each row by itself."
    )

    @property
    def by_purpose(self) -> dict[str, str]:
        """Purpose -> column, of those that are named."""
        return {purpose: name for purpose, name in self.model_dump().items() if name is not None}


class TableBlock(DocumentsBlock):
    """Rows of a table, a document (or a file of functions) each."""

    columns: Columns = Field(description="Which columns hold text, description and the rest.")
    language: Language = Field("text", description="What rows are in where no column says so.")
    licences: Languages | None = Field(None, description="Licences kept, in any case. Default: all.")
    rows: Count | None = Field(None, description="Read only so many rows. Default: all.")

    def _contradictions(self) -> Iterator[PydanticCustomError]:
        if self.licences is not None and self.columns.licence is None:
            yield problem(
                "`licences` needs the column that holds them",
                "`columns.licence` is not set",
                "name it, or drop the list",
            )
        yield from super()._contradictions()


class Parquet(TableBlock):
    """Parquet files; their digests are identity."""

    kind: Literal["parquet"]
    paths: Paths = Field(description="Files, folders or patterns, from where `harness` is called.")


class JsonLines(TableBlock):
    """Files with one JSON object a line, plain or gzipped; their digests are identity."""

    kind: Literal["jsonl"]
    paths: Paths = Field(description="Files, folders or patterns, from where `harness` is called.")


class HuggingFace(TableBlock):
    """A dataset of the hub, streamed. The first run locks its commit, and the files that patterns stand for."""

    kind: Literal["huggingface"]
    id: HubName = Field(description="`owner/name` on the hub.")
    revision: Line = Field("main", description="A commit, a branch or a tag; the first run locks that commit.")
    configuration: Line | None = Field(None, description="The dataset's configuration, where it has several.")
    data_files: Paths | None = Field(
        None, description="Patterns of files in the dataset, each file a part. Default: as it says itself, one part."
    )
    split: Line = Field("train", description="The dataset's split that is read.")

    @property
    def commit(self) -> str:
        """The commit, or "unresolved": a name of the hub may mean other data tomorrow."""
        return self.revision if is_commit(self.revision) else "unresolved"

    @property
    def patterns(self) -> tuple[str, ...]:
        """Those of `data_files` of which only the hub knows what they stand for; none where so many rows are read."""
        return tuple(file for file in self.data_files or () if glob.has_magic(file) and self.rows is None)

    @property
    def is_repository(self) -> bool:
        """Whether it has commits on the hub; a name alone may be one of the library's own readers of files."""
        return "/" in self.id


CorpusSource = Annotated[PythonPackages | Files | Parquet | JsonLines | HuggingFace, Field(discriminator="kind")]
