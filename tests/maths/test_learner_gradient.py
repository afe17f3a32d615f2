"""The learner's own update, with everything that it wires together, against the exact gradient.

Policies do not move (step size 0); what is compared is the gradient that they were given: a mean over 40,000 sampled joint
actions, against autograd through the enumerated joint policy, with the learner's critic as Q.
"""

import pytest
import torch
from torch import Tensor

from ma2ml_agents.ma2ml import MA2ML, MA2MLConfig
from ma2ml_env.trial import GameSpec
from tests.maths.enumerable import COLUMNS, JOINT, NVEC, STATE_DIM, Enumerated, differ, gradient
from tests.maths.test_policy_gradient import objective

ROWS = 40_000
TOLERANCE = 0.06  # relative error was 0.001 to 0.032 over ten seeds x three agents
WEIGHT = 0.5


def learner_with_a_past(actions: str) -> MA2ML:
    """Policies and target policies apart, a critic that prefers some actions strongly."""
    config = MA2MLConfig(
        hidden=6, embedding=5, policy_lr=0.0, lambda_=WEIGHT, lambda_per_decision=False, samples=2,
        actions=actions, grad_clip=1e9, ensemble=1, critic_hidden=(8,),
    )  # fmt: skip
    learner = MA2ML(GameSpec(NVEC, STATE_DIM), config, seed=0)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for net in [*learner.policies.values(), *learner.rho.values(), learner.critic]:
            for parameter in net.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=g))
    return learner


def exact(learner: MA2ML, agent: str, states: Tensor, weight: float) -> Tensor:
    with torch.no_grad():
        values = learner.critic(JOINT).mean(0)
    s = {a: states[:1, i] for i, a in enumerate(NVEC)}
    return gradient(objective(Enumerated(learner.policies, learner.rho, s, values), weight), learner.policies[agent])


@pytest.mark.parametrize("agent", list(NVEC))
def test_fresh_actions_give_the_exact_gradient(agent: str) -> None:
    learner = learner_with_a_past("fresh")
    states = torch.randn(1, len(NVEC), STATE_DIM, generator=torch.Generator().manual_seed(2)).expand(ROWS, -1, -1)
    stored = JOINT[torch.zeros(ROWS, dtype=torch.int64)]
    learner._update_policies(stored, states)
    found = -torch.cat([p.grad.flatten() for p in learner.policies[agent].parameters() if p.grad is not None])
    assert differ(found, exact(learner, agent, states, WEIGHT)) < TOLERANCE
    assert differ(found, exact(learner, agent, states, 0.0)) > 2 * TOLERANCE  # control: without the divergence
    assert differ(found, exact(learner, agent, states, -WEIGHT)) > 2 * TOLERANCE  # control: its sign


def test_mixed_actions_keep_the_others_as_stored() -> None:
    """With A_-i from the replay the gradient is that of E_{A_i}[Q(A_i, stored A_-i)] - lambda KL_i."""
    learner = learner_with_a_past("mixed")
    states = torch.randn(1, len(NVEC), STATE_DIM, generator=torch.Generator().manual_seed(2)).expand(ROWS, -1, -1)
    row = JOINT[37]
    learner._update_policies(row.expand(ROWS, -1), states)
    policy, columns = learner.policies["nas"], COLUMNS["nas"]
    found = -torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    kept = [c for c in range(JOINT.shape[1]) if not columns.start <= c < columns.stop]
    joint = JOINT[(JOINT[:, kept] == row[kept]).all(1)]
    game = Enumerated(learner.policies, learner.rho, {"nas": states[:1, 1]}, torch.zeros(len(JOINT)))
    log_pi = game.log_prob(learner.policies, "nas", joint[:, columns])
    log_rho = game.log_prob(learner.rho, "nas", joint[:, columns])
    with torch.no_grad():
        q = learner.critic(joint).mean(0)
    value = (log_pi.exp() * (q - WEIGHT * (log_pi - log_rho))).sum()
    assert differ(found, gradient(value, policy)) < TOLERANCE
    assert (
        differ(found, exact(learner, "nas", states, WEIGHT)) > 2 * TOLERANCE
    )  # control: the fresh gradient is another
