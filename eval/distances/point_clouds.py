"""Distances between two sets of windows as point clouds in feature space.

Features are metrics in units of the reference's spread. A missing value, such as the groove of a single bar, is
replaced by the reference's highest value plus its range: far from every window that has the feature, and equal to every
window that lacks it. So equal shares of missing values add no distance, and unequal shares do.
"""

# ruff: noqa: PD011 - `Rows.values` is an array, not the attribute of a pandas object
from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from eval.distances.univariate import cliffs_delta
from eval.metrics.table import features_on

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from eval.distances.rows import Rows
    from eval.metrics.windows import Windows

NEIGHBOURS = 5  # k of precision, recall and coverage
FOLDS = 5


def features(windows: Windows, scores: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, features) the metrics that sets are compared by, in their own units, NaN where undefined.

    >>> from eval.metrics.table import score
    >>> from eval.metrics.windows import example
    >>> features(example(), score(example())).shape
    (2, 14)
    """
    values: NDArray[np.float64] = scores[list(features_on(windows.grid))].to_numpy(dtype=np.float64)
    return values


def frechet(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the Frechet distance of the features after a rank transform to normal margins; at least 0.

    Each feature is replaced by the normal quantile of r / (N + 1), where r is its rank among the N windows of both sets
    (ties share their mean rank, missing values rank highest). The result is `frechet_gaussian` of the two sets'
    moments. Without ranks, a few outliers of one heavy-tailed feature would dominate the distance. Symmetric.

    M. Frechet, "Sur la distance de deux lois de probabilité" (1957); on features of generated data M. Heusel et al.,
    "GANs Trained by a Two Time-Scale Update Rule" (2017), https://arxiv.org/abs/1706.08500.

    >>> from eval.distances.rows import Rows
    >>> rng = np.random.default_rng(0)
    >>> real, sample = (Rows(rng.normal(loc, 1, (40, 2)), np.arange(40)) for loc in (0, 1))
    >>> round(frechet(sample, real, rng), 3)
    1.065
    """
    from scipy import special, stats

    pooled = np.concatenate([sample.values, reference.values])
    ranks = stats.rankdata(np.where(np.isnan(pooled), np.inf, pooled), axis=0)
    normal = special.ndtri(ranks / (len(pooled) + 1))
    a, b = normal[: len(sample.values)], normal[len(sample.values) :]
    return frechet_gaussian(a.mean(axis=0), np.cov(a.T, ddof=0), b.mean(axis=0), np.cov(b.T, ddof=0))


def frechet_gaussian(mean: ArrayLike, covariance: ArrayLike, other: ArrayLike, other_covariance: ArrayLike) -> float:
    """Return |m - n|^2 + tr(S + T - 2 (S T)^(1/2)) for Gaussians of (d,) means m, n and (d, d) covariances S, T.

    The trace of the square root is the sum of the square roots of the eigenvalues of S T, which are real and >= 0.

    D. Dowson and B. Landau, "The Frechet Distance between Multivariate Normal Distributions" (1982).

    >>> frechet_gaussian([0.0], [[1.0]], [3.0], [[4.0]])
    10.0
    """
    s, t = np.atleast_2d(covariance), np.atleast_2d(other_covariance)
    roots = np.sqrt(np.linalg.eigvals(s @ t).real.clip(min=0))
    gap = np.subtract(mean, other)
    return max(0.0, float(np.sum(gap**2) + np.trace(s) + np.trace(t) - 2 * roots.sum()))


