"""A Gaussian process in a trust region of Hamming distance, in the manner of Casmopolitan (Wan et al. 2021)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ma2ml_agents.baselines.remembering import Picking
from ma2ml_agents.gaussian import GaussianProcess
from ma2ml_agents.joint import Codes
from ma2ml_agents.returns import ranks
from ma2ml_env.io.settings import check_ranges
from ma2ml_env.trial import GameSpec, Trial

_CONFIDENCE = 1.96
"""deviations above the mean by which a new centre is chosen (the authors' code)"""


@dataclass(frozen=True)
class TrustRegionConfig:
    """Settings of `TrustRegion`; lengths are numbers of decisions, as in the authors' code.

    Raises:
        ValueError: if a setting is out of its range.
    """

    start: int = 24
    """random trials of the first region, and trials about the centre of every later one"""
    candidates: int = 1000
    """in the region, of which draws of the process choose"""
    length: int = 20
    """decisions in which a candidate of a new region may differ from its centre"""
    longest: int = 30
    """that a region grows to"""
    factor: float = 1.5
    """by which a region grows or shrinks"""
    successes: int = 3
    """batches in a row with a new best after which it grows"""
    failures: int = 40
    """trials in a row without after which it shrinks; below one decision it starts anew elsewhere"""

    def __post_init__(self) -> None:
        check_ranges(self, at_least_one=("start", "candidates", "length", "longest", "successes", "failures"))
        if not 1.0 < self.factor <= 10.0:
            raise ValueError(f"factor is above 1 and at most 10, not {self.factor}")


class TrustRegion(Picking):
    """Thompson sampling by a Gaussian process over overlaps, within some decisions of the best trial; it restarts when stuck.

    Kept: Gaussian ranks of rewards, a kernel that is an exponential of weighted overlaps, candidates that differ from the best
    trial of the region in as many decisions as it is long, one draw of the process for each proposal, growth and shrinking by
    successes and failures, and a new region about the most promising of random codes by a process over the best of all former
    ones. Chosen otherwise: failures are counted in trials, as batches are larger here; the process is the house's
    (`gaussian.py`), which may use the order of choices and goes on learning from batch to batch.
    """

    Config = TrustRegionConfig
    name = "trust_region"

    def __init__(
        self, spec: GameSpec, config: TrustRegionConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = config or self.Config()
        super().__init__(spec, seed=seed)
        self._decisions = sum(size > 1 for size in self.joint.nvec)
        self._former = list[int]()
        """rows of the best trials of former regions"""
        self._centre: Codes = np.zeros(0, dtype=np.int64)
        """of a later region, (L,); empty of the first"""
        self._begin(0)

    def _begin(self, first: int) -> None:
        """Begin a region, whose first trial is this row of the memory."""
        self._first = first
        self._length = float(min(self.config.length, max(self._decisions, 1)))
        self._successes = self._failures = 0
        self._process = GaussianProcess(self.joint.nvec)

    def pick(self, n: int) -> Codes:
        """Random codes at the very start, codes about the centre at that of a later region, then draws of the process."""
        told = len(self.memory) - self._first
        early = n if not told else min(n, max(0, self.config.start - told))
        codes = self._about(self._centre, early) if len(self._centre) else self.moves.uniform(early)
        return np.concatenate([codes, self._drawn(n - early)]) if n > early else codes

    def _drawn(self, n: int) -> Codes:
        """The favourites of n draws of the process among candidates of the region, (n, L)."""
        own, rewards = self.memory.codes[self._first :], self.memory.rewards[self._first :]
        posterior = self._process.posterior(torch.from_numpy(own), _targets(rewards))
        pool = np.unique(self._about(own[rewards.argmax()], self.config.candidates), axis=0)
        pool = pool[[row.tobytes() not in self.memory.known for row in pool]]
        if not len(pool):
            return self.moves.uniform(n)
        values = posterior.draws(torch.from_numpy(pool), torch.ones(n, dtype=torch.float64), self.generator)
        taken = list[int]()
        for draw in values[:, : len(pool)]:
            draw[taken] = -math.inf
            taken.append(int(draw.argmax()))
        codes: Codes = pool[taken]
        return codes

    def _about(self, centre: Codes, n: int) -> Codes:
        """Codes (n, L) that take new choices, drawn uniformly, in as many decisions of the centre as the region is long."""
        order = torch.rand(n, len(centre), generator=self.generator).argsort(dim=1).numpy()
        return np.where(order < int(self._length), self.moves.uniform(n), centre)

    def _promising(self) -> Codes:
        """Of random codes the most promising, by a process over the best of former regions."""
        best, pool = self.memory.codes[self._former], self.moves.uniform(self.config.candidates)
        process = GaussianProcess(self.joint.nvec)
        posterior = process.posterior(torch.from_numpy(best), _targets(self.memory.rewards[self._former]))
        means = posterior.mean(torch.from_numpy(pool))
        spread = torch.tensor([posterior.variance(torch.from_numpy(row[None])) for row in pool]).sqrt()
        centre: Codes = pool[int((means + _CONFIDENCE * spread).argmax())]
        return centre

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Learn, and let the region grow, shrink or start anew; see `Learner.tell`."""
        before = len(self.memory)
        told = super().tell(trials)
        if not told:
            return {}
        rewards = self.memory.rewards[self._first :]
        old, new = rewards[: before - self._first], rewards[before - self._first :]
        if len(old) >= self.config.start:
            self._judge(new.max() > old.max(), len(new))
        if int(self._length) < 1:
            self._former.append(self._first + int(rewards.argmax()))
            self._begin(len(self.memory))
            self._centre = self._promising()
        else:
            codes = torch.from_numpy(self.memory.codes[self._first :])
            self._process.learn(codes, _targets(rewards), self.generator)
        return {**told, "updates": 1.0, "length": float(int(self._length))}

    def _judge(self, better: bool, trials: int) -> None:
        """Grow after some successes in a row, shrink after some failures."""
        self._successes = self._successes + 1 if better else 0
        self._failures = 0 if better else self._failures + trials
        if self._successes >= self.config.successes:
            self._length = min(self._length * self.config.factor, self.config.longest, self._decisions)
            self._successes = 0
        elif self._failures >= self.config.failures:
            self._length /= self.config.factor
            self._failures = 0

    def state_dict(self) -> dict[str, Any]:
        """All trials, the region, its process and the random state; see `Learner.state_dict`."""
        region = {"first": self._first, "length": self._length, "former": list(self._former)}
        counts = {"successes": self._successes, "failures": self._failures}
        return {
            **super().state_dict(),
            "region": region | counts,
            "centre": self._centre.copy(),
            "process": self._process.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        super().load_state_dict(state)
        region = state["region"]
        self._begin(int(region["first"]))
        self._length, self._former = float(region["length"]), [int(row) for row in region["former"]]
        self._successes, self._failures = int(region["successes"]), int(region["failures"])
        self._centre = np.array(state["centre"], dtype=np.int64)
        self._process.load_state_dict(state["process"])


def _targets(rewards: Any) -> Tensor:
    """Gaussian ranks, as a copula makes them."""
    return torch.from_numpy(ranks(rewards))
