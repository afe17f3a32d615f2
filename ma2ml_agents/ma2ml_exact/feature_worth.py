"""What features of joint actions are worth to draws of the critic, seen by one decision at a time.

A feature may hang on several decisions, so agents answer one another where features count.
"""

import torch
from torch import Tensor

from ma2ml_agents.gaussian_functions import GRID
from ma2ml_agents.joint import Joint
from ma2ml_agents.meaning import Meaning


class FeatureWorth:
    """What features are worth to each of n draws, where n joint actions stand: as `gaussian_functions.Functions`.

    Args:
        meaning: the features.
        weights: (size, n) worth of each to each draw.
        joint: the layout of joint actions.
    """

    def __init__(self, meaning: Meaning, weights: Tensor, joint: Joint) -> None:
        self._meaning, self._weights = meaning, weights
        self._sizes = [size or GRID for size in joint.nvec]
        self._intervals = torch.tensor([size == 0 for size in joint.nvec])

    def stand(self, places: Tensor) -> None:
        """Stand at joint actions (n, L): numbers of choices, and of positions on an interval's grid."""
        self.places = places.clone()

    def values(self, d: int) -> Tensor:
        """Values (n, C) of the choices of decision d while the others stand."""
        n, choices = len(self.places), self._sizes[d]
        changed = self.places.repeat_interleave(choices, 0)
        changed[:, d] = torch.arange(choices).repeat(n)
        codes = torch.where(self._intervals, changed / (GRID - 1.0), changed) if self._intervals.any() else changed
        return torch.einsum("ncf,fn->nc", self._meaning(codes).reshape(n, choices, -1), self._weights)

    def move(self, d: int, choices: Tensor) -> None:
        """Let decision d take these choices (n,)."""
        self.places[:, d] = choices
