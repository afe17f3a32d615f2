"""Joint actions as rows of numbers: between proposals and trials outside, and arrays inside a learner.

The code of all agents is one row, agent after agent in the order of the spec; so are their states. Rows are int64; in a game
with intervals they are float64, which holds indices and positions alike.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ma2ml_agents.learner import States
from ma2ml_agents.policies.intervals import RESOLUTION
from ma2ml_env.trial import Code, GameSpec, Proposal, Trial, code_of

Codes = NDArray[Any]
"""rows (n, L): int64, or float64 in a game with intervals"""


class Joint:
    """The layout of a game's joint action: `slices[agent]` are an agent's columns of a row of L = sum of L_i codes.

    `nvec` is the number of choices of every column, 0 for an interval. `ordered` says of every column whether its choices stand
    in an order, as an interval's positions do; `kinds` has agent and kind of every column that is of a kind, else None.
    """

    def __init__(self, spec: GameSpec) -> None:
        if not spec.nvec:
            raise ValueError("a game needs at least one agent; GameSpec.nvec is empty")
        self.spec = spec
        self.agents = tuple(spec.nvec)
        columns = {a: (*map(int, spec.nvec[a]), *[0] * spec.intervals.get(a, 0)) for a in self.agents}
        self.nvec = tuple(size for sizes in columns.values() for size in sizes)
        self.ordered = tuple(
            each
            for a in self.agents
            for each in (*spec.ordered.get(a, (False,) * len(spec.nvec[a])), *[True] * spec.intervals.get(a, 0))
        )
        self.kinds = tuple(
            (a, kind) if kind else None
            for a in self.agents
            for kind in (*spec.kinds.get(a, ("",) * len(spec.nvec[a])), *[""] * spec.intervals.get(a, 0))
        )
        self.dtype = np.dtype(np.int64 if all(self.nvec) else np.float64)
        ends = np.cumsum([len(sizes) for sizes in columns.values()]).tolist()
        self.slices = {a: slice(end - len(columns[a]), end) for a, end in zip(self.agents, ends, strict=True)}

    @property
    def nats(self) -> float:
        """Entropy of the uniform joint policy; an interval counts as `RESOLUTION` choices."""
        return sum(math.log(size or RESOLUTION) for size in self.nvec)

    def states(self, n: int, given: States | None, generator: torch.Generator) -> Tensor:
        """S of n proposals, (n, agents, state_dim) float32: those given, or drawn from N(0, I).

        Raises:
            ValueError: if there are not n mappings of all agents to arrays of length `state_dim`.
        """
        if given is None:
            return torch.randn(n, len(self.agents), self.spec.state_dim, generator=generator)
        if len(given) != n:
            raise ValueError(f"ask({n}) needs {n} states, not {len(given)}")
        return torch.stack([self._state(state) for state in given]) if n else torch.zeros(0, *self._state_shape)

    def proposals(
        self, codes: Tensor, states: Tensor, log_probs: Tensor | None, origins: Sequence[str]
    ) -> list[Proposal]:
        """Rows as proposals: codes (n, L), states (n, agents, state_dim), log_probs (n, agents)."""
        rows, numbers = codes.tolist(), states.tolist()
        logs = None if log_probs is None else log_probs.tolist()
        return [
            Proposal(
                codes={a: code_of(rows[k][self.slices[a]], len(self.spec.nvec[a])) for a in self.agents},
                states={agent: tuple(numbers[k][i]) for i, agent in enumerate(self.agents)},
                log_probs=None if logs is None else dict(zip(self.agents, logs[k], strict=True)),
                origin=origin,
            )
            for k, origin in enumerate(origins)
        ]

    def read(
        self, trials: Sequence[Trial], generator: torch.Generator
    ) -> tuple[Codes, NDArray[np.float32], list[float]]:
        """Trials as codes (n, L), states (n, agents, state_dim) and rewards; states that are missing are drawn.

        Raises:
            ValueError: if a code does not fit the game or a reward is not finite; nothing was drawn then.
        """
        codes = [self._row(trial.number, trial.proposal.codes) for trial in trials]
        for trial in trials:
            if not math.isfinite(trial.reward):
                raise ValueError(f"trial {trial.number}: the reward must be finite, not {trial.reward!r}")
        given = [self._state(t.proposal.states) if t.proposal.states else None for t in trials]
        states = [torch.randn(self._state_shape, generator=generator) if s is None else s for s in given]
        return np.array(codes, dtype=self.dtype), torch.stack(states).numpy(), [float(t.reward) for t in trials]

    @property
    def _state_shape(self) -> tuple[int, int]:
        return len(self.agents), self.spec.state_dim

    def _state(self, state: Mapping[str, object]) -> Tensor:
        if set(state) != set(self.agents):
            raise ValueError(f"states are needed of the agents {sorted(self.agents)}, not {sorted(state)}")
        rows = [np.asarray(state[agent], dtype=np.float32) for agent in self.agents]
        for agent, row in zip(self.agents, rows, strict=True):
            if row.shape != (self.spec.state_dim,):
                raise ValueError(f"the state of {agent!r} has shape {row.shape}, not ({self.spec.state_dim},)")
        return torch.from_numpy(np.stack(rows))

    def _row(self, number: int, codes: Mapping[str, Code]) -> list[float]:
        if set(codes) != set(self.agents):
            raise ValueError(f"trial {number}: codes are needed of {sorted(self.agents)}, not {sorted(codes)}")
        row: list[float] = []
        for agent in self.agents:
            nvec, code = self.spec.nvec[agent], codes[agent]
            indices, positions = code[: len(nvec)], code[len(nvec) :]
            fits = len(indices) == len(nvec) and len(positions) == self.spec.intervals.get(agent, 0)
            if not fits or not all(0 <= c < n and c == int(c) for c, n in zip(indices, nvec, strict=True)):
                raise ValueError(f"trial {number}: the code of {agent!r} does not fit its choices {nvec}: {code}")
            if not all(0 <= u <= 1 for u in positions):
                raise ValueError(f"trial {number}: positions of {agent!r} lie in [0, 1]: {positions}")
            row.extend(int(c) for c in indices)
            row.extend(float(u) for u in positions)
        return row


def only_decisions(spec: GameSpec, learner: str) -> GameSpec:
    """The spec, for a learner that takes decisions alone.

    Raises:
        ValueError: if an agent has intervals; learner and agent are named.
    """
    for agent, count in spec.intervals.items():
        raise ValueError(
            f"the learner {learner!r} takes decisions alone, and agent {agent!r} has {count} intervals; "
            "use one that takes both, such as ma2ml, or a module without intervals"
        )
    return spec
