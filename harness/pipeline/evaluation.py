"""What an evaluation is: what models are asked about, how their scores become numbers, and what the numbers mean.

One file an evaluation below `evaluations/`, or a class of a recipe's own (`package.module:Class`). Whatever shows or
compares numbers asks it and knows no metric's name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, NoSpec, Spec
from harness.pipeline.tasks import Split
from harness.pipeline.tokens import Content, EncodeSpec
from harness.recipe.schema import Experiment

if TYPE_CHECKING:
    from harness.pipeline.training import TrainingStages


RANGE = (0.0, 1.0)
"""Of every metric."""


JUDGED_ON = ("pairs", "candidates", "documents")
"""What the input of a stage of values that holds the data is called."""


class Evaluation(ABC):
    """Scores of a task's candidates or pairs become values by problem.

    Its stage writes `ProblemValues`: one value a problem and metric, whose mean lies within `bounds`. Single values lie
    outside only where a metric is a ratio of sums over problems (`evaluation/ratios.py`) or weighs its problems.

    Attributes:
        name: also of its block in a recipe, `evaluate.<name>`.
        noun: in the labels of its stages.
        kind: of the stage that makes values of scores.
        content: what of a task is scored.
        headline: the metric that rows are compared by.
        labels: metric -> its name in prose.
        counted: what a value is of.
        rewards: values are of rewards; where they are not, they are of the language model that a setting fine-tunes,
            with or without a trained head, and no reference scorer has any.
        picks: of candidates, the one with the highest reward is what a row answers with.
        chance: the level of the headline that a coin reaches; None where it depends on the problems.
        baselined: the kind of the stage that `baselines` is of; None where a source gives nothing without a scorer.
        references: what `baselines` gives, as rows of a board.
        random_pick: that of them which picks at random; "" where there is none.
        needs_choices: its tasks are those whose problems bring responses, and imported pools.
        needs_grading: its tasks are those that grade any text, and imported pools.
        own_texts: what it scores is made for it alone, so that imported scores hold none of it.
        kinds: of the tasks that it can be asked about; () for any.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    kind: ClassVar[Kind]
    content: ClassVar[Content]
    headline: ClassVar[str]
    labels: ClassVar[Mapping[str, str]]
    counted: ClassVar[str] = "problem"
    rewards: ClassVar[bool] = True
    picks: ClassVar[bool] = False
    chance: ClassVar[float | None] = None
    baselined: ClassVar[Kind | None] = None
    references: ClassVar[tuple[str, ...]] = ()
    random_pick: ClassVar[str] = ""
    needs_choices: ClassVar[bool] = False
    needs_grading: ClassVar[bool] = False
    own_texts: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ()

    def tasks(self, experiment: Experiment) -> tuple[str, ...]:
        """The tasks that a recipe asks it about."""
        return experiment.evaluate.asked.get(self.name, ())

    def of_pretraining(self, experiment: Experiment) -> tuple[str, ...]:
        """What models are judged on before fine-tuning, in the place of tasks."""
        return ()

    @abstractmethod
    def source(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage:
        """What is scored: candidates or pairs of a split's problems."""

    def tokens(self, stages: TrainingStages, experiment: Experiment, task: str, split: Split) -> Stage[EncodeSpec]:
        """The same in the tokens of the recipe's own model."""
        source = self.source(stages, experiment, task, split)
        tokens = experiment.tasks[task].max_tokens
        return stages.encode(experiment, source, content=self.content, max_tokens=tokens, label=source.label)

    def more_inputs(
        self, stages: TrainingStages, experiment: Experiment, task: str, split: Split
    ) -> Mapping[str, Stage]:
        """Further inputs of its stage, beside scores and what was scored."""
        return {}

    def scores(
        self, stages: TrainingStages, experiment: Experiment, model: Stage, tokens: Stage[EncodeSpec], label: str
    ) -> Stage:
        """What a model of the recipe makes of these tokens."""
        return stages.scored(experiment, model, tokens, label)

    def of_model(
        self, stages: TrainingStages, experiment: Experiment, task: str, model: Stage, label: str
    ) -> Stage | None:
        """The stage of its values, where that asks a model itself; None where it reads scores, as most do."""
        return None

    def spec(self, experiment: Experiment) -> Spec:
        """Of the stage that makes values by problem of `scores` and of what was scored, its inputs by these names."""
        return NoSpec()

    def baselines(self, experiment: Experiment) -> Spec:
        """Of the stage that says what a source gives without any scorer, as metrics `<baseline>/<metric>`."""
        raise NotImplementedError

    def label(self, metric: str) -> str:
        """A metric's name in prose."""
        return self.labels.get(metric, metric)

    def has(self, metric: str) -> bool:
        """Whether a metric is one of its own."""
        return metric in self.labels

    def bounds(self, metric: str) -> tuple[float, float]:
        """Between what a metric's mean lies, and so the limits of its intervals."""
        return RANGE

    def is_detail(self, metric: str) -> bool:
        """Whether a metric stands beside the others, in a table of its own."""
        return False

    def in_order(self, metrics: Sequence[str]) -> list[str]:
        """Its metrics among these, as tables have them."""
        return [metric for metric in self.labels if metric in metrics]
