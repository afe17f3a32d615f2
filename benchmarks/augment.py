"""Augmentation against torchvision's on PIL images, one core: `python benchmarks/augment.py`; `--out FILE` keeps the JSON.

512 real images of 32 x 32 pixels (patches of scikit-learn's two photographs), policies of 25 random sub-policies. Ours: one
call a batch. The plain way: torchvision's own `v2.AutoAugment` with the policy as its table, image by image on PIL images that
are there already, and back to one uint8 batch; Cutout, which it has not, is a rectangle pasted. The arms take turns and are
timed by processor time, as other work may share the machine. Reported for each policy and as medians over policies:

- images a second of both and their ratio;
- the one-operation limit: the mean time of the fifteen operations, each applied by torchvision to the whole batch at one
  magnitude. A policy applies about one operation to an image, so nothing that makes these calls passes it by much;
- share_of_step: processor time of crop, flip, policy, Cutout and normalisation together as a share of a whole training by
  `loop.fit`, small network, 32 px, three channels, one thread; random pipelines.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
import torchvision
from PIL import Image
from provenance import tell
from sklearn.datasets import load_sample_images
from torch import Generator, Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

import ma2ml_env
from ma2ml_env.recipe import Operation, Recipe, SubPolicy
from ma2ml_env.testing import random_codes
from ma2ml_env.training import loop
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.images import augment, batches
from ma2ml_env.training.images.operations import KINDS

BATCH, SIDE, SUB_POLICIES = 512, 32, 25
CPU = torch.device("cpu")
GREY = (125, 123, 114)
MIDDLE = 5  # the level of the one-operation limit


class PlainPolicy(v2.AutoAugment):
    """torchvision's AutoAugment with another table of sub-policies, and Cutout beside its fourteen operations."""

    _AUGMENTATION_SPACE = {  # noqa: RUF012  # the parent's attribute, extended
        **v2.AutoAugment._AUGMENTATION_SPACE,
        "Cutout": (lambda bins, height, width: torch.linspace(0.0, 60 / 331 * width, bins), False),
        "Nothing": (lambda bins, height, width: None, False),
    }

    def __init__(self, policy: tuple[SubPolicy, ...], fill: tuple[int, ...]) -> None:
        super().__init__()
        nothing = ("Nothing", 0.0, None)  # its loop takes two operations
        named = [[("".join(map(str.capitalize, n.split("_"))), p, level) for n, p, level in sub] for sub in policy]
        self._policies = [tuple([*sub, nothing, nothing][:2]) for sub in named]
        self.cutout_fill = fill if len(fill) > 1 else fill[0]

    def _apply_image_or_video_transform(self, image: Any, transform_id: str, magnitude: float, **options: Any) -> Any:
        if transform_id != "Cutout":
            return super()._apply_image_or_video_transform(image, transform_id, magnitude, **options)
        side = round(magnitude)
        x, y = (int(torch.randint(SIDE, ())) - side // 2 for _ in range(2))
        image = image.copy()
        image.paste(self.cutout_fill, (x, y, x + side, y + side))
        return image


def photographs() -> Tensor:
    """(512, 3, 32, 32) uint8."""
    patches = []
    for photograph in load_sample_images().images:
        image = torch.from_numpy(np.array(photograph)).permute(2, 0, 1)
        patches.append(image.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE).flatten(1, 2).transpose(0, 1))
    return torch.cat(patches)[:BATCH].contiguous()


def random_policy(rng: np.random.Generator) -> tuple[SubPolicy, ...]:
    names = list(KINDS)

    def operation() -> Operation:
        name = names[rng.integers(len(names))]
        return Operation(name, rng.integers(11) / 10, None if KINDS[name].top is None else int(rng.integers(10)))

    return tuple((operation(), operation()) for _ in range(SUB_POLICIES))


