"""The synthetic landscape: what kind it is (`Landscape`), and its tables (`Tables`), drawn once from its seed.

The score z of a code is a sum of table look-ups: a main effect for every decision, interactions of pairs of decisions within an
agent, and interactions of pairs across agents. Interaction tables have zero mean in every row and column, so the three groups
are orthogonal and their shares of variance under uniform codes are exact.

The optimum c* is planted. Every term has its maximum at c*, except that the main effects of the *contested* decisions prefer
another choice by a little, and one interaction with a decision of another agent outweighs that. Each agent's best code by
itself, averaged over the others, therefore takes the other choice, and joining them misses the optimum: the agents have to
cooperate. Intervals add smooth peaks to z (`peaks.py`), with as much variance each as a decision has on average.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.evaluators.peaks import Peaks

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]
Pair = tuple[int, int]
"""two decisions, by their places in a joint code"""
DAY = 86_400
"""seconds"""


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
        if not (
            0 <= self.noise <= 1 and 0 <= self.delay <= DAY and 1 <= self.flops <= 1e15 and -1 <= self.flops_link <= 1
        ):
            raise ValueError("noise lies in [0, 1], delay in [0, a day], flops in [1, 1e15], flops_link in [-1, 1]")


@dataclass(frozen=True, eq=False)
class Tables:
    """The numbers of a landscape over D decisions in P interacting pairs."""

    sizes: Ints  # (D,) number of choices
    agent: Ints  # (D,) whose decision it is
    effects: Floats  # cells of all main effects, then of all interactions
    flops: Floats  # cells of the effects on MACs, where those of the main effects lie
    main: Ints  # (D,) where each decision's main effect begins
    pair: Ints  # (P,) where each interaction begins
    first: Ints  # (P,) the decision whose choices are its rows
    second: Ints  # (P,) the decision whose choices are its columns
    best: Ints  # (D,) the planted optimum
    separate: Ints  # (D,) each agent's best code averaged over the others
    multipliers: Keys  # (D,) of the noise's key, odd
    seed_multiplier: np.uint64
    noise: Keys  # (2,) what the noise's two words are drawn by
    peaks: Peaks | None  # what intervals add

    def look_up(self, joint: Ints, positions: Floats) -> tuple[Floats, Floats]:
        """Scores z and sizes of joint codes (n, D) and positions (n, L_c): both (n,), about standard normal if uniform."""
        main = joint + self.main
        pairs = joint[:, self.first] * self.sizes[self.second] + joint[:, self.second] + self.pair
        z = self.effects.take(np.concatenate([main, pairs], axis=1)).sum(axis=1)
        if self.peaks:
            z = z + self.peaks.score(joint, positions)
        return z, self.flops.take(main).sum(axis=1)

    def variances(self) -> dict[str, float]:
        """Exact variances of the groups of z under uniform codes: `main`, `within` agents and `across` them."""
        group = {"main": 0.0, "within": 0.0, "across": 0.0}
        for first, offset in enumerate(self.main):
            group["main"] += float(self.effects[offset : offset + self.sizes[first]].var())
        for a, b, offset in zip(self.first, self.second, self.pair, strict=True):
            cells = self.effects[offset : offset + self.sizes[a] * self.sizes[b]]
            group["within" if self.agent[a] == self.agent[b] else "across"] += float(cells.var())
        return group


def variance_of_intervals(nvec: Mapping[str, Sequence[int]], intervals: Mapping[str, int]) -> float:
    """As much for an interval as for a decision on average: z has a variance of 1 from the decisions."""
    return sum(intervals.values()) / max(sum(map(len, nvec.values())), 1)


def build_tables(nvec: Mapping[str, Sequence[int]], intervals: Mapping[str, int], landscape: Landscape) -> Tables:
    """Draw the tables of a landscape over agent -> choices of each decision, agent -> number of intervals (those with any)."""
    sizes = np.array([n for own in nvec.values() for n in own], dtype=np.int64)
    agent = np.repeat(np.arange(len(nvec)), [len(own) for own in nvec.values()])
    drawn = np.random.default_rng([0x9EAC, landscape.seed % 2**63])
    peaks = Peaks(nvec, intervals, variance_of_intervals(nvec, intervals), drawn) if intervals else None
    rng = np.random.default_rng([0x5A11, landscape.seed % 2**63])
    best = rng.integers(sizes)
    contested = _choose_contested(rng, sizes, [agent == i for i in range(len(nvec))], landscape.contested)
    main = [_planted_main(rng, n, best[d]) for d, n in enumerate(sizes)]
    free = [d for d, n in enumerate(sizes) if n > 1 and d not in contested]
    partner = {d: int(rng.choice([other for other in free if agent[other] != agent[d]])) for d in contested}
    pairs = _choose_pairs(rng, sizes, agent, contested, partner)
    tables = [_planted_pair(rng, sizes[a], sizes[b], best[a], best[b]) for a, b in pairs]
    _scale(main, tables, [bool(agent[a] != agent[b]) for a, b in pairs], landscape)
    separate = best.copy()
    for d in contested:
        separate[d] = _contest(rng, main, tables[pairs.index((d, partner[d]))], d, partner, best)
    main = [table - table.mean() for table in main]
    flops = _effects_on_flops(rng, main, landscape.flops_link)
    cells = [np.empty(0), *main, *(t.ravel() for t in tables)]  # the first for games of intervals alone
    offsets = np.cumsum([len(c) for c in cells])[:-1]
    return Tables(
        sizes=sizes,
        agent=agent,
        effects=np.concatenate(cells),
        flops=np.concatenate([np.empty(0), *flops]),
        main=offsets[: len(sizes)],
        pair=offsets[len(sizes) :],
        first=np.array([a for a, _ in pairs], dtype=np.int64),
        second=np.array([b for _, b in pairs], dtype=np.int64),
        best=best,
        separate=separate,
        multipliers=rng.integers(0, 2**63, len(sizes), dtype=np.uint64) * np.uint64(2) + np.uint64(1),
        seed_multiplier=np.uint64(rng.integers(0, 2**63)) * np.uint64(2) + np.uint64(1),
        noise=rng.integers(0, 2**63, 2, dtype=np.uint64),
        peaks=peaks,
    )


def _choose_contested(
    rng: np.random.Generator, sizes: Ints, owned: Sequence[NDArray[np.bool_]], share: float
) -> list[int]:
    """A share of each agent's decisions, at least one in all; none where there is nobody to cooperate with."""
    free = [np.flatnonzero(own & (sizes > 1)) for own in owned]
    if sum(len(f) > 0 for f in free) < 2:
        return []
    chosen = [int(d) for f in free for d in rng.permutation(f)[: int(len(f) * share)]]
    return chosen or [int(rng.choice(max(free, key=len)))]


