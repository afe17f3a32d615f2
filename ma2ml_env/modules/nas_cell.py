"""NAS on CIFAR: two cells, after NASNet (Zoph et al. 2018, arXiv 1707.07012).

A normal and a reduction cell of five blocks; a block picks two states (the two cell inputs or an earlier block), an operation
for each out of 13, and how to combine them: 2 x 5 x 5 = 50 decisions, 10^36.72 pairs of cells (paper, section 4.2).
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Decision, SearchSpace

OPERATIONS = (
    "identity", "conv_1x3_3x1", "conv_1x7_7x1", "dil_conv_3x3", "avg_pool_3x3", "max_pool_3x3", "max_pool_5x5",
    "max_pool_7x7", "conv_1x1", "conv_3x3", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7",
)  # fmt: skip
COMBINE = ("add", "concat")
CELLS = ("normal", "reduction")


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
        self.space = SearchSpace(
            [
                decision
                for cell in CELLS
                for block in range(blocks)
                for decision in (
                    Decision(f"{cell}.{block}.input0", tuple(range(block + 2))),
                    Decision(f"{cell}.{block}.input1", tuple(range(block + 2))),
                    Decision(f"{cell}.{block}.operation0", OPERATIONS),
                    Decision(f"{cell}.{block}.operation1", OPERATIONS),
                    Decision(f"{cell}.{block}.combine", COMBINE),
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


@cache
def canonical_block(
    input_0: int, input_1: int, operation_0: str, operation_1: str, combine: str
) -> tuple[int, str, int, str, str]:
    """(input, operation, input, operation, combine) with the smaller (input, operation) first."""
    if (input_1, operation_1) < (input_0, operation_0):
        return (input_1, operation_1, input_0, operation_0, combine)
    return (input_0, operation_0, input_1, operation_1, combine)
