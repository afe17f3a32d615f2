"""Named games of the paper beside CIFAR's cells: the ResNet-56 ablation of Table 4, and ImageNet (section 4.1)."""

from dataclasses import replace

from ma2ml_env.game import Protocol
from ma2ml_env.games.named import NamedGame
from ma2ml_env.modules.fbnetv3 import FBNETV3
from ma2ml_env.recipe import Recipe, Spec

# Table 4: the network is ResNet-56 (He et al. 2016) and there is no NAS agent. The recipe is that network's usual one, 200
# epochs at rate 0.1 and decay 1e-4, but with a cosine; the paper does not give its own ("default hyper-parameters").
_RESNET56 = Recipe(
    network=Spec("resnet_cifar", {"depth": 56}),
    cutout=0,
    learning_rate=0.1,
    weight_decay=1e-4,
    batch_size=128,
    clip_norm=0.0,
    drop_path=0.0,
    auxiliary=0.0,
    epochs=200,
)
CIFAR100_RESNET56_HPO = NamedGame(
    id="cifar100-resnet56-hpo-v0",
    title="CIFAR-100, ResNet-56, one agent: HPO (Table 4); `retrain --baseline` has the default recipe",
    data="cifar100",
    base=_RESNET56,
    protocol=Protocol(budget=4008, final_epochs=200),
    modules=(("hpo_sgd", {}),),
)
CIFAR100_RESNET56_AUG_HPO = replace(
    CIFAR100_RESNET56_HPO, id="cifar100-resnet56-aug-hpo-v0", title="CIFAR-100, ResNet-56, two agents: AUG and HPO (Table 4)",
    modules=(("aug", {}), ("hpo_sgd", {})),
)  # fmt: skip

# Section 4.1: 200 classes drawn by seed, 10,000 images held out for the reward, 100 epochs; then all classes, 400 epochs.
IMAGENET200 = NamedGame(
    id="imagenet200-v0",
    title="ImageNet-200 as in the paper, no limit on MACs: 100 epochs of 400, 1,992 pipelines",
    data="imagenet",
    base=Recipe(
        network=FBNETV3["B"].network,
        resolution=FBNETV3["B"].resolution,
        crop_padding=0,
        crop_area=0.08,
        cutout=0,
        loss=Spec("cross_entropy", {"label_smoothing": 0.1}),
        batch_size=512,
        warmup=0.0125,
        clip_norm=0.0,
        drop_path=0.0,
        auxiliary=0.0,
        epochs=400,
    ),
    protocol=Protocol(budget=1992, top_k=20, proxy_epochs=100, final_epochs=400, repeats=1),
    modules=(("aug", {"sub_policies": 25}), ("nas_mobile", {}), ("hpo_recipe", {})),
    size=272,  # no resolution of the space is above: an enlarged image costs MACs and shows no more
    source={"classes": 200},
    final_source={"classes": None},
)
IMAGENET200_600M = replace(
    IMAGENET200, id="imagenet200-600m-v0", flops_limit=600e6,
    title="imagenet200-v0 with the reward accuracy x (MACs / 600M)^-0.07",
)  # fmt: skip
IMAGENET200_900M = replace(
    IMAGENET200, id="imagenet200-900m-v0", flops_limit=900e6,
    title="imagenet200-v0 with the reward accuracy x (MACs / 900M)^-0.07",
)  # fmt: skip
IMAGENET200_600M_SMALL = replace(
    IMAGENET200_600M,
    id="imagenet200-600m-small-v0",
    title="the same spaces on a laptop: 20 classes of 48 pixels, 3 epochs of 30; its limit is the median of this space",
    base=replace(
        IMAGENET200.base,
        network=FBNETV3["B"].network.with_args(stem_stride=1),
        resolution=0,
        batch_size=64,
        epochs=30,
    ),
    protocol=Protocol(budget=240, top_k=5, proxy_epochs=3, final_epochs=30, repeats=1),
    modules=(("aug", {"sub_policies": 25}), ("nas_mobile", {"resolution": (24, 48, 4)}), ("hpo_recipe", {})),
    source={"classes": 20, "limit": 2000, "validation": 1000},
    final_source={},
    size=48,
    flops_limit=60e6,  # the median of 400 draws is 60.2M
)