def spent(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def against_plain(images: Tensor, policy: tuple[SubPolicy, ...], repeat: int) -> dict[str, float]:
    draws = Generator().manual_seed(0)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    plain = PlainPolicy(policy, GREY)

    def one_by_one() -> Tensor:
        return torch.stack([F.pil_to_tensor(plain(picture)) for picture in pictures])

    assert one_by_one().shape == augment.augment(images, policy, draws, GREY).shape  # and both are warm
    ours, theirs = [], []
    for _ in range(repeat):
        theirs.append(spent(one_by_one))
        ours += [spent(lambda: augment.augment(images, policy, draws, GREY)) for _ in range(5)]
    return {"ours": BATCH / statistics.median(ours), "plain": BATCH / statistics.median(theirs)}


def one_operation(images: Tensor, repeat: int) -> dict[str, float]:
    """Milliseconds of each operation, by torchvision on the whole batch; of Cutout by ours."""
    transform: Any = v2.AutoAugment()
    found = {}
    for name in KINDS:
        label = "".join(map(str.capitalize, name.split("_")))

        def apply(name: str = name, label: str = label) -> object:
            if name == "cutout":
                return augment.cutout(images, 3, Generator(), GREY)
            table = transform._AUGMENTATION_SPACE[label][0](10, SIDE, SIDE)
            value = 0.0 if table is None else float(table[MIDDLE])
            return transform._apply_image_or_video_transform(images, label, value, "nearest", transform._fill)

        found[name] = 1e3 * statistics.median([spent(apply) for _ in range(repeat + 1)][1:])
    return found


def share_of_step(images: Tensor, count: int) -> list[float]:
    """Of `count` random pipelines of the small CIFAR game."""
    game = ma2ml_env.make_game("cifar10-small-v0", "surrogate")
    labels = torch.arange(BATCH) % 10
    data = Dataset(
        images, labels, images[:0], labels[:0], images[:0], labels[:0], 10, ("",) * 10, (0.5,) * 3, (0.25,) * 3
    )
    codes = random_codes(game.spec.nvec, count)
    shares = []
    for number in range(count):
        recipe: Recipe = game.recipe({agent: tuple(code[number].tolist()) for agent, code in codes.items()})
        recipe = replace(recipe, epochs=1, auxiliary=0.0, drop_path=0.0)
        draws = Generator().manual_seed(0)
        making = statistics.median(
            spent(lambda r=recipe, d=draws: list(batches.epoch(r, data, r.batch_size, d, CPU))) for _ in range(5)
        )
        shares.append(making / spent(lambda r=recipe: loop.fit(r, data, seed=0, fidelity=1.0)))
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policies", type=int, default=7, help="random policies (7)")
    parser.add_argument(
        "--repeat", type=int, default=5, help="repetitions of the plain way; ours five times as many (5)"
    )
    parser.add_argument("--out", type=Path, help="write the JSON here as well")
    args = parser.parse_args()
    torch.set_num_threads(1)
    images, rng = photographs(), np.random.default_rng(0)
    speeds = [against_plain(images, random_policy(rng), args.repeat) for _ in range(args.policies)]
    ratios = sorted(speed["ours"] / speed["plain"] for speed in speeds)
    alone = one_operation(images, args.repeat)
    limit = BATCH / (1e-3 * statistics.mean(alone.values()))
    shares = sorted(share_of_step(images, args.policies))
    ours = statistics.median(speed["ours"] for speed in speeds)
    result = {
        "command": f"python benchmarks/augment.py --policies {args.policies} --repeat {args.repeat}",
        "torchvision": torchvision.__version__,
        "images_per_second": round(ours),
        "plain_images_per_second": round(statistics.median(speed["plain"] for speed in speeds)),
        "ratio_median": round(statistics.median(ratios), 2),
        "ratio_min_max": [round(ratios[0], 2), round(ratios[-1], 2)],
        "one_operation_images_per_second": round(limit),
        "share_of_one_operation_limit": round(ours / limit, 2),
        "one_operation_ms": {name: round(ms, 2) for name, ms in alone.items()},
        "share_of_step_median": round(statistics.median(shares), 4),
        "share_of_step_max": round(shares[-1], 4),
    }
    tell(result, args.out)


if __name__ == "__main__":
    main()
