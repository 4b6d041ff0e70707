"""pair_quality: what a pair set is worth, in numbers and examples; it warns and never fails for poor pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError
from harness.evaluation.consistency import consistency, estimate, overall
from harness.evaluation.separability import LENGTH, NGRAMS, separability
from harness.pairs.judging import Judgements as Answers
from harness.pairs.static_judge import answers_of, static_scores
from harness.pairs.surface import SIDES, Surface, distinct_ngrams, likeness
from harness.pipeline.pair_kinds import PAIR_QUALITY, PairQualitySpec
from harness.stages.context import StageContext
from harness.stages.drawn import drawn_rows
from harness.store.artifacts import Judgements, PairQuality, Pairs

FOLDS = 5
GIVEAWAY = 0.9
"""Area under the ROC curve by length or unigrams above which a pair set is degenerate."""
TELLING = (LENGTH, "unigrams")
FEWEST_PARSE = 0.5
"""Share of rejected sides that must parse."""

MOST_READ = 1_000_000
"""Pairs read as programs and compared at most, evenly drawn: the share of any kind among all is then known to a
thousandth, and to read 28 million would take 1.5 hours (docs/log.md)."""

EXAMPLES_A_REASON = 2
EXAMPLE_CHARACTERS = 2_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Pairs drawn for what is too dear for all of them.

    Attributes:
        rows: the pairs, in order.
        numbers: (pairs,) their row numbers in the whole set.
        scores: for each side, (pairs,) static scores; NaN where a text does not parse.
        answers: judges' answers, by name.
    """

    rows: Sequence[Mapping[str, Any]]
    numbers: Sequence[int]
    scores: Mapping[str, Floats]
    answers: Mapping[str, Answers]

    @property
    def clusters(self) -> list[str]:
        return [row["cluster"] for row in self.rows]


