"""Divergence regularisation towards a target policy (paper, section 3.5; eqs. 5, 12 and 14)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ma2ml_agents.policies.controllers import chosen
from ma2ml_agents.policies.intervals import MixedTable, Table


def log_ratio(policy: Table, target: Table, codes: Tensor) -> Tensor:
    """Log pi_i(A_i|S_i) / rho_i(A_i|S_i): tables (n, T, C), codes (n, T) -> (n,)."""
    return chosen(policy, codes) - chosen(target, codes)


def kl_along(policy: Table, target: Table) -> Tensor:
    """KL(pi_i(.|a_<t) || rho_i(.|a_<t)) summed over the steps of prefixes that were sampled from pi_i: (n, T, C) -> (n,).

    By the chain rule its expectation is D_KL(pi_i(.|S_i) || rho_i(.|S_i)); every step is exact, so it is never negative and
    varies less than the log-ratio, whose expectation is the same. So is the step of an interval: that of its Gaussians.
    """
    if isinstance(policy, MixedTable):
        assert isinstance(target, MixedTable), "both are of one agent"
        return kl_along(policy.choices, target.choices) + policy.gaussians.kl(target.gaussians).sum(1)
    assert isinstance(target, Tensor)
    return (policy.exp() * (policy - target)).sum(dim=(1, 2))


@torch.no_grad()
def soft_update(target: Iterable[Tensor], policy: Iterable[Tensor], tau: float) -> None:
    """Theta-bar_i <- (1 - tau) theta-bar_i + tau theta_i (eq. 14), in place."""
    for old, new in zip(target, policy, strict=True):
        old.lerp_(new, tau)
