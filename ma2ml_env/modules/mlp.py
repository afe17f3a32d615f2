"""The agents of HPOBench's perceptrons: depth and width, and how they are trained.

Nothing trains these recipes: a table is looked up by code.
"""

from collections.abc import Mapping
from typing import Any

from ma2ml_env.modules.base import nearest
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

    def base_values(self, base: Recipe) -> dict[str, int]:
        """Those of the recipe's network. A game over a table names none: then scikit-learn's, one layer of 100 units."""
        told = base.network.args
        return {
            "depth": nearest(hpobench.DEPTHS, told.get("depth", 1)),
            "width": nearest(hpobench.WIDTHS, told.get("width", 100)),
        }


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

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The choices that are closest to the recipe's."""
        return {
            "weight_decay": nearest(hpobench.DECAYS, base.weight_decay),
            "batch_size": nearest(hpobench.BATCH_SIZES, base.batch_size),
            "learning_rate": nearest(hpobench.LEARNING_RATES, base.learning_rate),
        }
