"""Algorithms of other people's libraries, each with a short runner that trains it on a game of ours.

A runner is `train(make, pipelines, seed, **settings)`: `make()` gives an environment, whichever view the library needs is put
over it, and training goes on until so many pipelines were played. `record.py` counts them, and ends it. Settings stand here
and nowhere else; those that are not the library's defaults were tuned a little on `trio-digits-v0`. A file of one's own with
such a `train` is an algorithm, too; `make("agent")` there gives another observation.
"""

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from frameworks.record import Enough, RecordedGame
from ma2ml_agents.registry import LEARNERS
from ma2ml_env.env import AutoMLEnv, Observe
from ma2ml_env.game import Game
from ma2ml_env.registry import closest
from ma2ml_env.trial import Trial

Make = Callable[..., AutoMLEnv]
STREAMS = 1000
"""environments of a run may have so many sequences of episodes, each of its own"""


@dataclass(frozen=True)
class Algorithm:
    """One row of the table."""

    library: str
    """distribution, as it is installed"""
    title: str
    """name of the algorithm"""
    view: str
    """which view it plays"""
    runner: str
    """file in this folder, or path of somebody's own, whose `train` trains it"""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """of `train`"""
    observation: Observe = "constant"
    standardise: bool = False
    """whether rewards are told centred and scaled; see `RecordedGame`"""
    apart: bool = False
    """whether the library needs an environment of its own: `make frameworks`"""

    @property
    def versions(self) -> dict[str, str]:
        """What was played."""
        return {self.library: version(self.library)} if self.library else {}

    @property
    def told(self) -> dict[str, Any]:
        """What decides its numbers but for the code: a run is kept if it is the same."""
        file = Path(self.runner)
        own = {"digest": hashlib.sha256(file.read_bytes()).hexdigest()[:16]} if file.suffix else {}
        return {
            "settings": dict(self.settings),
            "observation": self.observation,
            "standardise": self.standardise,
            **own,
        }

    def train(self, game: Game, pipelines: int, seed: int = 0, **settings: Any) -> list[Trial]:
        """Train it on a game, and return the first so many pipelines in the order in which they were played.

        Raises:
            ImportError: the library is not installed.
            RuntimeError: training ended before.
        """
        train = _module(self.runner).train
        recorded, streams = RecordedGame(game, pipelines, self.standardise), count(seed * STREAMS)

        def make(observation: Observe = self.observation) -> AutoMLEnv:
            return AutoMLEnv(recorded, next(streams), observation=observation)

        with suppress(Enough):
            train(make, pipelines, seed, **{**self.settings, **settings})
        if len(recorded.trials) < pipelines:
            raise RuntimeError(f"training ended after {len(recorded.trials)} of {pipelines} pipelines")
        return recorded.trials