def _choose_pairs(
    rng: np.random.Generator, sizes: Ints, agent: Ints, contested: Sequence[int], partner: Mapping[int, int]
) -> list[Pair]:
    """Pairs of decisions that interact: within agents about one a decision, across agents one and a half.

    Contested decisions have no interaction within their agent, so that by itself the agent prefers the other choice.
    """
    free = [d for d in range(len(sizes)) if sizes[d] > 1]
    dedicated = list(partner.items())
    within = [(a, b) for a in free for b in free if a < b and agent[a] == agent[b]]
    within = [(a, b) for a, b in within if a not in contested and b not in contested]
    across = [(a, b) for a in free for b in free if a < b and agent[a] != agent[b]]
    across = [(a, b) for a, b in across if (a, b) not in dedicated and (b, a) not in dedicated]
    within = [within[i] for i in rng.permutation(len(within))[: len(free)]]
    across = [across[i] for i in rng.permutation(len(across))[: max(0, len(free) * 3 // 2 - len(dedicated))]]
    return [*dedicated, *within, *across]


def _scale(main: Sequence[Floats], tables: Sequence[Floats], is_across: Sequence[bool], landscape: Landscape) -> None:
    """Bring each group to its share of a total variance of 1; a group that cannot exist leaves its share to the others."""
    target = {"main": landscape.main, "across": landscape.across}
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


def _effects_on_flops(rng: np.random.Generator, main: Sequence[Floats], link: float) -> list[Floats]:
    """MACs go with the main effects, plus a part of their own."""
    own = [rng.standard_normal(len(t)) for t in main]
    spread = np.sqrt(sum(float(t.var()) for t in main)) or 1.0
    own_spread = np.sqrt(sum(float(t.var()) for t in own)) or 1.0
    return [
        link * t / spread + np.sqrt(1 - link**2) * (u - u.mean()) / own_spread for t, u in zip(main, own, strict=True)
    ]


def _planted_main(rng: np.random.Generator, n: int, best: int) -> Floats:
    """A centred main effect with its maximum at `best`; some decisions matter much more than others."""
    table = rng.standard_normal(n)
    top = int(table.argmax())
    table[[top, best]] = table[[best, top]]
    return (table - table.mean()) * float(rng.lognormal(0.0, 0.5)) if n > 1 else np.zeros(1)


def _planted_pair(rng: np.random.Generator, n: int, m: int, best_n: int, best_m: int) -> Floats:
    """A pure interaction (n, m), zero mean in every row and column, with its maximum at the best cell."""
    table = rng.standard_normal((n, m))
    table = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    row, column = np.unravel_index(table.argmax(), table.shape)
    table[[row, best_n]] = table[[best_n, row]]
    table[:, [column, best_m]] = table[:, [best_m, column]]
    weighted: Floats = table * float(rng.lognormal(0.0, 0.5))
    return weighted


def _contest(
    rng: np.random.Generator,
    main: list[Floats],
    pair: Floats,
    d: int,
    partner: Mapping[int, int],
    best: Ints,
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
