"""PRECISION: the numbers that the training multiplies in (mixed precision, Micikevicius et al. 2018, arXiv 1710.03740)."""

from collections.abc import Mapping
from typing import Any

from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Decision, SearchSpace

PRECISIONS = ("float32", "bfloat16", "float16")


class Precision:
    """The precision agent. Weights stay in float32; float16 has its loss scaled, so that small gradients survive.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "precision") -> None:
        self.name = name
        self.space = SearchSpace([Decision("precision", PRECISIONS)])

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `precision`."""
        return recipe.with_slots(**values)

    def base_values(self, base: Recipe) -> dict[str, str]:
        """The recipe's precision. `auto`, the usual one, is no choice here: its place takes float32, what it is on a CPU."""
        return {"precision": base.precision if base.precision in PRECISIONS else "float32"}
