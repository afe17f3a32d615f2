"""Theorem 1 (eqs. 6 to 10): where divergence policy iteration never lowers the expected reward, and where it may.

Steps are exact, and the learner's own functions say where they go: the policy of an agent that maximises E[Q] - lambda KL(pi ||
rho) is the one at which eq. 13's bracket, `credit.advantage`, is 0 for every action; log-ratio and divergence are those of
`divergence`, the baseline is `credit.baseline` over all actions, and target policies follow by `divergence.soft_update`.

The theorem is shown for joint steps, and for agents one after another, each with target policies equal to the policies. All
agents at once, as in Algorithm 1, and target policies that follow slowly are not covered: the controls find steps that go down.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ma2ml_agents.ma2ml import credit, divergence

GAMES = 60
STEPS = 8
ROUNDING = 1e-12
SHAPE = (4, 6, 3)
"""actions of three agents of one decision each"""
JOINT = torch.cartesian_prod(*(torch.arange(n) for n in SHAPE))  # (72, 3)

Policies = list[Tensor]
"""log-probabilities of each agent's actions, (C_i,)"""


def reward(values: Tensor, policies: Policies) -> Tensor:
    """E[R] of a product of policies; values (72,) in the order of JOINT."""
    weights = torch.stack([policy[JOINT[:, i]] for i, policy in enumerate(policies)]).sum(0).exp()
    return (weights * values).sum()


def q_function(values: Tensor) -> Callable[[Tensor], Tensor]:
    strides = torch.tensor([18, 3, 1])
    return lambda joint: values[(joint * strides).sum(-1)]


def marginal(values: Tensor, policies: Policies, agent: int) -> Tensor:
    """E over the others of the taken action's credit, Q - `credit.baseline`, for every action of an agent: (C,).

    The K samples of the baseline are all actions under a uniform policy: it shifts all actions by one number.
    """
    q, columns = q_function(values), slice(agent, agent + 1)
    every = torch.arange(SHAPE[agent])[:, None, None].expand(-1, len(JOINT), 1)
    gain = q(JOINT) - credit.baseline(q, JOINT, columns, every)
    others = torch.stack([p[JOINT[:, i]] for i, p in enumerate(policies) if i != agent]).sum(0).exp()
    return torch.zeros(SHAPE[agent], dtype=values.dtype).index_add(0, JOINT[:, agent], others * gain)


def bracket(policy: Tensor, target: Tensor, gain: Tensor, weight: float) -> Tensor:
    """Eq. 13's bracket for every action of an agent, its expectations taken exactly: (C,)."""
    codes = torch.arange(len(policy))[:, None]
    pi, rho = (table.expand(len(policy), 1, -1) for table in (policy, target))
    ratio, kl = divergence.log_ratio(pi, rho, codes), divergence.kl_along(pi, rho)
    return credit.advantage(gain, (policy.exp() * gain).sum().expand_as(gain), ratio, kl, weight)


def step(target: Tensor, gain: Tensor, weight: float) -> Tensor:
    """The policy at which the bracket is 0: rho exp(bracket at rho / lambda), normalised (eq. 9's arg max)."""
    return torch.log_softmax(target + bracket(target, target, gain, weight) / weight, 0)


def games() -> list[tuple[Tensor, Policies, float]]:
    g = torch.Generator().manual_seed(0)

    def game() -> tuple[Tensor, Policies, float]:
        values = torch.randn(len(JOINT), generator=g, dtype=torch.float64)
        policies = [torch.log_softmax(torch.randn(n, generator=g, dtype=torch.float64), 0) for n in SHAPE]
        return values, policies, float((4 * torch.rand((), generator=g) - 2).exp())

    return [game() for _ in range(GAMES)]


