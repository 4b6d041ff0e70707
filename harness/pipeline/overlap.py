"""Problems that models are judged by and that stand in what models were trained on."""

from __future__ import annotations

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, Spec, absent
from harness.pipeline.pair_kinds import TRAIN
from harness.pipeline.scores import ScoreStages
from harness.pipeline.tasks import Split, unused_split
from harness.recipe.blocks import TinyModel
from harness.recipe.models import DescriptionPrompt
from harness.recipe.pairs import ImportedPairs, MadePairs, MutationSide, ReferenceSide, ShuffledSide
from harness.recipe.schema import Experiment
from harness.store.artifacts import Overlap

# --------------------------------------------------------------------------------------------------------- kinds


class OverlapSpec(Spec):
    """See `evaluate.overlap` of a recipe. Problems of the dev and test splits are looked for."""

    n: int
    threshold: float
    near_equal: float
    masked: bool = absent(False)


OVERLAP: Kind[OverlapSpec] = Kind("overlap", 2, OverlapSpec, Overlap)

CORPUS, IMPORTED, WRITTEN = "corpus", "pairs", "written"
"""Inputs in whose texts problems are looked for: the corpus, imported pairs, and pairs that a model wrote."""

PREFERENCES, BASE = "preferences", "base"
"""Inputs, with a task's name after them, in whose prompts they are: fine-tuning pairs, and problems of a tiny model."""


def held_by(name: str) -> str:
    """What an input of `overlap` is called in records and reports."""
    kind, _, task = name.partition("-")
    named = {CORPUS: "corpus", IMPORTED: "imported pairs", WRITTEN: "written pairs"}
    return named.get(name) or f"{'fine-tuning pairs' if kind == PREFERENCES else 'base problems'} of {task}"


# ------------------------------------------------------------------------------------------------------ planning


class OverlapStages(ScoreStages):
    """Adds what keeps problems that were trained on out of evaluations."""

    def overlap(self, experiment: Experiment, task: str) -> Stage[OverlapSpec] | None:
        """A task's problems in whatever a setting trains on; None where they are not looked for."""
        block = experiment.evaluate.overlap
        if block is None:
            return None
        trained = self._once("trained on", experiment, lambda: self._trained_text(experiment))

        def build() -> Stage[OverlapSpec]:
            spec = OverlapSpec(n=block.n, threshold=block.threshold, near_equal=block.near_equal, masked=block.masked)
            inputs = {**self._trained_on(experiment), **self._judged_by(experiment, task)}
            return self.graph.stage(OVERLAP, spec, inputs, label=f"{task} in the training data")

        asked = (self._text(experiment.tasks[task]), self._text(block), unused_split(experiment))
        return self._remember(("overlap", trained, *asked), build)

    def _trained_text(self, experiment: Experiment) -> str:
        found = self._trained_on(experiment)
        return " ".join(f"{name}={stage.fingerprint}" for name, stage in found.items())

    def _trained_on(self, experiment: Experiment) -> dict[str, Stage]:
        pairs = experiment.pairs
        reads_pairs, imports = experiment.reads_pairs, isinstance(pairs, ImportedPairs)
        on_texts = experiment.pretrain is not None and experiment.pretrain.on == "corpus"
        reads_corpus = on_texts or (reads_pairs and not imports)
        found: dict[str, Stage] = {}
        if isinstance(experiment.model, TinyModel) or reads_corpus:
            found[CORPUS] = self.corpus(experiment)
        if reads_pairs and isinstance(pairs, ImportedPairs):
            found[IMPORTED] = self.imported("pairs", pairs.imported)
        elif reads_pairs and isinstance(pairs, MadePairs) and _is_written(pairs):
            rows = self.rows.get(self.pair_key(experiment))  # None of pairs that no setting reads
            found |= {} if rows is None else {WRITTEN: self.pairs(experiment, TRAIN, rows)}
        return found | self._prompts_trained_on(experiment)

    def _prompts_trained_on(self, experiment: Experiment) -> dict[str, Stage]:
        """The fine-tuning pairs of a setting, and the problems that its tiny model begins with."""
        tasks, tiny = experiment.tasks, isinstance(experiment.model, TinyModel)
        counts = {name: self.tuning_pairs(experiment, name) for name in experiment.finetune.tasks}

        def build() -> dict[str, Stage]:
            found: dict[str, Stage] = {}
            for name, count in counts.items():
                found[f"{PREFERENCES}-{name}"] = self.preferences(name, tasks[name], "finetune", count)
            for name in tasks:
                if tiny and tasks[name].problems.base:
                    found[f"{BASE}-{name}"] = self.problems(name, tasks[name], "base")
            return found

        key = ("prompts trained on", self._task_key(experiment), tiny, *counts.items())
        return self._remember(key, build)

    def _judged_by(self, experiment: Experiment, name: str) -> dict[str, Stage]:
        task = experiment.tasks[name]
        splits: tuple[Split, ...] = ("dev", "test")
        asked = [one for one in splits if one in task.problems.asked and one != unused_split(experiment)]
        return {f"problems-{one}": self.problems(name, task, one) for one in asked}


def _is_written(pairs: MadePairs) -> bool:
    """Whether pairs hold text that is not of the corpus, or an edit of it."""
    sides = pairs.all_sides.values()
    return isinstance(pairs.prompt, DescriptionPrompt) or not all(
        isinstance(side, (ReferenceSide, MutationSide, ShuffledSide)) for side in sides
    )
