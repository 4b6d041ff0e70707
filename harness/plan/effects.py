"""The stage that estimates what claims and axes are about, over the rows of an analysis.

Claims are identity of nothing else: editing one makes this stage again and no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product

from harness.pipeline.comparing import EFFECTS, ContrastSpec, CurveSpec, EffectsSpec, OutcomeSpec, PairSpec
from harness.pipeline.graph import Stage
from harness.plan.baseline import baseline_setting
from harness.plan.plan import Plan, PlannedSetting
from harness.recipe.axes import BETWEEN, Axis
from harness.recipe.claims import Comparison, comparisons, tasks_of
from harness.recipe.load import Setting

SETTING = "setting"
MOST_INTERACTIONS = 64
"""Cells of an interaction table: beyond, nobody reads them."""

FEWEST_POINTS = 2
COUNT, SAMPLES = "pairs.count", "finetune.samples"

Where = tuple[str, str]
"""Task and evaluation."""
Done = dict[Where, dict[str, tuple[str, ...]]]
"""By task and evaluation, settings with all their outcomes' fingerprints: equal ones have the same models there."""


def claim_key(claim: str, task: str, evaluation: str) -> str:
    return _key("claim", claim, task, evaluation)


def axis_key(axis: str, value: str, task: str, evaluation: str) -> str:
    return _key("axis", axis, value, task, evaluation)


def interaction_key(axes: tuple[str, str], values: tuple[str, str], task: str, evaluation: str) -> str:
    return _key("interaction", *axes, *values, task, evaluation)


def curve_key(axis: str, arm: str, task: str, evaluation: str) -> str:
    return _key("curve", axis, arm, task, evaluation)


def _key(*parts: str) -> str:
    """What a contrast is found by, and read: names may hold any character."""
    return json.dumps(parts, ensure_ascii=False)


def parts_of(key: str) -> list[str]:
    """What a contrast is about: its sort and the names in it."""
    found: list[str] = json.loads(key)
    return found


def with_effects(plan: Plan, analysis: Stage | None) -> tuple[Stage, ...]:
    """An analysis and its effects, as far as there are any."""
    return () if analysis is None else (analysis, *filter(None, [effects_stage(plan, analysis)]))


def effects_stage(plan: Plan, analysis: Stage) -> Stage | None:
    """What the claims are judged by and the effects of axes; None where there is neither, or nothing of it is done.

    Args:
        analysis: whose rows are compared.
    """
    names = {name: setting.name for setting in plan.settings for name in setting.names}
    rows = [row for row in analysis.spec.rows if row.kind == SETTING]
    done: Done = {}
    for row in rows:
        made = done.setdefault((row.task, row.evaluation), {})
        made[row.row] = (*made.get(row.row, ()), analysis.inputs[row.input].stage.fingerprint)
    asked = [
        one
        for one in (*_claims(plan, names), *_axes(plan, done))
        if all({*pair.more, *pair.less} <= done.get((one.task, one.evaluation), {}).keys() for pair in one.pairs)
    ]
    curves = tuple(_curves(plan, done))
    if not asked and not curves:
        return None
    needed = {(one.task, one.evaluation) for one in asked} | {(one.task, one.evaluation) for one in curves}
    chosen: list[OutcomeSpec] = [row for row in rows if (row.task, row.evaluation) in needed]
    spec = EffectsSpec(rows=tuple(chosen), contrasts=tuple(asked), curves=curves, seed=analysis.spec.seed)
    inputs = {row.input: analysis.inputs[row.input].stage for row in chosen}
    return plan.graph.stage(EFFECTS, spec, inputs, label="effects")


def _claims(plan: Plan, names: Mapping[str, str]) -> Iterator[ContrastSpec]:
    """Each claim on each of its tasks."""
    loaded = plan.loaded
    for name, claim in loaded.recipe.claims.items():
        pairs = tuple(_pair(one, names) for one in comparisons(claim, loaded.settings))
        if any(set(pair.more) & set(pair.less) for pair in pairs):  # the same models: there is nothing to compare
            continue
        first = next(one for one in loaded.settings if names.get(one.name) in pairs[0].more)
        for evaluation, task in tasks_of(claim, first.experiment.evaluate):
            yield ContrastSpec(
                key=claim_key(name, task, evaluation),
                task=task,
                evaluation=evaluation,
                pairs=pairs,
                metric=claim.metric or "",
            )


def _pair(one: Comparison, names: Mapping[str, str]) -> PairSpec:
    more, less = (tuple(dict.fromkeys(names[name] for name in side)) for side in (one.better, one.than))
    return PairSpec(more=more, less=less)


# ------------------------------------------------------------------------------------------------------------- axes


def _axes(plan: Plan, done: Done) -> Iterator[ContrastSpec]:
    """Of several axes: each value against the baseline's, over what is equal on the others; and interactions of two."""
    names = {name: setting.name for setting in plan.settings for name in setting.names}
    settings = [one for one in plan.loaded.settings if one.name in names]
    axes = axis_values(settings)
    if len(axes) < 2:
        return
    chosen = baseline_setting(plan.settings, plan.loaded.recipe.baseline).setting.values
    base = {axis: chosen.get(axis, values[0]) for axis, values in axes.items()}  # one that is included has none
    grid = {tuple(one.values.items()): names[one.name] for one in settings}
    for (task, evaluation), made in done.items():
        for axis, values in axes.items():
            for value in values:
                pairs = _against(grid, {axis: value}, {axis: base[axis]}) if value != base[axis] else ()
                pairs = tuple(pair for pair in pairs if _differ((*pair.more, *pair.less), made))
                if pairs:
                    key = axis_key(axis, value, task, evaluation)
                    yield ContrastSpec(key=key, task=task, evaluation=evaluation, pairs=pairs)
        for one, other in combinations(axes, 2):
            for value, second in product(axes[one], axes[other]):
                if len(axes[one]) * len(axes[other]) > MOST_INTERACTIONS or value == base[one] or second == base[other]:
                    continue
                found = _crossed(grid, (one, other), (value, second), (base[one], base[other]))
                if all(_differ((*pair.more, *pair.less), made) for pair in found) and found:
                    key = interaction_key((one, other), (value, second), task, evaluation)
                    yield ContrastSpec(key=key, task=task, evaluation=evaluation, pairs=found, times=2)


