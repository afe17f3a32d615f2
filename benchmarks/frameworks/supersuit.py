"""SuperSuit: agents become environments of one vector environment, and Stable-Baselines3 trains one network for all of them.

SuperSuit wants agents of equal spaces, and its padding refuses MultiDiscrete: the token view has equal spaces.
"""

from typing import Any

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.utils import set_random_seed
from supersuit import pettingzoo_env_to_vec_env_v1
from supersuit.vector import ConcatVecEnv
from supersuit.vector.sb3_vector_wrapper import SB3VecEnvWrapper

from frameworks import Make
from ma2ml_env.views.token import TokenParallelEnv


def train(make: Make, pipelines: int, seed: int, *, envs: int = 12, **settings: Any) -> None:
    """PPO on so many environments at once. `concat_vec_envs_v1` would copy them, and what the copies play is not recorded."""
    torch.set_num_threads(1)
    set_random_seed(seed)
    made = [TokenParallelEnv(make(), mask=None) for _ in range(envs)]
    vector = SB3VecEnvWrapper(ConcatVecEnv([lambda env=env: pettingzoo_env_to_vec_env_v1(env) for env in made]))
    agents, steps = len(made[0].possible_agents), made[0].steps
    PPO("MlpPolicy", vector, device="cpu", **settings).learn((pipelines + envs) * steps * agents)