def mmd(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the unbiased squared maximum mean discrepancy: 0 on average for equal distributions, at most 2.

    mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j) of the features in units of the
    reference's spread, where k(x, y) = exp(-|x - y|^2 / m) and m is the median squared distance of two windows of the
    reference. It saturates: all distant sets have about the same value. Use it near the floor, with `mmd_p`.

    A. Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012).

    >>> from eval.distances.rows import Rows
    >>> rng = np.random.default_rng(0)
    >>> real, sample = (Rows(rng.normal(loc, 1, (40, 2)), np.arange(40)) for loc in (0, 1))
    >>> round(mmd(sample, real, rng), 3)
    0.135
    """
    from scipy.spatial.distance import cdist, pdist

    x, y = _standardised(sample.values, reference.values)
    real = pdist(y, "sqeuclidean")
    gamma = 1 / (np.median(real) or 1.0)
    within = np.exp(-gamma * pdist(x, "sqeuclidean")).mean() + np.exp(-gamma * real).mean()
    return float(within - 2 * np.exp(-gamma * cdist(x, y, "sqeuclidean")).mean())


def mmd_p(sample: Rows, reference: Rows, rng: np.random.Generator, permutations: int = 499) -> float:
    """Return the permutation p value of `mmd` under equal distributions: 1 / (permutations + 1) to 1.

    (1 + number of permutations of all windows whose statistic is at least the observed one) / (1 + permutations). The
    scale and the kernel are computed from both sets together, because the test is exact only if they do not depend on
    which set a window belongs to.

    Raises:
        ValueError: If the sets differ in size, or one has two windows of a song. Windows of one song are not
            exchangeable, and the p values would be too small.

    >>> from eval.distances.rows import Rows
    >>> rng = np.random.default_rng(0)
    >>> real, sample = (Rows(rng.normal(loc, 1, (40, 2)), np.arange(40)) for loc in (0, 1))
    >>> round(mmd_p(sample, real, rng), 3)
    0.002
    """
    from scipy.spatial.distance import pdist, squareform

    n = len(sample.values)
    if not n == len(reference.values) == len(np.unique(sample.songs)) == len(np.unique(reference.songs)):
        raise ValueError("a permutation test takes sets of one size with one window of each song")
    pooled = np.concatenate([sample.values, reference.values])
    squared = pdist(_standardised(pooled, pooled)[0], "sqeuclidean")
    kernel = squareform(np.exp(-squared / (np.median(squared) or 1.0)))  # 0 on the diagonal
    signs = np.repeat([1.0, -1.0], n)
    shuffled = rng.permuted(np.tile(signs, (permutations, 1)), axis=1)
    # For sets of one size the statistic increases with z' K z, where z is 1 for one set and -1 for the other.
    observed, drawn = signs @ kernel @ signs, np.sum(shuffled @ kernel * shuffled, axis=1)
    # Sums of the same numbers in another order differ by rounding; they count as equal.
    return float(1 + np.count_nonzero(drawn >= observed - 1e-9 * kernel.sum())) / (1 + permutations)


def classifier_auc(sample: Rows, reference: Rows, rng: np.random.Generator) -> float:
    """Return the area under the ROC curve, on held-out windows, of a classifier that separates the sets.

    The classifier is a logistic regression (L2, C = 1) on the features in units of the reference's spread. The result
    is the mean over 5 folds of the area within the fold; the windows of a song in one set stay in one fold. It is 0.5
    for equal distributions, 1 for separable sets, and *below* 0.5 for near-duplicates of the reference, because the
    classifier has seen the twin of the window with the other label. For this, a song that is in both sets counts as
    two. One area of the pooled scores of all folds would be below 0.5 for equal distributions too, because leaving a
    window out shifts the mean of the rest away from it.

    A linear classifier is a weak detector: it finds shifts of features but not of their dependence, so an area near 0.5
    is weaker evidence than that of a random forest. A forest takes too long for every halving of every trial.

    NaN if one of the sets has a single song.

    J. Friedman, "On Multivariate Goodness-of-Fit and Two-Sample Testing" (2003); D. Lopez-Paz and M. Oquab, "Revisiting
    Classifier Two-Sample Tests" (2017), https://arxiv.org/abs/1610.06545.

    >>> from eval.distances.rows import Rows
    >>> rng = np.random.default_rng(0)
    >>> real, sample = (Rows(rng.normal(loc, 1, (40, 2)), np.arange(40)) for loc in (0, 1))
    >>> round(classifier_auc(sample, real, rng), 3)
    0.819
    """
    from sklearn.linear_model import LogisticRegression

    folds = min(FOLDS, len(np.unique(sample.songs)), len(np.unique(reference.songs)))
    if folds < 2:  # noqa: PLR2004 - one to fit, one to test
        return math.nan
    points = np.concatenate(_standardised(sample.values, reference.values))
    label = np.repeat([1, 0], [len(sample.values), len(reference.values)])
    fold = np.concatenate([_folds(rows.songs, folds, rng) for rows in (sample, reference)])
    areas = []
    for left_out in range(folds):
        test = fold == left_out
        model = LogisticRegression(solver="newton-cholesky").fit(points[~test], label[~test])
        scores = model.decision_function(points[test])
        theirs, ours = scores[label[test] == 0], scores[label[test] == 1]
        areas.append((1 + cliffs_delta(ours, theirs)) / 2)
    return float(np.mean(areas))


def precision(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the share of the sample within the reference's support, 0 to 1; low for windows unlike any real one.

    The support is the union of balls around the windows of the reference. The radius of each is the distance to its 5th
    nearest neighbour in the reference, computed on the features in units of the reference's spread.

    T. Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (2019),
    https://arxiv.org/abs/1904.06991.

    >>> from eval.distances.rows import Rows
    >>> rng = np.random.default_rng(0)
    >>> real, sample = (Rows(rng.normal(loc, 1, (40, 2)), np.arange(40)) for loc in (0, 1))
    >>> round(precision(sample, real, rng), 3)
    1.0
    """
    x, y = _standardised(sample.values, reference.values)
    return float(_within(x, y).any(axis=1).mean())