def run(context: StageContext) -> dict[str, Any]:
    """One pass over all pairs, then judges and shallow scorers on a sample of them."""
    spec = PAIR_QUALITY.read(context.spec)
    pairs = context.input("pairs", Pairs)
    total = pairs.count()
    if not total:
        raise DataError("quality needs pairs", "there are none", "relax the corpus bounds or the construction")
    drawn = drawn_rows(total, spec.most_pairs, spec.seed)
    surface = Surface(every=-(-total // MOST_READ))
    rows = list(_add_all(context, pairs, surface, frozenset(drawn), total))
    sample = _sample(context, rows, drawn, static=spec.static)
    numbers = _numbers(spec, surface, sample)
    for reason in numbers["reasons"]:
        context.warn(reason)
    numbers = _rounded(numbers)
    content = {"numbers": numbers, "examples": _examples(sample)}
    PairQuality(context.directory).path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return {"groups": total, **numbers}


def _add_all(
    context: StageContext, pairs: Pairs, surface: Surface, drawn: frozenset[int], total: int
) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(pairs.stream()):
        surface.add(row)
        if number in drawn:
            yield row
        if number % 10_000 == 0:
            context.progress(number, total, "pairs")


def _sample(context: StageContext, rows: list[dict[str, Any]], drawn: list[int], *, static: bool) -> Sample:
    scores = {side: static_scores(rows, side) for side in SIDES}
    answers = {}
    if static:
        answers["static"] = answers_of(scores["chosen"], scores["rejected"])
    for name, table in context.inputs_like("judgements", Judgements):
        answers[name] = _answers(name, table, drawn)
    return Sample(rows=rows, numbers=drawn, scores=scores, answers=answers)


def _answers(name: str, table: Judgements, drawn: Sequence[int]) -> Answers:
    """A judge's answers on the drawn pairs; NaN for those it was not asked about."""
    asked = {row["row"]: (row["chosen_first"], row["rejected_first"]) for row in table.stream()}
    if not asked.keys() & set(drawn):
        raise DataError(f"judge {name!r} must have judged pairs of the sample", "it has none of them", "judge the same")
    both = np.array([asked.get(number, (np.nan, np.nan)) for number in drawn], dtype=np.float64)
    return Answers(chosen_first=both[:, 0], rejected_first=both[:, 1])


# ------------------------------------------------------------------------------------------------- numbers


def _numbers(spec: PairQualitySpec, surface: Surface, sample: Sample) -> dict[str, Any]:
    seed, minimum = spec.seed, spec.min_consistency
    counted = surface.as_json()
    judges = {name: _judged(answers, sample.clusters, minimum, seed) for name, answers in sample.answers.items()}
    separable = _separability(sample, seed)
    degenerate = _degenerate(separable, counted["sides"]["rejected"]["parse_rate"])
    failing = [_inconsistent(name, judge, minimum) for name, judge in judges.items() if judge["verdict"] == "fails"]
    return {
        "pairs": surface.pairs,
        "sampled": len(sample.rows),
        "clusters": len(set(sample.clusters)),
        "verdict": overall([judge["verdict"] for judge in judges.values()]),
        "min_consistency": minimum,
        "degenerate": bool(degenerate),
        "reasons": [*degenerate, *failing],
        **counted,
        "distinct_ngrams": {side: distinct_ngrams(row[side] for row in sample.rows) for side in SIDES},
        "separability": separable,
        "gap": _gap(sample, seed),
        "judges": judges,
    }


def _judged(answers: Answers, clusters: Sequence[str], minimum: float, seed: int) -> dict[str, Any]:
    return {
        **consistency(answers.agreement, clusters, minimum=minimum, seed=seed),
        "position_bias": estimate(answers.position_bias, clusters, seed=seed),
        "agreement_chosen_first": estimate(answers.chosen_first, clusters, seed=seed),
        "agreement_rejected_first": estimate(answers.rejected_first, clusters, seed=seed),
    }


def _separability(sample: Sample, seed: int) -> dict[str, Any]:
    """Areas by length, unigrams and n-grams; None each where there are too few clusters to hold any out."""
    clusters = sample.clusters
    folds = min(FOLDS, len(set(clusters)))
    if folds < 2 or len(clusters) < 2 * FOLDS:
        return dict.fromkeys((LENGTH, *NGRAMS))
    sides = ([row[side] for row in sample.rows] for side in SIDES)
    found = separability(*sides, folds=folds, seed=seed, clusters=clusters)
    return {
        name: {
            "auc": one.auc,
            "within_pairs": estimate(one.within, clusters, seed=seed),
            "over_texts": estimate(one.texts, clusters, seed=seed),
        }
        for name, one in found.items()
    }


def _gap(sample: Sample, seed: int) -> dict[str, Any]:
    """Chosen minus rejected: share that parses, and static score where both do."""
    parses = {side: (~np.isnan(sample.scores[side])).astype(np.float64) for side in SIDES}
    difference = parses["chosen"] - parses["rejected"]
    scores = sample.scores["chosen"] - sample.scores["rejected"]
    return {
        "parse_rate": estimate(difference, sample.clusters, seed=seed),
        "static_score": estimate(scores, sample.clusters, seed=seed),
    }


def _degenerate(separable: Mapping[str, Any], parse_rate: float) -> list[str]:
    reasons = [
        f"degenerate pairs: {name} alone tells the chosen side from the rejected one, area under the ROC curve "
        f"{separable[name]['auc']:.3f} > {GIVEAWAY}"
        for name in TELLING
        if separable[name] is not None and separable[name]["auc"] > GIVEAWAY
    ]
    if parse_rate < FEWEST_PARSE:
        reasons.append(f"degenerate pairs: {100 * parse_rate:.1f} % of rejected sides parse, fewer than half")
    return reasons


def _inconsistent(name: str, judge: Mapping[str, Any], minimum: float) -> str:
    found = judge["of_preferring"]
    return (
        f"inconsistent pairs: the {name} judge agrees with {found['estimate']:.3f} [{found['low']:.3f}, "
        f"{found['high']:.3f}] of the labels where it has a preference, below min_consistency = {minimum:g}"
    )


def _rounded(data: Any) -> Any:
    if isinstance(data, float):
        return round(data, 6)
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    return [_rounded(value) for value in data] if isinstance(data, list) else data


# ------------------------------------------------------------------------------------------------ examples


def _examples(sample: Sample) -> list[dict[str, str]]:
    """The first pairs of each kind worth a look, cut to a readable length; a pair is shown once."""
    shown: dict[int, str] = {}
    for why, chosen in _worth_a_look(sample):
        numbers = [number for number in np.flatnonzero(chosen).tolist() if number not in shown]
        shown |= dict.fromkeys(numbers[:EXAMPLES_A_REASON], why)
    return [{"why": why, **_example(sample.rows[number])} for number, why in shown.items()]


def _worth_a_look(sample: Sample) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    alike = [likeness(row["chosen"], row["rejected"]) for row in sample.rows]
    for name, answers in sample.answers.items():
        yield f"the {name} judge prefers the rejected side", answers.agreement == 0
        yield f"the {name} judge prefers the chosen side", answers.agreement == 1
    yield "the rejected side does not parse", np.isnan(sample.scores["rejected"])
    yield "the chosen side does not parse", np.isnan(sample.scores["chosen"])
    for kind, words in (("identical", "identical sides"), ("same_tokens", "sides differ in blanks or comments only")):
        yield words, np.array([one == kind for one in alike], dtype=bool)


def _example(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _cut(row[name]) for name in ("id", "prompt", "chosen", "rejected", "detail")}


def _cut(text: str) -> str:
    """The beginning of a long text, as text that any encoding takes."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= EXAMPLE_CHARACTERS else f"{text[:EXAMPLE_CHARACTERS]} …"
