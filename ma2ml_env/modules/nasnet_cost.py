"""MACs and parameters of networks of cells, by a formula over their codes: exact, for many at once, without building one.

They are those that `training/flops.py` counts in the networks of `training/networks/nasnet.py`, whose shapes this file repeats.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class ImageShape(NamedTuple):
    """What a network takes and tells apart."""

    channels: int
    size: int
    """side in pixels"""
    classes: int


class _Cost(NamedTuple):
    """Of an operation on a state of one or two times f channels, which puts out f channels and h x h pixels.

    It has `square` f^2 + `linear` f multiply-adds a pixel and as many weights, and 2 f numbers a norm. A convolution along one
    axis comes before the stride along the other: `before` f^2 multiply-adds for each of h x (pixels of a side before it).
    """

    square: int = 0
    linear: int = 0
    norms: int = 0
    before: int = 0


def _conv(ratio: int, kernel: int) -> _Cost:
    return _Cost(ratio * kernel**2, 0, 1)


def _factorised(ratio: int, length: int) -> _Cost:
    return _Cost(length, 0, 1, ratio * length)


def _depthwise(ratio: int, kernel: int) -> _Cost:
    return _Cost(ratio, ratio * kernel**2, 1)


def _separable(ratio: int, kernel: int) -> _Cost:
    """Twice, the second on f channels."""
    return _Cost(ratio + 1, (ratio + 1) * kernel**2, 2)


def _operation(name: str, ratio: int, reads_input: bool) -> _Cost:
    """Of an operation on `ratio` times f channels, which has a stride of 2 if it reads the input of a reduction cell."""
    kind, _, numbers = name.rpartition("_")
    kernel = int(numbers[0]) if numbers[0].isdigit() else 0
    if name == "identity":
        return _conv(ratio, 1) if ratio > 1 or reads_input else _Cost()
    if kind.endswith("pool"):
        return _conv(ratio, 1) if ratio > 1 else _Cost()
    if kind == "conv":
        return _conv(ratio, kernel)
    if kind == "dil_conv":
        return _depthwise(ratio, kernel)
    if kind == "sep_conv":
        return _separable(ratio, kernel)
    return _factorised(ratio, kernel)  # conv_1x3_3x1


def nasnet_cost(
    normal: Ints,
    reduction: Ints,
    cells: Ints,
    filters: Ints,
    reductions: Sequence[int],
    operations: Sequence[str],
    image: ImageShape,
) -> tuple[Ints, Ints]:
    """MACs (n,) for one image, and parameters (n,), without the auxiliary head.

    Args:
        normal: (n, blocks, 5): two inputs, two indices of operations, 1 where the block concatenates.
        reduction: of the cells that halve the image, likewise.
        cells: (n,) of each network.
        filters: (n,) of the first cell.
        reductions: positions of the reduction cells, from 0; a network has those below its number of cells.
        operations: names, in the order of their indices.
        image: that the network takes.
    """
    table = np.array(
        [[[_operation(name, ratio, strided) for name in operations] for ratio in (1, 2)] for strided in (False, True)],
        dtype=np.int64,
    )
    size, depth = image.size, int(cells.max(initial=0))
    width = 3 * filters
    macs = image.channels * 9 * width * size**2
    params = image.channels * 9 * width + 2 * width
    before, previous, shrink = width, width, False
    for position in range(depth):
        halves = position in reductions
        scale = 1 << sum(each <= position for each in reductions)
        blocks, f, old = reduction if halves else normal, filters * scale, size
        size = (size + 1) // 2 if halves else size
        own = _cell(blocks, before, previous, f, table[int(halves)], table[0], old, size, halves, shrink)
        there = position < cells
        macs, params = macs + there * own[0], params + there * own[1]
        before, previous = np.where(there, (previous, own[2]), (before, previous))
        shrink = halves
    return macs + previous * image.classes, params + (previous + 1) * image.classes


def _cell(
    blocks: Ints,
    before: Ints,
    previous: Ints,
    f: Ints,
    of_inputs: Ints,
    of_blocks: Ints,
    old: int,
    size: int,
    halves: bool,
    shrink: bool,
) -> tuple[Ints, Ints, Ints]:
    """MACs, parameters and channels of one cell each, which gets `old` pixels a side and gives `size`."""
    rows, number, _ = blocks.shape
    fitted = (before != f) | shrink  # or it is read as it is
    weights = (before * fitted + previous) * f
    macs, params = weights * old**2, weights + (fitted + np.int64(1)) * 2 * f
    ratios = np.ones((rows, number + 2), dtype=np.int64)
    ratios[:, 2:] += blocks[..., 4]
    for block in range(number):
        for half in (0, 1):
            state, operation = blocks[:, block, half], blocks[:, block, 2 + half]
            ratio = np.take_along_axis(ratios, state[:, None], axis=1)[:, 0] - 1
            of_input = (state < 2)[:, None]
            square, linear, norms, ahead = np.where(
                of_input, of_inputs[ratio, operation], of_blocks[ratio, operation]
            ).T
            side = np.where(state < 2, old, size)
            macs = macs + (square * f + linear) * f * size**2 + ahead * f * f * side * size
            params = params + (square * f + linear + ahead * f + 2 * norms) * f
    reads = blocks[..., :2].reshape(rows, 2 * number)
    loose = np.stack([(reads != state).all(axis=1) for state in range(number + 2)], axis=1)
    resized = loose[:, :2].sum(axis=1) * int(halves)  # inputs that no block reads are brought to the new size
    macs, params = macs + resized * f * f * size**2, params + resized * (f + 2) * f
    return macs, params, (loose * ratios).sum(axis=1) * f
