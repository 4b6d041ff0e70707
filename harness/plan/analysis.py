"""The stage that compares what a plan has finished."""

from __future__ import annotations

from harness.pipeline.comparing import ANALYSIS, AnalysisSpec, OutcomeSpec
from harness.pipeline.evaluation import JUDGED_ON
from harness.pipeline.graph import Stage
from harness.plan.baseline import baseline_setting, chosen_baseline
from harness.plan.plan import Plan
from harness.plan.rows import IMPORTED, POOL, Variant
from harness.recipe.fields import before_finetuning


def baseline_of(plan: Plan) -> str:
    """The name of the setting others are compared with."""
    return baseline_setting(plan.settings, plan.loaded.recipe.baseline).name


def baseline_is_chosen(plan: Plan) -> bool:
    """Whether the recipe names it; else it is the default."""
    return chosen_baseline(plan.settings, plan.loaded.recipe.baseline) is not None


def judged_on(outcome: Stage) -> str:
    """The data an outcome is about: only outcomes on the same can be compared."""
    return next(outcome.inputs[name].stage.fingerprint for name in JUDGED_ON if name in outcome.inputs)


def analysis_stage(plan: Plan, finished: frozenset[str], retracted: frozenset[str] = frozenset()) -> Stage | None:
    """The stage that compares all finished outcomes; None where no setting has one yet.

    A setting counts on a task only with all its seeds, so that a half-finished grid compares like with like. What is
    made from something `retracted` is estimated, and neither compared nor ranked.
    """
    rows: list[OutcomeSpec] = []
    inputs: dict[str, Stage] = {}

    def add(name: str, kind: str, variants: tuple[Variant, ...]) -> None:
        by_task: dict[tuple[str, str], list[tuple[Variant, Stage]]] = {}
        for variant in variants:
            for outcome in variant.outcomes:
                by_task.setdefault((outcome.task, outcome.metric), []).append((variant, outcome.stage))
        for (task, metric), found in by_task.items():
            if any(stage.fingerprint not in finished for _, stage in found):
                continue
            seen: set[str] = set()
            for variant, stage in found:
                if stage.fingerprint in seen:  # one probe of a checkpoint, shared by its fine-tuning seeds
                    continue
                seen.add(stage.fingerprint)
                key = f"outcome-{len(inputs):05d}"
                inputs[key] = stage
                rows.append(
                    OutcomeSpec(
                        input=key,
                        row=name,
                        kind=kind,
                        task=task,
                        evaluation=metric,
                        pretrain_seed=variant.pretrain_seed,
                        finetune_seed=None if before_finetuning(task) else variant.finetune_seed,
                        data=judged_on(stage),
                        retracted=stage.fingerprint in retracted,
                    )
                )

    for setting in plan.settings:
        add(setting.name, "setting", setting.variants)
    if not rows:
        return None
    scorers = dict.fromkeys(variant.setting for variant in plan.references)
    for scorer in scorers:
        variants = tuple(variant for variant in plan.references if variant.setting == scorer)
        add(scorer, "pool" if scorer == POOL else "shallow", variants)
    for row in plan.imported:
        add(row.setting, IMPORTED, (row,))
    spec = AnalysisSpec(rows=tuple(rows), baseline=baseline_of(plan), seed=plan.loaded.recipe.seeds.data)
    return plan.graph.stage(ANALYSIS, spec, inputs, label="analysis")
