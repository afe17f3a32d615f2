"""Rewards: outcome -> float, shared by all agents.

A reward is defined for every status and finite; an infeasible or failed pipeline has 0.0. `vector` is the same over arrays:
the scalar form calls it, so the two agree to the last bit.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

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
    """R = accuracy (paper, section 3.2)."""

    def __call__(self, outcome: Outcome) -> float:
        """Return the accuracy in [0, 1]; 0.0 unless the outcome is ok."""
        return outcome.accuracy if outcome.status == "ok" else 0.0

    def vector(self, accuracy: NDArray[np.float64], flops: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the accuracies, as they are."""
        return accuracy


@dataclass(frozen=True)
class FlopsReward:
    """R = accuracy x (MACs / limit)^w (paper, section 4.1, after MnasNet, Tan et al. 2019).

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

    def __post_init__(self) -> None:
        if not 0 < self.limit < float("inf"):
            raise ValueError(f"the limit on MACs must be positive, not {self.limit}")
        if not float("-inf") < self.w < 0:
            raise ValueError(f"the exponent w must be negative, not {self.w}: more MACs must not be worth more")

    def __call__(self, outcome: Outcome) -> float:
        """Return the reward; 0.0 unless the outcome is ok."""
        if outcome.status != "ok":
            return 0.0
        return float(self.vector(np.array([outcome.accuracy]), np.array([outcome.flops]))[0])

    def vector(self, accuracy: NDArray[np.float64], flops: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the rewards (n,). Unknown MACs (0) count as MACs at the limit."""
        share = np.where(flops > 0, flops, self.limit) / self.limit
        if self.hard:
            return np.where(share <= 1.0, accuracy, 0.0)
        return np.asarray(accuracy * share**self.w, dtype=np.float64)
