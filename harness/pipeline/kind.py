"""What a kind of stage is: its name, the version of its results, its spec, what it makes and what that takes.

Everything that differs by kind is asked of the kind. Its code is named by string only: planning imports none of it.
Raise `code_version` when a stage's results change; a golden test fails where they changed and it was not raised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypeVar

from harness.store.artifacts import Artifact
from harness.store.record import Record
from harness.store.store import Snapshot

if TYPE_CHECKING:
    from harness.pipeline.graph import Stage

Basis = Literal["measured", "calibrated", "from shape", "from characters", "assumed"]

# Used only until something was measured in this workdir; `plan` says so.
TABLE = 1_000  # bytes of a table without rows: its columns' names and where they end
ASSUMED_BYTES = 2_000.0  # of a stage that is no table: values a problem, gates, checks
ASSUMED_SECONDS = 0.5  # of a stage that runs no model

T = TypeVar("T")


class Spec(BaseModel):
    """What of a stage is identity, beside its inputs: what the researcher chose, and what planning resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    def identity(self) -> dict[str, Any]:
        """As the JSON data that is hashed."""
        return self.model_dump(mode="json", by_alias=True)


def absent(default: Any) -> Any:
    """A field that identity leaves out where it has this value: choices that came later, and are not made."""
    return Field(default=default, exclude_if=lambda value: value == default)


class NoSpec(Spec):
    """Of a stage whose inputs say it all."""


S = TypeVar("S", bound=Spec, default=Any)


class Known:
    """What a workdir's store already knows of a plan, for estimates; each thing is worked out once.

    Args:
        stages: the plan's, whose finished ones say what a row of their kind takes.
    """

    def __init__(self, snapshot: Snapshot, stages: Sequence[Stage] = ()) -> None:
        self.snapshot = snapshot
        self._found: dict[Hashable, Any] = {}
        self._stages = stages

    def record(self, stage: Stage) -> Record | None:
        return self.snapshot.record(stage.kind.name, stage.fingerprint)

    def finished(self, kind: Kind) -> Iterator[tuple[Stage, Record]]:
        """The plan's finished stages of a kind."""
        for stage in self._stages:
            if stage.kind is kind and (record := self.record(stage)) is not None:
                yield stage, record

    def bytes_of(self, stage: Stage) -> float | None:
        """Bytes that a finished stage has left, whether or not they are still there."""
        record = self.record(stage)
        return None if record is None else float(sum(size for _, size in record.files.values()))

    def row_bytes(self, kind: Kind) -> float | None:
        """Mean bytes a row of a kind's finished stages; None where none is."""
        means: dict[Kind, float] = self.once("row bytes", self._row_bytes)
        return means.get(kind)

    def _row_bytes(self) -> dict[Kind, float]:
        sizes: dict[Kind, float] = defaultdict(float)
        rows: dict[Kind, float] = defaultdict(float)
        for stage in self._stages:
            size = self.bytes_of(stage)
            if size is not None:
                sizes[stage.kind] += max(0.0, size - TABLE)
                rows[stage.kind] += stage.kind.rows(stage, self)
        return {kind: size / rows[kind] for kind, size in sizes.items() if rows[kind]}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._found:
            self._found[key] = make()
        return cast(T, self._found[key])


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a model does in a stage: tokens that it reads and writes, and floating-point operations.

    `flops` is None where the model's size is not known.
    """

    tokens: float = 0.0
    flops: float | None = 0.0
    basis: Basis = "measured"


class Kind(Generic[S]):
    """A kind of stage that makes a table or a file, and runs no model.

    Args:
        name: also of its folder in the store.
        spec: the class of its specs, or a union of such classes.
        artifact: what it makes.
        accelerated: each of its stages wants a GPU where there is one, and not only those in which a model writes.
        row_bytes: what a row takes on disk as it is packed, until a stage of the kind is finished.
        seconds: what a stage takes, until one is finished.
        module: where its code is, "harness.stages.<name>" by default; for kinds of a recipe's own.
        dataset: it is shown as a data set of what was made from it.
    """

    trains = False
    """It updates weights, saves itself when asked to stop, and may run in several processes."""

    resumes = False
    """It goes on from what an interrupted attempt left in its scratch."""

    def __init__(
        self,
        name: str,
        code_version: int,
        spec: Any,
        artifact: type[Artifact],
        *,
        accelerated: bool = False,
        row_bytes: float = ASSUMED_BYTES,
        seconds: float = ASSUMED_SECONDS,
        dataset: bool = False,
        module: str = "",
    ) -> None:
        self.name = name
        self.code_version = code_version
        self.artifact = artifact
        self.accelerated = accelerated
        self.seconds = seconds
        self.dataset = dataset
        self.module = module or f"harness.stages.{name}"
        """Dotted name of the module whose `run(context)` does the work."""
        self._adapter: TypeAdapter[S] = TypeAdapter(spec)
        self._row_bytes = row_bytes

    def __repr__(self) -> str:
        return f"Kind({self.name!r})"

    def modules(self, spec: Mapping[str, Any]) -> tuple[str, ...]:
        """Modules whose code, with what they import, decides the results; of a spec as records have it."""
        return (self.module,)

    def read(self, spec: Mapping[str, Any]) -> S:
        """A spec as records have it."""
        return self._adapter.validate_python(spec)

    # ------------------------------------------------------------------------------------------ what it takes

    def groups(self, stage: Stage[S], known: Known) -> float:
        """Groups (texts, pairs or problems) that a stage holds, as far as a plan can tell."""
        return 1.0

    def responses(self, stage: Stage[S], known: Known) -> float:
        """Responses behind each prompt."""
        return 1.0

    def rows(self, stage: Stage[S], known: Known) -> float:
        """What a stage's bytes grow with; 1 where that is the stage itself."""
        return self.groups(stage, known)

    def work(self, stage: Stage[S], known: Known) -> Work:
        return Work()

    def size(self, stage: Stage[S], known: Known) -> tuple[float | None, Basis]:
        """Bytes that a stage leaves; None where nobody has looked into its model yet."""
        recorded = known.bytes_of(stage)  # its files were dropped, or other code made them
        return self.payload(stage, known) if recorded is None else (recorded, "measured")

    def payload(self, stage: Stage[S], known: Known) -> tuple[float | None, Basis]:
        """The same of one that was never finished."""
        measured = known.row_bytes(self)
        basis: Basis = "assumed" if measured is None else "measured"
        return TABLE + (self._row_bytes if measured is None else measured) * self.rows(stage, known), basis

    def writes(self, stage: Stage[S]) -> bool:
        """Whether a model from outside writes in it, which several GPUs may hold together."""
        return False

    def wants_gpu(self, stage: Stage[S]) -> bool:
        """Whether a stage runs on a GPU where there is one."""
        return self.accelerated or self.writes(stage)

    def scratch(self, stage: Stage[S], known: Known, size: float) -> float:
        """Bytes there beyond those while it runs."""
        return 0.0
