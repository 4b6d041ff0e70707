"""Everything a recipe can need: the chapters' stages, and every evaluation of whatever has scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.pipeline.evaluation import Evaluation
from harness.pipeline.evaluations import evaluation_named
from harness.pipeline.evaluations.pair_accuracy import PairAccuracy
from harness.pipeline.graph import Stage
from harness.pipeline.optimization import steps_of
from harness.pipeline.overlap import OverlapStages
from harness.pipeline.scores import UNFITTED, Scorer
from harness.pipeline.tasks import Split, judging_split
from harness.pipeline.training import trains_head
from harness.pipeline.tuning import TUNED, TunedSpec, checkpoint_input, values_input
from harness.recipe.blocks import WSD
from harness.recipe.evaluate import ImportedRow
from harness.recipe.fields import CODE
from harness.recipe.schema import Experiment
from harness.recipe.search import Objective
from harness.recipe.tasks import PoolTaskBlock


class Pipeline(OverlapStages):
    """Adds evaluation to scores."""

    def judge(
        self,
        evaluation: Evaluation,
        experiment: Experiment,
        task: str,
        source: Stage,
        scores: Stage,
        of: str,
        split: Split | None = None,
    ) -> Stage:
        """Values by problem of scores; without a split on the one that judges."""
        inputs = {
            "scores": scores,
            evaluation.content: source,
            **evaluation.more_inputs(self, experiment, task, split or judging_split(experiment, task)),
            **self._overlaps(experiment, task),
        }
        label = f"{evaluation.noun} {of}"
        return self.graph.stage(evaluation.kind, evaluation.spec(experiment), inputs, label=label)

    def baselines(self, evaluation: Evaluation, experiment: Experiment, task: str) -> Stage | None:
        """What a task's source gives without any scorer; None where that means nothing."""
        if evaluation.baselined is None:
            return None
        inputs = {
            evaluation.content: evaluation.source(self, experiment, task, experiment.evaluate.split),
            **self._overlaps(experiment, task),
        }
        label = f"baselines of the {_named(task, experiment.evaluate.split)} pool"
        return self.graph.stage(evaluation.baselined, evaluation.baselines(experiment), inputs, label=label)

    def _overlaps(self, experiment: Experiment, task: str) -> dict[str, Stage]:
        """The problems that stand in what a setting trains on, which judge none of its models."""
        found = None if task == CODE else self.overlap(experiment, task)
        return {} if found is None else {"overlap": found}

    def judged(
        self,
        evaluation: Evaluation,
        experiment: Experiment,
        task: str,
        model: Stage,
        label: str,
        split: Split | None = None,
    ) -> Stage:
        """A model of the recipe, judged on a split of a task (by default the one that judges), or on held-out code."""
        itself = evaluation.of_model(self, experiment, task, model, label)
        if itself is not None:
            return itself
        split = split or judging_split(experiment, task)
        of = f"{label} on {_named(task, split)}"
        source = evaluation.source(self, experiment, task, split)
        tokens = evaluation.tokens(self, experiment, task, split)
        what = of if task == CODE else f"{of} {evaluation.content}"
        scores = evaluation.scores(self, experiment, model, tokens, what)
        return self.judge(evaluation, experiment, task, source, scores, of, split)

    def finetuned(self, experiment: Experiment, start: Stage, seed: int, label: str) -> Stage:
        """The reward model of a setting and its seeds: fine-tuned once, or the best on dev of all that `tune` tries.

        It is chosen for each run alone, so that runs of several seeds stay independent.
        """
        tune = experiment.finetune.tune
        if tune is None:
            return self.finetune(experiment, start, seed, label)
        evaluation = evaluation_named(tune.on)
        tries, on_dev = self._tries(experiment)
        inputs: dict[str, Stage] = {}
        for number, (told, one) in enumerate(tries):
            trained = self.finetune(one, start, seed, f"{label} {told}")
            inputs[checkpoint_input(number)] = trained
            for task in experiment.finetune.tasks:
                judged = self.judged(evaluation, on_dev, task, trained, trained.label, "dev")
                inputs[values_input(number, task)] = judged
        spec = TunedSpec(axes=tuple(tune.axes.items()), metric=evaluation.headline, tasks=experiment.finetune.tasks)
        return self.graph.stage(TUNED, spec, inputs, label=f"best finetune {label} seed {seed}")

    def _tries(self, experiment: Experiment) -> tuple[list[tuple[str, Experiment]], Experiment]:
        """(values in words, experiment) of each try; and one that judges on dev alone, so that no test problem enters
        and every recipe values a try alike, by one pair a dev problem."""

        def build() -> tuple[Experiment, list[tuple[str, Experiment]], Experiment]:
            tries = [
                (
                    " ".join(f"{name}={value}" for name, value in values.items()),
                    experiment.model_copy(update={"finetune": block}),
                )
                for values, block in experiment.finetune.tries()
            ]
            judging = experiment.evaluate.model_copy(update={"split": "dev", "pair_accuracy": None})
            return experiment, tries, experiment.model_copy(update={"evaluate": judging})

        _, tries, on_dev = self._remember(
            ("tries", id(experiment)), build
        )  # kept with it, so that its id stays its own
        return tries, on_dev

    def judged_by(
        self, objective: Objective, experiment: Experiment, start: Stage, finetuned: Callable[[], Stage], label: str
    ) -> Stage | None:
        """What a search values a setting by, on dev; None where that needs a reward head that PMP has not trained.

        Args:
            start: what is fine-tuned, and judged on code pairs as it is.
            finetuned: gives the fine-tuned model, where a task is judged.
        """
        evaluation = evaluation_named(objective.evaluation)
        if objective.task != CODE:
            return self.judged(evaluation, experiment, objective.task, finetuned(), label, "dev")
        if evaluation.rewards and not trains_head(experiment):
            return None
        return self.judged(evaluation, experiment, CODE, start, start.label, "dev")

    def judged_reference(
        self, evaluation: Evaluation, experiment: Experiment, task: str, scorer: Scorer, seed: int, setting: str = ""
    ) -> Stage | None:
        """A scorer that understands nothing, fitted on what the models are trained on; None where it knows nothing.

        Args:
            setting: whose, where the task's data are not those of all others; for labels.
        """
        split = judging_split(experiment, task)
        where, source = _named(task, split), evaluation.source(self, experiment, task, split)
        where += f" of {setting}" if setting else ""
        target = {"target": source, "target_tokens": evaluation.tokens(self, experiment, task, split)}
        scores: Stage | None
        if scorer in UNFITTED:
            if task == CODE or evaluation.own_texts:
                return None
            read = self.source_prior if scorer == "source_prior" else self.logprob
            scores = read(experiment, target, evaluation.content, task)
            if scores is None:
                return None
        elif task == CODE:
            scores = self.shallow_on_code(experiment, scorer, target, where)
        else:
            scores = self.shallow(experiment, scorer, seed, target, evaluation.content, where)
        return self.judge(evaluation, experiment, task, source, scores, f"{scorer} on {where}")

    def judged_checkpoint(
        self, evaluation: Evaluation, experiment: Experiment, task: str, name: str, row: ImportedRow
    ) -> Stage:
        """An imported checkpoint."""
        split = experiment.evaluate.split
        source = evaluation.source(self, experiment, task, split)
        scores = self.of_imported_checkpoint(experiment, task, name, row, source, evaluation.content)
        return self.judge(evaluation, experiment, task, source, scores, f"{name} on {_named(task, split)}")

    def judged_scores(
        self, evaluation: Evaluation, experiment: Experiment, task: str, name: str, row: ImportedRow
    ) -> Stage | None:
        """Imported scores; None where what is judged is no candidate of the task's pool, which they are of."""
        if evaluation.own_texts:
            return None
        split = experiment.evaluate.split
        source = evaluation.source(self, experiment, task, split)
        candidates, pairs = source, {}
        if evaluation.content == "pairs":
            if not isinstance(experiment.tasks[task], PoolTaskBlock):
                return None
            candidates = self.candidates(experiment, task, split)
            pairs = {"pairs": source, "tokens": evaluation.tokens(self, experiment, task, split)}
        scores = self.of_imported_scores(task, name, row, candidates, pairs)
        return self.judge(evaluation, experiment, task, source, scores, f"{name} on {_named(task, split)}")

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
        accuracy = PairAccuracy()
        for task in accuracy.of_pretraining(experiment):
            yield task, self.judged(accuracy, experiment, task, state, state.label)
        for name in experiment.finetune.tasks:
            if experiment.tasks[name].problems.dev:
                yield name, self.judged(accuracy, experiment, name, state, state.label, "dev")


def _named(task: str, split: Split) -> str:
    """Where something is judged, in labels."""
    name = "held-out code" if task == CODE else task
    return name if split == "test" else f"{name} {split}"
