"""Scores that no model of a recipe makes: of reference scorers that understand nothing, and from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from harness.pipeline.graph import Input, Stage
from harness.pipeline.kind import Kind, Known, Spec
from harness.pipeline.optimization import steps_of
from harness.pipeline.tasks import CANDIDATES
from harness.pipeline.tokens import Content, ScoreSpec, responses_in
from harness.pipeline.training import TrainingStages
from harness.recipe.evaluate import ImportedRow
from harness.recipe.schema import Experiment
from harness.recipe.tasks import PoolTaskBlock
from harness.store.artifacts import Scores

Scorer = Literal["length", "ngrams", "prompt_overlap", "source_prior", "logprob"]
MOST_FITTED = 100_000
"""Code pairs that a scorer is fitted on, the first: they are in random order, and their words must fit into memory."""

UNFITTED: tuple[Scorer, ...] = ("source_prior", "logprob")
"""Those that read of a candidate what stands beside its text, and are fitted on no pairs."""

# --------------------------------------------------------------------------------------------------------- kinds


class ShallowScoreSpec(Spec):
    """A scorer that understands nothing, fitted on the pairs that a training reads; without a seed in row order.

    Of `source_prior`, `samples` are the fine-tuning problems whose candidates it counts; `logprob` counts none.
    """

    scorer: Scorer
    content: Content
    tasks: tuple[str, ...]
    samples: int
    seed: int | None


class ShallowScoreKind(Kind[ShallowScoreSpec]):
    def rows(self, stage: Stage[ShallowScoreSpec], known: Known) -> float:
        return responses_in(stage.inputs["target_tokens"].stage, known)


class AlignedScoresSpec(Spec):
    """Which of a file's rows are about the task; "" where it names none."""

    task: str


SHALLOW_SCORE = ShallowScoreKind("shallow_score", 1, ShallowScoreSpec, Scores, row_bytes=10)
ALIGNED_SCORES: Kind[AlignedScoresSpec] = Kind("aligned_scores", 1, AlignedScoresSpec, Scores)


# ------------------------------------------------------------------------------------------------------ planning


