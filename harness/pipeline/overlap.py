"""Problems that models are judged by and that stand in what models were trained on."""

from __future__ import annotations

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Kind, Spec
from harness.pipeline.scores import ScoreStages
from harness.pipeline.tasks import Split
from harness.recipe.blocks import TinyModel
from harness.recipe.pairs import ImportedPairs
from harness.recipe.schema import Experiment
from harness.store.artifacts import Overlap

# --------------------------------------------------------------------------------------------------------- kinds


class OverlapSpec(Spec):
    """See `evaluate.overlap` of a recipe. Problems of the dev and test splits are looked for."""

    n: int
    threshold: float


OVERLAP: Kind[OverlapSpec] = Kind("overlap", 1, OverlapSpec, Overlap)


# ------------------------------------------------------------------------------------------------------ planning


class OverlapStages(ScoreStages):
    """Adds what keeps problems that were trained on out of evaluations."""

    def overlap(self, experiment: Experiment, task: str) -> Stage[OverlapSpec] | None:
        """A task's problems in the corpus, and the imported pairs, of a setting; None where it trains on neither."""
        block = experiment.evaluate.overlap
        trained = self._once("trained on", experiment, lambda: self._trained_text(experiment))
        if block is None or not trained:
            return None

        def build() -> Stage[OverlapSpec]:
            spec = OverlapSpec(n=block.n, threshold=block.threshold)
            inputs = {**self._trained_on(experiment), **self._judged_by(experiment, task)}
            return self.graph.stage(OVERLAP, spec, inputs, label=f"{task} in the training data")

        key = ("overlap", trained, self._text(experiment.tasks[task]), block.n, block.threshold)
        return self._remember(key, build)

    def _trained_text(self, experiment: Experiment) -> str:
        return " ".join(stage.fingerprint for stage in self._trained_on(experiment).values())

    def _trained_on(self, experiment: Experiment) -> dict[str, Stage]:
        pairs = experiment.pairs
        imports = experiment.pretrain is not None and isinstance(pairs, ImportedPairs)
        found: dict[str, Stage] = {}
        if isinstance(experiment.model, TinyModel) or (experiment.pretrain is not None and not imports):
            found["corpus"] = self.corpus(experiment)
        if imports and isinstance(pairs, ImportedPairs):
            found["pairs"] = self.imported("pairs", pairs.imported)
        return found

    def _judged_by(self, experiment: Experiment, name: str) -> dict[str, Stage]:
        task = experiment.tasks[name]
        splits: tuple[Split, ...] = ("dev", "test")
        return {f"problems-{one}": self.problems(name, task, one) for one in splits if one in task.problems.asked}
