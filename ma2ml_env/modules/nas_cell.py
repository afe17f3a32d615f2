"""NAS on CIFAR: two cells, after NASNet (Zoph et al. 2018, arXiv 1707.07012).

A normal and a reduction cell of five blocks; a block picks two states (the two cell inputs or an earlier block), an operation
for each out of 13, and how to combine them: 2 x 5 x 5 = 50 decisions, 10^36.72 pairs of cells (paper, section 4.2).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.modules.features import cell_features, cell_names
from ma2ml_env.modules.nasnet_cost import ImageShape, nasnet_cost
from ma2ml_env.recipe import NASNET_A_NORMAL, NASNET_A_REDUCTION, Recipe, Spec
from ma2ml_env.space import Decision, SearchSpace

OPERATIONS = (
    "identity", "conv_1x3_3x1", "conv_1x7_7x1", "dil_conv_3x3", "avg_pool_3x3", "max_pool_3x3", "max_pool_5x5",
    "max_pool_7x7", "conv_1x1", "conv_3x3", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7",
)  # fmt: skip
COMBINE = ("add", "concat")
CELLS = ("normal", "reduction")
_KNOWN = {"normal": NASNET_A_NORMAL, "reduction": NASNET_A_REDUCTION}
_PLAIN = (0, "sep_conv_3x3", 1, "sep_conv_3x3", "add")
"""a block beyond those that are known: both inputs of the cell, the operation that published cells use most"""


class NasCell:
    """The architecture agent of the paper's CIFAR games.

    Args:
        blocks: of each cell; 5 in the paper.
        name: agent id.
    """

    def __init__(self, blocks: int = 5, name: str = "nas") -> None:
        if blocks < 1:
            raise ValueError(f"a cell needs at least one block, not {blocks}")
        self.name = name
        self.blocks = blocks
        self.feature_names = tuple(name for cell in CELLS for name in cell_names(cell, OPERATIONS))
        self.space = SearchSpace(
            [
                decision
                for cell in CELLS
                for block in range(blocks)
                for decision in (
                    Decision(f"{cell}.{block}.input0", tuple(range(block + 2))),
                    Decision(f"{cell}.{block}.input1", tuple(range(block + 2))),
                    Decision(f"{cell}.{block}.operation0", OPERATIONS, kind=f"{cell}.operation"),
                    Decision(f"{cell}.{block}.operation1", OPERATIONS, kind=f"{cell}.operation"),
                    Decision(f"{cell}.{block}.combine", COMBINE, kind=f"{cell}.combine"),
                )
            ]
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes the two cells into `recipe.network`.

        The two halves of a block are put in one order: addition does not know it, and after a concatenation it only renames
        channels.
        """
        flat = list(values.values())
        blocks = [canonical_block(*flat[i : i + 5]) for i in range(0, len(flat), 5)]
        network = recipe.network.with_args(normal=tuple(blocks[: self.blocks]), reduction=tuple(blocks[self.blocks :]))
        return recipe.with_slots(network=network)

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The cells of the recipe's network, which are NASNet-A's (Zoph et al. 2018) unless told; that cell where it has none.

        Of cells with more blocks the first ones; blocks that are missing, or hold what is not in the space, are plain ones.
        """
        told: list[Any] = []
        for cell in CELLS:
            blocks = base.network.args.get(cell, _KNOWN[cell])
            for number in range(self.blocks):
                block = blocks[number] if number < len(blocks) else _PLAIN
                input_0, operation_0, input_1, operation_1, combine = block if self._has(number, block) else _PLAIN
                told += [input_0, input_1, operation_0, operation_1, combine]
        return dict(zip((decision.name for decision in self.space.decisions), told, strict=True))

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each cell how often each operation is in it, and how its blocks hang together."""
        cells = self._cells(codes)
        told = [cell_features(each[..., :2], each[..., 2:4], each[..., 4], len(OPERATIONS)) for each in cells]
        return np.concatenate(told, axis=1)

    def canonical(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The half with the smaller input comes first, of one input that with the first operation."""
        blocks = codes.reshape(len(codes), len(CELLS) * self.blocks, 5)
        halves = blocks[..., :2] * len(OPERATIONS) + blocks[..., 2:4]
        swapped = blocks[..., [1, 0, 3, 2, 4]]
        return np.where(halves[..., 1:] < halves[..., :1], swapped, blocks).reshape(codes.shape)

    def cost(
        self, codes: NDArray[np.int64], network: Spec, image: ImageShape
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """MACs and parameters with as many cells and filters as the network has."""
        cells, filters = (np.full(len(codes), network.args[name]) for name in ("cells", "filters"))
        return self.cost_of(codes, cells, filters, network.args["reductions"], image)

    def cost_of(
        self,
        codes: NDArray[np.int64],
        cells: NDArray[np.int64],
        filters: NDArray[np.int64],
        reductions: Sequence[int],
        image: ImageShape,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same with cells (n,) and filters (n,) of each row, see `nasnet_cost`."""
        normal, reduction = self._cells(codes)
        return nasnet_cost(normal, reduction, cells, filters, reductions, OPERATIONS, image)

    def _cells(self, codes: NDArray[Any]) -> list[NDArray[np.int64]]:
        """Of each cell (n, blocks, 5): two inputs, two operations, how they are combined."""
        blocks = codes.astype(np.int64).reshape(len(codes), len(CELLS), self.blocks, 5)
        return [blocks[:, cell] for cell in range(len(CELLS))]

    def _has(self, number: int, block: Sequence[Any]) -> bool:
        """Whether a cell's block of this number may be this one."""
        inputs, operations = block[0:3:2], block[1:4:2]
        return max(inputs) < number + 2 and set(operations) <= set(OPERATIONS) and block[4] in COMBINE


@cache
def canonical_block(
    input_0: int, input_1: int, operation_0: str, operation_1: str, combine: str
) -> tuple[int, str, int, str, str]:
    """(input, operation, input, operation, combine) with the smaller (input, operation) first."""
    if (input_1, operation_1) < (input_0, operation_0):
        return (input_1, operation_1, input_0, operation_0, combine)
    return (input_0, operation_0, input_1, operation_1, combine)
