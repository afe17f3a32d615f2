"""Counterfactual baselines against sums over all actions (eqs. 3, 12 and 13)."""

import pytest
import torch

from ma2ml_agents.ma2ml import credit, divergence
from tests.maths.enumerable import COLUMNS, JOINT, NVEC, Enumerated, all_codes, differ

EXACT = 1e-9
WEIGHT = 0.7
AGENTS = list(NVEC)


def expected_baseline(game: Enumerated, agent: str, columns: slice) -> torch.Tensor:
    """Expectation of the K = 2 sample baseline: every pair of samples, weighted by its probability."""
    codes = all_codes(NVEC[agent])
    probability = game.log_prob(game.pi, agent, codes).exp().detach()
    total = torch.zeros(len(JOINT), dtype=torch.float64)
    for first, p in zip(codes, probability, strict=True):
        for second, p2 in zip(codes, probability, strict=True):
            own = torch.stack([first, second])[:, None].expand(2, len(JOINT), -1)
            total += p * p2 * credit.baseline(game.q, JOINT, columns, own)
    return total


@pytest.mark.parametrize("agent", AGENTS)
def test_the_sampled_baseline_is_eq_3_in_expectation(agent: str) -> None:
    game = Enumerated.make(0)
    exact = game.exact_baseline(agent, JOINT)
    assert differ(expected_baseline(game, agent, COLUMNS[agent]), exact) < EXACT


def test_control_replacing_another_agent_is_not_eq_3() -> None:
    game = Enumerated.make(0)
    codes = all_codes(NVEC["aug"])[:, None].expand(-1, len(JOINT), -1).clamp(max=1)
    wrong = credit.baseline(game.q, JOINT, COLUMNS["nas"], codes)
    assert differ(wrong, game.exact_baseline("aug", JOINT)) > 0.1


def test_others_are_kept() -> None:
    own = torch.zeros(3, len(JOINT), 2, dtype=torch.int64)
    replaced = credit.counterfactuals(JOINT, COLUMNS["nas"], own)
    assert replaced.shape == (3, *JOINT.shape)
    assert (replaced[:, :, 2:4] == 0).all()
    assert (replaced[:, :, [0, 1, 4]] == JOINT[:, [0, 1, 4]]).all()


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("flip", [False, True], ids=["eq13", "control"])
def test_the_regularised_baseline_gives_eq_13s_bracket(agent: str, flip: bool) -> None:
    """Q - lambda log(pi/rho) of all agents minus eq. 12 is eq. 13's bracket: the others' log-ratios cancel."""
    game = Enumerated.make(1)
    ratio = game.joint_log_prob(game.pi) - game.joint_log_prob(game.rho)
    literal = game.q(JOINT) - WEIGHT * ratio - game.exact_baseline(agent, JOINT, weight=WEIGHT)

    own = JOINT[:, COLUMNS[agent]]
    own_ratio = divergence.log_ratio(game.table(game.pi, agent, own), game.table(game.rho, agent, own), own)
    codes = all_codes(NVEC[agent])
    log_pi, log_rho = game.log_prob(game.pi, agent, codes), game.log_prob(game.rho, agent, codes)
    kl = (log_pi.exp() * (log_pi - log_rho)).sum().expand(len(JOINT))
    weight = -WEIGHT if flip else WEIGHT
    bracket = credit.advantage(game.q(JOINT), game.exact_baseline(agent, JOINT), own_ratio, kl, weight)
    assert not bracket.requires_grad
    assert (differ(bracket, literal.detach()) < EXACT) != flip


def test_advantage_has_mean_zero_over_the_own_action() -> None:
    game = Enumerated.make(2)
    probability = game.joint_log_prob(game.pi).exp().detach()
    for agent in AGENTS:
        gain = game.q(JOINT) - game.exact_baseline(agent, JOINT)
        assert abs(float((probability * gain).sum())) < EXACT
