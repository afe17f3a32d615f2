"""The additive critic: an exact posterior over values that are sums over decisions, and best responses to draws of it.

    R(A) = sum_d w_d[a_d] + noise,    w ~ N(0, s^2 I),    noise ~ N(0, r s^2)

As the value is a sum, an agent's best response is the same whatever the others do, and the best of 10^78 joint actions is
found decision by decision: no policy has to find it by sampling. Interactions are noise here; they are the networks' affair
(`critic.py`). With some hundred trials on a hundred decisions that is the better model: interactions cannot be told apart yet.

A draw of w stands for what the trials leave open (Thompson sampling): decisions that are settled are the same in all draws,
the others vary. With hundreds of decisions full draws vary too much, as the errors of all of them add up, so draws are pulled
towards the mean (`spread`), and the search closes in earlier. Not of the paper: Bayesian linear regression and its evidence are
those of Bishop 2006, sections 3.3 and 3.5; Thompson sampling with a scaled posterior as in Agrawal & Goyal 2013.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ma2ml_agents.intervals import COSINES, cosines

_STEP = 0.35
"""how far a step moves log r, if at all"""
_LOWEST, _HIGHEST = math.log(0.1), math.log(1e5)
_GRID = 65
"""positions of an interval that are compared"""


class Additive:
    """Bayesian linear regression on single decisions; an interval enters as a few cosines of its position.

    Args:
        nvec: number of choices of every decision of the joint action, L entries; 0 stands for an interval.

    `log_ratio` is log r, and all that is kept; r is found by the marginal likelihood, and s in closed form.
    """

    def __init__(self, nvec: Sequence[int]) -> None:
        self.decisions = [column for column, size in enumerate(nvec) if size]
        self.intervals = [column for column, size in enumerate(nvec) if not size]
        sizes = np.array([size for size in nvec if size], dtype=np.int64)
        self.choices = int(sizes.sum())
        self.offsets = torch.from_numpy(np.cumsum(sizes) - sizes)
        # Row of w of every choice of a decision; behind its last choice, the row after the last, which is -inf.
        choice = torch.arange(max(sizes, default=0))
        self.rows = torch.where(choice < torch.from_numpy(sizes)[:, None], self.offsets[:, None] + choice, self.choices)
        self.grid = torch.linspace(0.0, 1.0, _GRID, dtype=torch.float64)
        self.log_ratio = math.log(max(len(nvec), 1))

    def learn(self, codes: Tensor, targets: Tensor, steps: int = 1) -> None:
        """Some steps of log r towards where it makes all trials likeliest: codes (N, L), targets (N,)."""
        statistics = self._statistics(codes, targets)
        for _ in range(steps):
            near = [min(max(self.log_ratio + step, _LOWEST), _HIGHEST) for step in (0.0, -_STEP, _STEP)]
            best = max(near, key=lambda log_ratio: self._fit(*statistics, log_ratio)[0])
            if best == self.log_ratio:
                break
            self.log_ratio = best

    def responses(self, codes: Tensor, targets: Tensor, n: int, spread: float, generator: torch.Generator) -> Tensor:
        """The best joint actions (n, L) of n draws of w, given all trials: codes (N, L), targets (N,).

        Args:
            codes: of the trials.
            targets: what they were worth.
            n: draws.
            spread: deviation of a draw from the mean, as a share of the posterior's; 1: Thompson sampling, 0: the mean n times.
            generator: draws them. Nothing else changes.
        """
        _, mean, cholesky, scale = self._fit(*self._statistics(codes, targets), self.log_ratio)
        noise = torch.randn(len(mean), n, generator=generator, dtype=torch.float64)
        deviation = torch.linalg.solve_triangular(cholesky.T, noise, upper=True) * scale
        return self._best(mean[:, None] + spread * deviation, codes)

    def _statistics(self, codes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float, int]:
        """X^T X, X^T y, y^T y and N."""
        x, y = self._features(codes), targets.double()
        # Counts are exact in single precision, which is twice as fast; cosines are not, and are few.
        gram = (x.T @ x) if self.intervals else (x.float().T @ x.float()).double()
        return gram, x.T @ y, float(y @ y), len(x)

    def _features(self, codes: Tensor) -> Tensor:
        x = torch.zeros(len(codes), self.choices, dtype=torch.float64)
        x.scatter_(1, codes[:, self.decisions].long() + self.offsets, 1.0)
        if self.intervals:
            x = torch.cat([x, cosines(codes[:, self.intervals]).double()], dim=1)
        return x

    @staticmethod
    def _fit(gram: Tensor, b: Tensor, total: float, n: int, log_ratio: float) -> tuple[float, Tensor, Tensor, float]:
        """Log-likelihood (but for a constant), mean of w, and its precision as Cholesky factor / scale."""
        size = len(b)
        cholesky = torch.linalg.cholesky(gram + math.exp(log_ratio) * torch.eye(size, dtype=torch.float64))
        mean = torch.cholesky_solve(b[:, None], cholesky)[:, 0]
        noise = max(total - float(b @ mean), 1e-9) / n  # r s^2, at its likeliest
        log_det = 2.0 * float(cholesky.diagonal().log().sum()) - size * log_ratio
        return -0.5 * (n * math.log(noise) + log_det), mean, cholesky, math.sqrt(noise)

    def _best(self, w: Tensor, like: Tensor) -> Tensor:
        """The best choice of every decision, and position of every interval, by each column of w (F, n): (n, L)."""
        n = w.shape[1]
        best = torch.empty(n, len(self.decisions) + len(self.intervals), dtype=like.dtype)
        if self.decisions:
            padded = torch.cat([w[: self.choices], w.new_full((1, n), -math.inf)])
            best[:, self.decisions] = padded[self.rows].argmax(1).T.to(like.dtype)
        if self.intervals:
            basis = cosines(self.grid[:, None]).double()  # (G, COSINES)
            values = torch.einsum("gk,ikn->gin", basis, w[self.choices :].reshape(len(self.intervals), COSINES, n))
            best[:, self.intervals] = self.grid[values.argmax(0)].T.to(like.dtype)
        return best
