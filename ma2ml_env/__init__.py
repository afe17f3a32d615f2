"""MA2ML's environment: an image-classification training pipeline as a one-step cooperative game.

    env = ma2ml_env.parallel_env("cifar10-v0", evaluator="surrogate")

Importing this package loads numpy, gymnasium and pettingzoo; torch comes with the first game that trains.
"""

from importlib import import_module
from typing import Any

import gymnasium

from ma2ml_env.env import AutoMLEnv, parallel_env
from ma2ml_env.evaluators.base import Evaluator, GroundTruth, Job, VectorEvaluator, Wrapper
from ma2ml_env.game import Game, Protocol
from ma2ml_env.games.make import make_game
from ma2ml_env.games.named import NamedGame
from ma2ml_env.modules.base import Module
from ma2ml_env.recipe import Operation, Recipe, Spec
from ma2ml_env.registry import TABLE, names, register
from ma2ml_env.reward import Accuracy, FlopsReward, Reward
from ma2ml_env.space import Decision, Interval, SearchSpace
from ma2ml_env.trial import Code, GameSpec, Outcome, Proposal, Trial, trial_seed
from ma2ml_env.views.env_game import EnvGame, game_from_env
from ma2ml_env.views.flat import FlatEnv, flat_env

__version__ = "0.2.0"

__all__ = [
    "Accuracy",
    "AutoMLEnv",
    "Benchmark",
    "Code",
    "Decision",
    "EnvGame",
    "Evaluator",
    "FlatEnv",
    "FlopsReward",
    "Game",
    "GameSpec",
    "GroundTruth",
    "Interval",
    "Job",
    "Module",
    "NamedGame",
    "Operation",
    "Outcome",
    "Proposal",
    "Protocol",
    "Recipe",
    "Reward",
    "SearchSpace",
    "Spec",
    "Trial",
    "TrialStore",
    "VectorEvaluator",
    "Wrapper",
    "aec_env",
    "benchmark",
    "box_env",
    "flat_env",
    "game_from_env",
    "make_game",
    "names",
    "parallel_env",
    "register",
    "token_env",
    "token_parallel_env",
    "trial_seed",
    "vector_env",
]


_LAZY = {  # loaded by those who use them
    "Benchmark": "ma2ml_env.views.queries",
    "TrialStore": "ma2ml_env.store.store",
    "aec_env": "ma2ml_env.views.aec",
    "benchmark": "ma2ml_env.views.queries",
    "box_env": "ma2ml_env.views.box",
    "token_env": "ma2ml_env.views.token",
    "token_parallel_env": "ma2ml_env.views.token",
    "vector_env": "ma2ml_env.views.vector",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ma2ml_env' has no attribute {name!r}")


for _id in TABLE["games"]:
    gymnasium.register(f"ma2ml/{_id}", entry_point="ma2ml_env.views.flat:flat_env", kwargs={"id": _id})
