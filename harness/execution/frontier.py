"""Which stages may start next: kept up to date as stages settle, since a plan may hold a hundred thousand of them.

Knows dependencies and nothing else: no store, no executor.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping

from harness.pipeline.graph import Stage

TRAINING_WEIGHT = 10  # a training counts for as many other stages


class Frontier:
    """Pending stages with nothing left to wait for, the one with the longest remaining path first.

    Equally deep ones go by affinity: a worker that has loaded a model is done with it before the next is loaded.

    Args:
        pending: stages to start, by fingerprint, inputs first.
        unsettled: stages that are to run, pending ones included.
        lost: stages that failed: what reads them never starts.
    """

    def __init__(self, pending: Mapping[str, Stage], unsettled: Collection[str], lost: Collection[str]) -> None:
        self._depth = depths(pending)
        self._waits_for: dict[str, int] = {}
        self._readers: dict[str, list[Stage]] = defaultdict(list)
        self._followers: dict[str, list[Stage]] = defaultdict(list)
        self._ready: dict[bool, list[tuple[int, str, int, Stage]]] = {False: [], True: []}
        self._number = 0
        for stage in pending.values():
            inputs = {item.stage.fingerprint for item in stage.inputs.values()}
            inputs |= {gate.fingerprint for gate in stage.gates}
            if any(one in lost for one in inputs):
                continue
            read = [one for one in inputs if one in unsettled]
            after = [other.fingerprint for other in stage.after if other.fingerprint in unsettled]
            for one in read:
                self._readers[one].append(stage)
            for one in after:
                self._followers[one].append(stage)
            self._waits_for[stage.fingerprint] = len(read) + len(after)
            if not read and not after:
                self.add(stage)

    def __bool__(self) -> bool:
        return any(self._ready.values())

    def add(self, stage: Stage) -> None:
        """A stage that may start now (again)."""
        self._number += 1  # of equally deep ones, the first to be ready
        place = (-self._depth.get(stage.fingerprint, 0), stage.affinity or "", self._number, stage)
        heapq.heappush(self._ready[stage.kind.wants_gpu(stage)], place)

    def first(self, *, accelerated: Collection[bool]) -> Stage | None:
        """The stage to start next among kinds that want an accelerator, those that do not, or both."""
        heads = [self._ready[which][0] for which in accelerated if self._ready[which]]
        return min(heads)[-1] if heads else None

    def take(self, stage: Stage) -> None:
        """`first` was started."""
        *_, taken = heapq.heappop(self._ready[stage.kind.wants_gpu(stage)])
        assert taken is stage

    def settle(self, fingerprint: str, *, lost: bool = False) -> None:
        """A stage is done, or lost: then what only runs after it may start, and what reads it never does."""
        freed = self._followers.pop(fingerprint, [])
        readers = self._readers.pop(fingerprint, [])
        for stage in freed if lost else [*freed, *readers]:
            self._waits_for[stage.fingerprint] -= 1
            if not self._waits_for[stage.fingerprint]:
                self.add(stage)


def depths(stages: Mapping[str, Stage]) -> dict[str, int]:
    """How much work hangs on each stage: the longest path to an end, training counted for more.

    Args:
        stages: by fingerprint, inputs first.
    """
    depth = dict.fromkeys(stages, 0)
    for stage in reversed(list(stages.values())):  # users are settled before their inputs
        weight = depth[stage.fingerprint] + (TRAINING_WEIGHT if stage.kind.trains else 1)
        depth[stage.fingerprint] = weight
        for before in (*(item.stage for item in stage.inputs.values()), *stage.gates):
            key = before.fingerprint
            if key in depth:
                depth[key] = max(depth[key], weight)
    return depth
