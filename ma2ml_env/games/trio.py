"""Trio: joint games of AUG, NAS and HPO that are small enough to be trained whole, and a large one.

Every pipeline takes seconds on a laptop, so a search can be compared with the true optimum, and every number can be measured
again; of the large game, with a surrogate that was fitted to some thousand trainings. Few training images leave augmentation
and regularisation something to do.
"""

from dataclasses import replace

from ma2ml_env.game import Protocol
from ma2ml_env.games.named import NamedGame
from ma2ml_env.modules.trio import NasTrio
from ma2ml_env.modules.trio_large import NasTrioLarge
from ma2ml_env.recipe import Recipe

MEDIAN_MACS = {"digits": 178_970.0, "fashion": 547_745.0}
"""of all pipelines, counted; half of them are larger"""
_NETWORK = NasTrio().apply(Recipe(), {"operation": "conv_3x3", "cells": 4, "filters": 12}).network
_LARGE = NasTrioLarge()
_LARGE_NETWORK = _LARGE.apply(Recipe(), {**_LARGE.base_values(Recipe()), "cells": 3, "filters": 6}).network
"""of the first two blocks of NASNet-A's cells"""

TRIO_DIGITS = NamedGame(
    id="trio-digits-v0",
    title="a policy, a cell and two hyper-parameters on 150 digits: all 2,304 pipelines can be trained",
    data="digits",
    base=Recipe(
        network=_NETWORK, crop_padding=0, flip=False, cutout=0, batch_size=32, learning_rate=0.1, drop_path=0.0,
        auxiliary=0.0,
    ),
    protocol=Protocol(budget=240, batch=24, top_k=5, proxy_epochs=20, final_epochs=20, repeats=3),
    modules=(("aug_trio", {}), ("nas_trio", {}), ("hpo_trio", {})),
    source={"limit": 150, "validation": 1000},
    digest="443886fd4de4271e56c057585968e0a0",
    measured="trio-digits-v0.npz",
)  # fmt: skip
TRIO_FASHION = replace(
    TRIO_DIGITS,
    id="trio-fashion-v0",
    title="the agents of trio-digits-v0 on 500 images of Fashion-MNIST at 14 pixels, with rates from .01",
    data="fashion-mnist",
    size=14,
    source={"limit": 500, "validation": 1000},
    digest="bf0ebe7e3a3b90f3f1f04ad81348317f",
    modules=(("aug_trio", {}), ("nas_trio", {}), ("hpo_trio", {"rates": (0.01, 0.03, 0.1, 0.6)})),
    measured=None,
)
TRIO_DIGITS_MACS = replace(
    TRIO_DIGITS,
    id="trio-digits-macs-v0",
    title="trio-digits-v0 with the reward accuracy x (MACs / their median)^-0.07",
    flops_limit=MEDIAN_MACS["digits"],
)
TRIO_FASHION_MACS = replace(
    TRIO_FASHION,
    id="trio-fashion-macs-v0",
    title="trio-fashion-v0 with the reward accuracy x (MACs / their median)^-0.07",
    flops_limit=MEDIAN_MACS["fashion"],
)
TRIO_DIGITS_LARGE = replace(
    TRIO_DIGITS,
    id="trio-digits-large-v0",
    title="the data of trio-digits-v0 with 40 decisions: too many pipelines to train them all",
    base=replace(TRIO_DIGITS.base, network=_LARGE_NETWORK),
    protocol=replace(TRIO_DIGITS.protocol, budget=504, top_k=30),
    measured=None,
    modules=(("aug", {"sub_policies": 2}), ("nas_trio_large", {}), ("hpo_trio_large", {})),
)
