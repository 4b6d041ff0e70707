"""Separability: a planted giveaway is found, by the scorer that can see it; nothing is found where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import DataError
from harness.evaluation.separability import Separability, _placed, separability
from tests.unit.test_shallow import planted, sentences


def shuffle(chosen: list[str], rejected: list[str], seed: int) -> tuple[list[str], list[str]]:
    """The same pairs with labels that a coin turned round."""
    flips = np.random.default_rng(seed).random(len(chosen)) < 0.5
    one = [b if flip else a for a, b, flip in zip(chosen, rejected, flips, strict=True)]
    two = [a if flip else b for a, b, flip in zip(chosen, rejected, flips, strict=True)]
    return one, two


def test_a_planted_word_is_found_by_words_and_not_by_length() -> None:
    chosen, rejected = planted(120, 5)
    rejected = [text.replace("maybe", "thatsfore"[:9]) for text in rejected]  # as long as "therefore"
    found = separability(chosen, rejected, folds=4, seed=0)
    assert found["unigrams"].auc > 0.95
    assert found["ngrams"].auc > 0.95
    assert found["length"].auc < 0.7
    assert all(one.within.shape == one.texts.shape == (120,) for one in found.values())


def test_word_order_is_seen_by_ngrams_only() -> None:
    texts = sentences(120, 3)
    found = separability([f"{t} first then" for t in texts], [f"{t} then first" for t in texts], folds=4, seed=0)
    assert found["ngrams"].within.mean() > 0.95
    assert found["unigrams"].within.mean() == 0.5  # the sides have the same words: ties
    assert found["length"].auc == 0.5


def test_a_planted_length_is_found_within_pairs_though_hidden_over_texts() -> None:
    texts = [text * (1 + index % 7) for index, text in enumerate(sentences(140, 9))]
    found = separability([f"{text}  " for text in texts], texts, folds=4, seed=0)
    assert found["length"].within.mean() == found["length"].auc == 1.0  # always two characters longer
    assert found["length"].texts.mean() < 0.6  # which lengths of 50 to 500 hide
    reverse = separability(texts, [f"{text}  " for text in texts], folds=4, seed=0)
    assert reverse["length"].auc == 1.0


def test_shuffled_labels_are_a_coin() -> None:
    chosen, rejected = shuffle(*planted(600, 8), seed=0)
    found = separability(chosen, rejected, folds=3, seed=1)
    for name, one in found.items():
        assert abs(one.within.mean() - 0.5) < 0.08, name
        assert abs(one.texts.mean() - 0.5) < 0.08, name


def test_digits_are_invisible() -> None:
    rows = range(60)
    found = separability([f"the total = {i}" for i in rows], [f"the total = {i + 900}" for i in rows], folds=3, seed=0)
    assert found["unigrams"].auc == found["ngrams"].auc == 0.5


def test_clusters_stay_in_one_fold() -> None:
    # Each cluster has its own marker words: only a fit that saw the same cluster could use them.
    chosen = [f"alpha{chr(97 + i // 4)} x" for i in range(80)]
    rejected = [f"beta{chr(97 + i // 4)} x" for i in range(80)]
    leaking = separability(chosen, rejected, folds=4, seed=0)
    apart = separability(chosen, rejected, folds=4, seed=0, clusters=np.arange(80) // 4)
    assert leaking["unigrams"].within.mean() == 1.0
    assert apart["unigrams"].within.mean() == 0.5


def test_placements_have_the_area_as_mean_and_its_spread() -> None:
    generator = np.random.default_rng(0)
    chosen, rejected = generator.integers(0, 8, 200) + 1.0, generator.integers(0, 8, 200).astype(float)
    difference = chosen[:, None] - rejected[None, :]
    area = ((difference > 0) + 0.5 * (difference == 0)).mean()
    values = _placed(chosen, rejected)
    assert values.mean() == pytest.approx(area, abs=1e-12)
    areas = []
    for _ in range(300):
        first, second = generator.integers(0, 8, 200) + 1.0, generator.integers(0, 8, 200).astype(float)
        areas.append(_placed(first, second).mean())
    error = values.std(ddof=1) / np.sqrt(200)
    assert 0.8 < np.std(areas) / error < 1.25


def test_the_area_told_is_the_larger_one() -> None:
    one = Separability(within=np.array([1.0, 0.0]), texts=np.array([0.9, 0.9]))
    assert one.auc == 0.9


def test_bad_pairs_are_refused() -> None:
    with pytest.raises(DataError, match="3 folds for 2 clusters"):
        separability(["a", "b", "c"], ["d", "e", "f"], folds=3, seed=0, clusters=[0, 0, 1])
    with pytest.raises(DataError, match="cluster label"):
        separability(["a", "b"], ["c", "d"], folds=2, seed=0, clusters=[0])
    with pytest.raises(DataError, match="leaves 1"):
        separability(["a", "b"], ["c", "d"], folds=2, seed=0)
