"""Rewards: outcome -> float, shared by all agents.

A reward is defined for every status and finite; an infeasible or failed pipeline has 0.0. `vector` is the same over arrays of
accuracies, which is what cheap evaluators give; the scalar form agrees with it to the last bit.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.metrics import score
from ma2ml_env.trial import Outcome


@runtime_checkable
class Reward(Protocol):
    """What all agents get for an outcome."""

    def __call__(self, outcome: Outcome) -> float:
        """Return the finite reward of one outcome."""
        ...

    def vector(self, accuracy: NDArray[np.float64], flops: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the rewards (n,) of n outcomes that are ok: accuracies (n,) in [0, 1], MACs (n,)."""
        ...


@dataclass(frozen=True)
class Accuracy:
    """R = accuracy (paper, section 3.2), or the score of another metric of `metrics.py`."""

    metric: str = "accuracy"
    """by its name"""

    def __call__(self, outcome: Outcome) -> float:
        """Return the score in [0, 1]; 0.0 unless the outcome is ok. Raises ValueError if the metric was not measured."""
        return score(self.metric, outcome)

    def vector(self, accuracy: NDArray[np.float64], flops: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the accuracies, as they are. Raises ValueError if the reward goes by another metric."""
        _accuracies_alone(self.metric)
        return accuracy


@dataclass(frozen=True)
class FlopsReward:
    """R = accuracy x (MACs / limit)^w (paper, section 4.1, after MnasNet, Tan et al. 2019), or of another metric's score.

    The soft form also rewards going below the limit: at w = -0.07 half the MACs are worth 5 %. With `hard`, a pipeline above
    the limit has reward 0.0 and one below it its accuracy.

    Raises:
        ValueError: if the limit is not positive or w is not negative.
    """

    limit: float
    """MACs"""
    w: float = -0.07
    """exponent"""
    hard: bool = False
    """True: 0 above the limit, the accuracy up to it"""
    metric: str = "accuracy"
    """by its name, a row of `metrics.py`"""

    def __post_init__(self) -> None:
        if not 0 < self.limit < float("inf"):
            raise ValueError(f"the limit on MACs must be positive, not {self.limit}")
        if not float("-inf") < self.w < 0:
            raise ValueError(f"the exponent w must be negative, not {self.w}: more MACs must not be worth more")

    def __call__(self, outcome: Outcome) -> float:
        """Return the reward; 0.0 unless the outcome is ok. Raises ValueError if the metric was not measured."""
        if outcome.status != "ok":
            return 0.0
        return float(self._worth(np.array([score(self.metric, outcome)]), np.array([outcome.flops]))[0])

    def vector(self, accuracy: NDArray[np.float64], flops: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the rewards (n,). Raises ValueError if the reward goes by another metric."""
        _accuracies_alone(self.metric)
        return self._worth(accuracy, flops)

    def _worth(self, scores: NDArray[np.float64], flops: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rewards (n,). Unknown MACs (0) count as MACs at the limit."""
        share = np.where(flops > 0, flops, self.limit) / self.limit
        if self.hard:
            return np.where(share <= 1.0, scores, 0.0)
        return np.asarray(scores * share**self.w, dtype=np.float64)


def _accuracies_alone(metric: str) -> None:
    if metric != "accuracy":
        raise ValueError(f"metric {metric} is for what is trained; this evaluator gives accuracies alone")
