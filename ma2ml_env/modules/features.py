"""What codes mean in numbers, as far as it is known without training: what several modules share.

A row's numbers depend on that row alone, and codes of one pipeline have the same numbers to the last bit: sums are of whole
numbers, or in one order.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ma2ml_env.space import SearchSpace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_DIGITS = 9
_SMALLEST = 1e-8


def log10(values: ArrayLike) -> Floats:
    """Decimal logarithms to nine digits, as the last bits differ between machines. Nothing counts as 1e-8."""
    return np.asarray(np.round(np.log10(np.maximum(values, _SMALLEST)), _DIGITS))


class CodeTable:
    """Features of a small space: computed once for each of its codes.

    Args:
        space: without intervals.
        describe: values of a code -> its features.
    """

    def __init__(self, space: SearchSpace, describe: Callable[[Mapping[str, Any]], Sequence[float]]) -> None:
        codes = product(*map(range, space.nvec))
        self._rows = np.array([describe(space.decode(code)) for code in codes], dtype=np.float64)
        self._strides = np.append(np.cumprod(space.nvec[:0:-1])[::-1], 1).astype(np.int64)

    def __call__(self, codes: Floats) -> Floats:
        """(n, F) of codes (n, L)."""
        return np.asarray(self._rows[codes.astype(np.int64) @ self._strides])


def cell_features(inputs: Ints, operations: Ints, concats: Ints, known: int) -> Floats:
    """What a cell of blocks is made of: (n, F), in the order of `cell_names`.

    Args:
        inputs: (n, blocks, 2) states that a block reads: 0 and 1 are the inputs of the cell, 2.. its blocks.
        operations: (n, blocks, 2) indices below `known`.
        concats: (n, blocks) 1 where a block concatenates, 0 where it adds.
        known: number of operations.
    """
    rows, blocks = concats.shape
    flat, reads = operations.reshape(rows, 2 * blocks), inputs.reshape(rows, 2 * blocks)
    counts = np.stack([(flat == operation).sum(axis=1) for operation in range(known)], axis=1)
    loose = np.stack([(reads != state).all(axis=1) for state in range(blocks + 2)], axis=1)
    depth = np.zeros((rows, blocks + 2), dtype=np.int64)
    for block in range(blocks):
        depth[:, block + 2] = 1 + np.take_along_axis(depth, inputs[:, block], axis=1).max(axis=1)
    ends = loose.sum(axis=1)
    width = loose[:, :2].sum(axis=1) + (loose[:, 2:] * (1 + concats)).sum(axis=1)
    columns = [
        concats.sum(axis=1),
        (reads == 0).sum(axis=1),
        (reads == 1).sum(axis=1),
        ends,
        depth.max(axis=1),
        (depth * loose).sum(axis=1) / ends,
        width,
    ]
    return np.column_stack([counts, *columns]).astype(np.float64)


def cell_names(cell: str, operations: Sequence[str]) -> tuple[str, ...]:
    """Of the features of a cell: its operations, and how its blocks hang together."""
    graph = ("concats", "reads_before", "reads_previous", "loose_ends", "depth", "mean_depth", "width")
    return tuple(f"{cell}.{each}" for each in (*operations, *graph))
