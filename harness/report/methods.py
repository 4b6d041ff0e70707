"""How the numbers were made, in paragraphs written from the recipe and the analysis' own words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.plan.plan import Plan, baseline_of
from harness.recipe.blocks import Averaging, Model, TinyModel
from harness.recipe.models import HubModel, PackagedModel
from harness.recipe.pairs import MadePairs
from harness.recipe.schema import Experiment
from harness.report.board import AREA_GRID, HEADLINE, Board
from harness.report.comparison import Estimate
from harness.report.words import NO_SPREAD, REFERENCES, TIMES, listing, metric_label, plural, value_text

HEADS = {
    "carry": "goes on from the head PMP left (a fresh one where there is none)",
    "reinit": "begins with a fresh head",
    "linear_probe": "trains a fresh head alone, the model frozen",
}


PAIRS = (
    "Pair accuracy is the share of held-out preferences whose chosen side scores above the rejected one, ties half. "
    "Right over wrong is the same between every right and every wrong candidate of a problem, averaged over problems; "
    "it is given apart for wrong candidates whose error type stands in the fine-tuning pairs (seen) and for those "
    "whose error type does not (unseen)."
)


def methods(plan: Plan, boards: Sequence[Board]) -> tuple[str, ...]:
    """The paragraphs of the methods section."""
    recipe = plan.loaded.recipe
    told = [
        _training(recipe),
        *_best_of_n(boards),
        PAIRS,
        *_intervals(boards),
        _comparisons(plan),
        _references(recipe, boards),
    ]
    return tuple(told)


def model_words(model: Model) -> str:
    if isinstance(model, (HubModel, PackagedModel)):
        return f"pretrained {model.id if isinstance(model, HubModel) else model.name}"
    if not isinstance(model, TinyModel):
        return f"pretrained model of {Path(model.path).name}"
    return (
        f"{model.family} decoder, {plural(model.layers, 'layer')} of width {model.hidden_size:,}, vocabulary "
        f"{model.vocabulary:,}"
    )


def _training(recipe: Experiment) -> str:
    model, tuning = recipe.model, recipe.finetune
    taught = (
        f", first trained as a language model on {model.base.texts:,} texts" if isinstance(model, TinyModel) else ""
    )
    pairs = recipe.pairs
    if isinstance(pairs, MadePairs):
        told = f"code pairs ({', '.join(f'{name}: {side.origin}' for name, side in pairs.sides.items())})"
    else:
        told = f"the imported pairs {pairs.imported}"
    pmp = ""
    if recipe.pretrain is not None:
        loss, schedule = recipe.pretrain.loss, recipe.pretrain.schedule
        pmp = (
            f" PMP minimises {value_text(loss.rm)} {TIMES} the reward-model loss + "
            f"{value_text(loss.lm)} {TIMES} the language-model loss on {told}, {schedule.kind} schedule, "
            f"learning rate {value_text(recipe.pretrain.learning_rate)}, "
            f"{recipe.pretrain.global_batch:,} pairs a step."
            f"{_averaged(recipe.pretrain.average)}"
        )
    return (
        f"In the base experiment, the model is a {model_words(recipe.model)}{taught}."
        f"{pmp} Fine-tuning takes {tuning.samples:,} preference pairs of {listing(tuning.tasks)}, "
        f"learning rate {value_text(tuning.learning_rate)}, {tuning.global_batch:,} pairs a step, and "
        f"{HEADS[tuning.head]}. Settings change only what their row says they change."
    )


def _averaged(average: Averaging | None) -> str:
    if average is None:
        return ""
    if average.every_pairs is None:
        return f" The weights of {average.count} pretrain seeds are averaged."
    return (
        f" Instead of a decay, the weights of the last {average.count} states, {average.every_pairs:,} pairs apart, "
        "are averaged."
    )


def _best_of_n(boards: Sequence[Board]) -> list[str]:
    pools = [board for board in boards if board.sizes]
    if not pools:
        return []
    grids = "; ".join(f"{board.title}: {_grid(board.area_sizes)}" for board in pools)
    return [
        "BoN@N is the exact expectation, over all subsets of N candidates drawn without replacement from a problem's "
        "pool, that the highest-scored one is right; tied candidates share it evenly, and no subset is sampled. BoN "
        f"area is the mean of BoN@N over N = {listing([str(size) for size in AREA_GRID])}, up to a quarter of the "
        f"task's smallest pool ({grids}), whatever other N a curve shows; areas over different N are not comparable. "
        "Points beyond a quarter are marked: their subsets overlap so much that they say more about this pool than "
        "about the scorer."
    ]


def _grid(sizes: Sequence[int]) -> str:
    return f"N = {listing([str(size) for size in sizes])}" if sizes else "no area, fewer than 8 candidates"


def _intervals(boards: Sequence[Board]) -> list[str]:
    estimates = [estimate for board in boards for row in board.rows for estimate in row.estimates.values()]
    if not estimates:
        return []
    ways = Counter(estimate.method.split(",")[0] for estimate in estimates)
    made = listing([f"{way} ({number:,} of {len(estimates):,} estimates)" for way, number in ways.most_common()])
    flat = any(estimate.low == estimate.high for estimate in estimates)
    kinds = listing(list(dict.fromkeys(f"“{estimate.covers}”" for estimate in estimates)), last="or")
    return [
        f"Intervals are at {levels(estimates)} and made by {made}. Each says what it covers, here {kinds}. Seeds enter "
        "from three on; fewer are averaged, and the interval says nothing about others."
        + (f" “{NO_SPREAD}”: all clusters gave one value, so that an interval would say nothing." if flat else "")
    ]


def levels(estimates: Iterable[Estimate]) -> str:
    """95 %, or several."""
    return listing([f"{100 * level:g} %" for level in sorted({estimate.level for estimate in estimates})])


def covers(estimates: Iterable[Estimate]) -> str:
    """What the intervals cover, in the analysis' words, short: what is averaged over is said once."""
    parts = [estimate.covers.partition("; ") for estimate in estimates]
    averaged = "; seeds are averaged, not covered" if any(rest for _, _, rest in parts) else ""
    return listing(list(dict.fromkeys(covered for covered, _, _ in parts)), last="or") + averaged


