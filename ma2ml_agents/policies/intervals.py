"""What learners share about intervals: a distribution over positions u in (0, 1), features of u, and small steps.

A policy's distribution is a squashed Gaussian: x ~ N(mean, std^2), u = 1 / (1 + exp(-x)). By the change of variables

    log p(u) = log N(x; mean, std^2) - log(u (1 - u)),   x = log(u / (1 - u)).

Squashing is a bijection, so the divergence of two such distributions is that of their Gaussians: exact, without a sample.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

RESOLUTION = 32
"""choices that an interval counts as where entropies of decisions and intervals are added up"""
COSINES = 4
"""features of a position that a critic reads"""
START = 1.75
"""initial standard deviation of x: with mean 0, the squashed Gaussian that is nearest to uniform in entropy"""
NARROWEST, WIDEST = 0.05, 2.5
"""standard deviations of x lie between these; the narrowest is one of .0125 in u about the middle"""
FURTHEST = 5.0
"""means of x lie within ± this, u within .007 of the ends; beyond, a gradient would be lost in rounding"""
MEAN_GAIN, SPREAD_GAIN = 0.5, 0.3
"""of a network's outputs. Adam moves every output by about its step size times the number of units, whatever the gradient; at 1
the spread collapses before the mean is where it should be: REINFORCE alone then reached .915 (sd .058 over six seeds) of the
optimum of the small game in `tests/learning`, and .961 (sd .012) with these"""
_EDGE = 1e-6
"""positions are read and drawn no nearer to 0 and 1 than this: the density of the ends themselves is not defined"""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_START_SHARE = math.log(START / NARROWEST) / math.log(WIDEST / NARROWEST)
_START_LOGIT = math.log(_START_SHARE / (1 - _START_SHARE))


@dataclass(frozen=True)
class Gaussians:
    """Distributions of positions before squashing."""

    mean: Tensor
    """(n, C), C intervals"""
    log_std: Tensor
    """(n, C)"""

    @classmethod
    def of(cls, outputs: Tensor) -> "Gaussians":
        """From any numbers (n, C, 2), smoothly within the bounds above; zeros are the start."""
        mean = FURTHEST * (MEAN_GAIN * outputs[:, :, 0] / FURTHEST).tanh()
        share = (SPREAD_GAIN * outputs[:, :, 1] + _START_LOGIT).sigmoid()
        return cls(mean, math.log(NARROWEST) + math.log(WIDEST / NARROWEST) * share)

    def heated(self, temperature: float) -> "Gaussians":
        """The density to the power of 1 / temperature, as a softmax over logits / temperature is."""
        return self if temperature == 1.0 else Gaussians(self.mean, self.log_std + 0.5 * math.log(temperature))

    def draw(self, normal: Tensor) -> Tensor:
        """Positions (n, C) in double precision of standard normal numbers (n, C)."""
        return (self.mean + self.log_std.exp() * normal).double().sigmoid().clamp(_EDGE, 1 - _EDGE)

    def log_prob(self, positions: Tensor) -> Tensor:
        """Log-density of positions (n, C): (n, C)."""
        u = positions.double().clamp(_EDGE, 1 - _EDGE)
        x, jacobian = u.logit().to(self.mean.dtype), (u * (1 - u)).log().to(self.mean.dtype)
        z = (x - self.mean) * (-self.log_std).exp()
        return -0.5 * z * z - self.log_std - 0.5 * math.log(2 * math.pi) - jacobian

    def kl(self, other: "Gaussians") -> Tensor:
        """KL(self || other) of every interval, (n, C)."""
        ratio = 2 * (self.log_std - other.log_std)
        distance = (self.mean - other.mean) * (-other.log_std).exp()
        return 0.5 * (ratio.exp() + distance * distance - 1 - ratio)

    def entropy(self) -> Tensor:
        """Differential entropy of the position, (n, C): 0 if uniform, else negative; by Gauss-Hermite quadrature."""
        nodes = torch.as_tensor(_NODES, dtype=self.mean.dtype, device=self.mean.device)
        weights = torch.as_tensor(_WEIGHTS / _WEIGHTS.sum(), dtype=self.mean.dtype, device=self.mean.device)
        x = self.mean[..., None] + self.log_std.exp()[..., None] * nodes
        log_slope = (functional.logsigmoid(x) + functional.logsigmoid(-x)) @ weights  # E[log u (1 - u)]
        return self.log_std + 0.5 * math.log(2 * math.pi * math.e) + log_slope


@dataclass(frozen=True)
class MixedTable:
    """What a policy with intervals would have done along n codes; a policy of decisions alone has the first part only."""

    choices: Tensor
    """(n, T, C): log-probabilities of every choice of the decisions"""
    gaussians: Gaussians
    """of the intervals"""

    def __getitem__(self, rows: slice) -> "MixedTable":
        g = self.gaussians
        return MixedTable(self.choices[rows], Gaussians(g.mean[rows], g.log_std[rows]))

    def detach(self) -> "MixedTable":
        """The same without gradients."""
        g = self.gaussians
        return MixedTable(self.choices.detach(), Gaussians(g.mean.detach(), g.log_std.detach()))


Table = Tensor | MixedTable
"""log-probabilities along n codes: (n, T, C) where there are decisions alone"""


def cosines(positions: Tensor) -> Tensor:
    """Cos(k pi u) for k = 1..COSINES of every interval, (n, C) -> (n, C x COSINES).

    The first is nearly a slope and the second a hill, so a linear term over them finds a single peak; all together they are
    a basis of the smooth functions on [0, 1].
    """
    k = torch.arange(1, COSINES + 1, device=positions.device)
    return (math.pi * positions.double()[:, :, None] * k).cos().float().flatten(1)


def moved(positions: Tensor, generator: torch.Generator) -> Tensor:
    """Positions, each a step away: normal, of a scale between 1/4 and 1/64, reflected at the ends."""
    scale = 2.0 ** -(2 + 4 * torch.rand(positions.shape, generator=generator, dtype=torch.float64))
    step = scale * torch.randn(positions.shape, generator=generator, dtype=torch.float64)
    u = (positions + step).remainder(2.0)
    return torch.minimum(u, 2.0 - u)
