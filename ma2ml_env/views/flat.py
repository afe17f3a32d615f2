"""Flat view: one agent that decides everything, as a Gymnasium environment. For SB3 and other single-agent libraries."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray

from ma2ml_env.env import AutoMLEnv, parallel_env


class FlatEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.int64]]):
    """One MultiDiscrete of all agents' decisions; the observation is all agents' states; an episode is one step."""

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's attribute)

    def __init__(self, env: AutoMLEnv) -> None:
        self.env = env
        nvec = env.game.spec.nvec
        self.action_space = MultiDiscrete([n for sizes in nvec.values() for n in sizes])
        self.observation_space = Box(-np.inf, np.inf, env.state_space.shape, np.float32)
        ends = np.cumsum([len(sizes) for sizes in nvec.values()])
        self._slices = {a: slice(end - len(nvec[a]), end) for a, end in zip(nvec, ends.tolist(), strict=True)}
        self.render_mode = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """All agents' states (state_dim x agents,) and an info of zeros."""
        super().reset(seed=seed)
        _, infos = self.env.reset(seed=seed, options=options)
        return self.env.state(), next(iter(infos.values()))

    def step(self, action: NDArray[np.int64]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Train the pipeline of the whole action (sum of L_i,); the episode is over."""
        _, rewards, _, _, infos = self.env.step({agent: action[part] for agent, part in self._slices.items()})
        return self.env.state(), next(iter(rewards.values())), True, False, next(iter(infos.values()))

    def close(self) -> None:
        """Ends worker processes, if the evaluator has any."""
        self.env.close()


def flat_env(id: str, evaluator: str | None = None, **options: Any) -> FlatEnv:
    """The flat view of a named game; options are those of `make_game`."""
    return FlatEnv(parallel_env(id, evaluator, **options))
