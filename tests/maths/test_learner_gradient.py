"""The learner's own update, with everything that it wires together, against the exact gradient.

Policies do not move (step size 0); what is compared is the gradient that they were given: a mean over 40,000 sampled joint
actions, against autograd through the enumerated joint policy, with the learner's critic as Q.
"""

import pytest
import torch
from torch import Tensor

from ma2ml_agents.ma2ml import MA2ML, MA2MLConfig
from ma2ml_agents.policies.controllers import Controller
from ma2ml_env.trial import GameSpec
from tests.maths.enumerable import JOINT, NVEC, STATE_DIM, Enumerated, differ, gradient
from tests.maths.test_policy_gradient import objective

ROWS = 40_000
TOLERANCE = 0.06  # relative error was 0.001 to 0.032 over ten seeds x three agents
WEIGHT = 0.5


def policies(learner: MA2ML) -> dict[str, Controller]:
    return {agent: actor.policy for agent, actor in learner.actors.items()}


def targets(learner: MA2ML) -> dict[str, Controller]:
    return {agent: actor.rho for agent, actor in learner.actors.items()}


def learner_with_a_past() -> MA2ML:
    """Policies and target policies apart, a critic that prefers some actions strongly."""
    config = MA2MLConfig(
        hidden=6, embedding=5, policy_lr=0.0, lambda_=WEIGHT, lambda_per_decision=False, samples=2,
        grad_clip=1e9, ensemble=1, critic_hidden=(8,),
    )  # fmt: skip
    learner = MA2ML(GameSpec(NVEC, STATE_DIM), config, seed=0)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for net in [*policies(learner).values(), *targets(learner).values(), learner.critic]:
            for parameter in net.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=g))
    return learner


def exact(learner: MA2ML, agent: str, states: Tensor, weight: float) -> Tensor:
    with torch.no_grad():
        values = learner.critic(JOINT).mean(0)
    s = {a: states[:1, i] for i, a in enumerate(NVEC)}
    game = Enumerated(policies(learner), targets(learner), s, values)
    return gradient(objective(game, weight), learner.actors[agent].policy)


@pytest.mark.parametrize("agent", list(NVEC))
def test_the_update_is_the_exact_gradient(agent: str) -> None:
    learner = learner_with_a_past()
    states = torch.randn(1, len(NVEC), STATE_DIM, generator=torch.Generator().manual_seed(2)).expand(ROWS, -1, -1)
    learner._update_policies(states)
    policy = learner.actors[agent].policy
    found = -torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    assert differ(found, exact(learner, agent, states, WEIGHT)) < TOLERANCE
    assert differ(found, exact(learner, agent, states, 0.0)) > 2 * TOLERANCE  # control: without the divergence
    assert differ(found, exact(learner, agent, states, -WEIGHT)) > 2 * TOLERANCE  # control: its sign
