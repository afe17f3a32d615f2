"""AgileRL, which wants another PettingZoo and TensorDict: the game conforms there, and IPPO learns on tokens without masks."""

# ruff: noqa: E402

import numpy as np
import pytest

REASON = "AgileRL needs an environment of its own: make frameworks"
pytest.importorskip("agilerl", reason=REASON)
pytest.importorskip("peft", reason=REASON)

from agilerl.algorithms import IPPO
from agilerl.vector.dummy_vec_env import PzDummyVecEnv
from frameworks import algorithm

import ma2ml_env
from ma2ml_env.testing import check_env


def ippo(env):
    agents = env.possible_agents
    return IPPO(
        [env.observation_space(a) for a in agents],
        [env.action_space(a) for a in agents],
        agent_ids=agents,
        learn_step=3,
    )


def token(mask):
    return ma2ml_env.token_parallel_env("trio-digits-v0", "surrogate", mask=mask, observation="agent")


def test_the_game_conforms_with_the_pettingzoo_that_it_pins():
    check_env(ma2ml_env.parallel_env("trio-digits-v0", "surrogate"))


@pytest.mark.parametrize(("mask", "error"), [("dict", AssertionError), ("info", ValueError)])
def test_masks_are_refused_beside_observations_and_crash_in_infos(mask, error):
    env = token(mask)
    seen, infos = env.reset(seed=0)
    with pytest.raises(error, match="action mask" if mask == "dict" else "ambiguous"):
        ippo(token(None)).get_action(obs=seen, infos=infos)


def test_without_masks_it_acts_and_all_get_the_shared_reward():
    """Its report adds them up: three times the reward."""
    env = PzDummyVecEnv(token(None))
    seen, infos = env.reset()
    learner, rewards = ippo(token(None)), []
    for _ in range(3):
        actions, *_ = learner.get_action(obs=seen, infos=infos)
        seen, paid, ends, _, infos = env.step(actions)
        rewards.append([float(np.ravel(each)[0]) for each in paid.values()])
    assert all(np.ravel(each)[0] for each in ends.values())
    assert rewards[:2] == [[0.0] * 3] * 2
    assert len(set(rewards[2])) == 1
    assert rewards[2][0] > 0


def test_its_vector_environment_plays_no_empty_step_between_episodes():
    env = PzDummyVecEnv(token(None))
    env.reset()
    zeros = {agent: np.zeros(1, dtype=np.int64) for agent in ("aug", "nas", "hpo")}
    paid = [float(np.ravel(env.step(zeros)[1]["aug"])[0]) for _ in range(9)]
    assert [each > 0 for each in paid] == [False, False, True] * 3


def test_ippo_learns(game):
    rewards = [trial.reward for trial in algorithm("agilerl-ippo").train(game, 960)]
    assert len(rewards) == 960
    assert np.mean(rewards[-120:]) > np.mean(rewards[:120]) + 0.03
