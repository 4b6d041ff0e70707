"""What a stage is given: its spec, its inputs as typed artifacts, a folder to write into, a way to say how it goes.

A stage's module has `run(context) -> dict` (small deterministic facts for the record). Stages know no store, no
executor, no tracker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from harness.events import Event, EventLog, Progress, Warned
from harness.store.artifacts import Artifact, TrunkState
from harness.store.record import RESUME

AnArtifact = TypeVar("AnArtifact", bound=Artifact)


@dataclass(frozen=True, kw_only=True)
class Given:
    """An input: where it lies, and how many of its rows are ours (None: all)."""

    directory: Path
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class HowToRun:
    """Runtime choices a stage may use; none of them changes a result beyond its last bits.

    Attributes:
        processes, nodes, launch, rendezvous: in how many processes a training runs and how they are started; each of
            them sees the same values.
        sharing, activation_checkpointing, compile: see `harness.training.loop.TrainingRuntime`.
        source_path: where a stage that takes a model from outside finds it; its digest is identity.
        imported: what only an import is told: the `path` to read, and its `name`, `licence` and `source`.
    """

    device: str = "cpu"
    row_tokens: int = 512
    rows_per_micro_batch: int = 4
    checkpoint_seconds: float = 60.0
    log_every: int = 10
    loss_balance_every: int = 0
    on_imbalance: Literal["warn", "stop"] = "warn"
    source_path: str = ""
    tensor_parallel: int = 1
    processes: int = 1
    nodes: int = 1
    launch: Sequence[str] = ()
    rendezvous: str | None = None
    sharing: Literal["ddp", "fsdp", "hsdp"] = "ddp"
    activation_checkpointing: bool | Literal["selective"] = False
    compile: bool | None = None
    imported: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """Everything a stage may use.

    Attributes:
        directory: to write the artifact into; `resume` below it is scratch that survives an interruption.
        earlier_states: finished states of the same trunk as (step, state), for trunk stages.
        should_stop: asked between steps by stages that can save where they are.
        held: what a warm worker keeps for tasks of the same affinity.
    """

    spec: Mapping[str, Any]
    inputs: Mapping[str, Given]
    directory: Path
    events: EventLog
    how: HowToRun = HowToRun()
    earlier_states: Callable[[], list[tuple[int, TrunkState]]] = list
    should_stop: Callable[[], bool] = lambda: False
    held: dict[str, Any] = field(default_factory=dict)

    @property
    def resume(self) -> Path:
        return self.directory / RESUME

    def input(self, name: str, kind: type[AnArtifact]) -> AnArtifact:
        return kind(self.inputs[name].directory)

    def inputs_like(self, prefix: str, kind: type[AnArtifact]) -> Iterator[tuple[str, AnArtifact]]:
        """Inputs named `prefix-...`, as (rest of the name, artifact), in order of name."""
        for name in sorted(self.inputs):
            if name.startswith(f"{prefix}-"):
                yield name.removeprefix(f"{prefix}-"), self.input(name, kind)

    def emit(self, event: Event) -> None:
        self.events.emit(event)

    def progress(self, done: int, total: int, unit: str) -> None:
        self.emit(Progress(done=done, total=total, unit=unit))

    def warn(self, message: str) -> None:
        self.emit(Warned(message=message))
