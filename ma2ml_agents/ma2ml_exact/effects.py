"""What the additive critic believes before any trial: how the effects of choices vary, and which vary together.

A joint action's value is a level and the sum of one effect for each of its choices. A priori the effects are normal, and those
of one decision have mean zero. An effect has up to four parts:

- its own, of this choice of this decision: a name means nothing beyond itself;
- by order: where choices stand in an order, near ones have near effects;
- shared: decisions of one kind share an effect, as the operations of a cell do: a name means the same in all of them;
- shared by order.

What the parts weigh beside the first is found by the marginal likelihood (`additive.py`). An interval is an ordered decision
over a grid of positions, without names; between two positions an effect is interpolated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ma2ml_agents.gaussian_functions import GRID
from ma2ml_agents.joint import Joint

_PART = 64
"""positions are read to this part of a step of the grid, so that sums of their products are exact in floating point"""
_REACH = 0.35
"""how far an effect by order reaches, as a share of the way from the first choice to the last"""
_JITTER = 1e-6
_LEVEL = 100.0
"""variance of the level beside that of an effect"""


@dataclass(frozen=True)
class Block:
    """Decisions whose effects vary together: one, or those of one kind."""

    decisions: int
    names: Tensor
    """(C, C) covariance of one decision's effects by name, of mean variance 1; zeros for an interval"""
    order: Tensor
    """(C, C) by order; zeros where there is none"""

    def factor(self, order: float, tie: float) -> Tensor:
        """Cholesky factor (of decisions x C rows) of the covariance at these weights of order, and of what is shared."""
        one = self.names + order * self.order if self.names.any() else self.order
        whole = torch.block_diag(*[one] * self.decisions)  # type: ignore[no-untyped-call]
        if self.decisions > 1:
            whole += tie * one.repeat(self.decisions, self.decisions)
        factor: Tensor = torch.linalg.cholesky(whole + _JITTER * torch.eye(len(whole), dtype=torch.float64))
        return factor


class Effects:
    """The effects of a game's choices, and which of them a joint action has.

    Args:
        joint: the layout of joint actions.
        ties: whether decisions of one kind share an effect.
        order: whether the order of choices is believed in. That of an interval is in any case.

    There are `size` effects, those of decision d from row `offsets[d]` on; one more row stands for the level.
    """

    def __init__(self, joint: Joint, *, ties: bool, order: bool) -> None:
        groups: dict[object, list[int]] = {}
        for column, kind in enumerate(joint.kinds):
            groups.setdefault(kind if kind and ties else column, []).append(column)
        self.intervals = np.array([size == 0 for size in joint.nvec])
        ordered = np.array(joint.ordered) & (order | self.intervals)
        self.sizes = np.array([size or GRID for size in joint.nvec])
        self.offsets, self.size = np.zeros(len(joint.nvec), dtype=np.int64), 0
        self._blocks = list[Block]()
        for group in groups.values():
            size = int(self.sizes[group[0]])
            self.offsets[group] = self.size + size * np.arange(len(group))
            self.size += size * len(group)
            names = torch.zeros(size, size, dtype=torch.float64) if self.intervals[group[0]] else _names(size)
            by_order = _order(size) if ordered[group].all() else torch.zeros(size, size, dtype=torch.float64)
            self._blocks.append(Block(len(group), names, by_order))
        self.tied = any(block.decisions > 1 for block in self._blocks)
        self.in_order = any(bool(block.names.any() and block.order.any()) for block in self._blocks)

    def factors(self, order: float, tie: float) -> list[Tensor]:
        """L of each block, and of the level, whose L L^T is the prior covariance."""
        level = torch.full((1, 1), _LEVEL**0.5, dtype=torch.float64)
        return [*(block.factor(order, tie) for block in self._blocks), level]

    def entries(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the effects that joint actions (n, L) have, and how much of each: (n, K) both, the level last."""
        offsets = torch.from_numpy(self.offsets)
        place = torch.where(torch.from_numpy(self.intervals), codes * (GRID - 1.0), codes.double())
        place = (place * _PART).round() / _PART
        below = place.floor().minimum(torch.from_numpy(self.sizes) - 1)
        level = torch.full((len(codes), 1), self.size)
        at, share = torch.cat([below.long() + offsets, level], dim=1), torch.ones(len(codes), len(offsets) + 1).double()
        if self.intervals.any():
            above = (place - below)[:, self.intervals]
            share[:, :-1][:, self.intervals] -= above
            rows = (at[:, :-1][:, self.intervals] + 1).minimum(torch.tensor(self.size))
            at, share = torch.cat([rows, at], dim=1), torch.cat([above, share], dim=1)
        return at, share

    def rows(self, codes: Tensor) -> Tensor:
        """The same as a matrix (n, size + 1)."""
        return torch.zeros(len(codes), self.size + 1, dtype=torch.float64).scatter_add_(1, *self.entries(codes))

    def best(self, values: Tensor) -> Tensor:
        """The code (1, L) of the choices with the highest of values (size + 1,)."""
        places = [values[first : first + n].argmax() for first, n in zip(self.offsets, self.sizes, strict=True)]
        best = torch.stack(places)[None]
        return torch.where(torch.from_numpy(self.intervals), best / (GRID - 1), best) if self.intervals.any() else best


def times(factors: Sequence[Tensor], values: Tensor, *, transposed: bool = False) -> Tensor:
    """L v, or L^T v, of values (size + 1, n)."""
    parts = torch.split(values, [len(factor) for factor in factors])
    return torch.cat([(f.T if transposed else f) @ part for f, part in zip(factors, parts, strict=True)])


def _names(size: int) -> Tensor:
    """Effects that are independent but for their sum, which is zero."""
    return _scaled(torch.eye(size, dtype=torch.float64))


def _order(size: int) -> Tensor:
    """Near choices have near effects. Of two choices the order says nothing that names do not."""
    place = torch.linspace(0.0, 1.0, size, dtype=torch.float64) / _REACH
    near = (-0.5 * (place[:, None] - place).square()).exp()
    return _scaled(near) if size > 2 else torch.zeros_like(near)


def _scaled(covariance: Tensor) -> Tensor:
    """Centred, and of mean variance 1; zeros of a single choice."""
    centred = covariance - covariance.mean(0) - covariance.mean(1, keepdim=True) + covariance.mean()
    return centred / centred.diagonal().mean() if len(covariance) > 1 else torch.zeros_like(covariance)