def lowered(weight: float, tau: float | None) -> int:
    """Steps of all agents at once after which E[R] is lower; target policies are the policies, or follow by tau (eq. 14)."""
    count = 0
    for values, start, _ in games():
        policies, targets = start, [policy.clone() for policy in start]
        for _ in range(STEPS):
            before = reward(values, policies)
            policies = [step(targets[i], marginal(values, policies, i), weight) for i in range(len(SHAPE))]
            divergence.soft_update(targets, policies, 1.0 if tau is None else tau)  # parameters are log-probabilities
            targets = [torch.log_softmax(target, 0) for target in targets]
            count += bool(reward(values, policies) < before - ROUNDING)
    return count


def test_the_bracket_is_zero_at_the_step_and_nowhere_else() -> None:
    for values, policies, weight in games()[:20]:
        gain = marginal(values, policies, 0)
        best = step(policies[0], gain, weight)
        assert float(bracket(best, policies[0], gain, weight).abs().max()) < 1e-9
        assert float(bracket(policies[0], policies[0], gain, weight).abs().max()) > 1e-3


def test_the_step_is_the_arg_max() -> None:
    """Of E[Q] - lambda KL, against mixtures with other policies."""
    g = torch.Generator().manual_seed(1)

    def objective(pi: Tensor, rho: Tensor, gain: Tensor, weight: float) -> float:
        return float((pi.exp() * gain).sum() - weight * divergence.kl_along(pi[None, None], rho[None, None]))

    for values, policies, weight in games()[:20]:
        gain = marginal(values, policies, 1)
        best = step(policies[1], gain, weight)
        value = objective(best, policies[1], gain, weight)
        for _ in range(20):
            other = torch.log_softmax(torch.randn(len(best), generator=g, dtype=torch.float64), 0)
            mixed = torch.log(0.9 * best.exp() + 0.1 * other.exp())
            assert objective(mixed, policies[1], gain, weight) < value


def test_joint_steps_never_lower_the_reward() -> None:
    """One agent that holds all decisions: J_reg(pi', pi) >= J_reg(pi, pi), and so J_init does not fall (eq. 10)."""
    for values, policies, weight in games():
        rho = torch.stack([policy[JOINT[:, i]] for i, policy in enumerate(policies)]).sum(0)
        for _ in range(STEPS):
            pi = step(rho, values, weight)
            kl = divergence.kl_along(pi[None, None], rho[None, None])
            assert (pi.exp() * values).sum() - weight * kl >= (rho.exp() * values).sum() - ROUNDING
            assert (pi.exp() * values).sum() >= (rho.exp() * values).sum() - ROUNDING
            rho = pi


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["theorem", "control"])
def test_steps_of_one_agent_after_another_never_lower_the_reward(sign: float) -> None:
    """The control is a critic of the wrong sign."""
    fallen = 0
    for values, start, weight in games():
        policies = list(start)
        for number in range(STEPS * len(SHAPE)):
            agent, before = number % len(SHAPE), reward(values, policies)
            policies[agent] = step(policies[agent], marginal(sign * values, policies, agent), weight)
            fallen += bool(reward(values, policies) < before - ROUNDING)
    assert (fallen == 0) == (sign > 0)


def test_control_steps_of_all_agents_at_once_may_lower_it() -> None:
    """Of 480 steps. A larger lambda makes them short, and the agents harmless to each other."""
    assert lowered(0.1, None) > 0
    assert lowered(3.0, None) == 0


def test_control_target_policies_that_follow_slowly_lower_it_more_often() -> None:
    assert lowered(0.1, 0.1) > lowered(0.1, None)
    assert lowered(0.1, 0.1) > lowered(3.0, 0.1)


def test_control_entropy_steps_lower_it() -> None:
    """Eq. 4 in the place of eq. 5: the target policy is uniform."""
    fallen = 0
    for values, policies, weight in games():
        good = list(policies)
        for number in range(STEPS * len(SHAPE)):
            agent = number % len(SHAPE)
            good[agent] = step(good[agent], marginal(values, good, agent), 0.2)
        before = reward(values, good)
        uniform = torch.log_softmax(torch.zeros(SHAPE[0], dtype=torch.float64), 0)
        changed = [step(uniform, marginal(values, good, 0), weight), *good[1:]]
        fallen += bool(reward(values, changed) < before - ROUNDING)
    assert fallen > GAMES // 2
