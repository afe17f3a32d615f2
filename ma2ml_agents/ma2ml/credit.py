"""Credit assignment: what an agent's action was worth, the others' being as they were (paper, section 3.4; eqs. 3, 12, 13)."""

from collections.abc import Callable

from torch import Tensor

QFunction = Callable[[Tensor], Tensor]
"""Q(S, A) of joint actions: (K, n, L) -> (K, n); row b of every block belongs to the same S"""


def counterfactuals(joint: Tensor, columns: slice, own: Tensor) -> Tensor:
    """Joint actions with one agent's part replaced, A_-i being kept.

    Args:
        joint: (n, L) joint actions.
        columns: agent i's columns.
        own: (K, n, L_i) codes of agent i.

    Returns:
        (K, n, L).
    """
    replaced = joint.expand(len(own), *joint.shape).clone()
    replaced[:, :, columns] = own
    return replaced


def baseline(q: QFunction, joint: Tensor, columns: slice, own: Tensor) -> Tensor:
    """b(S, A_-i) = E_{A_i ~ pi_i}[Q(S, A_i, A_-i)] (eq. 3) by K samples `own` (K, n, L_i) of pi_i -> (n,)."""
    return q(counterfactuals(joint, columns, own)).mean(0)


def advantage(q_taken: Tensor, q_baseline: Tensor, log_ratio: Tensor, kl: Tensor, weight: float) -> Tensor:
    """Eq. 13's bracket: Q - lambda log(pi_i / rho_i) - E[Q] + lambda KL(pi_i || rho_i), each (n,).

    It is Q - lambda log(pi / rho) minus the regularised baseline of eq. 12: the other agents' log-ratios cancel. Nothing in it
    carries a gradient.
    """
    return (q_taken - weight * log_ratio - q_baseline + weight * kl).detach()


def policy_loss(log_prob: Tensor, advantages: Tensor) -> Tensor:
    """The scalar whose descent is eq. 13's ascent: log pi_i(A_i|S_i) (n,) with gradient, advantages (n,) without."""
    return -(log_prob * advantages).mean()
