"""AgileRL: its IPPO on the token view without masks, a network for each agent.

Masks beside observations are refused, those in infos crash version 2.58. Episodes are played in step, as many as are learned
from at once; its own vector environment of that size would need processes. What it reports is the sum over agents, three times
the shared reward.
"""

from typing import Any

import numpy as np
import torch
from agilerl.algorithms import IPPO

from frameworks import Make
from ma2ml_env.views.token import TokenParallelEnv


def train(make: Make, pipelines: int, seed: int, *, envs: int, **settings: Any) -> None:
    """Play `envs` episodes, learn from them, and again; `settings` are those of `IPPO`."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (what AgileRL shuffles by)
    views = [TokenParallelEnv(make(), mask=None) for _ in range(envs)]
    agents, steps = views[0].possible_agents, views[0].steps
    learner = IPPO(
        [views[0].observation_space(a) for a in agents],
        [views[0].action_space(a) for a in agents],
        agent_ids=agents,
        learn_step=envs * steps,
        **settings,
    )
    learner.set_training_mode(True)

    def stacked(told: list[dict[str, Any]]) -> dict[str, Any]:
        return {agent: np.array([each[agent] for each in told]) for agent in agents}

    while True:
        states, actions, log_probs, rewards, dones, values = ({a: [] for a in agents} for _ in range(6))
        seen = stacked([view.reset()[0] for view in views])
        for _ in range(steps):
            chosen, log_prob, _, value = learner.get_action(obs=seen)
            told = [view.step({a: int(chosen[a][i]) for a in agents}) for i, view in enumerate(views)]
            paid = stacked([each[1] for each in told])
            for a in agents:
                states[a].append(seen[a])
                actions[a].append(chosen[a])
                log_probs[a].append(log_prob[a])
                rewards[a].append(paid[a])
                dones[a].append(np.zeros(envs))
                values[a].append(value[a])
            seen = stacked([each[0] for each in told])
        ended = {a: np.ones(envs) for a in agents}
        learner.learn((states, actions, log_probs, rewards, dones, values, seen, ended))
