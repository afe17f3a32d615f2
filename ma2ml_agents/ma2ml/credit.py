"""Credit assignment: what an agent's action was worth, the others' being as they were (paper, section 3.4; eqs. 3, 12, 13)."""

from collections.abc import Callable

from torch import Tensor

ACTIONS = ("fresh", "mixed", "buffer")
"""where the actions of eq. 13's outer expectation may come from; see `take`"""

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


def take(mode: str, fresh: Tensor, stored: Tensor, columns: slice) -> Tensor:
    """The joint actions of eq. 13's outer expectation for one agent, (n, L); the paper leaves open where they come from.

    Args:
        mode: `fresh`, all agents' actions from the current policies; `mixed`, A_i from the current policy and A_-i from the
            replay; `buffer`, all from the replay (biased: the baseline is the current policy's, and nothing is reweighted).
        fresh: (n, L) sampled now.
        stored: (n, L) from the replay.
        columns: agent i's columns.

    Raises:
        ValueError: if there is no such mode.
    """
    if mode == "fresh":
        return fresh
    if mode == "buffer":
        return stored
    if mode == "mixed":
        return counterfactuals(stored, columns, fresh[None, :, columns])[0]
    raise ValueError(f"actions are one of {', '.join(ACTIONS)}, not {mode!r}")
