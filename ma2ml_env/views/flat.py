"""Flat view: one agent that decides everything, as a Gymnasium environment. For SB3 and other single-agent libraries."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from ma2ml_env.actions import Action, action_space, meaning
from ma2ml_env.env import AutoMLEnv, parallel_env


class FlatEnv(gymnasium.Env[NDArray[np.float32], Action]):
    """One agent that takes all decisions in one step: `MultiDiscrete` actions, all agents' observations as its own.

    With intervals the action is a `Dict` of the `decisions` and of the `intervals` of all agents. `kinds` and `ordered` have an
    entry for each decision of the row (`actions.meaning`).
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's attribute)

    def __init__(self, env: AutoMLEnv) -> None:
        self.env = env
        self.kinds, self.ordered = meaning(env.game.spec)
        nvec, intervals = env.game.spec.nvec, env.game.spec.intervals
        self.action_space = action_space(tuple(n for sizes in nvec.values() for n in sizes), sum(intervals.values()))
        self.observation_space = Box(-np.inf, np.inf, env.state_space.shape, np.float32)
        self._slices = _slices({agent: len(sizes) for agent, sizes in nvec.items()})
        self._positions = _slices({agent: intervals.get(agent, 0) for agent in nvec})
        self.render_mode = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode; return all agents' observations (agents x width,), and an info of zeros."""
        super().reset(seed=seed)
        _, infos = self.env.reset(seed=seed, options=options)
        return self.env.state(), next(iter(infos.values()))

    def step(self, action: Action) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Train the pipeline of the whole action (sum of L_i,), and end the episode."""
        _, rewards, _, _, infos = self.env.step({agent: self._part(agent, action) for agent in self._slices})
        return self.env.state(), next(iter(rewards.values())), True, False, next(iter(infos.values()))

    def close(self) -> None:
        """End worker processes, if the evaluator has any."""
        self.env.close()

    def _part(self, agent: str, action: Action) -> Action:
        """The share of one agent."""
        decisions, intervals = self._slices[agent], self._positions[agent]
        if not isinstance(action, Mapping):
            return action[decisions]
        indices = action.get("decisions", np.zeros(0, dtype=np.int64))[decisions]
        if agent not in self.env.game.spec.intervals:
            return indices
        return {"decisions": indices, "intervals": action.get("intervals", np.zeros(0))[intervals]}


def _slices(counts: Mapping[str, int]) -> dict[str, slice]:
    ends = np.cumsum(list(counts.values())).tolist()
    return {agent: slice(end - count, end) for (agent, count), end in zip(counts.items(), ends, strict=True)}


def flat_env(id: str, evaluator: str | None = None, **options: Any) -> FlatEnv:
    """Make the flat view of a named game; options are those of `parallel_env`."""
    return FlatEnv(parallel_env(id, evaluator, **options))
