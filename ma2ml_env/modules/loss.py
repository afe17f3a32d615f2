"""LOSS: what the network is trained to make small.

Cross-entropy, plain or with smoothed labels (Szegedy et al. 2016, arXiv 1512.00567), focal (Lin et al. 2017, arXiv 1708.02002)
and Poly-1 (Leng et al. 2022, arXiv 2204.12511); all but the first in three strengths around their papers'.
"""

from collections.abc import Mapping
from typing import Any

from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.space import Decision, SearchSpace

STRENGTHS = ("weak", "medium", "strong")
LOSSES = {
    "cross_entropy": [Spec("cross_entropy", {"label_smoothing": 0.0})] * 3,
    "label_smoothing": [Spec("cross_entropy", {"label_smoothing": share}) for share in (0.05, 0.1, 0.2)],
    "focal": [Spec("focal", {"gamma": gamma}) for gamma in (1.0, 2.0, 5.0)],
    "poly": [Spec("poly", {"epsilon": epsilon}) for epsilon in (-1.0, 1.0, 2.0)],
}
"""choice -> the loss in each strength; plain cross-entropy has none, so there they are the same pipeline"""


class Loss:
    """The loss agent.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "loss") -> None:
        self.name = name
        self.space = SearchSpace([Decision("loss", tuple(LOSSES)), Decision("strength", STRENGTHS, ordered=True)])

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `loss`."""
        return recipe.with_slots(loss=LOSSES[values["loss"]][STRENGTHS.index(values["strength"])])

    def base_values(self, base: Recipe) -> dict[str, str]:
        """The recipe's loss; plain cross-entropy where it has another one."""
        for name, strengths in LOSSES.items():
            if base.loss in strengths:
                return {"loss": name, "strength": STRENGTHS[strengths.index(base.loss)]}
        return {"loss": "cross_entropy", "strength": STRENGTHS[0]}
