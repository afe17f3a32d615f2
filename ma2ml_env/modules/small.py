"""AUG, NAS and HPO for small data on a CPU: few decisions, every one of which is known to matter there.

The paper's spaces have 100 decisions and networks of cells, for thousands of pipelines on a GPU. Where a search has seconds a
pipeline and a hundred of them, they are mostly pipelines that lose to a plain network. Here a plain network is what a pipeline
starts from: an ordinary augmentation, an ordinary network (`networks/plain.py`) and an ordinary recipe are varied.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.modules.aug import dose_names, rates_and_doses
from ma2ml_env.modules.base import nearest, told_or
from ma2ml_env.modules.features import CodeTable, log10
from ma2ml_env.recipe import Operation, Recipe, Spec, SubPolicy
from ma2ml_env.space import Decision, SearchSpace

CROPS = (0, 1, 2, 4)
CUTOUTS = (0, 2, 4, 8)
"""pixels, so that something is there for images of 8 as of 32 a side"""
MOVES: tuple[SubPolicy, ...] = (
    (Operation("rotate", 0.5, 3), Operation("translate_x", 0.3, 2)),
    (Operation("shear_x", 0.5, 3), Operation("translate_y", 0.3, 2)),
)
TONES: tuple[SubPolicy, ...] = (
    (Operation("brightness", 0.5, 4), Operation("contrast", 0.5, 4)),
    (Operation("sharpness", 0.5, 5), Operation("color", 0.5, 4)),
)
POLICIES: dict[str, tuple[SubPolicy, ...]] = {"none": (), "moves": MOVES, "tones": TONES, "both": (*MOVES, *TONES)}
"""gentle: what AutoAugment's would do to a small network is more than it can learn in a few epochs"""
OPERATIONS = tuple(op.name for sub in POLICIES["both"] for op in sub)
WIDTHS = (12, 16, 24, 32)
BLOCKS = 3
MIXUPS = (0.0, 0.2)
RATES = (0.02, 0.05, 0.1, 0.2)
DECAYS = (1e-4, 5e-4, 2e-3, 5e-3)
SMOOTHINGS = (0.0, 0.1)
DROPOUTS = (0.0, 0.2, 0.4)


class AugSmall:
    """The augmentation agent. It leaves the flip alone: whether a mirror image is of the same class is the user's to know.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "aug") -> None:
        self.name = name
        self.space = SearchSpace(
            [
                Decision("crop_padding", CROPS, ordered=True),
                Decision("cutout", CUTOUTS, ordered=True),
                Decision("policy", tuple(POLICIES)),
                Decision("mixup", MIXUPS, ordered=True),
            ]
        )
        self.feature_names = (*dose_names(OPERATIONS), "crop_padding", "cutout", "mixup")
        self._told = CodeTable(
            self.space,
            lambda values: [
                *rates_and_doses(POLICIES[values["policy"]], OPERATIONS),
                *(values[name] for name in ("crop_padding", "cutout", "mixup")),
            ],
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `crop_padding`, `cutout`, `augment` and `mixup`."""
        return recipe.with_slots(
            crop_padding=values["crop_padding"],
            cutout=values["cutout"],
            augment=POLICIES[values["policy"]],
            mixup=values["mixup"],
        )

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The numbers that are closest to the recipe's, and its policy; none where it has another one."""
        return {
            "crop_padding": nearest(CROPS, base.crop_padding),
            "cutout": nearest(CUTOUTS, base.cutout),
            "policy": next((name for name, policy in POLICIES.items() if policy == base.augment), "none"),
            "mixup": nearest(MIXUPS, base.mixup),
        }

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """How often an image sees each operation, and that times its level; the numbers as they are."""
        return self._told(codes)


class NasSmall:
    """The architecture agent: how wide a plain network is, what it has beside its blocks, how it ends.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "nas") -> None:
        self.name = name
        self.space = SearchSpace(
            [
                Decision("width", WIDTHS, ordered=True),
                Decision("residual", (0, 1, 2), ordered=True),
                Decision("pool", ("max", "average")),
                Decision("head", ("flat", "mean")),
            ]
        )
        self.feature_names = ("width", "residual", "average_pool", "mean_head")
        self._told = CodeTable(
            self.space,
            lambda values: [
                values["width"],
                values["residual"],
                values["pool"] == "average",
                values["head"] == "mean",
            ],
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `network`; each block has twice the channels of the one before."""
        widths = tuple(values["width"] << block for block in range(BLOCKS))
        network = {"widths": widths, **{name: values[name] for name in ("residual", "pool", "head")}}
        return recipe.with_slots(network=Spec("plain", network))

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """Those of the recipe's network, its width the closest; of another kind, the widest plain one."""
        told = base.network.args if base.network.kind == "plain" else {}
        widths = told.get("widths") or WIDTHS[-1:]
        usual = {"width": nearest(WIDTHS, widths[0]), "residual": 0, "pool": "max", "head": "flat"}
        return told_or(told, usual, self.space)

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Width and residual blocks as numbers; 1 for an average pool, 1 for a mean over pixels at the end."""
        return self._told(codes)


class HpoSmall:
    """The hyper-parameter agent.

    Args:
        name: agent id.
    """

    def __init__(self, name: str = "hpo") -> None:
        self.name = name
        self.space = SearchSpace(
            [
                Decision("learning_rate", RATES, ordered=True),
                Decision("weight_decay", DECAYS, ordered=True),
                Decision("label_smoothing", SMOOTHINGS, ordered=True),
                Decision("dropout", DROPOUTS, ordered=True),
            ]
        )
        self.feature_names = ("log10_learning_rate", "log10_weight_decay", "label_smoothing", "dropout")
        self._told = CodeTable(
            self.space,
            lambda values: [
                float(log10(values["learning_rate"])),
                float(log10(values["weight_decay"])),
                values["label_smoothing"],
                values["dropout"],
            ],
        )

    def apply(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Writes `learning_rate`, `weight_decay`, `loss` and `dropout`."""
        return recipe.with_slots(
            learning_rate=values["learning_rate"],
            weight_decay=values["weight_decay"],
            loss=Spec("cross_entropy", {"label_smoothing": values["label_smoothing"]}),
            dropout=values["dropout"],
        )

    def base_values(self, base: Recipe) -> dict[str, Any]:
        """The numbers that are closest to the recipe's; of another loss than cross-entropy, no smoothing."""
        return {
            "learning_rate": nearest(RATES, base.learning_rate),
            "weight_decay": nearest(DECAYS, base.weight_decay),
            "label_smoothing": nearest(SMOOTHINGS, base.loss.args.get("label_smoothing", 0.0)),
            "dropout": nearest(DROPOUTS, base.dropout),
        }

    def features(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logarithms of rate and decay; smoothing and dropout as they are."""
        return self._told(codes)
