"""The Gaussian-process critic: an exact posterior over values with interactions of any order, and draws of it.

    R(A) = f(A) + noise,   f ~ GP(mean, k),   k(A, A') = s^2 prod_d exp(-u_d [a_d != a'_d] - v_d (x_d - x'_d)^2)

x_d is a choice's place in the row of its decision's choices, or an interval's position, scaled to [0, 2]. How much a decision
matters, and whether by name (u_d) or by order (v_d: depths, rates and the like stand in order), is found by the marginal
likelihood. Of some hundred trials of few decisions no network learns as much: two settings a decision are fitted, not thousands
of weights, and where the trials say nothing, draws differ. The hybrid judges by it what descends from the best pipelines
(`hybrid/screening.py`); for `ma2ml_exact` it is what choices are worth together (`ma2ml_exact/critic.py`).

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

MOST = 1024
"""trials that a posterior is conditioned on; of more, the newest half of that and the best of the others"""
_SAMPLE = 256
"""trials drawn for a step on the marginal likelihood"""
_STEPS, _STEP = 8, 0.08
"""of Adam after each batch of trials, on the logarithms of the settings"""
_NOISE, _LEAST_NOISE = 0.05, 1e-4
"""variance of the noise that is expected, and the least that is believed; the targets' is 1"""
_JITTER = 1e-6
"""variance added to candidates, of which some stand twice or are known"""


