"""What the runner starts when, on made-up plans and an executor that computes nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.execution.executor import Capacity, Outcome, StageTask
from harness.execution.runner import Runner, Summary
from harness.pipeline.graph import Graph, Stage
from harness.pipeline.kinds import KINDS
from harness.store.store import Store
from tests.integration.pipelines import Watcher
from tests.toys.graphs import any_stage

LINEAR_SECONDS = 30.0  # it takes one; work that grew with the square of the stages would take an hour


class Instant:
    """An executor whose tasks end as soon as they are waited for; those of `failing` stages fail."""

    def __init__(self, *, slots: int = 2, gpus: int = 0, failing: Sequence[Stage] = ()) -> None:
        self._capacity = Capacity(slots=slots, threads=1, gpus=gpus)
        self._failing = {stage.fingerprint for stage in failing}
        self.running: list[StageTask] = []
        self.together: list[list[str]] = []

    def capacity(self) -> Capacity:
        return self._capacity

    def has_room(self, task: StageTask) -> bool:
        on_gpu = [one for one in self.running if self._on_gpu(one)]
        if self._on_gpu(task):
            return len(on_gpu) < self._capacity.gpus
        return len(self.running) - len(on_gpu) < self._capacity.slots

    def _on_gpu(self, task: StageTask) -> bool:
        return task.accelerated and self._capacity.gpus > 0

    def start(self, task: StageTask) -> None:
        assert self.has_room(task)
        self.running.append(task)

    def wait(self, seconds: float) -> list[Outcome]:
        self.together.append([task.fingerprint for task in self.running])
        ended, self.running = self.running, []
        return [
            Outcome(task=task, status="failed" if task.fingerprint in self._failing else "done", reason="it had to")
            for task in ended
        ]

    def close(self, *, interrupt: bool = False) -> list[Outcome]:
        return []


def run(executor: Instant, stages: Sequence[Stage], tmp_path: Path) -> tuple[Summary, list[str]]:
    """How a run of these stages ends, and the order in which they were started."""
    watcher = Watcher()
    summary = Runner(Store(tmp_path), executor, watcher, {}).run(stages, stages)
    return summary, [task.fingerprint for task in watcher.begun]


def random_plan(graph: Graph, source: random.Random, count: int) -> list[Stage]:
    """Stages of random kinds that read up to three earlier ones, and may come after others."""
    stages: list[Stage] = []
    kinds = sorted(set(KINDS) - {"trunk_state"})  # whose specs say which trunk
    for number in range(count):
        read = source.sample(stages, min(len(stages), source.randint(0, 3)))
        inputs = {f"input-{index}": stage for index, stage in enumerate(read)}
        stage = any_stage(graph, source.choice(kinds), {"number": number}, inputs)
        stage.after.extend(source.sample(stages, min(len(stages), source.randint(0, 1))))
        stage.gates.extend(source.sample(stages, min(len(stages), source.choice((0, 0, 0, 1)))))
        stages.append(stage)
    return stages


@pytest.mark.parametrize("seed", range(8))
def test_nothing_starts_before_what_it_waits_for(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    stages = random_plan(Graph(), source, 120)
    executor = Instant(slots=source.randint(1, 5), gpus=source.randint(0, 2))
    summary, begun = run(executor, stages, tmp_path)
    assert sorted(begun) == sorted(stage.fingerprint for stage in stages)
    assert len(summary.computed) == len(stages)
    assert not summary.failed
    assert not summary.blocked
    round_of = {key: number for number, keys in enumerate(executor.together) for key in keys}
    for stage in stages:
        for other in [*(item.stage for item in stage.inputs.values()), *stage.after, *stage.gates]:
            assert round_of[other.fingerprint] < round_of[stage.fingerprint]


@pytest.mark.parametrize("seed", range(8))
def test_a_failure_stops_what_reads_it_and_nothing_else(tmp_path: Path, seed: int) -> None:
    source = random.Random(100 + seed)
    stages = random_plan(Graph(), source, 120)
    failing = source.sample(stages, 4)
    summary, begun = run(Instant(failing=failing), stages, tmp_path)
    doomed: list[Stage] = []
    for stage in stages:
        inputs = [*(item.stage for item in stage.inputs.values()), *stage.gates]
        waits = [other for other in stage.after if other in doomed]  # it waits for one that never starts
        if waits or any(one in failing or one in doomed for one in inputs):
            doomed.append(stage)
    assert {stage.fingerprint for stage in summary.blocked} == {stage.fingerprint for stage in doomed}
    started = {stage.fingerprint for stage in stages} - {stage.fingerprint for stage in doomed}
    assert sorted(begun) == sorted(started)
    assert {outcome.task.fingerprint for outcome in summary.failed} == {
        stage.fingerprint for stage in failing if stage not in doomed
    }


def test_what_only_follows_a_failed_stage_goes_on(tmp_path: Path) -> None:
    graph = Graph()
    first, second = any_stage(graph, "pretrain", {"step": 1}), any_stage(graph, "pretrain", {"step": 2})
    second.after.append(first)
    summary, begun = run(Instant(failing=[first]), [first, second], tmp_path)
    assert begun == [first.fingerprint, second.fingerprint]
    assert [outcome.task.fingerprint for outcome in summary.computed] == [second.fingerprint]


def test_the_longest_way_to_the_end_is_begun_first(tmp_path: Path) -> None:
    graph = Graph()
    short = [any_stage(graph, "corpus", {"number": number}) for number in range(3)]
    start = any_stage(graph, "problems", {})
    middle = any_stage(graph, "preferences", {}, {"problems": start})
    end = any_stage(graph, "encode", {}, {"source": middle})
    training_start = any_stage(graph, "tokenizer", {})
    training = any_stage(graph, "base", {}, {"tokenizer": training_start})
    stages = [*short, start, middle, end, training_start, training]
    _, begun = run(Instant(slots=1), stages, tmp_path)
    expected = [training_start, training, start, middle, *short, end]  # of equally long ones, the first to be ready
    assert begun == [stage.fingerprint for stage in expected]


def test_full_gpus_hold_up_nothing_that_needs_none(tmp_path: Path) -> None:
    graph = Graph()
    accelerated = [any_stage(graph, "base", {"number": number}) for number in range(3)]
    plain = [any_stage(graph, "corpus", {"number": number}) for number in range(3)]
    executor = Instant(slots=1, gpus=1)
    run(executor, [*accelerated, *plain], tmp_path)
    together = [set(keys) for keys in executor.together if keys]
    assert together == [{one.fingerprint, other.fingerprint} for one, other in zip(accelerated, plain, strict=True)]


def test_twenty_thousand_stages_take_no_longer_each(tmp_path: Path) -> None:
    graph = Graph()
    corpus = any_stage(graph, "corpus", {})
    parts = [any_stage(graph, "pairs_part", {"number": number}, {"corpus": corpus}) for number in range(20_000)]
    stages = [corpus, *parts, any_stage(graph, "pairs", {}, {f"part-{n:05d}": part for n, part in enumerate(parts)})]
    began = time.process_time()
    summary, _ = run(Instant(), stages, tmp_path)
    assert time.process_time() - began < LINEAR_SECONDS
    assert len(summary.computed) == len(stages)
