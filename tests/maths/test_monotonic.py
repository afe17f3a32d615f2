"""Theorem 1 (eqs. 6 to 10): divergence policy iteration never lowers the expected reward; entropy regularisation does.

Steps are exact: arg max_pi E_pi[Q] - lambda KL(pi || rho) is pi ~ rho exp(Q / lambda), over joint policies, or over one agent's
policy with the others fixed, where Q is the expectation over the others.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GAMES = 200
STEPS = 8
ROUNDING = 1e-12
SHAPE = (4, 6, 3)  # codes of three agents


def tilt(rho: Floats, q: Floats, weight: float) -> Floats:
    """The closed form of eq. 9's arg max."""
    log = np.log(np.maximum(rho, 1e-300)) + q / weight
    pi = np.exp(log - log.max())
    return np.asarray(pi / pi.sum())


def joint(policies: list[Floats]) -> Floats:
    product = policies[0]
    for policy in policies[1:]:
        product = np.multiply.outer(product, policy)
    return product


def kl(pi: Floats, rho: Floats) -> float:
    held = pi > 0
    return float((pi[held] * np.log(pi[held] / rho[held])).sum())


def games() -> list[tuple[Floats, list[Floats], float]]:
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=SHAPE), [rng.dirichlet(np.ones(n)) for n in SHAPE], float(np.exp(rng.uniform(-2, 2))))
        for _ in range(GAMES)
    ]


def marginal(q: Floats, policies: list[Floats], agent: int) -> Floats:
    """E over the other agents of Q, as a function of this agent's code."""
    others = [np.ones(len(p)) if i == agent else p for i, p in enumerate(policies)]
    axes = tuple(i for i in range(len(policies)) if i != agent)
    return np.asarray((joint(others) * q).sum(axis=axes))


def test_joint_steps_never_lower_the_objective() -> None:
    for q, policies, weight in games():
        rho = joint(policies)
        for _ in range(STEPS):
            pi = tilt(rho, q, weight)
            assert (pi * q).sum() - weight * kl(pi, rho) >= (
                rho * q
            ).sum() - ROUNDING  # J_reg(pi', pi) >= J_reg(pi, pi)
            assert (pi * q).sum() >= (rho * q).sum() - ROUNDING  # J_init
            rho = pi


def test_steps_of_one_agent_after_another_never_lower_the_objective() -> None:
    for q, policies, weight in games():
        policies = list(policies)
        for step in range(STEPS * len(SHAPE)):
            agent = step % len(SHAPE)
            before = float((joint(policies) * q).sum())
            policies[agent] = tilt(policies[agent], marginal(q, policies, agent), weight)
            assert float((joint(policies) * q).sum()) >= before - ROUNDING


def test_the_closed_form_is_the_arg_max() -> None:
    rng = np.random.default_rng(1)
    for q, policies, weight in games()[:20]:
        rho = joint(policies)
        best = tilt(rho, q, weight)
        value = (best * q).sum() - weight * kl(best, rho)
        for _ in range(20):
            other = 0.9 * best + 0.1 * rng.dirichlet(np.ones(q.size)).reshape(q.shape)
            assert (other * q).sum() - weight * kl(other, rho) < value


def test_control_entropy_steps_and_a_wrong_sign_do_lower_it() -> None:
    entropy = flipped = 0
    for q, policies, weight in games():
        rho = tilt(joint(policies), q, 0.2)  # somewhere on the way
        before = (rho * q).sum()
        entropy += bool(
            (tilt(np.ones_like(rho), q, weight) * q).sum() < before - ROUNDING
        )  # eq. 4: pi ~ exp(Q / lambda)
        flipped += bool((tilt(rho, -q, weight) * q).sum() < before - ROUNDING)
    assert entropy > GAMES // 2
    assert flipped == GAMES
