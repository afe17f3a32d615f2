"""The contract of a module: one agent's share of the pipeline."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from ma2ml_env.recipe import Recipe
from ma2ml_env.space import SearchSpace


@runtime_checkable
class Module(Protocol):
    """An agent's name, its space, and what its decisions mean.

    `apply` is pure and canonical: it returns a new recipe in which what does not matter does not show, so that two codes of
    the same pipeline give recipes with the same key.
    """

    name: str
    """agent id: lower case, no trailing `_<int>`"""
    space: SearchSpace

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with this module's slots set; `values` is `space.decode(code)`. Change no argument."""
        ...