def axis_values(settings: Sequence[Setting]) -> dict[str, list[str]]:
    """Axis -> the names of its values, in the recipe's order; without axes that have one value."""
    axes: dict[str, dict[str, None]] = {}
    for setting in settings:
        for axis, value in setting.values.items():
            axes.setdefault(axis, {})[value] = None
    return {axis: list(values) for axis, values in axes.items() if len(values) > 1}


Grid = Mapping[tuple[tuple[str, str], ...], str]


def _moved(at: tuple[tuple[str, str], ...], to: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((axis, to.get(axis, value)) for axis, value in at)


def _against(grid: Grid, value: Mapping[str, str], base: Mapping[str, str]) -> tuple[PairSpec, ...]:
    """Pairs of settings that differ in some axes alone; those that coincide say nothing."""
    found = [
        (name, grid[_moved(at, base)])
        for at, name in grid.items()
        if _moved(at, value) == at and _moved(at, base) in grid
    ]
    return tuple(PairSpec(more=(one,), less=(other,)) for one, other in dict.fromkeys(found) if one != other)


def _crossed(grid: Grid, axes: tuple[str, str], values: tuple[str, str], base: tuple[str, str]) -> tuple[PairSpec, ...]:
    """Both moved and neither, minus either alone."""
    found = []
    for at, name in grid.items():
        if _moved(at, dict(zip(axes, values, strict=True))) != at:
            continue
        first, second = _moved(at, {axes[1]: base[1]}), _moved(at, {axes[0]: base[0]})
        neither = _moved(first, {axes[0]: base[0]})
        if all(one in grid for one in (first, second, neither)):
            corners = (name, grid[neither]), (grid[first], grid[second])
            if len({*corners[0], *corners[1]}) == 4:
                found.append(PairSpec(more=corners[0], less=corners[1]))
    return tuple(found)


# ----------------------------------------------------------------------------------------------------------- curves


def _differ(names: Iterable[str], made: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether settings have different models on a task: before fine-tuning, its axes make no difference."""
    return len({made.get(name) for name in names}) > 1


def _curves(plan: Plan, done: Done) -> Iterator[CurveSpec]:
    """Every numeric axis with settings that differ on it alone, by what they are on the other axes."""
    bare = _without_pmp(plan)
    for axis in plan.loaded.axes:
        lines = _lines(plan, axis) if axis.kind == "numeric" else {}
        for arm, line in lines.items():
            against = [(x, bare.get(_apart_from_pmp(one.setting), "")) for x, one in line]
            asked = axis.name == SAMPLES and all(_has_pmp(one) for _, one in line)
            for (task, evaluation), finished in done.items():
                points = tuple((x, one.name) for x, one in line if one.name in finished)
                if len(points) < FEWEST_POINTS or not _differ((name for _, name in points), finished):
                    continue
                yield CurveSpec(
                    key=curve_key(axis.name, arm, task, evaluation),
                    task=task,
                    evaluation=evaluation,
                    points=points,
                    excluded=tuple(x for x, one in line if axis.name == COUNT and x <= _warm_up(one)),
                    baseline=tuple((x, name) for x, name in against if asked and name in finished),
                )


def _without_pmp(plan: Plan) -> dict[str, str]:
    """The names of settings without PMP, by all else that they are."""
    names = {name: setting.name for setting in plan.settings for name in setting.names}
    bare = [one for one in plan.loaded.settings if one.experiment.pretrain is None and one.name in names]
    return {_apart_from_pmp(one): names[one.name] for one in bare}


def _apart_from_pmp(setting: Setting) -> str:
    """All that a setting with PMP and one without it must have in common for PMP to be the difference."""
    return setting.experiment.model_dump_json(exclude={"pretrain", "pairs", "evaluate"})


Line = Sequence[tuple[float, PlannedSetting]]


def _lines(plan: Plan, axis: Axis) -> dict[str, Line]:
    """What settings are on the other axes -> those settings, by rising value of this one."""
    lines: dict[str, dict[float, PlannedSetting]] = {}
    for setting in plan.settings:
        found = axis.value(setting.values.get(axis.name))
        if found is not None and found.number is not None and found.number > 0:
            others = [value for name, value in setting.values.items() if name != axis.name]
            lines.setdefault(BETWEEN.join(others), {})[float(found.number)] = setting
    return {arm: sorted(line.items(), key=lambda point: point[0]) for arm, line in lines.items()}


def _has_pmp(setting: PlannedSetting) -> bool:
    return setting.setting.experiment.pretrain is not None


def _warm_up(setting: PlannedSetting) -> int:
    """Pairs that a setting's learning rate rises over."""
    pretrain = setting.setting.experiment.pretrain
    return int(getattr(pretrain.schedule, "warmup_pairs", 0)) if pretrain is not None else 0
