"""Box view: one agent, a number in [-1, 1] for each decision, for algorithms of continuous control (SAC, TD3, DDPG)."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from ma2ml_env.actions import refuse_intervals
from ma2ml_env.env import AutoMLEnv, parallel_env
from ma2ml_env.views.flat import FlatEnv


class BoxEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Each number picks one of equally wide intervals, one for each choice. Choices thus get an order that they may not have.

    `ordered` tells of each decision whether they do, `kinds` of what kind it is.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's attribute)

    def __init__(self, env: AutoMLEnv) -> None:
        refuse_intervals(env.game.spec, "box")
        self.flat = FlatEnv(env)
        self.kinds, self.ordered = self.flat.kinds, self.flat.ordered
        self.nvec = np.array([n for sizes in env.game.spec.nvec.values() for n in sizes])
        self.action_space = Box(-1.0, 1.0, self.nvec.shape, np.float32)
        self.observation_space = self.flat.observation_space
        self.render_mode = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode, as the flat view does."""
        super().reset(seed=seed)
        return self.flat.reset(seed=seed, options=options)

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Train the pipeline of `code(action)`, and end the episode."""
        return self.flat.step(self.code(action))

    def code(self, action: NDArray[np.float32]) -> NDArray[np.int64]:
        """Turn numbers (decisions,) into choices (decisions,); a number outside [-1, 1] counts as its nearer end."""
        index = np.floor((np.asarray(action, dtype=np.float64) + 1.0) / 2.0 * self.nvec)
        code: NDArray[np.int64] = np.clip(index, 0, self.nvec - 1).astype(np.int64)
        return code

    def close(self) -> None:
        """End worker processes, if the evaluator has any."""
        self.flat.close()


def box_env(id: str, evaluator: str | None = None, **options: Any) -> BoxEnv:
    """Make the box view of a named game; options are those of `parallel_env`."""
    return BoxEnv(parallel_env(id, evaluator, **options))
