"""Named games of cell networks on small images: digits, Fashion-MNIST, CIFAR and your own.

Most large games have a smaller sibling, `...-small-v0`, with the same spaces, sized for a laptop.
"""

from dataclasses import replace
from typing import Any

from ma2ml_env.game import Protocol
from ma2ml_env.games.named import NamedGame
from ma2ml_env.recipe import Recipe, Spec


def _network(cells: int, reductions: tuple[int, ...], filters: int) -> Any:
    return Recipe().network.with_args(cells=cells, reductions=reductions, filters=filters)


_PAPER = Recipe()  # 17 cells, reductions at 5 and 11, 36 filters, 600 epochs
_SMALL = Recipe(network=_network(4, (1, 3), 8), batch_size=64, cutout=8, drop_path=0.1, auxiliary=0.0, epochs=60)
_SMALL_PROTOCOL = Protocol(budget=240, top_k=5, proxy_epochs=3, final_epochs=60, repeats=3)

_LIKE_REAL: dict[str, Any] = {"centre": 0.85, "top": 0.94, "floor": 0.2, "noise": 0.009, "shared": 0.5, "means": 0.3}
"""The landscape of version 1. Accuracies and noise are near those of trio-digits-v0: median .83, best .93, worst .25, and a
deviation of .010 between trainings of pipelines above .9. That decisions of one kind share half of their effect, and means
have three tenths of the variance, is a choice."""

DIGITS = NamedGame(
    id="digits-v0",
    title="scikit-learn's 8x8 digits, embedded; a search takes minutes on two cores",
    data="digits",
    base=Recipe(
        network=_network(3, (1,), 4),
        crop_padding=0,
        flip=False,
        cutout=0,
        batch_size=32,
        drop_path=0.0,
        auxiliary=0.0,
        epochs=30,
    ),
    protocol=Protocol(budget=192, top_k=3, proxy_epochs=2, final_epochs=30, repeats=3),
    flops_limit=215e3,  # the median of its space
)
DIGITS_CONTINUOUS = replace(
    DIGITS, id="digits-continuous-v0", title="digits-v0 with learning rate and weight decay as intervals, not as picks",
    modules=(("aug", {}), ("nas_cell", {}), ("hpo_continuous", {})),
)  # fmt: skip
CIFAR10 = NamedGame(
    id="cifar10-v0",
    title="CIFAR-10 as in the paper: 17 cells, 36 filters, 12 epochs of 600",
    data="cifar10",
    base=_PAPER,
    protocol=Protocol(),
)
CIFAR10_SMALL = replace(
    CIFAR10, id="cifar10-small-v0", title="CIFAR-10 on a laptop: 4 cells, 8 filters, 4,000 images, 3 epochs",
    base=_SMALL, protocol=_SMALL_PROTOCOL, source={"limit": 4000},
)  # fmt: skip
CIFAR10_600M = replace(
    CIFAR10, id="cifar10-600m-v0", title="cifar10-v0 with the reward accuracy x (MACs / 600M)^-0.07", flops_limit=600e6,
)  # fmt: skip
CIFAR10_V1 = replace(
    CIFAR10, id="cifar10-v1", title="cifar10-v0 whose synthetic landscape has the symmetries of its spaces",
    landscape=_LIKE_REAL,
)  # fmt: skip
CIFAR10_600M_V1 = replace(
    CIFAR10_600M, id="cifar10-600m-v1", title="cifar10-600m-v0 whose synthetic landscape has the symmetries of its spaces",
    landscape=_LIKE_REAL,
)  # fmt: skip
CIFAR10_600M_SMALL = replace(
    CIFAR10_SMALL, id="cifar10-600m-small-v0",
    title="cifar10-small-v0 with a FLOPs reward, its limit the median of this space", flops_limit=15e6,
)  # fmt: skip
CIFAR100 = replace(
    CIFAR10, id="cifar100-v0", title="CIFAR-100 as in the paper: 17 cells, 36 filters, 12 epochs of 600", data="cifar100",
    protocol=Protocol(budget=4008),
)  # fmt: skip
CIFAR100_SMALL = replace(
    CIFAR10_SMALL, id="cifar100-small-v0", title="CIFAR-100 on a laptop: 4 cells, 8 filters, 10,000 images, 3 epochs",
    data="cifar100", source={"limit": 10000},
)  # fmt: skip
FASHION_MNIST = NamedGame(
    id="fashion-mnist-v0",
    title="Fashion-MNIST with the paper's CIFAR protocol",
    data="fashion-mnist",
    base=_PAPER,
    protocol=Protocol(),
)
FASHION_MNIST_SMALL = replace(
    FASHION_MNIST, id="fashion-mnist-small-v0",
    title="Fashion-MNIST on a laptop: 4 cells, 8 filters, 4,000 images, 3 epochs",
    base=_SMALL, protocol=_SMALL_PROTOCOL, source={"limit": 4000},
)  # fmt: skip
OWN = NamedGame(
    id="own-v0",
    title="your own images (--images DIR or --npz FILE) with the paper's CIFAR protocol",
    data="own",
    size=32,
    base=replace(
        _PAPER, flip=False
    ),  # whether a mirrored image is still of its class, nobody knows: letters and signs are not
    protocol=Protocol(),
)
# 4,000 training images are its siblings'. With 2,000 validation images an accuracy has a standard error of 1.1 points at most,
# and measuring them costs a twentieth of a training. Up to 5,000 images of one's own are all used.
OWN_SMALL = replace(
    OWN, id="own-small-v0", title="your own images on a laptop: 4 cells, 8 filters, at most 4,000 images, 3 epochs",
    base=replace(_SMALL, flip=False), protocol=_SMALL_PROTOCOL, source={"limit": 4000, "validation_limit": 2000},
)  # fmt: skip
OWN_SMALL_PLAIN = replace(
    OWN, id="own-small-v1", title="your own images on a laptop: plain networks, an ordinary augmentation, 8 epochs of 40",
    base=Recipe(
        network=Spec("plain", {"widths": (32, 64, 128), "residual": 0, "pool": "max", "head": "flat"}),
        flip=False, cutout=8, batch_size=64, learning_rate=0.05, weight_decay=5e-4, drop_path=0.0, auxiliary=0.0, epochs=40,
    ),
    protocol=Protocol(budget=24, batch=8, top_k=3, proxy_epochs=8, final_epochs=40, repeats=3),
    modules=(("aug_small", {}), ("nas_small", {}), ("hpo_small", {})), source={"limit": 4000, "validation_limit": 2000},
)  # fmt: skip
"""its base recipe is a pipeline of its space"""
