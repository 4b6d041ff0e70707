"""How the numbers were made: what the paragraphs of `templates/methods.txt` and `sharing.txt` say it with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.pipeline.evaluations import headline_label
from harness.pipeline.evaluations.best_of_n import AREA_GRID, VOTE_SUBSETS
from harness.pipeline.evaluations.pair_accuracy import ABOUT_EQUAL
from harness.pipeline.failures import CONSTANT_SHARE, LENGTH_LEVEL
from harness.pipeline.scores import MOST_FITTED
from harness.pipeline.training_kinds import PRETRAIN, TRUNK_STATE
from harness.plan.analysis import baseline_is_chosen, baseline_of
from harness.plan.baseline import BY_DEFAULT
from harness.plan.plan import Plan
from harness.recipe.blocks import Model, TinyModel
from harness.recipe.models import HubModel, PackagedModel
from harness.recipe.pairs import MadePairs
from harness.report.board import Board
from harness.report.comparison import Estimate
from harness.report.render import paragraphs
from harness.report.words import NO_SPREAD, REFERENCES, listing, plural

BALANCED = ("source_balanced", "right_over_wrong_balanced")


def methods(plan: Plan, boards: Sequence[Board]) -> tuple[str, ...]:
    """The paragraphs of the methods section."""
    recipe = plan.loaded.recipe
    pairs, made = recipe.pairs, recipe.evaluate.candidates
    estimates = [one for board in boards for row in board.rows for one in row.estimates.values()]
    shallow = {
        evaluation: board.to_beat(above)
        for board in reversed(boards)
        for row in reversed(board.settings)
        for evaluation, above in row.above.items()
    }
    return paragraphs(
        "methods.txt",
        recipe=recipe,
        model=model_words(recipe.model),
        imported_pairs="" if isinstance(pairs, MadePairs) else pairs.imported,
        sides={name: side.origin for name, side in pairs.all_sides.items()} if isinstance(pairs, MadePairs) else {},
        about_equal=f"{100 * (ABOUT_EQUAL - 1):.0f} %",
        balanced=any(metric in BALANCED for board in boards for row in board.rows for metric in row.estimates),
        pools=[board for board in boards if board.sizes],
        area_grid=AREA_GRID,
        vote_subsets=VOTE_SUBSETS,
        estimates=len(estimates),
        level=levels(estimates),
        ways=Counter(estimate.method.split(",")[0] for estimate in estimates).most_common(),
        covers=list(dict.fromkeys(f"“{estimate.covers}”" for estimate in estimates)),
        flat=any(estimate.low == estimate.high for estimate in estimates),
        no_spread=NO_SPREAD,
        baseline=baseline_of(plan),
        by_default="" if baseline_is_chosen(plan) else f" ({BY_DEFAULT})",
        references=list(REFERENCES.values()),
        most_fitted=MOST_FITTED,
        shallow=[(headline_label(evaluation), names) for evaluation, names in sorted(shallow.items())],
        failures=bool(plan.failures),
        length_level=LENGTH_LEVEL,
        constant_share=CONSTANT_SHARE,
        simulated=made is not None and made.engine == "simulated",
    )


def sharing(plan: Plan) -> tuple[str, ...]:
    """What sharing saved."""
    return paragraphs(
        "sharing.txt",
        plan=plan,
        trunks=sum(stage.kind is TRUNK_STATE for stage in plan.stages),
        branches=sum(stage.kind is PRETRAIN and "trunk" in stage.inputs for stage in plan.stages),
    )


def model_words(model: Model) -> str:
    if isinstance(model, (HubModel, PackagedModel)):
        return f"pretrained {model.id if isinstance(model, HubModel) else model.name}"
    if not isinstance(model, TinyModel):
        return f"pretrained model of {Path(model.path).name}"
    return (
        f"{model.family} decoder, {plural(model.layers, 'layer')} of width {model.hidden_size:,}, vocabulary "
        f"{model.vocabulary:,}"
    )


def levels(estimates: Iterable[Estimate]) -> str:
    """95 %, or several."""
    return listing([f"{100 * level:g} %" for level in sorted({estimate.level for estimate in estimates})])


def covers(estimates: Iterable[Estimate]) -> str:
    """What the intervals cover, in the analysis' words, short: what is averaged over is said once."""
    parts = [estimate.covers.partition("; ") for estimate in estimates]
    averaged = "; seeds are averaged, not covered" if any(rest for _, _, rest in parts) else ""
    return listing(list(dict.fromkeys(covered for covered, _, _ in parts)), last="or") + averaged
