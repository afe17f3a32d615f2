"""What rewards become before something learns from them: baselines and scales."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class MovingAverage:
    """Exponential moving average of rewards, the baseline b of eq. 2; without bias towards 0 at the start (Kingma & Ba 2015).

    Args:
        decay: weight of the past, in [0, 1); 0.95 in NASNet, AutoAugment and TuNAS.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._sum = 0.0
        self._weight = 0.0

    def update(self, reward: float) -> None:
        """Take in one reward."""
        self._sum = self.decay * self._sum + (1 - self.decay) * reward
        self._weight = self.decay * self._weight + (1 - self.decay)

    def value(self, default: float) -> float:
        """The average of the rewards so far; `default` before the first."""
        return self._sum / self._weight if self._weight else default

    def state_dict(self) -> dict[str, float]:
        """Exact state."""
        return {"sum": self._sum, "weight": self._weight}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Inverse of `state_dict`."""
        self._sum, self._weight = float(state["sum"]), float(state["weight"])


def raw(rewards: Floats) -> Floats:
    """The rewards themselves: eq. 11 to the letter."""
    return rewards


def standardised(rewards: Floats) -> Floats:
    """Zero mean, unit variance; zeros where all rewards are equal."""
    if not np.ptp(rewards) > 0:  # the mean of equal floats can be another one, and so have a deviation
        return np.zeros_like(rewards)
    scaled: Floats = (rewards - rewards.mean()) / rewards.std()
    return scaled


def ranks(rewards: Floats) -> Floats:
    """Gaussian ranks: the normal quantile of (rank - 1/2) / n; equal rewards share the mean of their ranks.

    One failed training (reward 0) cannot squash the scale, and the scale does not shrink as the search closes in on good
    pipelines.
    """
    _, where, counts = np.unique(rewards, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - 0.5 * (counts - 1)  # mean rank, from 1, of each distinct reward
    share = (middle[where] - 0.5) / len(rewards)
    return np.asarray(torch.special.ndtri(torch.from_numpy(share)).numpy(), dtype=np.float64)


def blend(rewards: Floats) -> Floats:
    """Half Gaussian ranks, half standardised rewards that end at three deviations on either side.

    Ranks alone stretch the best rewards until what is left between them is noise; standardised rewards alone leave little
    between them, and one failed training squashes their scale.
    """
    largest = float(np.abs(rewards).max()) or 1.0  # squares of huge rewards would overflow
    return 0.5 * ranks(rewards) + 0.5 * standardised(rewards / largest).clip(-3.0, 3.0)


TARGETS: dict[str, Callable[[Floats], Floats]] = {
    "raw": raw,
    "standardised": standardised,
    "ranks": ranks,
    "blend": blend,
}
"""what the critic learns, by name: rewards of the whole replay (n,) -> targets (n,)"""