class GaussianProcess:
    """A Gaussian process over joint actions. Its targets may be of any level and scale.

    Args:
        nvec: number of choices of every decision of the joint action, L entries; 0 stands for an interval.

    `settings` are the logarithms of u (L,), v (L,), s^2 and the variance of the noise, for targets of unit variance. A priori
    they are normal: log u and log v about log 1/L, log s^2 about 0, with a deviation of 1, the noise about .05, with sqrt(2).
    """

    def __init__(self, nvec: Sequence[int]) -> None:
        self.nvec = tuple(nvec)
        about = [math.log(1.0 / len(nvec))] * 2 * len(nvec) + [0.0, math.log(_NOISE)]
        self.about = torch.tensor(about, dtype=torch.float64)
        self.precision = torch.tensor([1.0] * (2 * len(nvec) + 1) + [0.5], dtype=torch.float64)
        self.settings = self.about.clone().requires_grad_()
        self.optimizer = torch.optim.Adam([self.settings], lr=_STEP, betas=(0.8, 0.95))

    def learn(self, codes: Tensor, targets: Tensor, generator: torch.Generator, batches: int = 1) -> None:
        """Steps towards settings by which trials are likelier, after so many new batches: codes (N, L), targets (N,)."""
        level, scale = _unit(targets)
        y = (targets.double() - level) / scale
        for _ in range(_STEPS * batches):
            rows = torch.randperm(len(y), generator=generator)[:_SAMPLE]
            kernel = Kernel(self.nvec, self.settings)
            x = kernel.features(codes[rows])
            cholesky = torch.linalg.cholesky(kernel(x, x) + kernel.noise * _eye(len(rows)))
            fit = torch.linalg.solve_triangular(cholesky, y[rows, None], upper=False)
            unlikely = 0.5 * fit.square().sum() + cholesky.diagonal().log().sum()
            unlikely = unlikely + 0.5 * (self.precision * (self.settings - self.about).square()).sum()
            self.optimizer.zero_grad()
            unlikely.backward()
            self.optimizer.step()
            with torch.no_grad():
                self.settings[-1].clamp_(min=math.log(_LEAST_NOISE))

    def posterior(self, codes: Tensor, targets: Tensor, worth: Tensor | None = None) -> "Posterior":
        """What trials tell of all joint actions.

        Args:
            codes: of the trials, (N, L).
            targets: (N,).
            worth: by which the best of more than `MOST` trials are chosen, (N,); the targets unless told. If those are mostly
                noise, they choose by noise.
        """
        level, scale = _unit(targets)
        rows = torch.arange(len(codes))
        if len(codes) > MOST:
            half = MOST // 2
            older = (targets if worth is None else worth)[:-half].argsort(descending=True, stable=True)[:half]
            rows = torch.cat([older, rows[-half:]])
            codes, targets = codes[rows], targets[rows]
        kernel = Kernel(self.nvec, self.settings.detach().clone())
        x = kernel.features(codes)
        cholesky = torch.linalg.cholesky(kernel(x, x) + kernel.noise * _eye(len(codes)))
        weights = torch.cholesky_solve((targets.double()[:, None] - level) / scale, cholesky)
        return Posterior(kernel, rows, codes, x, level, scale, cholesky, weights)

    @property
    def share(self) -> float:
        """Of the targets' variance that is the process, in (0, 1); the rest is noise."""
        variance, noise = self.settings.detach()[-2:].exp().tolist()
        return float(variance / (variance + noise))

    def state_dict(self) -> dict[str, Any]:
        """Exact state."""
        return {"settings": self.settings.detach().clone(), "optimizer": optimizer_state(self.optimizer)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        with torch.no_grad():
            self.settings.copy_(state["settings"])
        load_optimizer(self.optimizer, state["optimizer"])


Features = tuple[Tensor, Tensor]
"""one-hot choices (n, choices) and places (n, L)"""


class Kernel:
    """The function k at some settings: nvec and settings as in `GaussianProcess`."""

    def __init__(self, nvec: Sequence[int], settings: Tensor) -> None:
        self.nvec = tuple(nvec)
        self.decisions = [column for column, size in enumerate(nvec) if size]
        sizes = torch.tensor([size for size in nvec if size], dtype=torch.int64)
        self.choices, self.offsets = int(sizes.sum()), torch.cumsum(sizes, 0) - sizes
        self.span = torch.tensor([max(size - 1, 1) for size in nvec], dtype=torch.float64)
        u, self.v = settings[:-2].exp().chunk(2)
        self.u = u[self.decisions]
        self.u_of_choices = self.u.repeat_interleave(sizes)
        self.log_variance = settings[-2]
        self.noise = settings[-1].exp()

    def features(self, codes: Tensor) -> Features:
        """What the covariance is computed from, of joint actions (n, L)."""
        hot = torch.zeros(len(codes), self.choices, dtype=torch.float64)
        if self.decisions:
            hot.scatter_(1, codes[:, self.decisions].long() + self.offsets, 1.0)
        return hot, 2.0 * codes.double() / self.span

    def __call__(self, a: Features, b: Features) -> Tensor:
        """The covariance of all pairs of n and N joint actions: (n, N)."""
        by_name = self.u.sum() - (a[0] * self.u_of_choices) @ b[0].T
        by_order = (a[1].square() @ self.v)[:, None] + b[1].square() @ self.v - 2 * (a[1] * self.v) @ b[1].T
        return (self.log_variance - by_name - by_order.clamp(min=0.0)).exp()


@dataclass(frozen=True)
class Posterior:
    """A Gaussian process, given trials."""

    kernel: Kernel
    rows: Tensor
    """of the trials that it is conditioned on, among all"""
    codes: Tensor
    """of the trials, (N, L)"""
    features: Features
    """of the trials"""
    level: float
    scale: float
    """mean and deviation of the targets"""
    cholesky: Tensor
    """of the trials' covariance, (N, N)"""
    weights: Tensor
    """(N, 1)"""

    def mean(self, codes: Tensor) -> Tensor:
        """Expected values of joint actions (k, L): (k,)."""
        return self._mean(self.kernel(self.kernel.features(codes), self.features))

    def _mean(self, with_trials: Tensor) -> Tensor:
        return self.level + self.scale * (with_trials @ self.weights)[:, 0]

    def variance(self, codes: Tensor) -> float:
        """Of the value of a joint action (1, L)."""
        x = self.kernel.features(codes)
        explained = torch.linalg.solve_triangular(self.cholesky, self.kernel(x, self.features).T, upper=False)
        return self.scale**2 * max(float(self.kernel(x, x) - explained.square().sum()), 0.0)

    def draws(self, codes: Tensor, spreads: Tensor, generator: torch.Generator) -> Tensor:
        """Values of candidates (k, L) by M functions drawn from the posterior, each pulled towards the mean: (M, k).

        Args:
            codes: the candidates.
            spreads: of each function, its deviation from the mean as a share of the posterior's, (M,); 1: Thompson sampling.
            generator: draws them. Every call draws other functions.
        """
        x = self.kernel.features(codes)
        with_trials = self.kernel(x, self.features)
        explained = torch.linalg.solve_triangular(self.cholesky, with_trials.T, upper=False)
        covariance = self.kernel(x, x) - explained.T @ explained
        noise = torch.randn(len(codes), len(spreads), generator=generator, dtype=torch.float64)
        deviation = torch.linalg.cholesky(covariance + _JITTER * _eye(len(codes))) @ noise
        drawn: Tensor = self._mean(with_trials) + self.scale * spreads[:, None] * deviation.T
        return drawn


def _unit(targets: Tensor) -> tuple[float, float]:
    """Mean and deviation, 1 where all are equal."""
    deviation = float(targets.double().std(correction=0))
    return float(targets.double().mean()), deviation if deviation > 0 else 1.0


def _eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)