def _module(runner: str) -> Any:
    """Of a file in this folder, or of somebody's own."""
    if not runner.endswith(".py"):
        return importlib.import_module(f"frameworks.{runner}")
    spec = importlib.util.spec_from_file_location(Path(runner).stem, runner)
    if spec is None or spec.loader is None:
        raise ImportError(f"{runner} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SB3, CONTRIB = "stable_baselines3", "sb3-contrib"
PPO = {"n_epochs": 10, "batch_size": 24, "learning_rate": 3e-3, "target_kl": 0.1}
"""of Stable-Baselines3 and of what is built on it; one ratio over all decisions clips most samples of its defaults"""
TRAINED = {"gamma": 1.0, "lr": 1e-3, "envs": 24}
"""of BenchMARL"""
OFF_POLICY = {
    "off_policy_n_optimizer_steps": 12, "off_policy_train_batch_size": 128, "off_policy_memory_size": 20_000,
    "polyak_tau": 0.05, "exploration_eps_end": 0.02,
}  # fmt: skip
ON_POLICY = {"envs": 48, "on_policy_n_minibatch_iters": 6, "on_policy_minibatch_size": 144}

ALGORITHMS: dict[str, Algorithm] = {
    "random": Algorithm("numpy", "uniform random pipelines", "evaluate_batch", "uniform"),
    "sb3-ppo": Algorithm(
        SB3, "PPO", "flat", "sb3", {"algorithm": "PPO", "view": "flat", "n_steps": 2, "gamma": 0.0, **PPO}
    ),
    "sb3-a2c": Algorithm(
        SB3, "A2C", "flat", "sb3",
        {"algorithm": "A2C", "view": "flat", "n_steps": 1, "gamma": 0.0, "learning_rate": 3e-3, "normalize_advantage": True},
    ),
    "sb3-dqn": Algorithm(
        SB3, "DQN", "token", "sb3",
        {
            "algorithm": "DQN", "view": "token", "gamma": 1.0, "learning_rate": 1e-3, "buffer_size": 35_000,
            "learning_starts": 1680, "train_freq": 2, "gradient_steps": 4, "batch_size": 64,
            "target_update_interval": 500, "exploration_fraction": 0.4,
        },
        standardise=True,
    ),
    "sb3-sac": Algorithm(
        SB3, "SAC", "box", "sb3",
        {
            "algorithm": "SAC", "view": "box", "gamma": 0.0, "learning_rate": 1e-3, "learning_starts": 240,
            "train_freq": 1, "gradient_steps": 6, "batch_size": 128, "buffer_size": 5000, "ent_coef": 0.05,
        },
        standardise=True,
    ),
    "contrib-maskable-ppo": Algorithm(
        CONTRIB, "MaskablePPO", "token", "sb3",
        {
            "algorithm": "MaskablePPO", "view": "token", "n_steps": 14, "gamma": 1.0, "gae_lambda": 1.0,
            **PPO, "batch_size": 84,
        },
        standardise=True,
    ),
    "supersuit-sb3-ppo": Algorithm(
        "SuperSuit", "PPO of Stable-Baselines3, one network for all agents", "token_parallel, mask=None", "supersuit",
        {"n_steps": 6, "gamma": 1.0, "gae_lambda": 1.0, **PPO, "batch_size": 108},
        observation="agent", standardise=True,
    ),
    "torchrl-ppo": Algorithm(
        "torchrl", "multi-agent PPO of one's own", "token", "torchrl", observation="agent", standardise=True
    ),
    **{
        f"benchmarl-{name}": Algorithm(
            "benchmarl", name.upper(), "box" if name == "maddpg" else "token", "benchmarl",
            {"algorithm": name, "continuous": name == "maddpg", **TRAINED, **more}, observation="agent", standardise=True,
        )
        for name, more in {
            "mappo": ON_POLICY, "ippo": ON_POLICY, "qmix": OFF_POLICY, "vdn": OFF_POLICY, "masac": OFF_POLICY,
            "maddpg": OFF_POLICY,
        }.items()
    },
    "rllib-ppo": Algorithm(
        "ray", "PPO, a module an agent", "parallel_env", "rllib",
        {
            "gamma": 0.0, "lr": 3e-3, "train_batch_size_per_learner": 48, "minibatch_size": 48, "num_epochs": 8,
            "use_kl_loss": False, "entropy_coeff": 0.0, "grad_clip": 1.0,
        },
        standardise=True, apart=True,
    ),
    "agilerl-ippo": Algorithm(
        "agilerl", "IPPO", "token_parallel, mask=None", "agilerl",
        {
            "envs": 48, "lr": 3e-3, "batch_size": 144, "gamma": 1.0, "gae_lambda": 1.0, "update_epochs": 8, "ent_coef": 0.0,
        },
        standardise=True, apart=True,
    ),
    "tianshou-dqn": Algorithm(
        "tianshou", "DQN, one an agent", "aec of token_parallel, mask='dict'", "tianshou",
        {"envs": 24, "lr": 1e-3, "explore": 0.4, "least": 0.01, "updates": 12, "batch_size": 128},
        standardise=True, apart=True,
    ),
}  # fmt: skip


def is_algorithm(name: str) -> bool:
    """Whether a name in a suite is of an algorithm that plays by itself; other names are learners'."""
    return name.endswith(".py") or (name in ALGORITHMS and name not in LEARNERS)


def algorithm(name: str) -> Algorithm:
    """The row of a name, or one of a file of one's own.

    Raises:
        ValueError: if there is none; the closest one is offered.
    """
    if name.endswith(".py"):
        return Algorithm("", Path(name).stem, "its own", name)
    if name not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {name!r}{closest(name, ALGORITHMS)}")
    return ALGORITHMS[name]
