"""The agents of the early JAHS snapshot: a cell and its scale, three hyper-parameters, one augmentation bit.

Nothing trains these recipes: a table is looked up by code. They say what a pipeline is, so that different ones differ.
"""

from collections.abc import Mapping
from typing import Any

from ma2ml_env.modules.base import nearest, told_or
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

    def base_values(self, base: Recipe) -> dict[str, bool]:
        """Whether the recipe has a policy."""
        return {"trivial_augment": bool(base.augment)}


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

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """Those of the recipe's network. A game over a table names none: then 3x3 convolutions at the largest scale."""
        plain: dict[str, Any] = {
            "cells": jahs_early.CELLS[-1],
            "width": jahs_early.WIDTHS[-1],
            "resolution": jahs_early.RESOLUTIONS[-1],
        }
        plain |= dict.fromkeys(jahs_early.EDGES, "nor_conv_3x3")
        return told_or(base.network.args, plain, self.space)


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

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The rate and decay that are closest to the recipe's, and its network's activation: ReLU unless told."""
        plain: dict[str, Any] = {
            "activation": "relu",
            "learning_rate": nearest(jahs_early.LEARNING_RATES, base.learning_rate),
            "weight_decay": nearest(jahs_early.WEIGHT_DECAYS, base.weight_decay),
        }
        return told_or({"activation": base.network.args.get("activation")}, plain, self.space)
