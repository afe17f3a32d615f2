"""HPO on ImageNet: FBNetV3's training recipe (Dai et al. 2021, arXiv 2006.02049, Table 1).

Optimizer, learning rate, weight decay, mixup, dropout, stochastic depth, and whether the weights are averaged: the paper's 10^7
(section 4.1, where exponents are floored). The ranges are reconstructed: optimizers, average and weight decay are confirmed by
a public transcription of part of the table, the others are not. Without their highest values they have 10^7.16 codes, with
them 10^7.28.
"""

from collections.abc import Mapping
from typing import Any

from ma2ml_env.modules.base import nearest
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.space import Decision, SearchSpace

RANGES = {
    "learning_rate": (20, 30, 1000),
    "weight_decay": (7, 21, 1_000_000),
    "mixup": (0, 41, 100),
    "dropout": (1, 31, 100),
    "stochastic_depth": (10, 31, 100),
}
"""slot -> lowest and highest number, and what it is divided by"""
OPTIMIZERS = {
    "rmsprop": Spec("rmsprop", {"alpha": 0.9, "momentum": 0.9, "eps": 1e-3}),  # MnasNet's and EfficientNet's
    "sgd": Spec("sgd", {"momentum": 0.9, "nesterov": True}),
}


class HpoRecipe:
    """The hyper-parameter agent of the paper's ImageNet games.

    Args:
        inclusive: whether a range holds its highest value.
        sgd_factor: SGD's learning rate as a multiple of RMSProp's, whose values the range has. That SGD has another unit is
            certain, which one is not: 0.4 is what the one public transcription uses.
        ema: decay a step of the average, where there is one; the default is MnasNet's.
        name: agent id.

    Raises:
        ValueError: if a number is out of its range.
    """

    def __init__(
        self, inclusive: bool = False, sgd_factor: float = 0.4, ema: float = 0.9999, name: str = "hpo"
    ) -> None:
        if not 0.0 < sgd_factor < float("inf"):
            raise ValueError(f"sgd_factor is above 0, not {sgd_factor}")
        if not 0.0 < ema < 1.0:
            raise ValueError(f"ema lies between 0 and 1, not {ema}")
        self.name = name
        self.sgd_factor = sgd_factor
        self.ema = ema
        self.space = SearchSpace(
            [
                Decision("optimizer", tuple(OPTIMIZERS)),
                *(
                    Decision(slot, tuple(number / divisor for number in range(low, high + inclusive)), ordered=True)
                    for slot, (low, high, divisor) in RANGES.items()
                ),
                Decision("ema", (False, True)),
            ]
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `optimizer`, `learning_rate`, `weight_decay`, `mixup`, `dropout`, `stochastic_depth` and `ema`.

        And `drop_path` 0: the searched probability takes ScheduledDropPath's place.
        """
        slots = {slot: values[slot] for slot in RANGES}
        if values["optimizer"] == "sgd":
            slots["learning_rate"] *= self.sgd_factor
        return recipe.with_slots(
            optimizer=OPTIMIZERS[values["optimizer"]], ema=self.ema if values["ema"] else 0.0, drop_path=0.0, **slots
        )

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The recipe's optimizer (SGD of one that is not in the space), and of each range the number that is closest.

        The ImageNet games' base recipe is not in this space: it has no dropout and no stochastic depth, which are .01 and .1 at
        least here, and their rate and decay are other ones. What comes closest is SGD with the highest rate and decay.
        """
        optimizer = "rmsprop" if base.optimizer.kind == "rmsprop" else "sgd"
        factor = self.sgd_factor if optimizer == "sgd" else 1.0
        wanted: dict[str, float] = {
            "learning_rate": base.learning_rate / factor,
            "weight_decay": base.weight_decay,
            "mixup": base.mixup,
            "dropout": base.dropout,
            "stochastic_depth": base.stochastic_depth,
        }
        choices = {decision.name: decision.choices for decision in self.space.decisions}
        closest = {slot: nearest(choices[slot], wanted[slot]) for slot in RANGES}
        return {"optimizer": optimizer, **closest, "ema": base.ema > 0.0}
