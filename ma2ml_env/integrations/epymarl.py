"""EPyMARL: a named game after the contract of its `MultiAgentEnv`, one decision a step. EPyMARL itself is not imported.

    from envs import REGISTRY  # EPyMARL's, in its folder src

    from ma2ml_env.integrations.epymarl import epymarl_env

    REGISTRY["ma2ml"] = epymarl_env

Then `env: ma2ml` in a file of `src/config/envs`, with `env_args` as the arguments of `epymarl_env`. The contract is that of
`src/envs/multiagentenv.py` and `src/envs/gymma.py` in https://github.com/uoe-agents/epymarl (commit 733ffa5), and of what its
runners do with an environment. Its own wrapper of PettingZoo is no way to play: it replaces the rewards of the last step by
zeros, and ours comes with the last step; it drops masks; and it adds up the agents' rewards, which are one shared reward.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.env import AutoMLEnv, Observe
from ma2ml_env.games.make import make_game
from ma2ml_env.registry import closest
from ma2ml_env.views.token import TokenParallelEnv

Vector = NDArray[np.float32]
Scalarisation = Literal["sum", "mean"]


class EPyMARLEnv:
    """The token view of a game, as EPyMARL's runners and controllers use an environment.

    Agents have numbers, in the order of `env.possible_agents`. Observations have one size, actions are those of the agent with
    most choices, and what is not a choice of the decision at hand is not available. The state is all agents' observations.

    Args:
        env: the game.
        common_reward: whether `step` gives the shared reward once, as a number; else a list, the same for every agent.
    """

    def __init__(self, env: AutoMLEnv, common_reward: bool = True) -> None:
        self.env = TokenParallelEnv(env, mask="dict")
        self.common_reward = common_reward
        self.agents = self.env.possible_agents
        self.n_agents = len(self.agents)
        self.episode_limit = self.env.steps
        """steps of every episode"""
        self._seen: dict[str, Any] = {}
        self._seed: int | None = None

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[list[Vector], dict[str, Any]]:
        """Start an episode; return the agents' observations, and an info without anything."""
        self._seen, _ = self.env.reset(seed=self._seed if seed is None else seed, options=options)
        self._seed = None
        return self.get_obs(), {}

    def step(self, actions: Sequence[Any]) -> tuple[list[Vector], float | list[float], bool, bool, dict[str, float]]:
        """Take one decision of every agent.

        Args:
            actions: one integer an agent; tensors of one element will do.

        Returns:
            observations, reward, terminated, truncated (never) and info: numbers only, since runners add infos up. Before the
            last step of an episode the reward is 0 and the info empty.

        Raises:
            ValueError: if no episode is running, there are more or fewer actions than agents, or one is not available.
        """
        if len(actions) != self.n_agents:
            raise ValueError(f"{self.n_agents} agents act, not {len(actions)}")
        chosen = {agent: int(action) for agent, action in zip(self.agents, actions, strict=True)}
        self._seen, rewards, terminated, _, infos = self.env.step(chosen)
        first = self.agents[0]
        reward = rewards[first] if self.common_reward else [rewards[agent] for agent in self.agents]
        done = terminated[first]
        return self.get_obs(), reward, done, False, dict(infos[first]) if done else {}

    def get_obs(self) -> list[Vector]:
        """Return all agents' observations, each (get_obs_size(),)."""
        return [self.get_obs_agent(number) for number in range(self.n_agents)]

    def get_obs_agent(self, agent_id: int) -> Vector:
        """Return the observation of an agent, (get_obs_size(),); before the first reset zeros."""
        if not self._seen:
            return np.zeros(self.get_obs_size(), dtype=np.float32)
        seen: Vector = self._seen[self.agents[agent_id]]["observation"]
        return seen

    def get_obs_size(self) -> int:
        """Return the length of an observation."""
        return self.get_state_size() // self.n_agents

    def get_state(self) -> Vector:
        """Return all agents' observations one after another, (get_state_size(),)."""
        return np.concatenate(self.get_obs())

    def get_state_size(self) -> int:
        """Return the length of the state."""
        return int(self.env.state_space.shape[0])

    def get_avail_actions(self) -> list[list[int]]:
        """Return for each agent which actions are available, 1 or 0; behind the last decision it is 0 alone."""
        return [self.get_avail_agent_actions(number) for number in range(self.n_agents)]

    def get_avail_agent_actions(self, agent_id: int) -> list[int]:
        """Return which actions of an agent are available, 1 or 0; before the first reset, none is."""
        if not self._seen:
            return [0] * self.get_total_actions()
        mask: list[int] = self._seen[self.agents[agent_id]]["action_mask"].tolist()
        return mask

    def get_total_actions(self) -> int:
        """Return the number of actions: choices of the decision that has most."""
        return int(self.env.action_space(self.agents[0]).n)  # type: ignore[attr-defined]

    def get_env_info(self) -> dict[str, int]:
        """Return what EPyMARL builds its networks and buffers from."""
        return {
            "state_shape": self.get_state_size(),
            "obs_shape": self.get_obs_size(),
            "n_actions": self.get_total_actions(),
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }

    def get_stats(self) -> dict[str, float]:
        """Return nothing: what is known of a pipeline is in the info of its last step."""
        return {}

    def seed(self, seed: int | None = None) -> None:
        """Let the next `reset` start the sequence of episodes of a seed."""
        self._seed = seed

    def render(self) -> None:
        """Draw nothing."""

    def save_replay(self) -> None:
        """Save nothing: there is nothing to see."""

    def close(self) -> None:
        """End worker processes, if the evaluator has any."""
        self.env.close()


def epymarl_env(
    key: str,
    evaluator: str | None = None,
    *,
    time_limit: int | None = None,
    seed: int | None = None,
    common_reward: bool = True,
    reward_scalarisation: Scalarisation = "sum",
    observation: Observe = "agent",
    pretrained_wrapper: None = None,
    **options: Any,
) -> EPyMARLEnv:
    """Make the environment of a named game, from what EPyMARL hands over: its `env_args` and two settings of rewards.

    Args:
        key: a registered name; `ma2ml list` shows them.
        evaluator: see `make_game`.
        time_limit: steps after which EPyMARL would end an episode; episodes have a length of their own.
        seed: of the sequence of episodes. The landscape, or the split of the data, is that of `make_game` without a seed.
        common_reward: whether the shared reward comes once, or as a list.
        reward_scalarisation: `sum` or `mean` of rewards that differ between agents; ours do not, so it changes nothing.
        observation: what agents see besides the decisions so far; `agent` as EPyMARL's agents share a network.
        pretrained_wrapper: EPyMARL hands over one; there is none for these games.
        **options: of `make_game`.

    Raises:
        ValueError: as `make_game`; if the time limit is shorter than an episode, there is no such scalarisation, or an agent
            has intervals.
    """
    if reward_scalarisation not in get_args(Scalarisation):
        told = closest(str(reward_scalarisation), get_args(Scalarisation))
        raise ValueError(f"unknown reward_scalarisation {reward_scalarisation!r}{told}")
    if pretrained_wrapper is not None:
        raise ValueError(f"these games have no pretrained agents: leave out pretrained_wrapper={pretrained_wrapper!r}")
    made = EPyMARLEnv(AutoMLEnv(make_game(key, evaluator, **options), seed, f"ma2ml/{key}", observation), common_reward)
    if time_limit is not None and time_limit < made.episode_limit:
        raise ValueError(f"an episode of {key} has {made.episode_limit} steps, more than time_limit={time_limit}")
    return made
