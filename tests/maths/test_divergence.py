"""The Kullback-Leibler divergence by the chain rule, and the target policies (eqs. 5 and 14)."""

import pytest
import torch

from ma2ml_agents.ma2ml import divergence
from tests.maths.enumerable import NVEC, Enumerated, all_codes


@pytest.mark.parametrize("agent", list(NVEC))
def test_chain_rule_is_the_exact_kl(agent: str) -> None:
    game = Enumerated.make(0)
    codes = all_codes(NVEC[agent])
    pi, rho = game.table(game.pi, agent, codes).detach(), game.table(game.rho, agent, codes).detach()
    log_pi = game.log_prob(game.pi, agent, codes).detach()
    ratio = divergence.log_ratio(pi, rho, codes)
    exact = (log_pi.exp() * ratio).sum()
    along = divergence.kl_along(pi, rho)  # one value per prefix
    assert abs(float((log_pi.exp() * along).sum() - exact)) < 1e-9
    assert (along >= 0).all()
    assert (ratio < 0).any()  # the log-ratio, of equal mean, is not of one sign

    wrong = divergence.kl_along(rho, pi)  # control: the other direction
    assert abs(float((log_pi.exp() * wrong).sum() - exact)) > 1e-3


def test_padding_counts_nothing() -> None:
    game = Enumerated.make(0)
    codes = all_codes(NVEC["aug"])  # 2 choices, then 3: the first step is padded
    same = game.table(game.pi, "aug", codes).detach()
    assert (divergence.kl_along(same, same) == 0).all()
    assert torch.isfinite(divergence.kl_along(same, game.table(game.rho, "aug", codes).detach())).all()


def test_kl_of_several_agents_adds_up() -> None:
    """Eq. 5's joint divergence is the sum of the agents': policies are independent given S."""
    game = Enumerated.make(3)
    log_pi, log_rho = game.joint_log_prob(game.pi).detach(), game.joint_log_prob(game.rho).detach()
    joint = float((log_pi.exp() * (log_pi - log_rho)).sum())
    each = 0.0
    for agent, nvec in NVEC.items():
        codes = all_codes(nvec)
        p, r = game.log_prob(game.pi, agent, codes).detach(), game.log_prob(game.rho, agent, codes).detach()
        each += float((p.exp() * (p - r)).sum())
    assert abs(joint - each) < 1e-9


def test_soft_update_is_eq_14() -> None:
    old, new = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 4.0])
    target = old.clone()
    divergence.soft_update([target], [new], 0.25)
    assert torch.equal(target, 0.75 * old + 0.25 * new)
    assert not torch.equal(target, 0.25 * old + 0.75 * new)  # control: the shares the other way round
