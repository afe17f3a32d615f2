"""HPO on CIFAR: learning rate and weight decay of SGD.

"We discretize the search space of them into 4 concrete values and use 10 steps to determine them on average" (paper, section
4.2): each is the mean of ten four-way picks, 4^20 = 10^12.04 codes. The four values are not published; these bracket the
usual recipes on CIFAR (DARTS 0.025 and 3e-4, NASNet 0.025 and 5e-4, ENAS 0.05 and 2e-4, wide ResNets 0.1 and 5e-4).
"""

from collections.abc import Mapping
from math import fsum
from typing import Any

from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Decision, SearchSpace

LEARNING_RATES = (0.0125, 0.025, 0.05, 0.1)
WEIGHT_DECAYS = (1e-4, 3e-4, 5e-4, 1e-3)


class HpoSgd:
    """The hyper-parameter agent of the paper's CIFAR games.

    Args:
        picks: four-way picks for each hyper-parameter; 10 in the paper.
        learning_rates: the values to pick from: peak rate after the warm-up.
        weight_decays: the values to pick from.
        name: agent id.
    """

    def __init__(
        self,
        picks: int = 10,
        learning_rates: tuple[float, ...] = LEARNING_RATES,
        weight_decays: tuple[float, ...] = WEIGHT_DECAYS,
        name: str = "hpo",
    ) -> None:
        if picks < 1:
            raise ValueError(f"a hyper-parameter needs at least one pick, not {picks}")
        self.name = name
        self.picks = picks
        self.space = SearchSpace(
            [Decision(f"learning_rate.{i}", tuple(learning_rates)) for i in range(picks)]
            + [Decision(f"weight_decay.{i}", tuple(weight_decays)) for i in range(picks)]
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `learning_rate` and `weight_decay`."""
        flat = list(values.values())
        return recipe.with_slots(
            # fsum rounds once, so the order of the picks cannot show in the last bit.
            learning_rate=fsum(flat[: self.picks]) / self.picks,
            weight_decay=fsum(flat[self.picks :]) / self.picks,
        )
