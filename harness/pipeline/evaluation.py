"""Evaluation: what models, reference scorers and rows from outside are judged by, and how rows are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from harness.pipeline.graph import Input, Stage
from harness.pipeline.kind import Kind, Known, NoSpec, Spec, absent
from harness.pipeline.tokens import Content, EncodeSpec, responses_in
from harness.pipeline.training import TrainingStages, steps_of, trains_head
from harness.recipe.blocks import WSD, ImportedRow
from harness.recipe.fields import CODE
from harness.recipe.schema import Experiment
from harness.sources import resolve
from harness.store.artifacts import Analysis, Comparison, ProblemValues, Scores

Scorer = Literal["length", "ngrams"]

GRADING = ("math-verify", "latex2sympy2-extended", "sympy")
"""Packages whose versions decide which answers are equal; `tasks/grading.py` says so (a test holds them equal)."""


# --------------------------------------------------------------------------------------------------------- kinds


class BestOfNSpec(Spec):
    n: tuple[int, ...]


class PoolBaselinesSpec(Spec):
    n: tuple[int, ...]
    grading: Mapping[str, str]


class ShallowScoreSpec(Spec):
    """A scorer that understands nothing, fitted on the pairs that a training reads; without a seed in row order."""

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


class RunSpec(Spec):
    """Seeds of one run of a row; None where a seed does not enter."""

    pretrain_seed: int | None
    finetune_seed: int | None


class OutcomeSpec(RunSpec):
    """A run's values on a task.

    Attributes:
        input: name of the input that holds them.
        data: what was judged on; only outcomes on the same are compared.
        retracted: estimated, and neither compared nor ranked.
    """

    input: str
    row: str
    kind: str
    task: str
    evaluation: str
    data: str
    retracted: bool = absent(False)


class AnalysisSpec(Spec):
    rows: tuple[OutcomeSpec, ...]
    baseline: str
    seed: int


class JudgedSpec(RunSpec):
    """Names of the inputs that hold a run's values and, if they can be read, scores."""

    values: str
    scores: str | None


class SideSpec(Spec):
    """A row's runs; `pool` is the baseline of a pool that it stands for, "" if it is none."""

    pool: str
    seeds: tuple[JudgedSpec, ...]


class MatchSpec(Spec):
    task: str
    evaluation: str
    first: SideSpec
    second: SideSpec
    texts: str | None


class ComparisonSpec(Spec):
    matches: tuple[MatchSpec, ...]
    seed: int


BEST_OF_N: Kind[BestOfNSpec] = Kind("best_of_n", 3, BestOfNSpec, ProblemValues)
POOL_BASELINES: Kind[PoolBaselinesSpec] = Kind("pool_baselines", 2, PoolBaselinesSpec, ProblemValues)
PAIR_ACCURACY: Kind[NoSpec] = Kind("pair_accuracy", 1, NoSpec, ProblemValues)
SHALLOW_SCORE = ShallowScoreKind("shallow_score", 1, ShallowScoreSpec, Scores, row_bytes=10)
ALIGNED_SCORES: Kind[AlignedScoresSpec] = Kind("aligned_scores", 1, AlignedScoresSpec, Scores)
ANALYSIS: Kind[AnalysisSpec] = Kind("analysis", 5, AnalysisSpec, Analysis)
COMPARISON: Kind[ComparisonSpec] = Kind("comparison", 3, ComparisonSpec, Comparison)


# ------------------------------------------------------------------------------------------------------ planning


