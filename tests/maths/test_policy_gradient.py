"""Policy gradients against autograd through the enumerated joint policy (eqs. 2, 5 and 13).

Expectations are sums over every outcome of the sampling, weighted by its probability, so the tolerance is rounding alone.
"""

import pytest
from torch import Tensor

from ma2ml_agents.ma2ml import credit, divergence
from ma2ml_agents.policies.controllers import chosen
from ma2ml_agents.variants.ma2ml_lite import reinforce_loss
from tests.maths.enumerable import COLUMNS, JOINT, NVEC, Enumerated, all_codes, differ, gradient

EXACT = 1e-8
WEIGHT = 0.7


def objective(game: Enumerated, weight: float = WEIGHT) -> Tensor:
    """Eq. 5, by enumeration: E[Q] - lambda KL(pi || rho)."""
    log_pi, log_rho = game.joint_log_prob(game.pi), game.joint_log_prob(game.rho)
    return (log_pi.exp() * (game.q(JOINT) - weight * (log_pi - log_rho))).sum()


def expected_loss(game: Enumerated, agent: str, weight: float = WEIGHT, *, same_sample: bool = False) -> Tensor:
    """Expectation of the K = 1 loss of eq. 13: over A ~ pi, and over the baseline's sample A_i' ~ pi_i."""
    columns, codes = COLUMNS[agent], all_codes(NVEC[agent])
    joint = JOINT.repeat_interleave(len(codes), 0)
    own, other = joint[:, columns], codes.repeat(len(JOINT), 1)
    if same_sample:
        other = own
    probability = game.joint_log_prob(game.pi, joint) + game.log_prob(game.pi, agent, codes).repeat(len(JOINT))
    share = probability.exp().detach() * len(joint)  # the loss takes the mean
    table = game.table(game.pi, agent, own)
    ratio = divergence.log_ratio(table, game.table(game.rho, agent, own), own)
    kl = divergence.kl_along(game.table(game.pi, agent, other), game.table(game.rho, agent, other))
    b = credit.baseline(game.q, joint, columns, other[None])
    return credit.policy_loss(chosen(table, own), share * credit.advantage(game.q(joint), b, ratio, kl, weight))


@pytest.mark.parametrize("agent", list(NVEC))
@pytest.mark.parametrize("seed", range(3))
def test_eq_13_is_the_gradient_of_eq_5(agent: str, seed: int) -> None:
    game = Enumerated.make(seed)
    exact = gradient(objective(game), game.pi[agent])
    assert differ(-gradient(expected_loss(game, agent), game.pi[agent]), exact) < EXACT


@pytest.mark.parametrize("wrong", ["sign of lambda", "no divergence", "sign of the loss", "baseline of A_i itself"])
def test_controls_of_eq_13(wrong: str) -> None:
    game = Enumerated.make(0)
    exact = gradient(objective(game), game.pi["nas"])
    if wrong == "baseline of A_i itself":
        loss = expected_loss(game, "nas", same_sample=True)
    else:
        loss = expected_loss(game, "nas", {"sign of lambda": -WEIGHT, "no divergence": 0.0}.get(wrong, WEIGHT))
    sign = 1 if wrong == "sign of the loss" else -1
    assert differ(sign * gradient(loss, game.pi["nas"]), exact) > 1e3 * EXACT


@pytest.mark.parametrize("agent", list(NVEC))
@pytest.mark.parametrize("b", [0.0, 0.83])
def test_reinforce_is_the_gradient_of_j_for_any_baseline(agent: str, b: float) -> None:
    game = Enumerated.make(4)
    exact = gradient(objective(game, weight=0.0), game.pi[agent])
    share = game.joint_log_prob(game.pi).exp().detach() * len(JOINT)
    log_prob = game.log_prob(game.pi, agent, JOINT[:, COLUMNS[agent]])
    right = -gradient(reinforce_loss(log_prob, share * (game.q(JOINT) - b)), game.pi[agent])
    assert differ(right, exact) < EXACT
    wrong = -gradient(reinforce_loss(log_prob, game.q(JOINT) - b), game.pi[agent])  # control: actions not from pi
    assert differ(wrong, exact) > 1e3 * EXACT
