"""An agent of NAS-Bench-201: one half of a cell's edges.

Nothing trains these recipes: a table is looked up by code. Cells that only differ by edges without effect were trained
separately and have results of their own, so they stay different pipelines.
"""

from collections.abc import Mapping
from typing import Any

from ma2ml_env.modules.base import told_or
from ma2ml_env.recipe import Recipe
from ma2ml_env.tables import nasbench201


class NasEdges:
    """Operations on three edges.

    Args:
        name: agent id and which half: `inner`, the edges among the first three nodes, or `outer`, those into the last.

    Raises:
        ValueError: if there is no such half.
    """

    def __init__(self, name: str = "inner") -> None:
        if name not in nasbench201.SPACES:
            raise ValueError(f"the halves of a cell are {' and '.join(nasbench201.SPACES)}, not {name!r}")
        self.name = name
        self.space = nasbench201.SPACES[name]

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes the operations into `network`."""
        return recipe.with_slots(network=recipe.network.with_args(**values))

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The operations of the recipe's network. A game over a table names none: then 3x3 convolutions on all edges."""
        plain = {edge.name: "nor_conv_3x3" for edge in self.space.decisions}
        return told_or(base.network.args, plain, self.space)
