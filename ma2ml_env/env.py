"""The game as a PettingZoo parallel environment: one joint action, one shared reward, done."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from ma2ml_env.actions import Action, action_space, row_of
from ma2ml_env.game import Game
from ma2ml_env.games.make import make_game
from ma2ml_env.trial import Code, Proposal, Trial, code_of, trial_seed, trial_seeds

Observation = NDArray[np.float32]
INFO_KEYS = ("accuracy", "flops", "params", "seconds", "ok")


class AutoMLEnv(ParallelEnv[str, Observation, Action]):
    """A game as a one-step cooperative environment.

    Agents are named after the modules. An observation is the agent's random state S_i (paper, section 3.2), `Box((8,),
    float32)`, drawn anew every episode; an action is the agent's code, `MultiDiscrete(nvec)`, or with intervals a `Dict` of
    `decisions` and of `intervals`, positions in `Box(0, 1)`; the reward is shared. Infos hold the floats `accuracy, flops,
    params, seconds, ok`; everything else of an episode is in `last_trial`.

    Two environments with equal seeds give equal episodes: the trial seed is `trial_seed(environment seed, episode number)`.

    Args:
        game: what is played.
        seed: used until `reset` is given one.
        name: for `metadata`.
    """

    metadata: dict[str, Any]

    def __init__(self, game: Game, seed: int = 0, name: str = "ma2ml") -> None:
        self.metadata = {"name": name, "render_modes": [], "is_parallelizable": True}
        self.render_mode = None
        self.game = game
        self.possible_agents = list(game.spec.nvec)
        self.agents: list[str] = []
        dim = game.spec.state_dim
        # Built once: users compare spaces by identity and seed them for sampling.
        self.action_spaces: dict[str, Space[Any]] = {
            agent: action_space(nvec, game.spec.intervals.get(agent, 0)) for agent, nvec in game.spec.nvec.items()
        }
        self.observation_spaces: dict[str, Space[Any]] = {
            agent: Box(-np.inf, np.inf, (dim,), np.float32) for agent in self.possible_agents
        }
        self.state_space = Box(-np.inf, np.inf, (dim * len(self.possible_agents),), np.float32)
        self.last_trial: Trial | None = None
        self._reseed(seed)

    def observation_space(self, agent: str) -> Space[Any]:
        """Return `Box((state_dim,), float32)`."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """Return `MultiDiscrete(nvec)`; with intervals `Dict(decisions=MultiDiscrete, intervals=Box(0, 1, (n,)))`."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, float]]]:
        """Start an episode; with a seed, start the sequence of episodes of that seed."""
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
        states = {agent: tuple(state.tolist()) for agent, state in self._observations().items()}
        seed = trial_seed(self._seed, self._episode)
        (trial,) = self.game.play([Proposal(codes, states)], [seed], first_number=self._episode)
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
        """Play the next n episodes in one call: the rewards (n,) that reset and step would return, much faster.

        Args:
            actions: agent -> codes, integers of shape (n, L_i); with intervals a mapping of decisions and intervals, each
                (n, ...).
            seeds: trial seeds (n,); None takes those of the next n episodes and moves the environment past them.

        Raises:
            ValueError: if an action does not fit its space; agent and decision are named.
        """
        first: Any = next(iter(actions.values()), ())
        n = len(next(iter(first.values()), ()) if isinstance(first, Mapping) else first)
        if seeds is not None:
            return self.game.score(actions, np.asarray(seeds, dtype=np.int64))
        rewards = self.game.score(actions, trial_seeds(self._seed, self._episode + 1, n))
        if n:
            self._next_episodes(n)
            self.agents = []
            self.last_trial = None
        return rewards

    def state(self) -> Observation:
        """Return all agents' states, concatenated, for central critics: (agents x state_dim,) float32."""
        return self._states.ravel().copy()

    def render(self) -> None:
        """Draw nothing: `last_trial` holds what happened."""

    def close(self) -> None:
        """Ends worker processes, if the evaluator has any."""
        self.game.evaluator.close()

    def _reseed(self, seed: int) -> None:
        self._seed = int(seed)
        self._episode = -1
        self._rng = np.random.default_rng(abs(self._seed))
        self._states = np.zeros((len(self.possible_agents), self.game.spec.state_dim), dtype=np.float32)

    def _next_episodes(self, n: int) -> None:
        shape = (n, *self._states.shape)
        self._states = self._rng.standard_normal(shape, dtype=np.float32)[-1]
        self._episode += n

    def _observations(self) -> dict[str, Observation]:
        # A new array every time: gymnasium's checker refuses a buffer that is returned twice.
        return {agent: self._states[i].copy() for i, agent in enumerate(self.possible_agents)}

    def _code(self, agent: str, action: Action) -> Code:
        decisions = len(self.game.spec.nvec.get(agent, ()))
        intervals = self.game.spec.intervals.get(agent, 0)
        if intervals and not isinstance(action, Mapping):
            raise ValueError(f"agent {agent!r}: an action is a mapping of decisions and intervals, not {action!r}")
        row = row_of(agent, action, decisions, intervals)
        if row.ndim != 1 or not (intervals or np.issubdtype(row.dtype, np.integer)):
            raise ValueError(f"agent {agent!r}: an action is a vector of integers, not {row.dtype} {row.shape}")
        return code_of(row.tolist(), decisions) if intervals else tuple(row.tolist())


def parallel_env(id: str, evaluator: str | None = None, **options: Any) -> AutoMLEnv:
    """Make the environment of a named game.

    Args:
        id: a registered name; `ma2ml list` shows them.
        evaluator: as for `make_game`; `surrogate` needs no training.
        **options: those of `make_game`; `seed` also starts the episodes, until `reset` is given one.

    Raises:
        ValueError, FileNotFoundError, ImportError: as `make_game` does.
    """
    return AutoMLEnv(make_game(id, evaluator, **options), seed=options.get("seed", 0), name=f"ma2ml/{id}")
