"""What a joint action means beyond the names of its choices: features that the game tells without training anything.

Rates and doses of operations, counts of operations in cells, depth, cost: `GameSpec.features`, brought to one scale.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ma2ml_agents.joint import Joint

_SAMPLE = 2000
"""uniformly random joint actions whose features are brought to mean 0 and deviation 1"""
_PART = 64
"""features are read to this part of a deviation, so that sums of their products are exact in floating point"""
_MOST = 8.0
"""deviations from the mean"""


class Meaning:
    """Features of joint actions, (n, size). There are none where the game tells none, or none are wanted.

    Args:
        joint: the layout of joint actions.
        wanted: whether there are to be any.

    Raises:
        ValueError: if the game tells features that are not finite; so do calls.
    """

    def __init__(self, joint: Joint, *, wanted: bool) -> None:
        self._features = joint.spec.features if wanted else None
        self.size = 0
        if self._features is not None:
            uniform, sizes = np.random.default_rng(0).random((_SAMPLE, len(joint.nvec))), np.array(joint.nvec)
            told = self._told(np.where(sizes > 0, np.floor(uniform * sizes), uniform))
            deviation = told.std(axis=0)
            self._kept = np.flatnonzero(deviation > 1e-9)
            self._mean, self._deviation = told.mean(axis=0)[self._kept], deviation[self._kept]
            self.size = len(self._kept)

    def __call__(self, codes: Tensor) -> Tensor:
        """Of joint actions (n, L)."""
        if not self.size or not len(codes):
            return torch.zeros(len(codes), self.size, dtype=torch.float64)
        told = self._told(codes.double().numpy())[:, self._kept]
        scaled = ((told - self._mean) / self._deviation).clip(-_MOST, _MOST)
        return torch.from_numpy(np.round(scaled * _PART) / _PART)

    def _told(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        assert self._features is not None
        told = np.asarray(self._features(codes), dtype=np.float64)
        if not np.isfinite(told).all():
            raise ValueError("the game tells features that are not finite: see GameSpec.features and Module.features")
        return told
