"""Token views: one decision a step, `Discrete` actions, for libraries that know no MultiDiscrete.

All agents (or the one agent of `TokenEnv`) act in `Discrete(n)` with the largest number of choices in the game. What is not a
choice of the decision at hand is refused with `mask="dict"`, and taken modulo the number of choices otherwise. The reward comes
with the last decision; before it is 0. An observation is that of the game, the share of decisions made, and the code so far,
each entry in (0, 1] and 0 where nothing is decided yet: all that a policy without memory needs. `kinds` and `ordered` have an
entry for each token.
"""

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from ma2ml_env.actions import meaning, refuse_intervals
from ma2ml_env.env import INFO_KEYS, AutoMLEnv, parallel_env

Mask = Literal["dict", "info"] | None


class TokenParallelEnv(ParallelEnv[str, Any, int]):
    """Agents decide side by side; one that has finished waits, and its only choice is 0.

    Args:
        env: the game.
        mask: `dict` puts `action_mask` beside `observation`, `info` puts it into infos, None leaves it out.
    """

    def __init__(self, env: AutoMLEnv, mask: Mask = "dict") -> None:
        refuse_intervals(env.game.spec, "token")
        self.env, self.mask = env, mask
        self.kinds, self.ordered = env.kinds, env.ordered
        self.metadata = {**env.metadata, "name": f"{env.metadata['name']}-token"}
        self.render_mode = None
        self.possible_agents = env.possible_agents[:]
        self.agents: list[str] = []
        self._nvec = env.game.spec.nvec
        self._n = max(n for nvec in self._nvec.values() for n in nvec)
        self.steps = max(len(nvec) for nvec in self._nvec.values())
        width = env.state_space.shape[0] // len(env.possible_agents) + 1 + self.steps
        vector = Box(-np.inf, np.inf, (width,), np.float32)
        self.observation_spaces: dict[str, Space[Any]] = {
            a: Dict({"observation": vector, "action_mask": Box(0, 1, (self._n,), np.int8)})
            if mask == "dict"
            else vector
            for a in self.possible_agents
        }
        self.action_spaces: dict[str, Space[Any]] = {a: Discrete(self._n) for a in self.possible_agents}
        self.state_space = Box(-np.inf, np.inf, (width * len(self.possible_agents),), np.float32)
        self._codes: dict[str, list[int]] = {a: [] for a in self.possible_agents}

    def observation_space(self, agent: str) -> Space[Any]:
        """Box((width + 1 + steps,)), with mask `dict` beside a mask of Box((n,), int8)."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """Discrete(n), n the largest number of choices in the game."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode of `steps` steps."""
        self._states, infos = self.env.reset(seed=seed, options=options)
        self.agents = self.possible_agents[:]
        self._codes = {a: [] for a in self.possible_agents}
        return self._observations(), self._infos(infos)

    def step(
        self, actions: Mapping[str, int]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        """Take one decision of every agent.

        Raises:
            ValueError: if no episode is running, an agent is missing, or a masked choice was taken.
        """
        if not self.agents:
            if not actions:
                return {}, {}, {}, {}, {}
            raise ValueError("this episode is over: call reset() before step()")
        if actions.keys() != set(self.agents):
            raise ValueError(f"the agents are {self.agents}, not {list(actions)}")
        chosen = {a: choice(actions[a], self._choices(a), self.mask != "dict", a) for a in self.agents}
        for agent, action in chosen.items():
            if len(self._codes[agent]) < len(self._nvec[agent]):
                self._codes[agent].append(action)
        done = all(len(self._codes[a]) == len(self._nvec[a]) for a in self.agents)
        rewards: dict[str, float] = dict.fromkeys(self.agents, 0.0)
        infos: dict[str, Any] = {a: dict.fromkeys(INFO_KEYS, 0.0) for a in self.agents}
        ended = self.agents
        if done:
            _, rewards, _, _, infos = self.env.step({a: np.array(code) for a, code in self._codes.items()})
            self.agents = []
        return (
            self._observations(),
            rewards,
            dict.fromkeys(ended, done),
            dict.fromkeys(ended, False),
            self._infos(infos),
        )

    def state(self) -> NDArray[np.float32]:
        """Return all agents' vectors, concatenated, for central critics."""
        return np.concatenate([self._vector(a) for a in self.possible_agents])

    def render(self) -> None:
        """Draw nothing."""

    def close(self) -> None:
        """End worker processes, if the evaluator has any."""
        self.env.close()

    def _step_number(self) -> int:
        return max(len(code) for code in self._codes.values())

    def _choices(self, agent: str) -> int:
        made = len(self._codes[agent])
        return self._nvec[agent][made] if made < len(self._nvec[agent]) else 1

    def _vector(self, agent: str) -> NDArray[np.float32]:
        return _observe(self._states[agent], self._codes[agent], self._nvec[agent], self.steps, self._step_number())

    def _action_mask(self, agent: str) -> NDArray[np.int8]:
        return (np.arange(self._n) < self._choices(agent)).astype(np.int8)

    def _observations(self) -> dict[str, Any]:
        if self.mask == "dict":
            return {
                a: {"observation": self._vector(a), "action_mask": self._action_mask(a)} for a in self.possible_agents
            }
        return {a: self._vector(a) for a in self.possible_agents}

    def _infos(self, infos: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        if self.mask == "info":
            return {a: {**info, "action_mask": self._action_mask(a)} for a, info in infos.items()}
        return {a: dict(info) for a, info in infos.items()}


class TokenEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One agent makes all decisions of all agents, one after the other. Actions are taken modulo the number of choices.

    `action_masks()` is there for MaskablePPO.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's attribute)

    def __init__(self, env: AutoMLEnv) -> None:
        refuse_intervals(env.game.spec, "token")
        self.env = env
        self.kinds, self.ordered = meaning(env.game.spec)
        self._nvec = [n for nvec in env.game.spec.nvec.values() for n in nvec]
        self._ends = np.cumsum([len(nvec) for nvec in env.game.spec.nvec.values()])
        self._n = max(self._nvec)
        self.action_space = Discrete(self._n)
        width = env.state_space.shape[0] + 1 + len(self._nvec)
        self.observation_space = Box(-np.inf, np.inf, (width,), np.float32)
        self.render_mode = None
        self._code: list[int] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode of one step a decision."""
        super().reset(seed=seed)
        _, infos = self.env.reset(seed=seed, options=options)
        self._code = []
        return self._observation(), next(iter(infos.values()))

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one decision."""
        if len(self._code) == len(self._nvec):
            raise ValueError("this episode is over: call reset() before step()")
        self._code.append(choice(action, self._nvec[len(self._code)], True, "token"))
        if len(self._code) < len(self._nvec):
            return self._observation(), 0.0, False, False, dict.fromkeys(INFO_KEYS, 0.0)
        parts = np.split(np.array(self._code), self._ends[:-1])
        _, rewards, _, _, infos = self.env.step(dict(zip(self.env.possible_agents, parts, strict=True)))
        return self._observation(), next(iter(rewards.values())), True, False, next(iter(infos.values()))

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which choices the decision at hand has, (n,)."""
        made = min(len(self._code), len(self._nvec) - 1)
        return np.arange(self._n) < self._nvec[made]

    def close(self) -> None:
        """End worker processes, if the evaluator has any."""
        self.env.close()

    def _observation(self) -> NDArray[np.float32]:
        return _observe(self.env.state(), self._code, self._nvec, len(self._nvec), len(self._code))


def choice(action: Any, choices: int, modulo: bool, agent: str) -> int:
    """The choice that an action stands for.

    Raises:
        ValueError: if the action is masked and not taken modulo.
    """
    index = int(action)
    if modulo:
        return index % choices
    if not 0 <= index < choices:
        raise ValueError(f"agent {agent!r}: this decision has the choices 0..{choices - 1}, {index} is masked")
    return index


def _observe(state: NDArray[np.float32], code: list[int], nvec: Any, steps: int, made: int) -> NDArray[np.float32]:
    decided = np.zeros(steps, dtype=np.float32)
    decided[: len(code)] = [(c + 1) / n for c, n in zip(code, nvec, strict=False)]
    return np.concatenate([state, np.array([made / steps], dtype=np.float32), decided])


def token_parallel_env(
    id: str, evaluator: str | None = None, *, mask: Mask = "dict", **options: Any
) -> TokenParallelEnv:
    """Make the token view of a named game, agents side by side; options are those of `parallel_env`."""
    return TokenParallelEnv(parallel_env(id, evaluator, **options), mask)


def token_env(id: str, evaluator: str | None = None, **options: Any) -> TokenEnv:
    """Make the token view of a named game for one agent; options are those of `parallel_env`."""
    return TokenEnv(parallel_env(id, evaluator, **options))
