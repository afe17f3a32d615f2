"""What the learners without policies share: a memory of all trials, and moves from code to code."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ma2ml_agents.joint import Codes
from ma2ml_agents.policies.intervals import moved

_STEPS = 200
"""a code that is known is moved on at most so often"""


class Memory:
    """All trials in the order they were told: `codes` (N, L) of `dtype`, `rewards` (N,)."""

    def __init__(self, decisions: int, dtype: Any = np.int64) -> None:
        self.codes: Codes = np.zeros((0, decisions), dtype=dtype)
        self.rewards: NDArray[np.float64] = np.zeros(0)
        self.known: set[bytes] = set()

    def __len__(self) -> int:
        return len(self.rewards)

    def add(self, codes: Codes, rewards: Sequence[float]) -> None:
        """Remember n trials: codes (n, L), rewards (n,)."""
        self.codes = np.concatenate([self.codes, codes])
        self.rewards = np.concatenate([self.rewards, np.asarray(rewards, dtype=np.float64)])
        self.known.update(row.tobytes() for row in codes)

    def state_dict(self) -> dict[str, Any]:
        """All trials."""
        return {"codes": self.codes.copy(), "rewards": self.rewards.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.codes = np.array(state["codes"], dtype=self.codes.dtype)
        self.rewards = np.array(state["rewards"], dtype=np.float64)
        self.known = {row.tobytes() for row in self.codes}


class Moves:
    """Random codes of a game, and codes beside a code.

    Args:
        nvec: number of choices of every decision, L entries; 0 stands for an interval.
        generator: draws everything.
    """

    def __init__(self, nvec: Sequence[int], generator: torch.Generator) -> None:
        self.nvec = np.array(nvec, dtype=np.int64)
        self.generator = generator
        self._sizes = torch.tensor(nvec)
        self._free = torch.tensor([d for d, size in enumerate(nvec) if size != 1], dtype=torch.int64)

    def uniform(self, n: int) -> Codes:
        """N codes (n, L), every decision uniformly."""
        uniform = torch.rand(n, len(self.nvec), generator=self.generator, dtype=torch.float64)
        indices = (uniform * self._sizes).long()
        return indices.numpy() if self.nvec.all() else torch.where(self._sizes > 0, indices, uniform).numpy()

    def mutated(self, codes: Codes) -> Codes:
        """Codes (n, L) of which each has one decision, drawn uniformly, set to another choice, drawn uniformly.

        An interval takes a step instead (`intervals.moved`). Decisions with a single choice are left out; where there are no
        others, nothing changes.
        """
        codes = codes.copy()
        if len(self._free) and len(codes):
            column = self._free[self.below(len(self._free), len(codes))]
            step = 1 + (self._rand(len(codes)) * (self._sizes[column] - 1)).long()
            rows, columns = np.arange(len(codes)), column.numpy()
            before, sizes = codes[rows, columns], self.nvec[columns]
            after = (before + step.numpy()) % np.maximum(sizes, 1)
            if not sizes.all():
                after = np.where(sizes > 0, after, moved(torch.from_numpy(before), self.generator).numpy())
            codes[rows, columns] = after
        return codes

    def neighbours(self, code: Codes) -> Codes:
        """All codes that differ from `code` (L,) in one decision: (sum of n_d - 1, L), in a fixed order."""
        column = np.repeat(np.arange(len(self.nvec)), self.nvec - 1)
        step = np.concatenate([np.arange(1, size) for size in self.nvec]) if len(column) else column
        rows = np.tile(code, (len(column), 1))
        rows[np.arange(len(column)), column] = (code[column] + step) % self.nvec[column]
        return rows

    def below(self, bound: int, n: int) -> Tensor:
        """N whole numbers in [0, bound), with replacement."""
        return torch.randint(bound, (n,), generator=self.generator)

    def shuffled(self, n: int) -> NDArray[np.int64]:
        """The numbers below n in random order."""
        return np.asarray(torch.randperm(n, generator=self.generator).numpy(), dtype=np.int64)

    def _rand(self, n: int) -> Tensor:
        return torch.rand(n, generator=self.generator, dtype=torch.float64)


def moved_on(codes: Codes, memory: Memory, moves: Moves) -> Codes:
    """`codes` (n, L), those mutated on that are known or stand further up; after `_STEPS` mutations they stay known."""
    codes, taken = codes.copy(), set(memory.known)
    for row in range(len(codes)):
        for _ in range(_STEPS):
            if codes[row].tobytes() not in taken:
                break
            codes[row] = moves.mutated(codes[row][None])[0]
        taken.add(codes[row].tobytes())
    return codes
