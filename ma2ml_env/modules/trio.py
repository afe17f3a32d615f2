"""AUG, NAS and HPO of the measured games: few levels, so that every pipeline of the product can be trained.

No agent decides alone: in a pilot of 338 trainings on digits AUG had .35 of the variance, NAS .49, HPO .37, and .19 lay in what
they do together. docs/history.md has that pilot, and the levels that were tried before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.modules.aug import dose_names, rates_and_doses
from ma2ml_env.modules.base import nearest
from ma2ml_env.modules.features import CodeTable, log10
from ma2ml_env.modules.nasnet_cost import ImageShape, nasnet_cost
from ma2ml_env.recipe import Operation, Recipe, Spec, SubPolicy
from ma2ml_env.space import Decision, SearchSpace

FAMILIES: dict[str, dict[str, SubPolicy]] = {
    "shift": {
        "gentle": (Operation("translate_x", 0.5, 2), Operation("translate_y", 0.5, 2)),
        "strong": (Operation("translate_x", 0.7, 5), Operation("translate_y", 0.7, 5)),
    },
    "warp": {
        "gentle": (Operation("rotate", 0.5, 3), Operation("shear_x", 0.5, 3)),
        "strong": (Operation("rotate", 0.8, 7), Operation("shear_x", 0.8, 7)),
    },
    "colour": {
        "gentle": (Operation("contrast", 0.5, 3), Operation("sharpness", 0.5, 3)),
        "strong": (Operation("invert", 0.5, None), Operation("contrast", 0.8, 7)),
    },
    "erase": {
        "gentle": (Operation("cutout", 0.5, 3), Operation("brightness", 0.5, 3)),
        "strong": (Operation("cutout", 0.8, 7), Operation("brightness", 0.8, 7)),
    },
}
"""family -> strength -> the one sub-policy that every image goes through"""
AUGMENTATIONS = tuple(
    dict.fromkeys(op.name for strengths in FAMILIES.values() for sub in strengths.values() for op in sub)
)
"""all operations of these"""
STRENGTHS = ("none", "gentle", "strong")
OPERATIONS = ("conv_3x3", "sep_conv_3x3", "conv_1x3_3x1", "dil_conv_3x3")
DEPTHS = (2, 4)
"""cells; the second one halves the image"""
_REDUCTIONS = (1,)
WIDTHS = (5, 12)
"""filters of the first cell"""
RATES = (0.03, 0.1, 0.3, 0.6)
REGULARISERS: dict[str, tuple[float, float]] = {
    "none": (0.0, 0.0),
    "dropout": (0.0, 0.2),
    "mixup": (0.4, 0.0),
    "both": (0.4, 0.2),
}
"""name -> mixup's alpha and the share of features that are dropped"""


class AugTrio:
    """The augmentation agent: one family of operations, and how strong. Without strength all families are the same pipeline.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "aug") -> None:
        self.name = name
        self.space = SearchSpace([Decision("family", tuple(FAMILIES)), Decision("strength", STRENGTHS, ordered=True)])
        self.feature_names = dose_names(AUGMENTATIONS)
        self._told = CodeTable(
            self.space, lambda values: rates_and_doses(self.apply(Recipe(), values).augment, AUGMENTATIONS)
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `augment`: one sub-policy, or none."""
        if values["strength"] == "none":
            return recipe.with_slots(augment=())
        return recipe.with_slots(augment=(FAMILIES[values["family"]][values["strength"]],))

    def base_values(self, base: Recipe) -> dict[str, str]:
        """The recipe's policy if it is one of these, else none."""
        for family, strengths in FAMILIES.items():
            for strength, policy in strengths.items():
                if base.augment == (policy,):
                    return {"family": family, "strength": strength}
        return {"family": next(iter(FAMILIES)), "strength": "none"}

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """How often an image sees each operation, and that times its level."""
        return self._told(codes)


class NasTrio:
    """The architecture agent: the operation of all cells, how many cells, how wide.

    A cell is one block: the operation on either of its inputs, added.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "nas") -> None:
        self.name = name
        self.space = SearchSpace(
            [
                Decision("operation", OPERATIONS),
                Decision("cells", DEPTHS, ordered=True),
                Decision("filters", WIDTHS, ordered=True),
            ]
        )
        self.feature_names = (*OPERATIONS, "cells", "filters")
        self._told = CodeTable(
            self.space,
            lambda values: [*(values["operation"] == each for each in OPERATIONS), values["cells"], values["filters"]],
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `network`."""
        cell = ((0, values["operation"], 1, values["operation"], "add"),)
        args = {"normal": cell, "reduction": cell, "cells": values["cells"], "reductions": _REDUCTIONS}
        return recipe.with_slots(network=Spec("nasnet", {**args, "filters": values["filters"]}))

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The numbers that are closest to the recipe's, and the operation that its normal cell begins with."""
        args = base.network.args if base.network.kind == "nasnet" else {}
        begun = args["normal"][0][1] if args.get("normal") else ""
        return {
            "operation": begun if begun in OPERATIONS else OPERATIONS[0],
            "cells": nearest(DEPTHS, args.get("cells", DEPTHS[-1])),
            "filters": nearest(WIDTHS, args.get("filters", WIDTHS[-1])),
        }

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Which operation it is; how many cells, how many filters."""
        return self._told(codes)

    def cost(
        self, codes: NDArray[np.int64], network: Spec, image: ImageShape
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """MACs and parameters; nothing is left of the base recipe's network."""
        operation = codes[:, 0]
        block = np.stack([0 * operation, 0 * operation + 1, operation, operation, 0 * operation], axis=1)[:, None]
        cells, filters = np.array(DEPTHS)[codes[:, 1]], np.array(WIDTHS)[codes[:, 2]]
        return nasnet_cost(block, block, cells, filters, _REDUCTIONS, OPERATIONS, image)


class HpoTrio:
    """The hyper-parameter agent: the learning rate, and what else regularises.

    Args:
        name: agent id.
        rates: learning rates, rising.
    """

    def __init__(self, name: str = "hpo", rates: Sequence[float] = RATES) -> None:
        self.name = name
        self.rates = tuple(rates)
        self.space = SearchSpace(
            [Decision("learning_rate", self.rates, ordered=True), Decision("regulariser", tuple(REGULARISERS))]
        )
        self.feature_names = ("log10_learning_rate", "mixup", "dropout")
        self._told = CodeTable(
            self.space, lambda values: [float(log10(values["learning_rate"])), *REGULARISERS[values["regulariser"]]]
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `learning_rate`, `mixup` and `dropout`."""
        mixup, dropout = REGULARISERS[values["regulariser"]]
        return recipe.with_slots(learning_rate=values["learning_rate"], mixup=mixup, dropout=dropout)

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The rate that is closest to the recipe's; of mixup and dropout whether there is any."""
        told = {(False, False): "none", (False, True): "dropout", (True, False): "mixup", (True, True): "both"}
        return {
            "learning_rate": nearest(self.rates, base.learning_rate),
            "regulariser": told[base.mixup > 0.0, base.dropout > 0.0],
        }

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logarithm of the rate; mixup and dropout as numbers."""
        return self._told(codes)
