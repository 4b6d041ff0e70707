"""Sums of values over clusters of problems."""

from __future__ import annotations

import functools
from collections.abc import Hashable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import DataError
from harness.evaluation import Floats


def cluster_sums(values: Floats, clusters: ArrayLike) -> tuple[Floats, Floats]:
    """(clusters, columns) sums of (problems, columns) values and (clusters,) problem counts, in label order.

    Raises:
        DataError: labels that are not one a problem, or fewer than two different ones.
    """
    shape = (len(clusters),) if isinstance(clusters, tuple) else np.shape(clusters)
    if shape != values.shape[:1]:
        raise DataError(
            "every problem needs a cluster label",
            f"there are {len(values)} problems and labels of shape {shape}",
            "pass the task's cluster key of each problem",
        )
    index, found = _numbered(clusters if isinstance(clusters, tuple) else tuple(np.asarray(clusters).tolist()))
    if found < 2:
        raise DataError(
            "an interval needs at least two clusters of problems",
            f"there {'is one' if found else 'are none'}",
            "add problems from other clusters",
        )
    columns = [np.bincount(index, weights=column, minlength=found) for column in values.T]
    return np.stack(columns, axis=1), np.bincount(index, minlength=found).astype(np.float64)


@functools.lru_cache(maxsize=64)
def _numbered(labels: tuple[Hashable, ...]) -> tuple[NDArray[np.intp], int]:
    """The place of each label among the different ones in order, and how many these are.

    Cached, since an analysis asks for thousands of intervals over the same problems.
    """
    found, index = np.unique(np.asarray(labels), return_inverse=True)
    return index, len(found)
