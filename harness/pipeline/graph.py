"""Stages and how they hang together: identity by content, equal stages are one object, order by need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple

from harness.pipeline.kind import Kind, S
from harness.store.identity import SHORT, fingerprint
from harness.store.record import Record


class Input(NamedTuple):
    """What a stage reads of another: all of it, or only its first `rows`.

    A prefix's identity is the other stage's stream and the rows, not how many more rows it happens to hold.
    """

    stage: Stage
    rows: int | None = None

    def identity(self) -> Any:
        if self.rows is None:
            return self.stage.fingerprint
        return {"stream": self.stage.stream, "rows": self.rows}


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Stage(Generic[S]):
    """One unit of work.

    Attributes:
        spec: what of it is identity beside its kind and inputs.
        identity: kind, code version, spec and the inputs' identities; `fingerprint` is its hash.
        stream: fingerprint of what decides row i, whatever the number of rows; "" where rows are no stream.
        label: what people call it. Not identity.
        affinity: tasks with the same key gain from one warm worker. Not identity.
        source_path: where something from outside is read, whose digest is in the spec. Not identity.
        after: stages to run earlier because that makes this one cheaper. Not identity: the result is the same.
        gates: stages that must have passed before this one may start. Not identity: they change no result.
    """

    kind: Kind[S]
    spec: S
    identity: Mapping[str, Any]
    fingerprint: str
    inputs: Mapping[str, Input]
    stream: str = ""
    label: str = ""
    affinity: str | None = None
    source_path: str = ""
    after: list[Stage] = field(default_factory=list)
    gates: list[Stage] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.kind.name}/{self.fingerprint[:SHORT]}"


class Graph:
    """Interns stages: asking twice for the same content gives the same object."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}
        self._recorded: dict[str, dict[str, Input]] = {}

    def stage(
        self,
        kind: Kind[S],
        spec: S,
        inputs: Mapping[str, Stage | Input] | None = None,
        *,
        stream: Mapping[str, Any] | None = None,
        label: str = "",
        affinity: str | None = None,
        source_path: str = "",
    ) -> Stage[S]:
        """The stage of this content.

        Args:
            stream: what decides row i, for stages whose rows do not depend on how many are asked for.
        """
        linked = {name: item if isinstance(item, Input) else Input(stage=item) for name, item in (inputs or {}).items()}
        identity = {
            "kind": kind.name,
            "code_version": kind.code_version,
            "spec": spec.identity(),
            "inputs": {name: item.identity() for name, item in linked.items()},
        }
        key = fingerprint(identity)
        found = self._stages.get(key)
        if found is None:
            found = Stage(
                kind=kind,
                spec=spec,
                identity=identity,
                fingerprint=key,
                inputs=linked,
                stream="" if stream is None else fingerprint({"kind": kind.name, "stream": stream}),
                label=label or kind.name,
                affinity=affinity,
                source_path=source_path,
            )
            self._stages[key] = found
        elif key in self._recorded:  # now the plan knows what it was made from
            self._recorded.pop(key).update(linked)
        return found

    def recorded(self, kind: Kind[S], record: Record, label: str) -> Stage[S]:
        """A finished stage as its record has it. What it was made from is not linked, unless this plan asks for it."""
        found = self._stages.get(record.fingerprint)
        if found is None:
            inputs = self._recorded[record.fingerprint] = {}
            found = self._stages[record.fingerprint] = Stage(
                kind=kind,
                spec=kind.read(record.identity["spec"]),
                identity=record.identity,
                fingerprint=record.fingerprint,
                inputs=inputs,
                label=label,
            )
        return found

    def __getitem__(self, key: str) -> Stage:
        return self._stages[key]

    def __iter__(self) -> Iterator[Stage]:
        return iter(self._stages.values())

    def __len__(self) -> int:
        return len(self._stages)

    def in_order(self, targets: Iterable[Stage]) -> list[Stage]:
        """Everything the targets need, inputs (and `after`, `gates`) first; the same order every time."""
        targets = list(targets)
        wanted = _needed(targets)
        done: set[Stage] = set()
        order: list[Stage] = []
        for target in targets:
            stack = [(target, False)]
            while stack:
                current, ready = stack.pop()
                if current in done:
                    continue
                if ready:
                    done.add(current)
                    order.append(current)
                    continue
                stack.append((current, True))
                before = [item.stage for item in current.inputs.values()]
                before += [other for other in (*current.after, *current.gates) if other in wanted]
                stack.extend((other, False) for other in reversed(before) if other not in done)
        return order


def _needed(targets: Iterable[Stage]) -> set[Stage]:
    """The targets and everything they read, directly or not."""
    found: set[Stage] = set()
    stack = list(targets)
    while stack:
        stage = stack.pop()
        if stage not in found:
            found.add(stage)
            stack.extend(item.stage for item in stage.inputs.values())
    return found


def times_needed(
    order: Sequence[Stage], groups: Sequence[Iterable[Stage]], *, after: bool = False
) -> Iterator[tuple[Stage, int]]:
    """(stage, how many of the groups of targets would make it if each ran alone), inputs last.

    Args:
        order: everything the groups need, inputs first.
        after: a group also makes what its stages come after: the states that a trunk's state goes on from.
    """
    masks: dict[Stage, int] = defaultdict(int)  # a bit a group
    for place, group in enumerate(groups):
        for target in group:
            masks[target] |= 1 << place
    for stage in reversed(order):
        mask = masks.pop(stage, 0)
        for needed in (*(item.stage for item in stage.inputs.values()), *(stage.after if after else ())):
            masks[needed] |= mask
        yield stage, mask.bit_count()
