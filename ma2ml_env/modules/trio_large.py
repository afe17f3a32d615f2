"""NAS and HPO of the large measured game: too many pipelines to train them all, each still trained in seconds.

Two small cells, their number and width beside them; six hyper-parameters. Two sub-policies of `aug` make 40 decisions of them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.modules.base import nearest
from ma2ml_env.modules.features import log10
from ma2ml_env.modules.nas_cell import NasCell
from ma2ml_env.modules.nasnet_cost import ImageShape
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.space import Decision, SearchSpace

DEPTHS = (2, 3, 4)
"""cells; the second one halves the image"""
WIDTHS = (4, 6, 10)
"""filters of the first cell"""
REDUCTIONS = (1,)
RATES = (0.02, 0.04, 0.07, 0.1, 0.15, 0.25, 0.4, 0.6)
DECAYS = (1e-4, 3e-4, 1e-3, 3e-3)
MOMENTA = (0.5, 0.8, 0.9, 0.95)
MIXUPS = (0.0, 0.1, 0.2, 0.4)
DROPOUTS = (0.0, 0.1, 0.2, 0.4)
SMOOTHINGS = (0.0, 0.05, 0.1)


class NasTrioLarge:
    """The architecture agent: two cells of two blocks, as `NasCell` has them, how many of them, how wide.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "nas") -> None:
        self.name = name
        self._cell = NasCell(blocks=2)
        numbers = [Decision("cells", DEPTHS, ordered=True), Decision("filters", WIDTHS, ordered=True)]
        self.space = SearchSpace([*self._cell.space.decisions, *numbers])
        self.feature_names = (*self._cell.feature_names, "cells", "filters")

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `network`."""
        *cell, cells, filters = values.items()
        network = Spec("nasnet", dict([cells, filters]) | {"reductions": REDUCTIONS})
        return self._cell.apply(recipe.with_slots(network=network), dict(cell))

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The first blocks of the recipe's cells, as of `NasCell`; the numbers that are closest to the recipe's."""
        args = base.network.args if base.network.kind == "nasnet" else {}
        numbers = {
            "cells": nearest(DEPTHS, args.get("cells", DEPTHS[-1])),
            "filters": nearest(WIDTHS, args.get("filters", WIDTHS[-1])),
        }
        return self._cell.base_values(base) | numbers

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """What `NasCell` tells of its cells; how many cells, how many filters."""
        cells, filters = self._numbers(codes)
        return np.column_stack([self._cell.features(codes[:, :-2]), cells, filters])

    def canonical(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """As of `NasCell`."""
        return np.concatenate([self._cell.canonical(codes[:, :-2]), codes[:, -2:]], axis=1)

    def cost(
        self, codes: NDArray[np.int64], network: Spec, image: ImageShape
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """MACs and parameters; nothing is left of the base recipe's network."""
        return self._cell.cost_of(codes[:, :-2], *self._numbers(codes), REDUCTIONS, image)

    def _numbers(self, codes: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cells (n,) and filters (n,)."""
        cells, filters = codes[:, -2:].T.astype(np.int64)
        return np.array(DEPTHS)[cells], np.array(WIDTHS)[filters]


class HpoTrioLarge:
    """The hyper-parameter agent: rate, decay and momentum of SGD, and what else regularises.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "hpo") -> None:
        self.name = name
        self.space = SearchSpace(
            [
                Decision("learning_rate", RATES, ordered=True),
                Decision("weight_decay", DECAYS, ordered=True),
                Decision("momentum", MOMENTA, ordered=True),
                Decision("mixup", MIXUPS, ordered=True),
                Decision("dropout", DROPOUTS, ordered=True),
                Decision("label_smoothing", SMOOTHINGS, ordered=True),
            ]
        )
        self.feature_names = (
            "log10_learning_rate", "log10_weight_decay", "log10_step", "mixup", "dropout", "label_smoothing",
        )  # fmt: skip

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `learning_rate`, `weight_decay`, `optimizer`, `mixup`, `dropout` and `loss`."""
        return recipe.with_slots(
            learning_rate=values["learning_rate"],
            weight_decay=values["weight_decay"],
            optimizer=Spec("sgd", {"momentum": values["momentum"], "nesterov": True}),
            mixup=values["mixup"],
            dropout=values["dropout"],
            loss=Spec("cross_entropy", {"label_smoothing": values["label_smoothing"]}),
        )

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The numbers that are closest to the recipe's; of another optimiser than SGD a momentum of .9."""
        momentum = base.optimizer.args.get("momentum", 0.9) if base.optimizer.kind == "sgd" else 0.9
        return {
            "learning_rate": nearest(RATES, base.learning_rate),
            "weight_decay": nearest(DECAYS, base.weight_decay),
            "momentum": nearest(MOMENTA, momentum),
            "mixup": nearest(MIXUPS, base.mixup),
            "dropout": nearest(DROPOUTS, base.dropout),
            "label_smoothing": nearest(SMOOTHINGS, base.loss.args.get("label_smoothing", 0.0)),
        }

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logarithms of rate, decay and the step that momentum makes of the rate; what else there is, as it is."""
        rate, decay, momentum, *others = codes.astype(np.int64).T
        steps = np.divide.outer(RATES, 1.0 - np.array(MOMENTA))
        logs = [log10(RATES)[rate], log10(DECAYS)[decay], log10(steps)[rate, momentum]]
        choices = (MIXUPS, DROPOUTS, SMOOTHINGS)
        return np.column_stack([*logs, *(np.array(all_)[each] for all_, each in zip(choices, others, strict=True))])
