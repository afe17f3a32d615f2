"""tianshou: its wrapper refuses native agents, an agent is paid in its own step alone, and DQNs with whole returns learn."""

import numpy as np
import pytest

pytest.importorskip("tianshou", reason="tianshou needs an environment of its own: make frameworks")

from frameworks import algorithm, tianshou
from pettingzoo.utils import parallel_to_aec
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.multiagent.marl import MultiAgentPolicy
from tianshou.data import Batch
from tianshou.env.pettingzoo_env import PettingZooEnv
from tianshou.utils.net.common import Net

import ma2ml_env
from ma2ml_env.env import AutoMLEnv
from ma2ml_env.testing import check_env


def test_the_game_conforms():
    check_env(ma2ml_env.parallel_env("trio-digits-v0", "surrogate"))


def test_agents_of_unequal_spaces_are_refused():
    with pytest.raises(AssertionError, match="must be identical"):
        PettingZooEnv(parallel_to_aec(ma2ml_env.parallel_env("trio-digits-v0", "surrogate")))


def test_masks_arrive_and_the_reward_comes_with_the_last_agents_last_step(game):
    """Two of three agents are paid in no step of theirs: one-step returns would be zeros."""
    env = tianshou.in_turns(lambda: AutoMLEnv(game, 0))
    seen, _ = env.reset()
    paid, masks, done = [], [], False
    while not done:
        masks.append(sum(seen["mask"]))
        seen, rewards, done, _, _ = env.step(0)
        paid.append(list(rewards))
    assert masks == [4, 4, 4, 3, 2, 4, 1, 2, 1]
    assert paid[:-1] == [[0.0] * 3] * 8
    assert len(set(paid[-1])) == 1
    assert paid[-1][0] > 0


def test_an_agents_policy_does_not_know_that_it_is_trained(game):
    """So it explores by `eps_inference`; with `eps_training` alone, all pipelines of a batch are one and the same."""
    env = tianshou.in_turns(lambda: AutoMLEnv(game, 0))
    width, actions = env.observation_space["observation"].shape, int(env.action_space.n)

    def chosen(**eps):
        net = Net(state_shape=width, action_shape=actions)
        policies = {a: DiscreteQLearningPolicy(model=net, action_space=env.action_space, **eps) for a in env.agents}
        whole = MultiAgentPolicy(policies)
        whole.is_within_training_step = True
        seen = Batch(obs=Batch(agent_id=np.array(["aug"] * 99), mask=np.ones((99, actions), dtype=bool)))
        return set(whole.add_exploration_noise(np.zeros(99, dtype=int), seen).tolist())

    assert chosen(eps_training=1.0) == {0}
    assert chosen(eps_inference=1.0) == {0, 1, 2, 3}


def test_dqn_learns(game):
    rewards = [trial.reward for trial in algorithm("tianshou-dqn").train(game, 1440)]
    assert len(rewards) == 1440
    assert np.mean(rewards[-120:]) > np.mean(rewards[:120]) + 0.03
