"""BenchMARL: a named game as a task for its algorithms. BenchMARL is the extra `benchmarl`, which brings its own TorchRL.

    from ma2ml_env.integrations.benchmarl import benchmarl_task

    task = benchmarl_task("cifar10-v0", evaluator="surrogate")

Discrete algorithms (MAPPO, IPPO, QMIX, VDN, IQL, MASAC, ISAC) play the token view, one decision a step, with masks. Those of
continuous control (MADDPG, IDDPG; with `prefer_continuous_actions` also MAPPO, IPPO, MASAC, ISAC) play the box view, whose
episodes are one step. All agents are in one group, so that mixing networks and central critics see all of them; the root key
`state` is for the latter.
"""

from collections.abc import Callable
from typing import Any

import torch

from ma2ml_env.env import AutoMLEnv, parallel_env
from ma2ml_env.integrations.torchrl import GROUP, GroupEnv, TorchRLBoxEnv, TorchRLTokenEnv

try:
    from benchmarl.environments.common import TaskClass
    from torchrl.data import Composite
    from torchrl.envs import ActionMask, Transform
except ImportError as error:
    raise ImportError("this task is BenchMARL's: pip install 'ma2ml[benchmarl]'") from error


class AutoMLTask(TaskClass):
    """A game as BenchMARL sees it; made by `benchmarl_task`. Its methods get a `GroupEnv`, in transforms or not."""

    def get_env_fun(
        self, num_envs: int, continuous_actions: bool, seed: int | None, device: torch.device | str
    ) -> Callable[[], GroupEnv]:
        """What makes a batched environment of num_envs pipelines."""
        view = TorchRLBoxEnv if continuous_actions else TorchRLTokenEnv

        def make() -> GroupEnv:
            env = view(self._env(), num_envs, device)
            env.set_seed(seed)
            return env

        return make

    def _env(self) -> AutoMLEnv:
        return parallel_env(self.name, **self.config)

    def supports_continuous_actions(self) -> bool:
        """The box view."""
        return True

    def supports_discrete_actions(self) -> bool:
        """The token view."""
        return True

    def max_steps(self, env: GroupEnv) -> int:
        """Of an episode: one in the box view, in the token view the decisions of the agent that has most."""
        return env.horizon

    def has_render(self, env: GroupEnv) -> bool:
        """Nothing to draw."""
        return False

    def group_map(self, env: GroupEnv) -> dict[str, list[str]]:
        """All agents in one group."""
        return {GROUP: list(env.agents)}

    def observation_spec(self, env: GroupEnv) -> Composite:
        """Of the agents' vectors."""
        return _of_group(env.full_observation_spec_unbatched, "observation")

    def info_spec(self, env: GroupEnv) -> Composite | None:
        """None: what is known of a pipeline is its reward."""
        return None

    def state_spec(self, env: GroupEnv) -> Composite:
        """All agents' vectors, concatenated."""
        return Composite(state=env.full_observation_spec_unbatched["state"].clone())

    def action_spec(self, env: GroupEnv) -> Composite:
        """Discrete, or a box."""
        return env.full_action_spec_unbatched

    def action_mask_spec(self, env: GroupEnv) -> Composite | None:
        """Of the token view."""
        return _of_group(env.full_observation_spec_unbatched, "action_mask") if _masked(env) else None

    def get_env_transforms(self, env: GroupEnv) -> list[Transform]:
        """In the token view, what lets random frames draw choices that there are."""
        return [ActionMask((GROUP, "action"), (GROUP, "action_mask"))] if _masked(env) else []

    @staticmethod
    def env_name() -> str:
        """The folder of this task's configuration, if there were one; the configuration is code."""
        return "ma2ml"


def _masked(env: GroupEnv) -> bool:
    return "action_mask" in list(env.full_observation_spec_unbatched[GROUP].keys())


def _of_group(spec: Composite, key: str) -> Composite:
    group = spec[GROUP]
    return Composite({GROUP: Composite({key: group[key].clone()}, shape=group.shape)}, shape=spec.shape)


def benchmarl_task(id: str, evaluator: str | None = None, **options: Any) -> AutoMLTask:
    """Make a task of BenchMARL's `Experiment` of a named game; options are those of `parallel_env`.

    Raises:
        ValueError: as `make_game`, when the experiment makes its environments.
    """
    return AutoMLTask(id, {"evaluator": evaluator, **options})
