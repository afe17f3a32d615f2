"""The game as a PettingZoo parallel environment: one joint action, one shared reward, done."""

import copy
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from ma2ml_env.actions import Action, action_space, kinds_of, ordered_of, row_of
from ma2ml_env.game import Game
from ma2ml_env.games.make import make_game
from ma2ml_env.registry import closest
from ma2ml_env.trial import Code, Proposal, Trial, code_of, trial_seed, trial_seeds

Observation = NDArray[np.float32]
Observe = Literal["noise", "constant", "agent"]
INFO_KEYS = ("accuracy", "flops", "params", "seconds", "ok")


class AutoMLEnv(ParallelEnv[str, Observation, Action]):
    """A game as a one-step cooperative environment.

    Agents are named after the modules. An action is the agent's code, `MultiDiscrete(nvec)`, or with intervals a `Dict` of
    `decisions` and of `intervals`, positions in `Box(0, 1)`; the reward is shared. Infos hold the floats `accuracy, flops,
    params, seconds, ok`; everything else of an episode is in `last_trial`. `kinds` and `ordered`, agent -> one entry a
    decision, tell which of an agent's decisions choose the same thing, and whose choices stand in an order.

    What an agent observes says nothing about the reward; it is one of

    - `noise`: its random state S_i (paper, section 3.2), `Box((8,), float32)`, drawn anew every episode. It is the default,
      since it is the paper's game. A network that is not made for it may spend many trials on learning to ignore it;
    - `constant`: ones of the same shape: for algorithms that need no state;
    - `agent`: a one, and the agent's number as one-hot, `Box((1 + agents,), float32)`: for agents that share a network.

    With equal seeds two environments play equal episodes, whatever they show: the trial seed is
    `trial_seed(environment seed, episode number)`.

    Args:
        game: what is played.
        seed: of the sequence of episodes, until `reset` is given one; None is another one for every environment.
        name: for `metadata`.
        observation: `noise`, `constant` or `agent`.

    Raises:
        ValueError: if there is no such observation; the closest one is offered.
    """

    metadata: dict[str, Any]

    def __init__(
        self, game: Game, seed: int | None = None, name: str = "ma2ml", observation: Observe = "noise"
    ) -> None:
        if observation not in get_args(Observe):
            raise ValueError(f"unknown observation {observation!r}{closest(str(observation), get_args(Observe))}")
        self.metadata = {"name": name, "render_modes": [], "is_parallelizable": True}
        self.render_mode = None
        self.game, self.observation = game, observation
        self.possible_agents = list(game.spec.nvec)
        self.agents: list[str] = []
        self.kinds, self.ordered = kinds_of(game.spec), ordered_of(game.spec)
        # Built once: users compare spaces by identity and seed them for sampling.
        self.action_spaces: dict[str, Space[Any]] = {
            agent: action_space(nvec, game.spec.intervals.get(agent, 0)) for agent, nvec in game.spec.nvec.items()
        }
        self.last_trial: Trial | None = None
        self._reseed(int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed))
        width = self.observe(self._states).shape[-1]
        self.observation_spaces: dict[str, Space[Any]] = {
            agent: Box(-np.inf, np.inf, (width,), np.float32) for agent in self.possible_agents
        }
        self.state_space = Box(-np.inf, np.inf, (width * len(self.possible_agents),), np.float32)

    def observation_space(self, agent: str) -> Space[Any]:
        """Return `Box((8,), float32)`, or of `agent` `Box((1 + agents,), float32)`."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """Return `MultiDiscrete(nvec)`; with intervals `Dict(decisions=MultiDiscrete, intervals=Box(0, 1, (n,)))`."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, float]]]:
        """Start the next episode; with a seed, the first one of that seed's sequence."""
        if seed is not None:
            self._reseed(seed)
        self._next_episodes(1)
        self.agents = self.possible_agents[:]
        return self._observations(), {agent: dict.fromkeys(INFO_KEYS, 0.0) for agent in self.agents}

    def step(
        self, actions: Mapping[str, Action]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, float]]]:
        """Train the pipeline of the joint action, and end the episode.

        Raises:
            ValueError: if no episode is running, or an action does not fit its space; agent and decision are named.
        """
        if not self.agents:
            if not actions:  # what PettingZoo's own loops send to an episode that is over
                return {}, {}, {}, {}, {}
            raise ValueError("this episode is over: call reset() before step()")
        codes = {agent: self._code(agent, action) for agent, action in actions.items()}
        seed = trial_seed(self.seed, self._episode)
        (trial,) = self.game.play([Proposal(codes, self._told())], [seed], first_number=self._episode)
        self.last_trial = trial
        ended, self.agents = self.agents, []
        outcome = trial.outcome
        info = {
            "accuracy": outcome.accuracy,
            "flops": float(outcome.flops),
            "params": float(outcome.params),
            "seconds": outcome.seconds,
            "ok": float(outcome.status == "ok"),
        }
        return (
            self._observations(),
            dict.fromkeys(ended, trial.reward),
            dict.fromkeys(ended, True),
            dict.fromkeys(ended, False),
            {agent: dict(info) for agent in ended},
        )

    def evaluate_batch(
        self, actions: Mapping[str, Action], seeds: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Play n episodes in one call: the rewards (n,) that reset and step would return, much faster.

        If an episode is open, the first row is that one, under its seed, and it is over then; the others are the next ones.

        Args:
            actions: agent -> codes, integers of shape (n, L_i); with intervals a mapping of decisions and intervals, each
                (n, ...).
            seeds: trial seeds (n,), and the environment stays where it is; None takes those of the episodes.

        Raises:
            ValueError: if an action does not fit its space; agent and decision are named.
        """
        first: Any = next(iter(actions.values()), ())
        n = len(next(iter(first.values()), ()) if isinstance(first, Mapping) else first)
        if seeds is not None:
            return self.game.score(actions, np.asarray(seeds, dtype=np.int64))
        rewards = self.game.score(actions, trial_seeds(self.seed, self._episode + (not self.agents), n))
        if n:
            self._next_episodes(n - len(self.agents[:1]))
            self.agents = []
            self.last_trial = None
        return rewards

    def upcoming(self, n: int) -> NDArray[np.float32]:
        """Return what agents observe in the n episodes that `evaluate_batch` plays next: (n, agents, width). Nothing moves."""
        opened = self._states[None][: len(self.agents[:1])]
        drawn = copy.deepcopy(self._rng).standard_normal((n, *self._states.shape), dtype=np.float32)
        return self.observe(np.concatenate([opened, drawn])[:n])

    def observe(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn random states (..., agents, state_dim) into what is observed, (..., agents, width), a new array."""
        if self.observation == "noise":
            return states.copy()
        if self.observation == "constant":
            return np.ones_like(states)
        agents = len(self.possible_agents)
        own = np.concatenate([np.ones((agents, 1), np.float32), np.eye(agents, dtype=np.float32)], axis=1)
        return np.broadcast_to(own, (*states.shape[:-1], agents + 1)).copy()

    def state(self) -> Observation:
        """Return what all agents observe, concatenated, for central critics: (agents x width,) float32."""
        return self.observe(self._states).ravel()

    def render(self) -> None:
        """Draw nothing: `last_trial` holds what happened."""

    def close(self) -> None:
        """Ends worker processes, if the evaluator has any."""
        self.game.evaluator.close()

    def _reseed(self, seed: int) -> None:
        self.seed = seed
        self._episode = -1
        self._rng = np.random.default_rng(abs(seed))
        self._states = np.zeros((len(self.possible_agents), self.game.spec.state_dim), dtype=np.float32)

    def _next_episodes(self, n: int) -> None:
        if n:
            self._states = self._rng.standard_normal((n, *self._states.shape), dtype=np.float32)[-1]
            self._episode += n

    def _observations(self) -> dict[str, Observation]:
        # A new array every time: gymnasium's checker refuses a buffer that is returned twice.
        return dict(zip(self.possible_agents, self.observe(self._states), strict=True))

    def _told(self) -> dict[str, tuple[float, ...]]:
        """The random states as a trial keeps them; none where nobody saw them, and a learner draws its own."""
        if self.observation != "noise":
            return {}
        return {agent: tuple(state.tolist()) for agent, state in self._observations().items()}

    def _code(self, agent: str, action: Action) -> Code:
        decisions = len(self.game.spec.nvec.get(agent, ()))
        intervals = self.game.spec.intervals.get(agent, 0)
        if intervals and not isinstance(action, Mapping):
            raise ValueError(f"agent {agent!r}: an action is a mapping of decisions and intervals, not {action!r}")
        row = row_of(agent, action, decisions, intervals)
        if row.ndim != 1 or not (intervals or np.issubdtype(row.dtype, np.integer)):
            raise ValueError(f"agent {agent!r}: an action is a vector of integers, not {row.dtype} {row.shape}")
        return code_of(row.tolist(), decisions) if intervals else tuple(row.tolist())


def parallel_env(id: str, evaluator: str | None = None, *, observation: Observe = "noise", **options: Any) -> AutoMLEnv:
    """Make the environment of a named game.

    Args:
        id: a registered name; `ma2ml list` shows them.
        evaluator: as for `make_game`; `surrogate` needs no training.
        observation: what agents see: `noise`, `constant` or `agent`; see `AutoMLEnv`.
        **options: those of `make_game`; `seed` also starts the episodes, until `reset` is given one. Without it two
            environments play one game, each its own episodes.

    Raises:
        ValueError, FileNotFoundError, ImportError: as `make_game` does.
    """
    game = make_game(id, evaluator, **options)
    return AutoMLEnv(game, options.get("seed"), f"ma2ml/{id}", observation)