def _comparisons(plan: Plan) -> str:
    return (
        f"Differences are from {baseline_of(plan)}, paired over the same problems and seeds, and their intervals are "
        "not widened for the number of settings. Order: settings whose difference is significant over problems and "
        "seeds, Holm-corrected over all pairs of settings of a task, are put in order; all others are tied, and a row "
        "shows the places it may hold. A setting with fewer than three seeds of what differs (PMP seeds, without PMP "
        "fine-tuning seeds), or with one value everywhere, has no place. "
        "There is no average over tasks."
    )


def _above(boards: Sequence[Board]) -> list[str]:
    """Which references a setting has to beat, a sentence a metric."""
    found: dict[str, tuple[str, ...]] = {}
    for board in boards:
        for row in board.settings:
            for evaluation, above in row.above.items():
                found.setdefault(evaluation, above.references)
    return [
        f"Above the shallow references by {metric_label(HEADLINE[evaluation])} means that the difference from each of "
        f"{listing(names)} is significant, Holm-corrected over all settings and tasks."
        for evaluation, names in found.items()
    ]


def _references(recipe: Experiment, boards: Sequence[Board]) -> str:
    names = {label: note for (_, _), (label, note) in REFERENCES.items()}
    made = recipe.evaluate.best_of_n.candidates
    drawn = (
        " Candidates of the simulated engine are drawn from the task's own table of right and mistaken solutions, so "
        "their correctness is known and no policy's habits are in them."
    )
    return (
        "Reference rows show what needs no understanding, and the ceiling: "
        + "; ".join(f"{name} ({note})" for name, note in names.items())
        + "."
        + "".join(f" {sentence}" for sentence in _above(boards))
        + (drawn if made is not None and made.engine == "simulated" else "")
    )
