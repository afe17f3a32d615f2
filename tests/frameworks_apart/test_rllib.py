"""RLlib, which pins another Gymnasium: the game conforms there, PPO learns, and what it reports is three times the reward."""

import gymnasium
import numpy as np
import pytest

pytest.importorskip("tree", reason="RLlib needs an environment of its own: make frameworks")
pytest.importorskip("ray.rllib.algorithms.ppo", reason="RLlib needs an environment of its own: make frameworks")

from frameworks import algorithm, rllib
from frameworks.record import RecordedGame

import ma2ml_env
from ma2ml_env.env import AutoMLEnv
from ma2ml_env.testing import check_env


def test_the_game_conforms_with_the_gymnasium_that_it_pins():
    assert gymnasium.__version__ == "1.2.2"
    check_env(ma2ml_env.parallel_env("trio-digits-v0", "surrogate"))
    assert ma2ml_env.vector_env("trio-digits-v0", "surrogate").reset(seed=0)[0].shape == (24, 24)


def test_what_it_reports_is_the_sum_over_agents(game):
    recorded = RecordedGame(game, 10_000)
    settings = algorithm("rllib-ppo").settings
    built = rllib.algorithm(lambda: AutoMLEnv(recorded, 0, observation="constant"), 0, **settings)
    reported = built.train()["env_runners"]["episode_return_mean"]
    played = [trial.reward for trial in recorded.trials]
    built.stop()
    assert len(played) == 48  # no pipeline is trained by the way
    assert reported == pytest.approx(3 * np.mean(played), rel=1e-5)


def test_ppo_learns(game):
    rewards = [trial.reward for trial in algorithm("rllib-ppo").train(game, 720)]
    assert len(rewards) == 720
    assert np.mean(rewards[-120:]) > np.mean(rewards[:120]) + 0.03
