"""The agents of HPOBench's perceptrons: depth and width, and how they are trained.

Nothing trains these recipes: a table is looked up by code.
"""

from collections.abc import Mapping
from typing import Any

from ma2ml_env.recipe import Recipe
from ma2ml_env.tables import hpobench


class NasMlp:
    """Hidden layers and their units.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "nas") -> None:
        self.name = name
        self.space = hpobench.NAS_SPACE

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes depth and width into `network`."""
        return recipe.with_slots(network=recipe.network.with_args(**values))


class HpoMlp:
    """Weight decay (scikit-learn's alpha), batch size, learning rate.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "hpo") -> None:
        self.name = name
        self.space = hpobench.HPO_SPACE

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `weight_decay`, `batch_size` and `learning_rate`."""
        return recipe.with_slots(**values)
