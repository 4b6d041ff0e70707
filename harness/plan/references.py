"""The rows beside the settings: shallow scorers, what pools give without a scorer, and rows from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.pipeline.evaluations import evaluations_of
from harness.pipeline.imports import Import, Imports, scored_tasks
from harness.pipeline.pipeline import Pipeline
from harness.pipeline.scores import UNFITTED, Scorer
from harness.pipeline.tasks import judging_split
from harness.pipeline.training import trains_head
from harness.plan.rows import ON_PAIRS_OF, POOL, Outcome, Variant
from harness.recipe.evaluate import ImportedRow
from harness.recipe.fields import CODE
from harness.recipe.load import LoadedRecipe, Setting
from harness.recipe.pairs import MadePairs
from harness.recipe.schema import Experiment


def references_of(pipeline: Pipeline, loaded: LoadedRecipe) -> list[Variant]:
    """Shallow scorers of the base experiment, fitted on the same pairs as each fine-tuning seed.

    Held-out code pairs that judge other settings than the first have scorers of their own, fitted on those settings'.
    """
    experiment = loaded.recipe
    finetunes = sorted({seed for setting in loaded.settings for seed in setting.experiment.seeds.finetunes})
    evaluations = evaluations_of(experiment)
    rewarding = [evaluation for evaluation in evaluations if evaluation.rewards]
    pools = []
    for evaluation in evaluations:
        for task in evaluation.tasks(experiment):
            stage = pipeline.baselines(evaluation, experiment, task)
            if stage is not None:
                pools.append(Outcome(task=task, metric=stage.kind.name, stage=stage))
    references = [Variant(setting=POOL, pretrain_seed=None, finetune_seed=None, outcomes=tuple(pools))]
    on_code = _judged_on_code(pipeline, loaded)

    def judged(scorer: Scorer, seed: int | None, code: Sequence[Setting], *, of: str = "") -> None:
        outcomes = []
        for evaluation in rewarding:
            asked = [] if of else [(task, experiment) for task in evaluation.tasks(experiment)]
            asked += [(task, one.experiment) for one in code for task in evaluation.of_pretraining(one.experiment)]
            for task, one in asked:
                stage = pipeline.judged_reference(evaluation, one, task, scorer, seed or 0, of)
                if stage is not None:
                    outcomes.append(Outcome(task=task, metric=evaluation.name, stage=stage))
        if outcomes:
            name = f"{scorer}{ON_PAIRS_OF}{of}" if of else scorer
            variant = Variant(setting=name, pretrain_seed=None, finetune_seed=seed, outcomes=tuple(outcomes))
            references.append(variant)

    for scorer in experiment.evaluate.reference_scorers:
        seeds: Iterable[int | None] = (None,) if scorer in UNFITTED else finetunes
        for seed in seeds:
            judged(scorer, seed, on_code[:1])
        for other in on_code[1:]:
            judged(scorer, None, [other], of=other.name)
    return references


def _judged_on_code(pipeline: Pipeline, loaded: LoadedRecipe) -> list[Setting]:
    """A setting of each set of held-out code pairs that judges any.

    First the recipe itself, where its pairs are read at all; else rather one that trains on what it is judged on.
    """

    def trains_on_others(setting: Setting) -> bool:
        pairs = setting.experiment.pairs
        return isinstance(pairs, MadePairs) and pairs.training_sides != pairs.sides

    base = Setting(name="", values={}, experiment=loaded.recipe)
    settings = [setting for setting in loaded.settings if trains_head(setting.experiment)]
    found: dict[str, Setting] = {}
    for setting in (base, *sorted(settings, key=trains_on_others)):
        one = setting.experiment
        is_read = one.pretrain is not None and one.pretrain.on == "pairs" and pipeline.pair_key(one) in pipeline.rows
        if is_read and one.evaluate.code_pairs is not None:
            found.setdefault(pipeline.heldout_pairs(one, judging_split(one, CODE)).fingerprint, setting)
    return list(found.values())


def imported_of(pipeline: Pipeline, experiment: Experiment) -> list[Variant]:
    """Rows from outside, judged on the base experiment's tasks where they can be."""
    rows = []
    for name, row in experiment.evaluate.imported.items():
        scored = () if row.scores is None else scored_tasks(experiment, row, asset_of(pipeline.imports, row))
        outcomes = []
        for evaluation in evaluations_of(experiment):
            for task in evaluation.tasks(experiment):
                stage = None
                if row.checkpoint is not None:
                    stage = pipeline.judged_checkpoint(evaluation, experiment, task, name, row)
                elif task in scored:
                    stage = pipeline.judged_scores(evaluation, experiment, task, name, row)
                if stage is not None:
                    outcomes.append(Outcome(task=task, metric=evaluation.name, stage=stage))
        rows.append(Variant(setting=name, pretrain_seed=None, finetune_seed=None, outcomes=tuple(outcomes)))
    return rows


def asset_of(imports: Imports, row: ImportedRow) -> Import:
    return imports["scores", row.scores] if row.scores is not None else imports["checkpoint", str(row.checkpoint)]
