"""The frameworks' own checkers, and one of their learners."""

import gymnasium.utils.env_checker
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

import ma2ml_env


def make():
    return ma2ml_env.parallel_env("digits-v0", "surrogate")


def test_pettingzoo():
    parallel_api_test(make(), num_cycles=200)
    parallel_seed_test(make)


# States are normal draws, so their box has no bounds; the checker would rather see some.
@pytest.mark.filterwarnings("ignore:.*A Box observation space m.* value is -?infinity:UserWarning")
def test_gymnasium():
    gymnasium.utils.env_checker.check_env(ma2ml_env.flat_env("digits-v0", "surrogate"), skip_render_check=True)


def test_stable_baselines3():
    from stable_baselines3.common.env_checker import check_env

    check_env(ma2ml_env.flat_env("digits-v0", "surrogate"))


def train_ppo(sign: float) -> float:
    """Mean reward of PPO's policy after 3,600 pipelines of a small surrogate game, learning from sign x reward."""
    import torch
    from gymnasium.wrappers import TransformReward
    from stable_baselines3 import PPO

    torch.set_num_threads(1)
    from ma2ml_env.modules.hpo_sgd import HpoSgd

    flat = ma2ml_env.flat_env("cifar10-v0", "surrogate", modules=[HpoSgd(3), HpoSgd(3, name="other")])
    shaped = TransformReward(flat, lambda reward: sign * (float(reward) - 0.8) * 20)
    model = PPO("MlpPolicy", shaped, n_steps=120, batch_size=60, learning_rate=2e-3, gamma=0.0, seed=0, device="cpu")
    model.learn(3600)
    rewards = []
    flat.reset(seed=1)
    for _ in range(200):
        observation, _ = flat.reset()
        rewards.append(flat.step(model.predict(observation)[0])[1])
    return float(np.mean(rewards))


@pytest.mark.slow
def test_sb3_ppo_learns_and_unlearns():
    """Random pipelines have mean 0.80 and deviation about 0.05, so a mean of 200 errs by 0.004."""
    assert train_ppo(1.0) > 0.86
    assert train_ppo(-1.0) < 0.78  # the control: paid for bad pipelines, it finds bad ones
