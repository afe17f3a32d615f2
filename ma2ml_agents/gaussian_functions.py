"""Draws of the Gaussian process as functions of all joint actions.

By Matheron's rule a draw is one of the prior, corrected by what the trials say: f(A) = psi(A) w + k(A, X) K^-1 (y - psi(X) w -
noise). The prior is drawn by random features of the kernel itself: for exp(-u [a != a']) a random sign of every choice, in a
share 1 - exp(-u) of the features; for the order a cosine (Rahimi & Recht 2007; Wilson et al. 2020). Features and kernel are
products over decisions, so what a decision's choices are worth while all others stand is read off two small tables.
"""

import math

import torch
from torch import Tensor

from ma2ml_agents.gaussian import Posterior

GRID = 33
"""positions of an interval that a function has values at"""
FEATURES = 256
"""random features of a draw of the prior"""
_LEAST = 1e-30
"""of a factor of the kernel, as it is divided by"""


class Functions:
    """One function for each of n joint actions, and what it is worth where they stand.

    Args:
        posterior: what is drawn from.
        targets: (N, n) what the trials are worth to each function, of the posterior's level and scale.
        noise: white noise (FEATURES + N, n) that makes the draws.
        spread: deviation of a draw from the mean, as a share of the posterior's.
        basis: draws the random features, the same for all functions.
    """

    def __init__(
        self, posterior: Posterior, targets: Tensor, noise: Tensor, spread: float, basis: torch.Generator
    ) -> None:
        self._posterior, kernel, trials = posterior, posterior.kernel, posterior.codes
        u = torch.zeros(len(kernel.nvec), dtype=torch.float64)
        u[kernel.decisions] = kernel.u
        self._waves, self._near = list[Tensor](), list[Tensor]()
        """for each decision: (C, FEATURES) complex factors of the features, (C, N) of the kernel with the trials"""
        parity, phase = torch.zeros(len(trials), FEATURES), torch.zeros(len(trials), FEATURES, dtype=torch.float64)
        for d, size in enumerate(kernel.nvec):
            choices = torch.arange(size).double() if size else torch.linspace(0.0, 1.0, GRID, dtype=torch.float64)
            place, own = 2.0 * choices / kernel.span[d], 2.0 * trials[:, d].double() / kernel.span[d]
            slope = torch.randn(FEATURES, generator=basis, dtype=torch.float64) * math.sqrt(2.0 * float(kernel.v[d]))
            active = torch.rand(FEATURES, generator=basis, dtype=torch.float64) > math.exp(-float(u[d]))
            odd = torch.randint(2, (len(choices), FEATURES), generator=basis) * active
            self._waves.append(torch.polar(1.0 - 2.0 * odd.double(), place[:, None] * slope))
            apart = u[d] * (choices[:, None] != trials[:, d]) + kernel.v[d] * (place[:, None] - own).square()
            self._near.append((-apart).exp().clamp(min=_LEAST))
            phase += own[:, None] * slope
            if size:
                parity += odd[trials[:, d].long()]
        shift = 2.0 * math.pi * torch.rand(FEATURES, generator=basis, dtype=torch.float64)
        scale = math.sqrt(2.0 / FEATURES) * float((0.5 * kernel.log_variance).exp())
        self._first = torch.polar(torch.full((FEATURES,), scale, dtype=torch.float64), shift)
        w, errors = noise[:FEATURES], noise[FEATURES:]
        self._w = spread * w.T
        features = scale * (1.0 - 2.0 * (parity % 2)) * (phase + shift).cos()
        prior = features @ self._w.T + spread * float(kernel.noise.sqrt()) * errors
        rest = (targets - posterior.level) / posterior.scale - prior
        self._weights = torch.cholesky_solve(rest, posterior.cholesky).T * float(kernel.log_variance.exp())

    def stand(self, places: Tensor) -> None:
        """Stand at joint actions (n, L): numbers of choices, and of positions on an interval's grid."""
        self.places = places.clone()
        self._product, self._kernel = self._first.expand(len(places), -1), self._weights
        for waves, near, now in zip(self._waves, self._near, places.T, strict=True):
            self._product, self._kernel = self._product * waves[now], self._kernel * near[now]

    def values(self, d: int) -> Tensor:
        """Values (n, C) of the choices of decision d while the others stand, but for the posterior's level."""
        waves, near, now = self._waves[d], self._near[d], self.places[:, d]
        weighted = self._w * (self._product * waves[now].conj())
        prior = weighted.real @ waves.real.T - weighted.imag @ waves.imag.T
        values: Tensor = self._posterior.scale * (prior + (self._kernel / near[now]) @ near.T)
        return values

    def move(self, d: int, choices: Tensor) -> None:
        """Let decision d take these choices (n,)."""
        waves, near, now = self._waves[d], self._near[d], self.places[:, d]
        self._product = self._product * waves[now].conj() * waves[choices]
        self._kernel = self._kernel / near[now] * near[choices]
        self.places[:, d] = choices
