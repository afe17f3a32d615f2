"""Rank correlations with their uncertainty."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


class Estimate(NamedTuple):
    """A statistic with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ranks(values: Values) -> Values:
    """Ranks (n,) from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: Values = last - (counts - 1) / 2
    return mean[inverse]


def spearman(x: Values, y: Values) -> float:
    """Pearson's correlation of the ranks, in [-1, 1]; 0.0 if one side ranks nothing."""
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0


def kendall(x: Values, y: Values) -> float:
    """Kendall's tau-b, which corrects for ties, in [-1, 1]; 0.0 if one side ranks nothing."""
    a, b = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale else 0.0


def bootstrap(
    statistic: Callable[[Values, Values], float], x: Values, y: Values, *, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """A statistic of n pairs and its 95 % percentile interval over resampled pairs (Efron 1979).

    Args:
        statistic: of two arrays (n,).
        x: (n,).
        y: (n,).
        resamples: of n pairs each, drawn with replacement.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(x), size=(resamples, len(x)))
    low, high = np.quantile([statistic(x[some], y[some]) for some in drawn], (0.025, 0.975))
    return Estimate(statistic(x, y), float(low), float(high))
