"""candidates_part: n solutions for each of a range of a task's problems, graded."""

from __future__ import annotations

import importlib
from collections import Counter
from typing import Any

from harness.engines.base import Generator, Sampling
from harness.engines.candidates import ENDED, MOST_SECONDS, candidates
from harness.engines.simulated import simulated_policy
from harness.errors import DataError
from harness.pipeline.tasks import CANDIDATES_PART, CandidatesPartSpec
from harness.stages.context import StageContext
from harness.stages.task_problems import read_problems
from harness.stages.writer import ALARM, CountsCuts, kept, open_writer, sampling_of
from harness.store.artifacts import Candidates, Problems
from harness.tasks.registry import load_task
from harness.tasks.task import Problem, Task


def run(context: StageContext) -> dict[str, Any]:
    """Generate and grade; a candidate depends on its problem, its index and the seed alone."""
    spec = CANDIDATES_PART.read(context.spec)
    problems = read_problems(context.input("problems", Problems), spec.split)
    if len(problems) < spec.stop:
        raise DataError(
            "a pool needs its problems", f"requested {spec.stop}, the task has {len(problems)}", "lower the count"
        )
    task = load_task(spec.task)
    chosen = problems[spec.start : spec.stop]
    sampling = Sampling() if spec.writer is None else sampling_of(spec.writer)
    cut: Counter[str] = Counter()
    tally: Counter[str] = Counter()
    generator = CountsCuts(generator=_generator(context, spec, task, chosen), cut=cut)
    rows = candidates(
        task,
        chosen,
        generator,
        samples=spec.samples,
        seed=spec.seed,
        sampling=sampling,
        source=spec.source or spec.engine,
        tally=tally,
        logprobs=spec.logprobs,
    )
    Candidates(context.directory).write(rows)
    if cut["questions"] > ALARM * len(rows):
        context.warn(
            f"{cut['questions']:,} of {len(rows):,} candidates were written to a prompt without its beginning; "
            "lower `max_tokens` of a completion or raise `context`"
        )
    if tally[ENDED]:
        context.warn(
            f"grading {tally[ENDED]:,} of {len(rows):,} candidates took over {MOST_SECONDS:g} s of processor time each "
            "and was ended; they count as wrong"
        )
    return {"problems": spec.stop - spec.start, "candidates": len(rows), **tally}


def _generator(context: StageContext, spec: CandidatesPartSpec, task: Task, problems: list[Problem]) -> Generator:
    """The simulated policy, or an engine of the recipe's own, which a warm worker keeps for the pool's other parts."""
    if spec.writer is not None:
        return open_writer(context, spec.writer)
    if spec.engine == "simulated":
        assert spec.accuracy is not None
        return simulated_policy(task, problems, accuracy=spec.accuracy, seed=spec.seed)
    if "generator" not in context.held:
        module, _, name = spec.engine.partition(":")
        context.held["generator"] = getattr(importlib.import_module(module), name)(**spec.options)
    return kept(context, context.held["generator"])
