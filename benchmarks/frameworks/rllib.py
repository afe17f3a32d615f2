"""RLlib: PPO with a module for each agent on the parallel environment, through its own wrapper of PettingZoo.

What it reports is the sum over agents, three times the shared reward; what counts here is what the game was played for.
"""

import logging
from typing import Any

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

from frameworks import Make


class Recorded(ParallelPettingZooEnv):
    """The environment as a class: RLlib pickles what makes environments, and a copy of the game would keep the records."""

    make: Make

    def __init__(self, config: Any) -> None:
        super().__init__(type(self).make())


def algorithm(make: Make, seed: int, envs: int = 24, **settings: Any) -> Any:
    """RLlib's PPO in this process alone; `settings` are those of `PPOConfig.training`."""
    Recorded.make = staticmethod(make)
    agents = make().possible_agents
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True, logging_level="ERROR")
    net = DefaultModelConfig(fcnet_hiddens=[64, 64])
    config = (
        PPOConfig()
        .environment(Recorded, disable_env_checking=True)  # its check plays pipelines
        .env_runners(num_env_runners=0, num_envs_per_env_runner=envs)
        .learners(num_learners=0)
        .multi_agent(policies=set(agents), policy_mapping_fn=lambda agent, *_, **__: agent)
        .rl_module(
            rl_module_spec=MultiRLModuleSpec(rl_module_specs={a: RLModuleSpec(model_config=net) for a in agents})
        )
        .training(**settings)
        .debugging(seed=seed, log_level="ERROR")
    )
    return config.build_algo()


def train(make: Make, pipelines: int, seed: int, **settings: Any) -> None:
    """Train until the game ends it, which RLlib logs as a failed environment and hands on as the cause of another error."""
    built = algorithm(make, seed, **settings)
    logging.disable(logging.ERROR)
    try:
        while True:
            built.train()
    except RuntimeError as error:
        raise error.__cause__ or error from None
    finally:
        logging.disable(logging.NOTSET)
        built.stop()
        ray.shutdown()