def recall(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the share of the reference within the sample's support, 0 to 1; low for a sample that lacks variety.

    This is `precision` with the sets exchanged.

    >>> from eval.distances.rows import Rows
    >>> rng = np.random.default_rng(0)
    >>> real, sample = (Rows(rng.normal(loc, 1, (40, 2)), np.arange(40)) for loc in (0, 1))
    >>> round(recall(sample, real, rng), 3)
    0.95
    """
    x, y = _standardised(sample.values, reference.values)
    return float(_within(y, x).any(axis=1).mean())


def coverage(sample: Rows, reference: Rows, _rng: np.random.Generator) -> float:
    """Return the share of the reference's balls (see `precision`) that contain a window of the sample, 0 to 1.

    Unlike `recall`, it does not increase with outliers of the sample, whose balls are large.

    M. Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models" (2020),
    https://arxiv.org/abs/2002.09797.

    >>> from eval.distances.rows import Rows
    >>> rng = np.random.default_rng(0)
    >>> real, sample = (Rows(rng.normal(loc, 1, (40, 2)), np.arange(40)) for loc in (0, 1))
    >>> round(coverage(sample, real, rng), 3)
    0.775
    """
    x, y = _standardised(sample.values, reference.values)
    return float(_within(x, y).any(axis=0).mean())


def _within(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (points, centres) whether a point is no farther from a centre than the centre's k-th neighbour."""
    from scipy.spatial.distance import cdist

    k = min(NEIGHBOURS, len(centres) - 1)  # index 0 is the centre itself
    radii = np.partition(cdist(centres, centres), k, axis=1)[:, k]
    close: NDArray[np.bool_] = cdist(points, centres) <= radii
    return close


def _folds(songs: NDArray[np.int64], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a random fold for each row. Folds are about equally large, and the rows of a song share a fold."""
    _, song_of = np.unique(songs, return_inverse=True)
    order = rng.permutation(song_of.max() + 1)
    fold_of = np.empty_like(order)
    # Songs are dealt out by size, so that no fold is empty; the order among songs of equal size is random.
    order = order[np.argsort(-np.bincount(song_of)[order], kind="stable")]
    fold_of[order] = np.arange(len(order)) % folds
    return fold_of[song_of]


def _standardised(
    values: NDArray[np.float64], reference: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both standardised by the reference; missing values are replaced as described at the top of the module."""
    scaled = values.copy(), reference.copy()
    for column, real in enumerate(reference.T):
        present = real[~np.isnan(real)] if not np.isnan(real).all() else np.zeros(1)
        reach = np.ptp(present)
        scale = present.std() if reach else 1.0
        for points in scaled:
            filled = np.nan_to_num(points[:, column], nan=present.max() + (reach or 1.0))
            points[:, column] = (filled - present.mean()) / scale
    return scaled
