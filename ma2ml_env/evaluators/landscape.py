"""The synthetic landscape: what kind it is (`Landscape`), and its tables (`Tables`), which `draw.py` draws once from its seed.

The score z of a code is a sum of table look-ups: a main effect for every decision, interactions of pairs of decisions within an
agent, and interactions of pairs across agents. Interaction tables have zero mean in every row and column, so the three groups
are orthogonal and their shares of variance under uniform codes are exact.

The optimum c* is planted. Every term has its maximum at c*, except that the main effects of the *contested* decisions prefer
another choice by a little, and one interaction with a decision of another agent outweighs that. Each agent's best code by
itself, averaged over the others, therefore takes the other choice, and joining them misses the optimum: the agents have to
cooperate. Intervals add smooth peaks to z (`peaks.py`), with as much variance each as a decision has on average.

Real pipelines have symmetries that independent tables lack, and `shared`, `means` and `floor` give them: decisions of one kind
have a part of their main effect in common, ordered ones act through their mean (`means.py`), and bad pipelines are far worse
than good ones are good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.evaluators.means import Means
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
    floor: float | None = None
    """accuracy that the worst pipelines come near to, below `centre`; None is as far below it as `top` is above"""
    shared: float = 0.0
    """share of the main effects' variance that decisions of one kind have in common"""
    means: float = 0.0
    """share of variance of ordered decisions of one kind, which then act through their mean alone; the other shares are of the
    rest"""
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
        if self.floor is not None and not 0 <= self.floor < self.centre:
            raise ValueError(f"floor is None, or an accuracy below centre: {self.floor} and {self.centre}")
        if not (0 <= self.shared <= 1 and 0 <= self.means < 1):
            raise ValueError(f"shared lies in [0, 1] and means in [0, 1), not {self.shared} and {self.means}")
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
    means: Means | None  # what ordered decisions of one kind add

    def look_up(self, joint: Ints, positions: Floats) -> tuple[Floats, Floats]:
        """Scores z and sizes of joint codes (n, D) and positions (n, L_c): both (n,), about standard normal if uniform."""
        main = joint + self.main
        pairs = joint[:, self.first] * self.sizes[self.second] + joint[:, self.second] + self.pair
        z = self.effects.take(np.concatenate([main, pairs], axis=1)).sum(axis=1)
        if self.peaks:
            z = z + self.peaks.score(joint, positions)
        if self.means:
            z = z + self.means.score(joint)
        return z, self.flops.take(main).sum(axis=1)

    def variances(self) -> dict[str, float]:
        """Exact variances of the groups of z under uniform codes: `main`, `within` agents and `across` them, `means` if any."""
        group = {"main": 0.0, "within": 0.0, "across": 0.0} | ({"means": self.means.variance} if self.means else {})
        for first, offset in enumerate(self.main):
            group["main"] += float(self.effects[offset : offset + self.sizes[first]].var())
        for a, b, offset in zip(self.first, self.second, self.pair, strict=True):
            cells = self.effects[offset : offset + self.sizes[a] * self.sizes[b]]
            group["within" if self.agent[a] == self.agent[b] else "across"] += float(cells.var())
        return group


def variance_of_intervals(nvec: Mapping[str, Sequence[int]], intervals: Mapping[str, int]) -> float:
    """As much for an interval as for a decision on average: z has a variance of 1 from the decisions."""
    return sum(intervals.values()) / max(sum(map(len, nvec.values())), 1)
