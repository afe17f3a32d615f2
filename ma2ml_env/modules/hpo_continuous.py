"""HPO on CIFAR without a grid: learning rate and weight decay of SGD as two intervals.

The paper discretizes both (`hpo_sgd.py`), though REINFORCE "can handle both discrete and continuous action" (section 3.3). The
ends leave a factor of eight around the four values of `hpo_sgd.py`, for what a grid would never have tried.
"""

from collections.abc import Mapping
from typing import Any

from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Interval, SearchSpace

LEARNING_RATES = (0.0015, 0.8)
WEIGHT_DECAYS = (1.25e-5, 8e-3)


class HpoContinuous:
    """The hyper-parameter agent with two numbers to choose, both on logarithmic scales.

    Args:
        learning_rates: lowest and highest peak rate after the warm-up.
        weight_decays: lowest and highest.
        name: agent id.
    """

    def __init__(
        self,
        learning_rates: tuple[float, float] = LEARNING_RATES,
        weight_decays: tuple[float, float] = WEIGHT_DECAYS,
        name: str = "hpo",
    ) -> None:
        self.name = name
        self.space = SearchSpace(
            [
                Interval("learning_rate", *learning_rates, log=True),
                Interval("weight_decay", *weight_decays, log=True),
            ]
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `learning_rate` and `weight_decay`."""
        return recipe.with_slots(learning_rate=values["learning_rate"], weight_decay=values["weight_decay"])

    def base_values(self, base: Recipe) -> dict[str, float]:
        """The recipe's rate and decay, or the ends of the intervals that they lie beyond."""
        wanted = {"learning_rate": base.learning_rate, "weight_decay": base.weight_decay}
        return {
            interval.name: interval.value(
                interval.position(min(max(wanted[interval.name], interval.low), interval.high))
            )
            for interval in self.space.intervals
        }