class Pipeline(TrainingStages):
    """Adds evaluation: everything a recipe can need."""

    def probes(self, experiment: Experiment, seed: int) -> list[tuple[int, str, Stage]]:
        """(pairs read, task, pair accuracy) of states along a run's stable path, as they are.

        On held-out code pairs, and on dev preferences of the tasks that fine-tuning takes. A mean over seeds has no
        path of its own.
        """
        block, asked = experiment.pretrain, experiment.evaluate.probes
        if asked is None or block is None or not trains_head(experiment) or not isinstance(block.schedule, WSD):
            return []
        if block.average is not None and block.average.over == "seeds":
            return []
        steps = steps_of(block, experiment.pairs.count)
        every = max(1, asked.every_pairs // steps.batch)
        found = []
        for step in range(every, steps.decay_start + 1, every):
            if step > self.forked_at(block):
                state = self.trunk_state(experiment, block, seed, step)
                found += [(step * steps.batch, task, stage) for task, stage in self._probe(experiment, state)]
        return found

    def _probe(self, experiment: Experiment, state: Stage) -> Iterator[tuple[str, Stage]]:
        if experiment.evaluate.code_pairs is not None:
            yield CODE, self.code_pair_accuracy(experiment, state, state.label)
        for name in experiment.finetune.tasks:
            dev = experiment.tasks[name].problems.dev
            if dev:
                yield name, self._accuracy_on(experiment, name, "dev", dev, state, state.label)

    def best_of_n(self, experiment: Experiment, name: str, model: Stage, label: str) -> Stage:
        candidates = self.candidates(experiment, name)
        tokens = self._candidate_tokens(experiment, name)
        scores = self.scored(experiment, model, tokens, f"{label} on {name} candidates")
        return self.judged_pool(experiment, candidates, scores, f"best-of-N {label} on {name}")

    def _candidate_tokens(self, experiment: Experiment, name: str) -> Stage[EncodeSpec]:
        return self.encode(
            experiment,
            self.candidates(experiment, name),
            content="candidates",
            max_tokens=experiment.tasks[name].max_tokens,
            label=f"candidates {name}",
        )

    def pair_accuracy(self, experiment: Experiment, name: str, model: Stage, label: str) -> Stage:
        assert experiment.evaluate.pair_accuracy is not None
        return self._accuracy_on(experiment, name, "test", experiment.evaluate.pair_accuracy.samples, model, label)

    def _accuracy_on(
        self, experiment: Experiment, name: str, split: str, count: int, model: Stage, label: str
    ) -> Stage:
        of = f"{name}{'' if split == 'test' else f' {split}'}"
        pairs = self.preferences(name, experiment.tasks[name], split, count)
        tokens = self.preference_tokens(experiment, name, split, count)
        scores = self.scored(experiment, model, tokens, f"{label} on {of} pairs")
        return self._judged_pairs(scores, pairs, f"{label} on {of}")

    def code_pair_accuracy(self, experiment: Experiment, model: Stage, label: str) -> Stage:
        pairs = self.heldout_pairs(experiment)
        scores = self.scored(experiment, model, self.heldout_tokens(experiment), f"{label} on held-out code")
        return self._judged_pairs(scores, pairs, f"{label} on held-out code")

    def judged_pool(self, experiment: Experiment, candidates: Stage, scores: Stage, label: str) -> Stage[BestOfNSpec]:
        spec = BestOfNSpec(n=experiment.evaluate.best_of_n.n)
        return self.graph.stage(BEST_OF_N, spec, {"scores": scores, "candidates": candidates}, label=label)

    def _judged_pairs(self, scores: Stage, pairs: Stage, of: str) -> Stage[NoSpec]:
        inputs = {"scores": scores, "pairs": pairs}
        return self.graph.stage(PAIR_ACCURACY, NoSpec(), inputs, label=f"pair accuracy {of}")

    # ---------------------------------------------------------------------------------- reference scorers

    def pool_baselines(self, experiment: Experiment, name: str) -> Stage:
        """Random pick, majority vote and oracle of a pool."""
        grading = resolve.resolve_versions(GRADING)
        spec = PoolBaselinesSpec(n=experiment.evaluate.best_of_n.n, grading=grading)
        inputs = {"candidates": self.candidates(experiment, name)}
        return self.graph.stage(POOL_BASELINES, spec, inputs, label=f"baselines of the {name} pool")

    def reference_best_of_n(self, experiment: Experiment, name: str, scorer: Scorer, seed: int) -> Stage:
        candidates = self.candidates(experiment, name)
        target: dict[str, Stage] = {"target": candidates, "target_tokens": self._candidate_tokens(experiment, name)}
        scores = self._shallow_on_tasks(experiment, scorer, seed, target, "candidates", name)
        return self.judged_pool(experiment, candidates, scores, f"best-of-N {scorer} on {name}")

    def reference_pair_accuracy(self, experiment: Experiment, name: str, scorer: Scorer, seed: int) -> Stage:
        assert experiment.evaluate.pair_accuracy is not None
        count = experiment.evaluate.pair_accuracy.samples
        pairs = self.preferences(name, experiment.tasks[name], "test", count)
        target: dict[str, Stage] = {
            "target": pairs,
            "target_tokens": self.preference_tokens(experiment, name, "test", count),
        }
        scores = self._shallow_on_tasks(experiment, scorer, seed, target, "pairs", name)
        return self._judged_pairs(scores, pairs, f"{scorer} on {name}")

    def reference_code_pairs(self, experiment: Experiment, scorer: Scorer) -> Stage:
        assert experiment.pretrain is not None
        pairs = self.heldout_pairs(experiment)
        most = self.rows[self.pair_key(experiment)]
        count = min(steps_of(experiment.pretrain, experiment.pairs.count).pairs, most)  # an axis may ask for less
        stream = self.pairs(experiment, "train", most)
        inputs: dict[str, Stage | Input] = {
            "pairs-code": stream,
            "tokens-code": Input(stage=self.pair_tokens(experiment), rows=count),
            "target": pairs,
            "target_tokens": self.heldout_tokens(experiment),
        }
        spec = ShallowScoreSpec(scorer=scorer, content="pairs", tasks=("code",), samples=count, seed=None)
        scores = self.graph.stage(SHALLOW_SCORE, spec, inputs, label=f"score {scorer} on held-out code")
        return self._judged_pairs(scores, pairs, f"{scorer} on held-out code")

    def _shallow_on_tasks(
        self,
        experiment: Experiment,
        scorer: Scorer,
        seed: int,
        target: Mapping[str, Stage],
        content: Content,
        name: str,
    ) -> Stage:
        """A shallow scorer fitted on exactly the pairs that fine-tuning with this seed sees."""
        block = experiment.finetune
        inputs: dict[str, Stage | Input] = {**target, **self._fitted_on(experiment)}
        spec = ShallowScoreSpec(scorer=scorer, content=content, tasks=block.tasks, samples=block.samples, seed=seed)
        return self.graph.stage(SHALLOW_SCORE, spec, inputs, label=f"score {scorer} on {name} {content} seed {seed}")

    def _fitted_on(self, experiment: Experiment) -> dict[str, Stage]:
        """The fine-tuning pairs and tokens of all tasks; found once, since every evaluated task asks for them."""
        tasks = experiment.finetune.tasks
        key = ("fitted on", self.tokenizer(experiment).fingerprint, self._task_key(experiment), *tasks)

        def build() -> dict[str, Stage]:
            found: dict[str, Stage] = {}
            for name in tasks:
                task, count = experiment.tasks[name], experiment.tasks[name].problems.finetune
                found[f"pairs-{name}"] = self.preferences(name, task, "finetune", count)
                found[f"tokens-{name}"] = self.preference_tokens(experiment, name, "finetune", count)
            return found

        return self._remember(key, build)

    # ------------------------------------------------------------------------------------ rows from outside

    def checkpoint_best_of_n(self, experiment: Experiment, task: str, name: str, row: ImportedRow) -> Stage:
        """Best-of-N of an imported checkpoint on a task's candidates, in its own tokens."""
        candidates = self.candidates(experiment, task)
        scores = self._imported_scores(experiment, task, name, row, candidates, "candidates")
        return self.judged_pool(experiment, candidates, scores, f"best-of-N {name} on {task}")

    def checkpoint_pair_accuracy(self, experiment: Experiment, task: str, name: str, row: ImportedRow) -> Stage:
        """Pair accuracy of an imported checkpoint on a task's test preferences, in its own tokens."""
        assert experiment.evaluate.pair_accuracy is not None
        pairs = self.preferences(task, experiment.tasks[task], "test", experiment.evaluate.pair_accuracy.samples)
        scores = self._imported_scores(experiment, task, name, row, pairs, "pairs")
        return self._judged_pairs(scores, pairs, f"{name} on {task}")

    def scores_best_of_n(self, experiment: Experiment, task: str, name: str, row: ImportedRow) -> Stage:
        """Best-of-N of scores that somebody else made."""
        assert row.scores is not None
        candidates = self.candidates(experiment, task)
        imported = self.imported("scores", row.scores)
        inputs = {"scores": imported, "candidates": candidates}
        label = f"scores {name} on {task}"
        scores = self.graph.stage(ALIGNED_SCORES, self._named_as(task, row), inputs, label=label)
        return self.judged_pool(experiment, candidates, scores, f"best-of-N {name} on {task}")

    def scores_pair_accuracy(self, experiment: Experiment, task: str, name: str, row: ImportedRow) -> Stage:
        """Pair accuracy of imported scores on an imported pool's test preferences, whose sides are its candidates."""
        assert row.scores is not None
        assert experiment.evaluate.pair_accuracy is not None
        count = experiment.evaluate.pair_accuracy.samples
        pairs = self.preferences(task, experiment.tasks[task], "test", count)
        inputs = {
            "scores": self.imported("scores", row.scores),
            "candidates": self.candidates(experiment, task),
            "pairs": pairs,
            # Says which pairs fit, and so which ones the arms are judged on.
            "tokens": self.preference_tokens(experiment, task, "test", count),
        }
        label = f"scores {name} on {task} pairs"
        scores = self.graph.stage(ALIGNED_SCORES, self._named_as(task, row), inputs, label=label)
        return self._judged_pairs(scores, pairs, f"{name} on {task}")

    def _named_as(self, task: str, row: ImportedRow) -> AlignedScoresSpec:
        """Which of a file's rows are about a task; all where it names none."""
        assert row.scores is not None
        return AlignedScoresSpec(task=task if self.imports["scores", row.scores].result["tasks"] else "")

    def _imported_scores(
        self, experiment: Experiment, task: str, name: str, row: ImportedRow, source: Stage, content: Content
    ) -> Stage:
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
