"""The additive critic: the exact posterior of values that are sums of effects, and draws of it.

    R(A) = level + sum_d e_d[a_d] + phi(A) w + noise,    e ~ N(0, s^2 C),    w ~ N(0, s^2 v I),    noise ~ N(0, r s^2)

Eq. 11 of the paper, min E[(Q(S, A) - R)^2], is solved exactly, and with it what the trials leave open. Not of the paper:
Bayesian linear regression and its evidence are those of Bishop 2006, sections 3.3 and 3.5. In whitened effects u, e = L u with
C = L L^T, all is one system of as many equations as there are choices, however many trials there are.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ma2ml_agents.ma2ml_exact.effects import Effects, times
from ma2ml_agents.meaning import Meaning

_STEP = 0.35
"""how far a step moves the logarithm of a weight, if at all"""
_RANGES = {"noise": (math.log(0.1), math.log(1e5)), "order": (-6.0, 4.0), "tie": (-6.0, 4.0), "meaning": (-6.0, 4.0)}
"""lowest and highest logarithm"""
_AT_ONCE = 1024
"""trials that are counted at a time: what that takes does not grow"""


@dataclass(frozen=True)
class Weights:
    """Logarithms of what weighs how much beside a choice's own effect."""

    noise: float
    """log r"""
    order: float = 0.0
    tie: float = math.log(0.1)
    meaning: float = math.log(0.1)
    """of all features together: v times their number"""


@dataclass(frozen=True)
class Posterior:
    """What trials tell of effects."""

    likelihood: float
    """logarithm, but for a constant"""
    mean: Tensor
    """(size + 1 + F,) of the effects, the level and the features"""
    factors: list[Tensor]
    """of the prior covariance"""
    cholesky: Tensor
    """of the precision of u, beside s^2"""
    scale: float
    """s"""

    def deviations(self, noise: Tensor) -> Tensor:
        """How effects may differ from their mean, (size + 1 + F, n), by white noise of that shape."""
        white = torch.linalg.solve_triangular(self.cholesky.T, noise, upper=True)
        return self.scale * times(self.factors, white)

    def deviation(self, row: Tensor) -> float:
        """Of the value of a joint action with these effects (size + 1 + F,): what the trials leave open of it."""
        whitened = times(self.factors, row[:, None], transposed=True)
        return self.scale * float(torch.linalg.solve_triangular(self.cholesky, whitened, upper=False).norm())


class Additive:
    """Bayesian linear regression on single choices, and on what they mean.

    Args:
        effects: what they are, and what is believed of them.
        meaning: features.

    `features` are those of the trials. `weights`, and whose `turn` it is to move, are all that has to be kept. How often
    choices came together is counted on from the trials of before.
    """

    def __init__(self, effects: Effects, meaning: Meaning) -> None:
        self.effects, self.meaning = effects, meaning
        self.weights = Weights(math.log(len(effects.sizes)))
        self.turn = 0
        has = {"noise": True, "order": effects.in_order, "tie": effects.tied, "meaning": meaning.size > 0}
        self._moves = [name for name, there in has.items() if there]
        self._seen, self.features = torch.empty(0, 0), torch.empty(0, meaning.size, dtype=torch.float64)
        self._gram = torch.zeros([effects.size + 1 + meaning.size] * 2, dtype=torch.float64)

    def fit(self, codes: Tensor, targets: Tensor, steps: int = 0) -> Posterior:
        """What trials tell, after steps of the weights in turn towards where they make these likeliest.

        Args:
            codes: (N, L).
            targets: (N,), not all equal.
            steps: each tries a higher and a lower value of one weight.
        """
        known = self._count(codes, targets)
        best = self._posterior(self.weights, *known)
        for _ in range(steps):
            name = self._moves[self.turn]
            self.turn = (self.turn + 1) % len(self._moves)
            low, high = _RANGES[name]
            for move in (-_STEP, _STEP):
                value = min(max(vars(self.weights)[name] + move, low), high)
                weights = replace(self.weights, **{name: value})
                tried = self._posterior(weights, *known)
                if tried.likelihood > best.likelihood:
                    self.weights, best = weights, tried
                    break
        return best

    def _count(self, codes: Tensor, targets: Tensor) -> tuple[Tensor, float, int]:
        """X^T y, y^T y and N. X^T X is kept: of whole numbers and parts, so counting on gives the bits of counting anew."""
        before = len(self._seen)
        if not before or before > len(codes) or not torch.equal(codes[:before], self._seen):
            before, self._gram = 0, torch.zeros_like(self._gram)  # the oldest were forgotten
            self.features = self.features[:0]
        for first in range(before, len(codes), _AT_ONCE):
            x = self.rows(codes[first : first + _AT_ONCE])
            self._gram += x.T @ x
            self.features = torch.cat([self.features, x[:, self.effects.size + 1 :]])
        self._seen = codes.clone()
        at, share = self.effects.entries(codes)
        b = torch.zeros(self.effects.size + 1, dtype=torch.float64)
        b.index_add_(0, at.flatten(), (share * targets[:, None]).flatten())
        return torch.cat([b, self.features.T @ targets]), float(targets @ targets), len(codes)

    def rows(self, codes: Tensor) -> Tensor:
        """What joint actions (n, L) have of the effects, the level and the features: (n, size + 1 + F)."""
        return torch.cat([self.effects.rows(codes), self.meaning(codes)], dim=1)

    def _posterior(self, weights: Weights, b: Tensor, total: float, n: int) -> Posterior:
        r = math.exp(weights.noise)
        factors = self.effects.factors(math.exp(weights.order), math.exp(weights.tie))
        if features := self.meaning.size:
            factors.append(math.sqrt(math.exp(weights.meaning) / features) * torch.eye(features, dtype=torch.float64))
        half = times(factors, self._gram, transposed=True)
        precision = times(factors, half.T, transposed=True) / r
        precision.diagonal().add_(1.0)
        cholesky = torch.linalg.cholesky(precision)
        projected = times(factors, b[:, None], transposed=True) / r
        u = torch.cholesky_solve(projected, cholesky)
        variance = max(total / r - float((projected * u).sum()), 1e-9) / n  # s^2, at its likeliest
        log_det = 2.0 * float(cholesky.diagonal().log().sum()) + n * weights.noise
        likelihood = -0.5 * (n * math.log(variance) + log_det)
        return Posterior(likelihood, times(factors, u)[:, 0], factors, cholesky, math.sqrt(variance))