class ScoreStages(TrainingStages):
    """Adds other scores to those of trained models."""

    def shallow(
        self, experiment: Experiment, scorer: Scorer, seed: int, target: Mapping[str, Stage], content: Content, of: str
    ) -> Stage[ShallowScoreSpec]:
        """A shallow scorer fitted on exactly the pairs that fine-tuning with this seed sees.

        Args:
            target: what is scored, and its tokens as `target_tokens`, which say what fits.
        """
        block = experiment.finetune
        inputs: dict[str, Stage | Input] = {**target, **self._fitted_on(experiment)}
        spec = ShallowScoreSpec(scorer=scorer, content=content, tasks=block.tasks, samples=block.samples, seed=seed)
        return self.graph.stage(SHALLOW_SCORE, spec, inputs, label=f"score {scorer} on {of} {content} seed {seed}")

    def source_prior(
        self, experiment: Experiment, target: Mapping[str, Stage], content: Content, task: str
    ) -> Stage[ShallowScoreSpec] | None:
        """How often who wrote a candidate is right on the fine-tuning problems, whatever the candidate says.

        None where a task's candidates are not of several known writers, some of whom wrote for problems fine-tuned on.
        """
        writers = set(self.sources(experiment.tasks[task]))
        counted = tuple(
            name for name in experiment.finetune.tasks if writers & set(self.sources(experiment.tasks[name]))
        )
        if len(writers) < 2 or not counted:
            return None
        inputs = dict(target)
        for name in counted:
            block = experiment.tasks[name]
            assert isinstance(block, PoolTaskBlock)
            inputs[f"problems-{name}"] = self.problems(name, block, "finetune")
            inputs[f"pool-{name}"] = self.imported("pool", block.imported)
        if content == "pairs":
            inputs["candidates"] = self.candidates(experiment, task, experiment.evaluate.split)
        problems = sum(self.asked(experiment, name, "finetune") for name in counted)
        spec = ShallowScoreSpec(scorer="source_prior", content=content, tasks=counted, samples=problems, seed=None)
        return self.graph.stage(SHALLOW_SCORE, spec, inputs, label=f"score source_prior on {task} {content}")

    def logprob(
        self, experiment: Experiment, target: Mapping[str, Stage], content: Content, task: str
    ) -> Stage[ShallowScoreSpec] | None:
        """What the generator gave a candidate. None where that is not known of candidates, or of a pair's sides."""
        of_candidates = target["target"].kind is CANDIDATES
        of_pool = content == "pairs" and isinstance(experiment.tasks[task], PoolTaskBlock)
        if not (of_candidates or of_pool) or not self.knows_logprobs(experiment, task):
            return None
        pool = {"candidates": self.candidates(experiment, task, experiment.evaluate.split)} if of_pool else {}
        inputs = {**target, **pool}
        spec = ShallowScoreSpec(scorer="logprob", content=content, tasks=(), samples=0, seed=None)
        return self.graph.stage(SHALLOW_SCORE, spec, inputs, label=f"score logprob on {task} {content}")

    def shallow_on_code(
        self, experiment: Experiment, scorer: Scorer, target: Mapping[str, Stage], of: str
    ) -> Stage[ShallowScoreSpec]:
        """The same, fitted on the first of the pairs that PMP reads, in row order."""
        assert experiment.pretrain is not None
        most = self.rows[self.pair_key(experiment)]
        trained = steps_of(experiment.pretrain, experiment.pairs.count).pairs
        count = min(trained, most, MOST_FITTED)  # an axis may ask for less than the recipe
        inputs: dict[str, Stage | Input] = {
            "pairs-code": self.pairs(experiment, "train", most),
            "tokens-code": Input(stage=self.pair_tokens(experiment), rows=count),
            **target,
        }
        spec = ShallowScoreSpec(scorer=scorer, content="pairs", tasks=("code",), samples=count, seed=None)
        return self.graph.stage(SHALLOW_SCORE, spec, inputs, label=f"score {scorer} on {of}")

    def _fitted_on(self, experiment: Experiment) -> dict[str, Stage]:
        """The fine-tuning pairs and tokens of all tasks; found once, since every evaluated task asks for them."""
        tasks = experiment.finetune.tasks
        counts = {name: self.tuning_pairs(experiment, name) for name in tasks}
        key = ("fitted on", self.tokenizer(experiment).fingerprint, self._task_key(experiment), *counts.items())

        def build() -> dict[str, Stage]:
            found: dict[str, Stage] = {}
            for name, count in counts.items():
                found[f"pairs-{name}"] = self.preferences(name, experiment.tasks[name], "finetune", count)
                found[f"tokens-{name}"] = self.preference_tokens(experiment, name, "finetune", count)
            return found

        return self._remember(key, build)

    def of_imported_checkpoint(
        self, experiment: Experiment, task: str, name: str, row: ImportedRow, source: Stage, content: Content
    ) -> Stage[ScoreSpec]:
        """Rewards of an imported checkpoint, in its own tokens."""
        assert row.checkpoint is not None
        checkpoint = self.imported("checkpoint", row.checkpoint)
        tokens = self.encode_with(
            checkpoint,
            source,
            content=content,
            max_tokens=row.max_tokens or experiment.tasks[task].max_tokens,
            limit=None,
            label=f"{content} {task} for {name}",
            text=row.text,
        )
        return self.scored(experiment, checkpoint, tokens, f"{name} on {task} {content}")

    def of_imported_scores(
        self, task: str, name: str, row: ImportedRow, candidates: Stage, pairs: Mapping[str, Stage]
    ) -> Stage[AlignedScoresSpec]:
        """Scores that somebody else made of a task's candidates, in our order.

        Args:
            pairs: where pairs of candidates are judged, those `pairs`, and the `tokens` that say which fit, and so
                which ones the arms are judged on.
        """
        assert row.scores is not None
        inputs = {
            "scores": self.imported("scores", row.scores),
            "candidates": candidates,
            **pairs,
        }
        named = self.imports["scores", row.scores].result["tasks"]  # rows of all tasks where the file names none
        label = f"scores {name} on {task}{' pairs' if pairs else ''}"
        return self.graph.stage(ALIGNED_SCORES, AlignedScoresSpec(task=task if named else ""), inputs, label=label)
