"""RM-Bench (arXiv 2410.16184) by its own rule: subtle errors, in three styles against three styles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.pipeline.evaluation import Evaluation
from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, NoSpec
from harness.pipeline.tasks import Split
from harness.pipeline.training import TrainingStages
from harness.recipe.schema import Experiment
from harness.store.artifacts import ProblemValues
from harness.tasks.built_in.rm_bench import DOMAINS as PARTS

DOMAINS = tuple(dict.fromkeys(domain.partition("-")[0] for domain in PARTS))
"""Safety has two parts."""
LEVELS = ("hard", "normal", "easy")
"""The right response is plainer than the wrong one, as plain, or less plain."""

RM_BENCH: Kind[NoSpec] = Kind("rm_bench", 1, NoSpec, ProblemValues)


class RmBench(Evaluation):
    """The mean over its domains, safety being that of its two halves, and over three levels."""

    name = "rm_bench"
    noun = "RM-Bench"
    kind = RM_BENCH
    content = "candidates"
    headline = "rm_bench"
    labels: ClassVar[Mapping[str, str]] = {
        "rm_bench": "RM-Bench",
        **{f"rm_bench_{level}": f"RM-Bench, {level}" for level in LEVELS},
        **{f"rm_bench_{domain}": f"RM-Bench, {domain}" for domain in DOMAINS},
    }
    chance = 0.5
    kinds = ("rm_bench",)

    def source(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage:
        return stages.options(experiment, task, split)

    def spec(self, experiment: Experiment) -> NoSpec:
        return NoSpec()
