"""The replay buffer D of <S, A, R> (Algorithm 1, lines 8 and 9)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ma2ml_agents.joint import Codes


class Replay:
    """Experiences in order of arrival; beyond `capacity` the oldest go.

    `codes` (N, L) of `dtype`, `states` (N, agents, state_dim) and `rewards` (N,) are what is held.
    """

    def __init__(self, capacity: int, decisions: int, agents: int, state_dim: int, dtype: Any = np.int64) -> None:
        if capacity < 1:
            raise ValueError(f"a replay buffer holds at least one trial, not {capacity}")
        self.capacity = capacity
        self.codes: Codes = np.zeros((0, decisions), dtype=dtype)
        self.states: NDArray[np.float32] = np.zeros((0, agents, state_dim), dtype=np.float32)
        self.rewards: NDArray[np.float64] = np.zeros(0)

    def __len__(self) -> int:
        return len(self.rewards)

    def add(self, codes: Codes, states: NDArray[np.float32], rewards: Sequence[float]) -> None:
        """Store n experiences: codes (n, L), states (n, agents, state_dim), rewards (n,)."""
        self.codes = np.concatenate([self.codes, codes])[-self.capacity :]
        self.states = np.concatenate([self.states, states])[-self.capacity :]
        self.rewards = np.concatenate([self.rewards, np.asarray(rewards, dtype=np.float64)])[-self.capacity :]

    def keep_newest(self, n: int) -> None:
        """Forget all but the newest n."""
        first = max(0, len(self) - n)
        self.codes, self.states, self.rewards = self.codes[first:], self.states[first:], self.rewards[first:]

    def rows(self, n: int, generator: torch.Generator, newest: int | None = None) -> Tensor:
        """Row numbers of a minibatch B: n of all or of the newest so many, uniformly with replacement (line 9)."""
        first = 0 if newest is None else max(0, len(self) - newest)
        return first + torch.randint(len(self) - first, (n,), generator=generator)

    def state_dict(self) -> dict[str, Any]:
        """Everything that is held."""
        return {"codes": self.codes.copy(), "states": self.states.copy(), "rewards": self.rewards.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.codes = np.array(state["codes"], dtype=self.codes.dtype)
        self.states = np.array(state["states"], dtype=np.float32)
        self.rewards = np.array(state["rewards"], dtype=np.float64)
