"""The other way round: any one-step cooperative parallel environment as a game that learners can play."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete
from pettingzoo import ParallelEnv

from ma2ml_env.env import AutoMLEnv
from ma2ml_env.playable import OnOutcome, Playable
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial


class EnvGame(Playable):
    """`spec` and `play` over a foreign environment; made by `game_from_env`.

    An outcome's accuracy is the environment's info `accuracy` where there is one, else the reward clipped to [0, 1].
    """

    def __init__(self, env: "ParallelEnv[str, Any, Any]", spec: GameSpec) -> None:
        self.env = env
        self.spec = spec
        self._discrete = {agent: isinstance(env.action_space(agent), Discrete) for agent in spec.nvec}
        self._start = {agent: np.asarray(env.action_space(agent).start) for agent in spec.nvec}

    def play(
        self,
        proposals: Sequence[Proposal],
        seeds: Sequence[int],
        *,
        first_number: int = 0,
        known: Mapping[int, Outcome] = {},
        on_outcome: OnOutcome | None = None,
    ) -> list[Trial]:
        """Reset with each trial's seed and step once; see `Playable.play`.

        Raises:
            ValueError: if an episode takes more than one step, or agents get different rewards.
        """
        trials = []
        for number, (proposal, seed) in enumerate(zip(proposals, seeds, strict=True), start=first_number):
            outcome = known.get(number)
            if outcome is None:
                outcome = self._episode(proposal, seed)
                if on_outcome is not None:
                    on_outcome(number, outcome)
            trials.append(Trial(number, seed, proposal, outcome, outcome.metrics["reward"]))
        return trials

    def _episode(self, proposal: Proposal, seed: int) -> Outcome:
        self.env.reset(seed=seed % 2**31)  # frameworks take 32-bit seeds
        actions = {}
        for agent, code in proposal.codes.items():
            shifted = np.asarray(code) + self._start[agent]
            actions[agent] = int(shifted[0]) if self._discrete[agent] else shifted
        _, rewards, terminations, truncations, infos = self.env.step(actions)
        running = [a for a in rewards if not (terminations.get(a) or truncations.get(a))]
        if running:
            raise ValueError(f"not a one-step environment: agents {running} go on after the first step")
        if len({float(reward) for reward in rewards.values()}) != 1:
            raise ValueError(f"not a cooperative environment: rewards differ between agents: {dict(rewards)}")
        reward = float(next(iter(rewards.values())))
        info: Mapping[str, Any] = next(iter(infos.values()), {})
        accuracy = float(info.get("accuracy", reward))
        return Outcome(accuracy=min(max(accuracy, 0.0), 1.0), metrics={"reward": reward})


def game_from_env(env_fn: Callable[[], "ParallelEnv[str, Any, Any]"]) -> EnvGame:
    """A playable game over any one-step cooperative parallel environment.

    Args:
        env_fn: makes the environment; every agent acts in a Discrete or MultiDiscrete space.

    Raises:
        ValueError: if an agent acts in another kind of space; the agent is named.
    """
    env = env_fn()
    nvec: dict[str, tuple[int, ...]] = {}
    for agent in env.possible_agents:
        space = env.action_space(agent)
        if isinstance(space, Discrete):
            nvec[agent] = (int(space.n),)
        elif isinstance(space, MultiDiscrete) and space.nvec.ndim == 1:
            nvec[agent] = tuple(int(n) for n in space.nvec)
        else:
            raise ValueError(f"agent {agent!r} acts in {space}; a game needs Discrete or one-dimensional MultiDiscrete")
    own = isinstance(env, AutoMLEnv)  # ours tells what decisions mean as well
    return EnvGame(env, env.game.spec if own else GameSpec(nvec))
