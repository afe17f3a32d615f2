"""A synthetic landscape over any set of agents: accuracy and MACs of a code without training.

`landscape.py` says what its tables are; here they are read. Accuracy is a monotone squashing of a code's score z.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.evaluators.base import GroundTruth, Job
from ma2ml_env.evaluators.draw import build_tables
from ma2ml_env.evaluators.landscape import Floats, Ints, Landscape, variance_of_intervals
from ma2ml_env.trial import Code, Outcome, mix64

_CHUNK = 1024  # rows a look-up handles at once: small enough for the cache, and no effect on any number


class Surrogate(GroundTruth):
    """The synthetic evaluator.

    Args:
        nvec: agent -> number of choices of each decision.
        intervals: agent -> number of intervals.
        kinds: agent -> kind of each decision, as in `GameSpec`.
        ordered: agent -> whether each decision is ordered, as in `GameSpec`.
        **options: fields of `Landscape`.

    Raises:
        ValueError: if an option is unknown or out of its range.
    """

    def __init__(
        self,
        nvec: Mapping[str, Sequence[int]],
        intervals: Mapping[str, int] = {},
        kinds: Mapping[str, Sequence[str]] = {},
        ordered: Mapping[str, Sequence[bool]] = {},
        **options: Any,
    ) -> None:
        unknown = sorted(set(options) - {f.name for f in fields(Landscape)})
        if unknown:
            raise ValueError(f"not options of the surrogate: {', '.join(unknown)}")
        self.landscape = Landscape(**options)
        self.nvec = {agent: tuple(int(n) for n in sizes) for agent, sizes in nvec.items()}
        self.intervals = {agent: int(n) for agent, n in intervals.items() if n}
        self._tables = build_tables(self.nvec, self.intervals, self.landscape, kinds, ordered)
        z = float(self._tables.look_up(self._tables.best[None], self._peaks_of_best()[None])[0][0])
        # A third of the optimum's z, so that random pipelines lie on the nearly straight part of the squashing and the last
        # steps to the optimum are small, as they are in training; never so steep that small spaces saturate at once.
        self._scale = max(z / 3.0, 2.5)
        span = self.landscape.top - self.landscape.centre
        self._gain = span / float(_squash(np.array(z / self._scale))) if z else 0.0
        floor = self.landscape.floor
        self._fall = self._gain if floor is None else self.landscape.centre - floor

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """Outcomes in order; the numbers are those of `score`."""
        if not jobs:
            return
        codes = {agent: np.array([job.codes[agent] for job in jobs], dtype=self._dtype(agent)) for agent in self.nvec}
        accuracy, flops = self.score(codes, np.array([job.seed for job in jobs], dtype=np.int64))
        delay = self.landscape.delay
        for index, (job, a, f) in enumerate(zip(jobs, accuracy.tolist(), flops.tolist(), strict=True)):
            if delay:
                time.sleep(delay)
            yield index, Outcome(accuracy=a, flops=f, seconds=delay, fidelity=job.fidelity)

    def score(self, codes: Mapping[str, NDArray[Any]], seeds: Ints) -> tuple[Floats, Ints]:
        """Accuracies (n,) and MACs (n,) of agent -> codes (n, L_i) under trial seeds (n,)."""
        joint, positions = self._joined(codes)
        chunks = [slice(start, start + _CHUNK) for start in range(0, len(joint), _CHUNK)]
        parts = [self._score(joint[rows], positions[rows], seeds[rows]) for rows in chunks]
        if len(parts) == 1:
            return parts[0]
        return (
            np.concatenate([np.empty(0), *(accuracy for accuracy, _ in parts)]),
            np.concatenate([np.empty(0, dtype=np.int64), *(flops for _, flops in parts)]),
        )

    def noise_free(self, codes: Mapping[str, NDArray[Any]]) -> tuple[Floats, Ints]:
        """Accuracies (n,) without noise, and MACs (n,), of agent -> codes (n, L_i): for reports."""
        z, size = self._tables.look_up(*self._joined(codes))
        return self._accuracy(z).clip(0.0, 1.0), self._macs(size)

    def optimum(self) -> tuple[dict[str, Code], float]:
        """The best codes of all and their accuracy without noise."""
        return self._named(self._tables.best, self._peaks_of_best())

    def separate(self) -> tuple[dict[str, Code], float]:
        """Each agent's best code averaged over the others, joined, and the accuracy of that without noise."""
        peaks = self._tables.peaks
        return self._named(self._tables.separate, peaks.separate() if peaks else np.empty(0))

    def shares(self) -> dict[str, float]:
        """Exact shares of the variance of z under uniform codes: `main`, `within`, `across`, and `intervals` if any."""
        group = self._tables.variances()
        if self._tables.peaks:
            group["intervals"] = variance_of_intervals(self.nvec, self.intervals)
        total = sum(group.values()) or 1.0
        return {name: value / total for name, value in group.items()}

    # ---- how a code becomes numbers --------------------------------------------------------------------------------

    def _dtype(self, agent: str) -> type[np.number[Any]]:
        return np.float64 if agent in self.intervals else np.int64

    def _joined(self, codes: Mapping[str, NDArray[Any]]) -> tuple[Ints, Floats]:
        """Joint codes of the decisions (n, D) and positions of the intervals (n, L_c)."""
        if not self.intervals:
            joint = np.concatenate([codes[agent] for agent in self.nvec], axis=1)
            return joint, np.empty((len(joint), 0))
        indices = [codes[agent][:, : len(sizes)] for agent, sizes in self.nvec.items()]
        positions = [codes[agent][:, len(sizes) :] for agent, sizes in self.nvec.items()]
        return np.concatenate(indices, axis=1).astype(np.int64), np.concatenate(positions, axis=1, dtype=np.float64)

    def _score(self, joint: Ints, positions: Floats, seeds: Ints) -> tuple[Floats, Ints]:
        z, size = self._tables.look_up(joint, positions)
        accuracy = self._accuracy(z)
        if self.landscape.noise:
            accuracy += self._deviation(z) * self._noise(joint, positions, seeds)
        return accuracy.clip(0.0, 1.0), self._macs(size)

    def _accuracy(self, z: Floats) -> Floats:
        return np.asarray(self.landscape.centre + np.where(z < 0.0, self._fall, self._gain) * _squash(z / self._scale))

    def _deviation(self, z: Floats) -> Floats:
        """Of the noise: that of the landscape above the centre, and towards a floor more, as accuracies are further apart."""
        more = self._fall / self._gain - 1.0 if self._gain else 0.0
        return np.asarray(self.landscape.noise * (1.0 + more * -np.minimum(_squash(z / self._scale), 0.0)))

    def _macs(self, size: Floats) -> Ints:
        return (self.landscape.flops * (1.0 + 0.9 * _squash(0.6 * size))).astype(np.int64).clip(1)

    def _noise(self, joint: Ints, positions: Floats, seeds: Ints) -> Floats:
        """Standard noise (n,): the sum of eight 16-bit uniforms, for which every machine gives the same bits."""
        key = (
            joint.astype(np.uint64) @ self._tables.multipliers + seeds.astype(np.uint64) * self._tables.seed_multiplier
        )
        if self._tables.peaks:
            key = key + self._tables.peaks.keys(positions)
        lanes = mix64(key[:, None] ^ self._tables.noise).view(np.uint16)
        total: Floats = lanes.sum(axis=1, dtype=np.int64) - 8 * 32767.5
        return total / (65536.0 * float(np.sqrt(8 / 12)))

    def _peaks_of_best(self) -> Floats:
        """The positions (L_c,) of the optimum."""
        peaks = self._tables.peaks
        return peaks.best(self._tables.best[None])[0] if peaks else np.empty(0)

    def _named(self, joint: Ints, positions: Floats) -> tuple[dict[str, Code], float]:
        """One joint code (D,) with positions (L_c,) by agents, and its accuracy without noise."""
        owner = [agent for agent in self.nvec for _ in range(self.intervals.get(agent, 0))]
        codes = {
            agent: (*joint[self._tables.agent == i].tolist(), *positions[[a == agent for a in owner]].tolist())
            for i, agent in enumerate(self.nvec)
        }
        return codes, float(self._accuracy(self._tables.look_up(joint[None], positions[None])[0])[0])


def _squash(x: Floats) -> Floats:
    """X / sqrt(1 + x^2): like tanh, but of operations that IEEE 754 rounds the same way on every machine."""
    return np.asarray(x / np.sqrt(1.0 + x * x))
