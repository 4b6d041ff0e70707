"""How well what understands nothing tells the chosen sides of a pair set from the rejected ones, held out.

Where length or word habits do it almost always, pretraining on the set would teach authorship. Every scorer is fitted
without the clusters it is then judged on, and told in two areas under the ROC curve:

* within pairs: of a pair's two sides the chosen one scores higher, ties half. This is what a reward model trained on
  differences could live on.
* over texts: any chosen text scores higher than any rejected one. This is telling the writer from one text alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, stats
from sklearn.linear_model import LogisticRegression

from harness.errors import DataError
from harness.evaluation import Floats
from harness.evaluation.pair_accuracy import pair_values
from harness.evaluation.shallow import (
    INVERSE_PENALTY,
    ITERATIONS,
    check_pairs,
    fit_differences,
    lengths,
    ngram_features,
)

NGRAMS: Mapping[str, int] = MappingProxyType({"unigrams": 1, "ngrams": 3})
"""Scorers by words, and their longest n-gram. Digits are masked and text length is no feature."""

LENGTH = "length"


@dataclass(frozen=True, kw_only=True, eq=False)
class Separability:
    """One scorer's held-out values; a mean's interval is made like any pair accuracy's, by cluster.

    Attributes:
        within: (pairs,) 1, 0.5 or 0.
        texts: (pairs,) float64 whose mean is the area over texts: the fold's area plus how much this pair's two texts
            lie above it (the placements of DeLong et al. 1988), so that its spread is the area's.
    """

    within: Floats
    texts: Floats

    @property
    def auc(self) -> float:
        """The larger of the two areas: 0.5 is inseparable, 1 a giveaway."""
        return float(max(self.within.mean(), self.texts.mean()))


def separability(
    chosen: Sequence[str], rejected: Sequence[str], *, folds: int, seed: int, clusters: ArrayLike | None = None
) -> dict[str, Separability]:
    """Cross-validated separability by `length`, `unigrams` and `ngrams`.

    Args:
        chosen, rejected: the pairs' texts.
        folds: parts held out in turn, at least two.
        seed: of the assignment to folds.
        clusters: (pairs,) labels kept in one fold together, e.g. the source file; each pair its own if None.

    Raises:
        DataError: fewer clusters than folds, a training part of fewer than two pairs, or labels that do not fit.
    """
    check_pairs(chosen, rejected, fewest=2)
    fold = fold_of_pairs(len(chosen), folds, seed, clusters)
    parts = [(np.flatnonzero(fold != part), np.flatnonzero(fold == part)) for part in range(folds)]
    for part, (train, _) in enumerate(parts):
        if len(train) < 2:
            raise DataError("each fit needs two pairs", f"fold {part} leaves {len(train)}", "add pairs or clusters")
    found = {LENGTH: _by_length(lengths(chosen), lengths(rejected), parts)}
    for name, longest in NGRAMS.items():
        rows = _used_columns(ngram_features([*chosen, *rejected], longest))
        found[name] = _by_words(rows[: len(chosen)], rows[len(chosen) :], parts, seed)
    return found


Parts = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]


def _by_length(chosen: Floats, rejected: Floats, parts: Parts) -> Separability:
    """Longer or shorter is better, as the training pairs have it, for pairs and for texts apart."""
    within, texts = np.empty(len(chosen)), np.empty(len(chosen))
    longer = pair_values(chosen, rejected)
    for train, held in parts:
        within[held] = longer[held] if longer[train].mean() >= 0.5 else 1 - longer[held]
        direction = 1 if _placed(chosen[train], rejected[train]).mean() >= 0.5 else -1
        texts[held] = _placed(direction * chosen[held], direction * rejected[held])
    return Separability(within=within, texts=texts)


def _by_words(chosen: Any, rejected: Any, parts: Parts, seed: int) -> Separability:
    """A fit on differences for pairs, a fit on single texts for texts."""
    within, texts = np.empty(chosen.shape[0]), np.empty(chosen.shape[0])
    for train, held in parts:
        weights = fit_differences(chosen[train], rejected[train], seed)
        within[held] = pair_values(chosen[held] @ weights, rejected[held] @ weights)
        weights = _fit_texts(chosen[train], rejected[train])
        texts[held] = _placed(chosen[held] @ weights, rejected[held] @ weights)
    return Separability(within=within, texts=texts)


def _fit_texts(chosen: Any, rejected: Any) -> Floats:
    """(features,) coefficients of a logistic regression of chosen against rejected texts."""
    labels = np.repeat([1, 0], [chosen.shape[0], rejected.shape[0]])
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=ITERATIONS)
    model.fit(sparse.vstack([chosen, rejected], format="csr"), labels)
    return np.asarray(model.coef_[0], dtype=np.float64)


def _placed(chosen: Floats, rejected: Floats) -> Floats:
    """(pairs,) values whose mean is P(a chosen score > a rejected one), ties half.

    Each is the area plus the excess over it of both placements: the share of rejected scores below this chosen one,
    and of chosen scores above this rejected one.
    """
    pairs = len(chosen)
    ranks = stats.rankdata(np.concatenate([chosen, rejected]))
    below = (ranks[:pairs] - stats.rankdata(chosen)) / pairs
    above = 1 - (ranks[pairs:] - stats.rankdata(rejected)) / pairs
    return np.asarray(below + above - below.mean(), dtype=np.float64)


def _used_columns(rows: Any) -> Any:
    """The columns any row uses: a fit's time goes with the number of columns, and others would stay 0."""
    return rows[:, np.unique(rows.indices)]


def fold_of_pairs(pairs: int, folds: int, seed: int, clusters: ArrayLike | None) -> NDArray[np.int64]:
    """(pairs,) fold numbers; a cluster's pairs share one, and folds hold nearly equal numbers of clusters."""
    labels = np.arange(pairs) if clusters is None else np.asarray(clusters)
    if labels.shape != (pairs,):
        raise DataError("every pair needs a cluster label", f"{pairs} pairs have labels of shape {labels.shape}", "")
    found, index = np.unique(labels, return_inverse=True)
    if folds < 2 or len(found) < folds:
        raise DataError(
            "cross-validation needs two folds or more and a cluster for each",
            f"there are {folds} folds for {len(found)} clusters",
            "lower `folds` or add pairs",
        )
    return np.asarray(np.random.default_rng(seed).permutation(np.arange(len(found)) % folds)[index])
