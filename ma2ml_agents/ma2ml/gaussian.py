"""The Gaussian-process critic: an exact posterior over values with interactions of any order, and draws of it.

    R(A) = f(A) + noise,   f ~ GP(mean, k),   k(A, A') = s^2 prod_d exp(-u_d [a_d != a'_d] - v_d (x_d - x'_d)^2)

x_d is a choice's place in the row of its decision's choices, or an interval's position, scaled to [0, 2]. How much a decision
matters, and whether by name (u_d) or by order (v_d: depths, rates and the like stand in order), is found by the marginal
likelihood. Of some hundred trials of few decisions no network learns as much: some ten settings are fitted, not thousands of
weights, and where the trials say nothing, draws differ. It judges what descends from the best pipelines (`screening.py`); the
policies' critic is the network (`critic.py`).

Not of the paper: Gaussian processes as in Rasmussen & Williams 2006, algorithm 2.1, with their section 5.1's relevance of each
input, for categorical ones Hutter, Hoos & Leyton-Brown 2011's weighted Hamming kernel; draws over a set of candidates that are
changes of the best as in Eriksson et al. 2019.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ma2ml_agents.saving import load_optimizer, optimizer_state

_MOST = 1024
"""trials that a posterior is conditioned on; of more, the newest half of that and the best of the others"""
_SAMPLE = 256
"""trials drawn for a step on the marginal likelihood"""
_STEPS, _STEP = 8, 0.08
"""of Adam after each batch of trials, on the logarithms of the settings"""
_NOISE, _LEAST_NOISE = 0.05, 1e-4
_JITTER = 1e-6

Features = tuple[Tensor, Tensor]
"""one-hot choices (n, choices) and places (n, L)"""


class Gaussian:
    """A Gaussian process over joint actions.

    Args:
        nvec: number of choices of every decision of the joint action, L entries; 0 stands for an interval.

    `settings` are the logarithms of u (L,), v (L,), s^2 and the variance of the noise. A priori they are normal: log u and
    log v about log 1/L, log s^2 about 0, with a deviation of 1, and the noise about .05 with one of sqrt(2).
    """

    def __init__(self, nvec: Sequence[int]) -> None:
        self.length = len(nvec)
        self.decisions = [column for column, size in enumerate(nvec) if size]
        sizes = torch.tensor([size for size in nvec if size], dtype=torch.int64)
        self.choices, self.offsets = int(sizes.sum()), torch.cumsum(sizes, 0) - sizes
        self.owner = torch.tensor(self.decisions, dtype=torch.int64).repeat_interleave(
            sizes
        )  # the decision of each choice
        self.scale = torch.tensor([2.0 / max(size - 1, 1) if size else 2.0 for size in nvec], dtype=torch.float64)
        about = [math.log(1.0 / self.length)] * 2 * self.length + [0.0, math.log(_NOISE)]
        self.prior = torch.tensor(about, dtype=torch.float64)
        self.precision = torch.tensor([1.0] * (2 * self.length + 1) + [0.5], dtype=torch.float64)
        self.settings = self.prior.clone().requires_grad_()
        self.optimizer = torch.optim.Adam([self.settings], lr=_STEP, betas=(0.8, 0.95))

    def learn(self, codes: Tensor, targets: Tensor, generator: torch.Generator) -> None:
        """Some steps towards settings by which trials are likelier: codes (N, L), targets (N,)."""
        x, y = self._features(codes), targets.double() - targets.double().mean()
        for _ in range(_STEPS):
            rows = torch.randperm(len(y), generator=generator)[:_SAMPLE]
            part = (x[0][rows], x[1][rows])
            cholesky = torch.linalg.cholesky(self._kernel(part, part) + self._noise() * _eye(len(rows)))
            fit = torch.linalg.solve_triangular(cholesky, y[rows, None], upper=False)
            unlikely = 0.5 * fit.square().sum() + cholesky.diagonal().log().sum()
            unlikely = unlikely + 0.5 * (self.precision * (self.settings - self.prior).square()).sum()
            self.optimizer.zero_grad()
            unlikely.backward()
            self.optimizer.step()
            with torch.no_grad():
                self.settings[-1].clamp_(min=math.log(_LEAST_NOISE))

    @torch.no_grad()
    def posterior(self, codes: Tensor, targets: Tensor) -> "Posterior":
        """What trials tell of all joint actions: codes (N, L), targets (N,)."""
        if len(codes) > _MOST:
            older = targets[: -_MOST // 2].argsort(descending=True, stable=True)[: _MOST // 2]
            rows = torch.cat([older, torch.arange(len(codes) - _MOST // 2, len(codes))])
            codes, targets = codes[rows], targets[rows]
        x, level = self._features(codes), targets.double().mean()
        cholesky = torch.linalg.cholesky(self._kernel(x, x) + self._noise() * _eye(len(codes)))
        weights = torch.cholesky_solve(targets.double()[:, None] - level, cholesky)
        return Posterior(self, x, level, cholesky, weights)

    def _features(self, codes: Tensor) -> Features:
        hot = torch.zeros(len(codes), self.choices, dtype=torch.float64)
        if self.decisions:
            hot.scatter_(1, codes[:, self.decisions].long() + self.offsets, 1.0)
        return hot, codes.double() * self.scale

    def _noise(self) -> Tensor:
        return self.settings[-1].exp()

    def _kernel(self, a: Features, b: Features) -> Tensor:
        """The kernel of all pairs, (n, N)."""
        u, v = self.settings[: self.length].exp(), self.settings[self.length : -2].exp()
        by_name = u[self.decisions].sum() - (a[0] * u[self.owner]) @ b[0].T
        by_order = (a[1].square() @ v)[:, None] + b[1].square() @ v - 2 * (a[1] * v) @ b[1].T
        return (self.settings[-2] - by_name - by_order.clamp(min=0.0)).exp()

    def state_dict(self) -> dict[str, Any]:
        """Exact state."""
        return {"settings": self.settings.detach().clone(), "optimizer": optimizer_state(self.optimizer)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        with torch.no_grad():
            self.settings.copy_(state["settings"])
        load_optimizer(self.optimizer, state["optimizer"])


@dataclass(frozen=True)
class Posterior:
    """A Gaussian process, given trials."""

    prior: Gaussian
    trials: Features
    level: Tensor
    """mean of the targets"""
    cholesky: Tensor
    """of the trials' covariance, (N, N)"""
    weights: Tensor
    """(N, 1)"""

    @torch.no_grad()
    def mean(self, codes: Tensor) -> Tensor:
        """Expected values of joint actions (k, L): (k,)."""
        return self._mean(self.prior._kernel(self.prior._features(codes), self.trials))

    def _mean(self, with_trials: Tensor) -> Tensor:
        return (with_trials @ self.weights)[:, 0] + self.level

    @torch.no_grad()
    def draws(self, codes: Tensor, spreads: Tensor, generator: torch.Generator) -> Tensor:
        """Values of candidates (k, L) by M functions drawn from the posterior together, each pulled towards the mean: (M, k).

        Args:
            codes: the candidates.
            spreads: of each function, its deviation from the mean as a share of the posterior's, (M,); 1: Thompson sampling.
            generator: draws them.
        """
        x = self.prior._features(codes)
        with_trials = self.prior._kernel(x, self.trials)
        explained = torch.linalg.solve_triangular(self.cholesky, with_trials.T, upper=False)
        covariance = self.prior._kernel(x, x) - explained.T @ explained
        noise = torch.randn(len(codes), len(spreads), generator=generator, dtype=torch.float64)
        deviation = torch.linalg.cholesky(covariance + _JITTER * _eye(len(codes))) @ noise
        drawn: Tensor = self._mean(with_trials) + spreads[:, None] * deviation.T
        return drawn


def _eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)
