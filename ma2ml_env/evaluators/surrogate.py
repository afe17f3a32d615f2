"""A synthetic landscape over any set of agents: accuracy and MACs of a code without training.

The score z of a code is a sum of table look-ups: a main effect for every decision, interactions of pairs of decisions within an
agent, and interactions of pairs across agents. Interaction tables have zero mean in every row and column, so the three groups
are orthogonal and their shares of variance under uniform codes are exact. Accuracy is a monotone squashing of z.

The optimum c* is planted. Every term has its maximum at c*, except that the main effects of the *contested* decisions prefer
another choice by a little, and one interaction with a decision of another agent outweighs that. Each agent's best code by
itself, averaged over the others, therefore takes the other choice, and joining them misses the optimum: the agents have to
cooperate. Intervals add smooth peaks to z (`peaks.py`), with as much variance each as a decision has on average.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.evaluators.base import GroundTruth, Job
from ma2ml_env.evaluators.peaks import Peaks
from ma2ml_env.trial import Code, Outcome, mix64

_NONE = np.empty(0)  # positions where there are no intervals
_CHUNK = 1024  # rows a look-up handles at once: small enough for the cache, and no effect on any number


@dataclass(frozen=True)
class Landscape:
    """What kind of landscape.

    Raises:
        ValueError: if the shares are not in [0, 1] with a sum of at most 1, or a scale is out of range.
    """

    seed: int = 0
    """of the landscape itself and its noise; not the search's"""
    main: float = 0.55
    """share of variance of the main effects"""
    across: float = 0.28
    """share of variance of interactions across agents; the rest is within agents"""
    contested: float = 0.25
    """share of each agent's decisions whose main effects point away from the optimum, up to a half"""
    noise: float = 0.003
    """standard deviation added to the accuracy, a pure function of (landscape seed, trial seed, codes)"""
    centre: float = 0.80
    """accuracy of an average pipeline"""
    top: float = 0.97
    """accuracy of the optimum"""
    flops: float = 300e6
    """MACs of an average pipeline"""
    flops_link: float = 0.7
    """correlation of MACs with the main effects, in [-1, 1]; with accuracy it is this times about sqrt(main)"""
    delay: float = 0.0
    """seconds that each evaluation takes"""

    def __post_init__(self) -> None:
        if not (0 <= self.main <= 1 and 0 <= self.across <= 1 and self.main + self.across <= 1 + 1e-9):
            raise ValueError(f"shares of variance add up to at most 1, not {self.main} + {self.across}")
        if not 0 <= self.centre < self.top <= 1:
            raise ValueError(f"accuracies need 0 <= centre < top <= 1, not {self.centre} and {self.top}")
        if not 0 < self.contested <= 0.5:
            raise ValueError(f"contested is a positive share of at most a half, not {self.contested}")
        if self.noise < 0 or self.delay < 0 or self.flops < 1 or not -1 <= self.flops_link <= 1:
            raise ValueError("noise and delay are not negative, flops at least 1, flops_link in [-1, 1]")


