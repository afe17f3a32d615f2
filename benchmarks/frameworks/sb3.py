"""Stable-Baselines3 and sb3-contrib, on the views of one agent."""

import importlib
from typing import Any

import stable_baselines3
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from frameworks import Make
from ma2ml_env.views.box import BoxEnv
from ma2ml_env.views.flat import FlatEnv
from ma2ml_env.views.token import TokenEnv

VIEWS = {"flat": FlatEnv, "box": BoxEnv, "token": TokenEnv}


def train(make: Make, pipelines: int, seed: int, *, algorithm: str, view: str, envs: int = 24, **settings: Any) -> None:
    """Train the algorithm of this name in either package, on so many environments at once."""
    torch.set_num_threads(1)
    kind = getattr(stable_baselines3, algorithm, None) or getattr(importlib.import_module("sb3_contrib"), algorithm)
    env = DummyVecEnv([lambda: VIEWS[view](make()) for _ in range(envs)])
    steps = len(env.envs[0].kinds) if view == "token" else 1  # of an episode
    kind("MlpPolicy", env, seed=seed, device="cpu", **settings).learn((pipelines + envs) * steps)
