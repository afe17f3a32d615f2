"""Vector view: n flat games in one call, as a Gymnasium vector environment.

Autoreset is SAME_STEP: gymnasium's default, NEXT_STEP, would make every second step of a one-step game a mere reset.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ma2ml_env.actions import meaning, refuse_intervals
from ma2ml_env.env import AutoMLEnv, parallel_env


class AutoMLVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """n pipelines a step, through `AutoMLEnv.evaluate_batch`. `kinds` and `ordered` as in the flat view.

    Args:
        env: the game.
        num_envs: pipelines a step.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012 (gymnasium's attribute)

    def __init__(self, env: AutoMLEnv, num_envs: int = 24) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs is at least 1, not {num_envs}")
        refuse_intervals(env.game.spec, "vector")
        self.env, self.num_envs = env, num_envs
        self.kinds, self.ordered = meaning(env.game.spec)
        nvec = env.game.spec.nvec
        self.single_action_space = MultiDiscrete([n for sizes in nvec.values() for n in sizes])
        self.single_observation_space = Box(-np.inf, np.inf, env.state_space.shape, np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._ends = np.cumsum([len(sizes) for sizes in nvec.values()])

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start the next n episodes and return what is observed, (n, agents x width); a seed starts its sequence of episodes.

        Raises:
            ValueError: if seeds are given one by one: episodes share one sequence.
        """
        if isinstance(seed, list):
            raise ValueError("give one seed: the episodes of all n environments come from one sequence")
        if seed is not None:
            self.env.reset(seed=seed)
        self._states = self._upcoming()
        return self._states, {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Train n pipelines (n, decisions); return the next episodes' observations and these rewards (n,); all episodes end."""
        parts = np.split(np.asarray(actions), self._ends[:-1], axis=1)
        rewards = self.env.evaluate_batch(dict(zip(self.env.possible_agents, parts, strict=True)))
        ended = np.ones(self.num_envs, dtype=np.bool_)
        infos = {"final_obs": np.array([*self._states, None], dtype=object)[:-1], "_final_obs": ended.copy()}
        self._states = self._upcoming()
        return self._states, rewards, ended, np.zeros_like(ended), infos

    def close(self, **kwargs: Any) -> None:
        """End worker processes, if the evaluator has any."""
        self.env.close()

    def _upcoming(self) -> NDArray[np.float32]:
        return self.env.upcoming(self.num_envs).reshape(self.num_envs, -1)


def vector_env(id: str, evaluator: str | None = None, *, num_envs: int = 24, **options: Any) -> AutoMLVectorEnv:
    """Make the vector view of a named game; options are those of `parallel_env`."""
    return AutoMLVectorEnv(parallel_env(id, evaluator, **options), num_envs)
