"""CatCMA with margin (Hamano et al. 2025), by the package `cmaes`, behind ask and tell."""

import importlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ma2ml_agents.baselines.remembering import Remembering
from ma2ml_agents.joint import Codes
from ma2ml_agents.learner import States
from ma2ml_env.io.settings import check_ranges
from ma2ml_env.trial import GameSpec, Proposal, Trial

_LEAST_ORDERED = 3
"""choices of an ordered decision that is an integer; of fewer it is a name, as the package advises"""


@dataclass(frozen=True)
class CatCMAConfig:
    """Settings of `CatCMA`.

    Raises:
        ValueError: if a setting is out of its range.
    """

    population: int = 24
    """trials that the distribution moves by at a time"""
    distinct: bool = True
    """move a draw on until its code is new; False: the paper's form, with repeats"""

    def __post_init__(self) -> None:
        check_ranges(self, at_least_one=("population",))
        if self.population < 4:
            raise ValueError(f"population is at least 4, not {self.population}")


class CatCMA(Remembering):
    """A Gaussian over ordered decisions and a categorical distribution for each other one, moved by the best of a population.

    The Gaussian moves by the real numbers that were drawn, not by the choices that they fell on. So that they can be drawn
    again when a trial is told, a proposal's draw is keyed by its random states. Of a trial that was moved on, or that is not
    of this learner, the choices themselves stand for the numbers.

    Raises:
        ImportError: without cmaes; it is the extra `catcma`.
    """

    Config = CatCMAConfig
    name = "catcma"

    def __init__(
        self, spec: GameSpec, config: CatCMAConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = config or self.Config()
        super().__init__(spec, seed=seed)
        self._package = _cmaes()
        integer = [
            ordered and n >= _LEAST_ORDERED for n, ordered in zip(self.joint.nvec, self.joint.ordered, strict=True)
        ]
        self._integers = np.flatnonzero(integer)
        self._names = np.array([d for d, n in enumerate(self.joint.nvec) if n > 1 and not integer[d]], dtype=np.int64)
        self._keys: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        """of all trials, in the order they were told"""
        self._start()

    def _start(self) -> None:
        """The distribution before the first trial; none if there is nothing to choose."""
        sizes = self.joint.nvec
        self._learnt = 0
        self._distribution: Any = None
        if len(self._integers) + len(self._names):
            self._distribution = self._package.CatCMAwM(
                z_space=[list(range(sizes[d])) for d in self._integers] or None,
                c_space=[sizes[d] for d in self._names] or None,
                population_size=self.config.population,
                seed=0,  # every draw has a key of its own
            )

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """A draw for each state; see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        codes = np.array([self._draw(key)[0] for key in _keys(s.numpy())], dtype=np.int64).reshape(
            n, len(self.joint.nvec)
        )
        if self.config.distinct:
            codes = self.new(codes)
        return self.joint.proposals(torch.from_numpy(codes), s, None, [self.name] * n)

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Move the distribution by every whole population; see `Learner.tell`."""
        if not trials:
            return {}
        codes, states, rewards = self.joint.read(trials, self.generator)
        self.memory.add(codes, rewards)
        self._keys = np.concatenate([self._keys, _keys(states)])
        return {"reward": sum(rewards) / len(rewards), "updates": float(self._move())}

    def _move(self) -> int:
        """Move by the populations that are whole and were not learnt yet; their number."""
        size, moves = self.config.population, 0
        while self._distribution is not None and self._learnt + size <= len(self.memory):
            rows = range(self._learnt, self._learnt + size)
            told = [
                (self._solution(self.memory.codes[row], self._keys[row]), -self.memory.rewards[row]) for row in rows
            ]
            self._distribution.tell(told)
            self._learnt += size
            moves += 1
        return moves

    def _draw(self, key: int) -> tuple[Codes, Any]:
        """The code (L,) that the distribution draws with this key, and the package's solution; 0 where there is no choice."""
        code = np.zeros(len(self.joint.nvec), dtype=np.int64)
        if self._distribution is None:
            return code, None
        self._distribution.reseed_rng(int(key))
        solution = self._distribution.ask()
        if len(self._integers):
            code[self._integers] = solution.z
        if len(self._names):
            code[self._names] = solution.c.argmax(axis=1)
        return code, solution

    def _solution(self, code: Codes, key: int) -> Any:
        """What was drawn with this key if it is this code, else the code itself as a solution."""
        drawn, solution = self._draw(key)
        if np.array_equal(drawn, code):
            return solution
        z = code[self._integers].astype(np.float64) if len(self._integers) else None
        hot = None if solution.c is None else np.arange(solution.c.shape[1]) == code[self._names, None]
        return self._package.CatCMAwM.Solution(None, z, hot, z)

    def state_dict(self) -> dict[str, Any]:
        """All trials with their keys, and the random state; see `Learner.state_dict`."""
        return {**super().state_dict(), "keys": self._keys.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`: the distribution moves by all trials once more."""
        super().load_state_dict(state)
        self._keys = np.array(state["keys"], dtype=np.int64)
        self._start()
        self._move()


def _keys(states: NDArray[np.float32]) -> NDArray[np.int64]:
    """A seed of 32 bits for each state (n, agents, state_dim)."""
    return np.array([zlib.crc32(np.ascontiguousarray(state).tobytes()) for state in states], dtype=np.int64)


def _cmaes() -> Any:
    try:
        return importlib.import_module("cmaes")
    except ModuleNotFoundError as error:
        raise ImportError("the learner 'catcma' needs cmaes: pip install 'ma2ml[catcma]'") from error
