"""What ordered decisions of one kind add to the synthetic landscape: a smooth peak in their mean.

Real pipelines draw one of five sub-policies and average ten picks of a learning rate: one such decision tells nothing by
itself, their mean does. Kind k with mean position u, from 0 of the lowest choices to 1 of the highest, adds
s_k (E - (u - m)^2) to the score z, with E the mean of (u - m)^2 over uniform codes. As with intervals (`peaks.py`), the
peak m is 1/2 - d_k or 1/2 + d_k, and a decision of another agent says which, where there is one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 3
"""decisions of one kind that act through their mean"""
_NEAREST, _FURTHEST = 0.1, 0.3
"""between these lies the distance of a peak from the middle, but for the rounding to a mean that codes have"""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Kind:
    """One kind, and where its peak is."""

    columns: Ints
    """of the joint code"""
    most: int
    """sum of the indices of the highest choices"""
    distance: float
    """of the peak from 1/2"""
    mover: int
    """column of the decision that says on which side the peak is; -1 if none does"""
    side: Floats
    """-1 or 1 for each choice of the mover"""
    scale: float
    level: float

    def mean(self, joint: Ints) -> Floats:
        return np.asarray(joint[:, self.columns].sum(axis=1) / self.most)

    def peak(self, joint: Ints) -> Floats:
        side = self.side[joint[:, self.mover]] if self.mover >= 0 else self.side[0]
        return np.asarray(0.5 + self.distance * side)


def by_kind(kinds: Mapping[str, Sequence[str]], counted: NDArray[np.bool_], fewest: int) -> list[Ints]:
    """Columns of the joint code whose decisions are of one kind, an array a kind.

    Args:
        kinds: agent -> name of the kind of each decision, "" of none; of all agents, in order.
        counted: which columns are looked at, (D,).
        fewest: columns that a kind must have.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for column, name in enumerate((agent, kind) for agent, own in kinds.items() for kind in own):
        if name[1] and counted[column]:
            found.setdefault(name, []).append(column)
    return [np.array(each, dtype=np.int64) for each in found.values() if len(each) >= fewest]


class Means:
    """The peaks of all kinds that act through their mean.

    Args:
        groups: columns of each kind.
        sizes: number of choices of each decision, (D,).
        agent: whose decision it is, (D,).
        share: of the variance of z that the kinds have together, under uniform codes.
        best: the optimum, (D,): the kinds' own choices are written into it.
        rng: draws the peaks.
    """

    def __init__(
        self,
        groups: Sequence[Ints],
        sizes: Ints,
        agent: Ints,
        share: float,
        best: Ints,
        rng: np.random.Generator,
    ) -> None:
        inside = np.isin(np.arange(len(sizes)), np.concatenate(groups))
        self.columns = np.flatnonzero(inside)
        self.variance = share
        self._kinds = []
        for columns in groups:
            others = np.flatnonzero(~inside & (agent != agent[columns[0]]) & (sizes > 1))
            mover = int(rng.choice(others)) if len(others) else -1
            choices = int(sizes[mover]) if mover >= 0 else 1
            side = rng.permutation(np.where(np.arange(choices) < (choices + 1) // 2, 1.0, -1.0))
            here = float(side[best[mover]] if mover >= 0 else side[0])
            wanted = 0.5 + here * float(rng.uniform(_NEAREST, _FURTHEST))
            best[columns] = _codes_of(wanted, sizes[columns], rng)
            most = int((sizes[columns] - 1).sum())
            distance = abs(float(best[columns].sum() / most) - 0.5)
            second, fourth = _moments(sizes[columns])
            spread = fourth - second**2 + 4.0 * distance**2 * second  # the variance of (u - m)^2
            scale = float(np.sqrt(share / len(groups) / spread))
            self._kinds.append(_Kind(columns, most, distance, mover, side, scale, second + distance**2))

    def score(self, joint: Ints) -> Floats:
        """What is added to z, (n,), of joint codes (n, D)."""
        z = np.zeros(len(joint))
        for kind in self._kinds:
            off = kind.mean(joint) - kind.peak(joint)
            z += kind.scale * (kind.level - off * off)
        return z

    def separate(self, joint: Ints, sizes: Ints) -> None:
        """Write what agents prefer by themselves into a joint code (D,): the peak, averaged over its sides."""
        rng = np.random.default_rng(0)
        for kind in self._kinds:
            wanted = 0.5 + kind.distance * float(kind.side.mean())
            joint[kind.columns] = _codes_of(wanted, sizes[kind.columns], rng)


def _codes_of(mean: float, sizes: Ints, rng: np.random.Generator) -> Ints:
    """Codes of decisions (m,) whose mean position is the nearest to this one: equal ones, and some a step higher."""
    low = np.floor(mean * (sizes - 1)).astype(np.int64)
    higher = round(mean * int((sizes - 1).sum())) - int(low.sum())
    low[rng.permutation(np.flatnonzero(low < sizes - 1))[: max(0, higher)]] += 1
    return np.asarray(low)


def _moments(sizes: Ints) -> tuple[float, float]:
    """E (u - 1/2)^2 and E (u - 1/2)^4 of the mean position u of uniform choices."""
    most = float((sizes - 1).sum())
    second = fourth = 0.0
    for n in sizes:  # moments of a sum of independent centred numbers, one after another
        y = (np.arange(n) - (n - 1) / 2) / most
        own_second, own_fourth = float((y**2).mean()), float((y**4).mean())
        fourth += 6.0 * second * own_second + own_fourth
        second += own_second
    return second, fourth
