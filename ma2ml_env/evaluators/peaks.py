"""What intervals add to the synthetic landscape: a smooth peak each, whose place depends on another agent's decision.

Interval k at position u adds s_k (E - (u - m)^2) to the score z, with E the mean of (u - m)^2 over uniform u. Its peak m is
1/2 - d_k or 1/2 + d_k: which of the two, a decision of another agent says, where there is one. E is the same for both, so the
term has zero mean at every code of the decisions, is orthogonal to the look-up tables, and its share of variance is exact. The
optimum keeps the tables' best code, with every interval at the peak of that code; an agent by itself, averaged over the
others, prefers a place between the two peaks.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_NEAREST, _FURTHEST = 0.15, 0.35
"""between these lie the distances d_k of the peaks from the middle"""

Floats = NDArray[np.float64]


class Peaks:
    """The peaks of all intervals of a game.

    Args:
        nvec: agent -> number of choices of each decision.
        intervals: agent -> number of intervals; L_c = their sum.
        share: of the variance of z that the intervals have together, under uniform codes.
        rng: draws the peaks.
    """

    def __init__(
        self,
        nvec: Mapping[str, Sequence[int]],
        intervals: Mapping[str, int],
        share: float,
        rng: np.random.Generator,
    ) -> None:
        owner = [agent for agent in nvec for _ in range(intervals.get(agent, 0))]
        sizes = [(agent, size) for agent, sizes in nvec.items() for size in sizes]
        self._distance = rng.uniform(_NEAREST, _FURTHEST, len(owner))
        self._decision = np.zeros(len(owner), dtype=np.int64)  # column of the joint code that moves the peak
        side = []
        for k, agent in enumerate(owner):
            others = [d for d, (other, size) in enumerate(sizes) if other != agent and size > 1]
            self._decision[k] = rng.choice(others) if others else -1
            choices = sizes[self._decision[k]][1] if others else 1
            side.append(rng.permutation(np.where(np.arange(choices) < (choices + 1) // 2, 1.0, -1.0)))
        self._offset = np.cumsum([0, *(len(s) for s in side)])[:-1]
        self._side = np.concatenate(side)
        self._mean_side = np.array([s.mean() for s in side])
        self._level = 1 / 12 + self._distance**2  # E
        fourth = ((0.5 + self._distance) ** 5 + (0.5 - self._distance) ** 5) / 5  # E[(u - m)^4]
        self._scale = np.sqrt(share / len(owner) / (fourth - self._level**2))
        self._multipliers = rng.integers(0, 2**63, len(owner), dtype=np.uint64) * np.uint64(2) + np.uint64(1)

    def score(self, joint: NDArray[np.int64], positions: Floats) -> Floats:
        """What is added to z, (n,): joint codes (n, D), positions (n, L_c)."""
        distance = positions - self.best(joint)
        return np.asarray((self._scale * (self._level - distance * distance)).sum(axis=1))

    def best(self, joint: NDArray[np.int64]) -> Floats:
        """The peaks of joint codes (n, D): (n, L_c)."""
        choice = np.zeros((len(joint), len(self._decision)), dtype=np.int64)
        moved = self._decision >= 0
        choice[:, moved] = joint[:, self._decision[moved]]
        return np.asarray(0.5 + self._distance * self._side[choice + self._offset])

    def separate(self) -> Floats:
        """The place (L_c,) that each interval prefers, averaged over the codes of the others."""
        return np.asarray(0.5 + self._distance * self._mean_side)

    def keys(self, positions: Floats) -> NDArray[np.uint64]:
        """A number for the bits of positions (n, L_c), (n,), for the noise."""
        return np.ascontiguousarray(positions).view(np.uint64) @ self._multipliers
