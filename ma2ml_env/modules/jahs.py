"""The agents of the early JAHS snapshot: a cell and its scale, three hyper-parameters, one augmentation bit.

Nothing trains these recipes: a table is looked up by code. They say what a pipeline is, so that different ones differ.
"""

from collections.abc import Mapping
from typing import Any

from ma2ml_env.recipe import Operation, Recipe
from ma2ml_env.tables import jahs_early


class AugTrivial:
    """TrivialAugment (Müller and Hutter 2021) or no policy.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "aug") -> None:
        self.name = name
        self.space = jahs_early.AUG_SPACE

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `augment`: one sub-policy, of which TrivialAugment is the only operation, or none."""
        policy = ((Operation("trivial_augment", 1.0, None),),) if values["trivial_augment"] else ()
        return recipe.with_slots(augment=policy)


class NasJahs:
    """Six operations, cells in a stage, channels, resolution.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "nas") -> None:
        self.name = name
        self.space = jahs_early.NAS_SPACE

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes the decisions into `network`."""
        return recipe.with_slots(network=recipe.network.with_args(**values))


class HpoJahs:
    """Activation, learning rate, weight decay.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "hpo") -> None:
        self.name = name
        self.space = jahs_early.HPO_SPACE

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `learning_rate`, `weight_decay` and the network's activation."""
        slots = {name: value for name, value in values.items() if name != "activation"}
        return recipe.with_slots(network=recipe.network.with_args(activation=values["activation"]), **slots)