class Surrogate(GroundTruth):
    """The synthetic evaluator.

    Args:
        nvec: agent -> number of choices of each decision.
        intervals: agent -> number of intervals.
        **options: fields of `Landscape`.
    """

    def __init__(self, nvec: Mapping[str, Sequence[int]], intervals: Mapping[str, int] = {}, **options: Any) -> None:
        unknown = sorted(set(options) - {f.name for f in fields(Landscape)})
        if unknown:
            raise ValueError(f"not options of the surrogate: {', '.join(unknown)}")
        self.landscape = Landscape(**options)
        self.nvec = {agent: tuple(int(n) for n in sizes) for agent, sizes in nvec.items()}
        self.intervals = {agent: int(n) for agent, n in intervals.items() if n}
        self._sizes = np.array([n for sizes in self.nvec.values() for n in sizes], dtype=np.int64)
        self._agent = np.repeat(np.arange(len(self.nvec)), [len(sizes) for sizes in self.nvec.values()])
        self._peaks = self._build_peaks(np.random.default_rng([0x9EAC, self.landscape.seed % 2**63]))
        self._build(np.random.default_rng([0x5A11, self.landscape.seed % 2**63]))

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

    def score(
        self, codes: Mapping[str, NDArray[Any]], seeds: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
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

    def noise_free(self, codes: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Accuracies (n,) without noise, and MACs (n,), of agent -> codes (n, L_i): for reports."""
        z, size = self._look_up(*self._joined(codes))
        return self._accuracy(z).clip(0.0, 1.0), self._macs(size)

    def optimum(self) -> tuple[dict[str, Code], float]:
        """The best codes of all and their accuracy without noise."""
        return self._named(self._best, self._peaks.best(self._best[None])[0] if self._peaks else _NONE)

    def separate(self) -> tuple[dict[str, Code], float]:
        """Each agent's best code averaged over the others, joined, and the accuracy of that without noise."""
        return self._named(self._separate, self._peaks.separate() if self._peaks else _NONE)

    def shares(self) -> dict[str, float]:
        """Exact shares of the variance of z under uniform codes: `main`, `within`, `across`, and `intervals` if any."""
        group = {"main": 0.0, "within": 0.0, "across": 0.0}
        for first, offset in enumerate(self._main_offset):
            group["main"] += float(self._table[offset : offset + self._sizes[first]].var())
        for a, b, offset in zip(self._first, self._second, self._pair_offset, strict=True):
            cells = self._table[offset : offset + self._sizes[a] * self._sizes[b]]
            group["within" if self._agent[a] == self._agent[b] else "across"] += float(cells.var())
        if self._peaks:
            group["intervals"] = self._variance_of_intervals()
        total = sum(group.values()) or 1.0
        return {name: value / total for name, value in group.items()}

    # ---- evaluation ------------------------------------------------------------------------------------------------

    def _dtype(self, agent: str) -> type[np.number[Any]]:
        return np.float64 if agent in self.intervals else np.int64

    def _joined(self, codes: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Joint codes of the decisions (n, D) and positions of the intervals (n, L_c)."""
        if not self._peaks:
            joint = np.concatenate([codes[agent] for agent in self.nvec], axis=1)
            return joint, np.empty((len(joint), 0))
        indices = [codes[agent][:, : len(sizes)] for agent, sizes in self.nvec.items()]
        positions = [codes[agent][:, len(sizes) :] for agent, sizes in self.nvec.items()]
        return np.concatenate(indices, axis=1).astype(np.int64), np.concatenate(positions, axis=1, dtype=np.float64)

    def _look_up(
        self, joint: NDArray[np.int64], positions: NDArray[np.float64] = _NONE
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores z and sizes (both (n,), about standard normal under uniform codes) of joint codes (n, D)."""
        main = joint + self._main_offset
        pairs = joint[:, self._first] * self._stride + joint[:, self._second] + self._pair_offset
        z = self._table.take(np.concatenate([main, pairs], axis=1)).sum(axis=1)
        if self._peaks:
            z = z + self._peaks.score(joint, positions)
        return z, self._flops_table.take(main).sum(axis=1)

    def _score(
        self, joint: NDArray[np.int64], positions: NDArray[np.float64], seeds: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        z, size = self._look_up(joint, positions)
        accuracy = self._accuracy(z)
        if self.landscape.noise:
            accuracy += self.landscape.noise * self._noise(joint, positions, seeds)
        return accuracy.clip(0.0, 1.0), self._macs(size)

    def _accuracy(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.landscape.centre + self._gain * _squash(z / self._scale)

    def _macs(self, size: NDArray[np.float64]) -> NDArray[np.int64]:
        return (self.landscape.flops * (1.0 + 0.9 * _squash(0.6 * size))).astype(np.int64).clip(1)

    def _noise(
        self, joint: NDArray[np.int64], positions: NDArray[np.float64], seeds: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Standard noise (n,): the sum of eight 16-bit uniforms, for which every machine gives the same bits."""
        key = joint.astype(np.uint64) @ self._multipliers + seeds.astype(np.uint64) * self._seed_multiplier
        if self._peaks:
            key = key + self._peaks.keys(positions)
        lanes = mix64(key[:, None] ^ self._noise_keys).view(np.uint16)
        total: NDArray[np.float64] = lanes.sum(axis=1, dtype=np.int64) - 8 * 32767.5
        return total / (65536.0 * float(np.sqrt(8 / 12)))

    def _named(self, joint: NDArray[np.int64], positions: NDArray[np.float64]) -> tuple[dict[str, Code], float]:
        """One joint code (D,) with positions (L_c,) by agents, and its accuracy without noise."""
        owner = [agent for agent in self.nvec for _ in range(self.intervals.get(agent, 0))]
        codes = {
            agent: (*joint[self._agent == i].tolist(), *positions[[a == agent for a in owner]].tolist())
            for i, agent in enumerate(self.nvec)
        }
        return codes, float(self._accuracy(self._look_up(joint[None], positions[None])[0])[0])

    # ---- construction ----------------------------------------------------------------------------------------------

    def _variance_of_intervals(self) -> float:
        """As much for an interval as for a decision on average: z has a variance of 1 from the decisions."""
        return sum(self.intervals.values()) / max(len(self._sizes), 1)

    def _build_peaks(self, rng: np.random.Generator) -> Peaks | None:
        return Peaks(self.nvec, self.intervals, self._variance_of_intervals(), rng) if self.intervals else None

    def _build(self, rng: np.random.Generator) -> None:
        sizes, agents = self._sizes, self._agent
        best = rng.integers(sizes)
        contested = self._choose_contested(rng)
        main = [_planted_main(rng, n, best[d]) for d, n in enumerate(sizes)]
        partner = {d: int(rng.choice(self._partners(d, contested))) for d in contested}
        pairs = self._choose_pairs(rng, contested, partner)
        tables = [_planted_pair(rng, sizes[a], sizes[b], best[a], best[b]) for a, b in pairs]
        is_across = np.array([agents[a] != agents[b] for a, b in pairs], dtype=bool)

        # Scale each group to its share of a total variance of 1; a group that cannot exist leaves its share to the others.
        target = {"main": self.landscape.main, "across": self.landscape.across}
        target["within"] = max(0.0, 1.0 - target["main"] - target["across"])
        groups = {
            "main": main,
            "within": [t for t, across in zip(tables, is_across, strict=True) if not across],
            "across": [t for t, across in zip(tables, is_across, strict=True) if across],
        }
        variance = {name: sum(float(t.var()) for t in group) for name, group in groups.items()}
        total = sum(target[name] for name in groups if variance[name] > 0) or 1.0
        for name, group in groups.items():
            for table in group:
                table *= np.sqrt(target[name] / total / variance[name]) if variance[name] > 0 else 0.0

        separate = best.copy()
        for d in contested:
            separate[d] = _contest(rng, main, tables[pairs.index((d, partner[d]))], d, partner, best)
        main = [table - table.mean() for table in main]

        # MACs go with the main effects, plus a part of their own.
        link = self.landscape.flops_link
        own = [rng.standard_normal(n) for n in sizes]
        spread = np.sqrt(sum(float(t.var()) for t in main)) or 1.0
        own_spread = np.sqrt(sum(float(t.var()) for t in own)) or 1.0
        flops = [
            link * t / spread + np.sqrt(1 - link**2) * (u - u.mean()) / own_spread
            for t, u in zip(main, own, strict=True)
        ]

        cells = [np.empty(0), *main, *(t.ravel() for t in tables)]  # the first for games of intervals alone
        offsets = np.cumsum([len(c) for c in cells])[:-1]
        self._table = np.concatenate(cells)
        self._flops_table = np.concatenate([np.empty(0), *flops])
        self._main_offset, self._pair_offset = offsets[: len(sizes)], offsets[len(sizes) :]
        self._first = np.array([a for a, _ in pairs], dtype=np.int64)
        self._second = np.array([b for _, b in pairs], dtype=np.int64)
        self._stride = sizes[self._second]
        self._best, self._separate = best, separate
        self._multipliers = rng.integers(0, 2**63, len(sizes), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self._seed_multiplier = np.uint64(rng.integers(0, 2**63)) * np.uint64(2) + np.uint64(1)
        self._noise_keys = rng.integers(0, 2**63, 2, dtype=np.uint64)
        peak = self._peaks.best(best[None]) if self._peaks else _NONE[None]
        self._z_best = float(self._look_up(best[None], peak)[0][0])
        # A third of the optimum's z, so that random pipelines lie on the nearly straight part of the squashing and the last
        # steps to the optimum are small, as they are in training; never so steep that small spaces saturate at once.
        self._scale = max(self._z_best / 3.0, 2.5)
        span = self.landscape.top - self.landscape.centre
        self._gain = span / float(_squash(np.array(self._z_best / self._scale))) if self._z_best else 0.0

    def _choose_contested(self, rng: np.random.Generator) -> list[int]:
        """A share of each agent's decisions, at least one in all; none where there is nobody to cooperate with."""
        free = [np.flatnonzero((self._agent == i) & (self._sizes > 1)) for i in range(len(self.nvec))]
        if sum(len(f) > 0 for f in free) < 2:
            return []
        chosen = [int(d) for f in free for d in rng.permutation(f)[: int(len(f) * self.landscape.contested)]]
        return chosen or [int(rng.choice(max(free, key=len)))]

    def _partners(self, d: int, contested: list[int]) -> list[int]:
        """Decisions of other agents that are not contested themselves."""
        others = np.flatnonzero((self._agent != self._agent[d]) & (self._sizes > 1))
        return [int(other) for other in others if other not in contested]

    def _choose_pairs(
        self, rng: np.random.Generator, contested: list[int], partner: dict[int, int]
    ) -> list[tuple[int, int]]:
        """Pairs of decisions that interact: within agents about one a decision, across agents one and a half.

        Contested decisions have no interaction within their agent, so that by itself the agent prefers the other choice.
        """
        free = [d for d in range(len(self._sizes)) if self._sizes[d] > 1]
        dedicated = list(partner.items())
        within = [(a, b) for a in free for b in free if a < b and self._agent[a] == self._agent[b]]
        within = [(a, b) for a, b in within if a not in contested and b not in contested]
        across = [(a, b) for a in free for b in free if a < b and self._agent[a] != self._agent[b]]
        across = [(a, b) for a, b in across if (a, b) not in dedicated and (b, a) not in dedicated]
        within = [within[i] for i in rng.permutation(len(within))[: len(free)]]
        across = [across[i] for i in rng.permutation(len(across))[: max(0, len(free) * 3 // 2 - len(dedicated))]]
        return [*dedicated, *within, *across]


def _planted_main(rng: np.random.Generator, n: int, best: int) -> NDArray[np.float64]:
    """A centred main effect with its maximum at `best`; some decisions matter much more than others."""
    table = rng.standard_normal(n)
    top = int(table.argmax())
    table[[top, best]] = table[[best, top]]
    return (table - table.mean()) * float(rng.lognormal(0.0, 0.5)) if n > 1 else np.zeros(1)


def _planted_pair(rng: np.random.Generator, n: int, m: int, best_n: int, best_m: int) -> NDArray[np.float64]:
    """A pure interaction (n, m), zero mean in every row and column, with its maximum at the best cell."""
    table = rng.standard_normal((n, m))
    table = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    row, column = np.unravel_index(table.argmax(), table.shape)
    table[[row, best_n]] = table[[best_n, row]]
    table[:, [column, best_m]] = table[:, [best_m, column]]
    weighted: NDArray[np.float64] = table * float(rng.lognormal(0.0, 0.5))
    return weighted


def _contest(
    rng: np.random.Generator,
    main: list[NDArray[np.float64]],
    pair: NDArray[np.float64],
    d: int,
    partner: Mapping[int, int],
    best: NDArray[np.int64],
) -> int:
    """Make decision d prefer another choice by itself, without moving the joint optimum; returns that choice.

    Moving (d, partner) from the best cell to (x, y), x not best, costs at least gap = (B_best - B_y) / k + I_best - I_xy: the
    partner's main effect, shared by the k decisions that are contested with it, and the interaction. Every other term is at
    its maximum already. A preference of less than the smallest gap thus cannot pay.
    """
    other = partner[d]
    k = sum(p == other for p in partner.values())
    gap = (main[other][best[other]] - main[other]) / k + pair[best[d], best[other]] - pair
    smallest = float(np.delete(gap, best[d], axis=0).min())
    rival = int(rng.choice([x for x in range(len(main[d])) if x != best[d]]))
    main[d][rival] = main[d][best[d]] + 0.5 * smallest
    return rival


def _squash(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """X / sqrt(1 + x^2): like tanh, but of operations that IEEE 754 rounds the same way on every machine."""
    return np.asarray(x / np.sqrt(1.0 + x * x))
