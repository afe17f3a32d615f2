"""Augmentation of uint8 batches, (B, C, H, W), in which every image draws for itself.

The policy is AutoAugment's (Cubuk et al. 2019): an image draws one sub-policy uniformly; each of its operations in turn is
applied with its own probability and, where the operation has one, with a sign of its own. Levels and operations are those of
torchvision's tensor path (level 9 is the full range), and Cutout. Images that drew the same operation, level and sign go
through torchvision in one call, so the cost is that of a few calls a batch and the values are torchvision's bit for bit.

Draws come from a generator on the CPU whatever the images' device: the same seed draws the same everywhere.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as F

from ma2ml_env.recipe import SubPolicy

LEVELS = 10


class Kind(NamedTuple):
    """What an operation does with its magnitude."""

    apply: Callable[[Tensor, float], Tensor] | None
    """(images uint8, magnitude) -> images; None for Cutout, which draws a place for each image"""
    top: Callable[[int], tuple[float, float]] | None
    """side of the image in pixels -> magnitude at level 0 and at level 9; None: it has no magnitude"""
    signed: bool = False
    """whether half of the images take the negative magnitude"""


def _affine(images: Tensor, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    # Shears have their centre in the corner, as PIL's matrix (1, m, 0, 0, 1, 0) has and torchvision after it.
    centre = [0.0, 0.0] if any(shear) else None
    out: Tensor = F.affine(
        images,
        angle=0.0,
        translate=list(shift),
        scale=1.0,
        shear=[math.degrees(math.atan(s)) for s in shear],
        center=centre,
    )
    return out


KINDS: dict[str, Kind] = {
    "shear_x": Kind(lambda x, m: _affine(x, shear=(m, 0.0)), lambda size: (0.0, 0.3), signed=True),
    "shear_y": Kind(lambda x, m: _affine(x, shear=(0.0, m)), lambda size: (0.0, 0.3), signed=True),
    "translate_x": Kind(lambda x, m: _affine(x, (int(m), 0)), lambda size: (0.0, 150 / 331 * size), signed=True),
    "translate_y": Kind(lambda x, m: _affine(x, (0, int(m))), lambda size: (0.0, 150 / 331 * size), signed=True),
    "rotate": Kind(lambda x, m: F.rotate(x, m), lambda size: (0.0, 30.0), signed=True),
    "auto_contrast": Kind(lambda x, m: F.autocontrast(x), None),
    "invert": Kind(lambda x, m: F.invert(x), None),
    "equalize": Kind(lambda x, m: F.equalize(x), None),
    "solarize": Kind(lambda x, m: F.solarize(x, 255 * m), lambda size: (1.0, 0.0)),
    "posterize": Kind(lambda x, m: F.posterize(x, int(m)), lambda size: (8.0, 4.0)),
    "contrast": Kind(lambda x, m: F.adjust_contrast(x, 1.0 + m), lambda size: (0.0, 0.9), signed=True),
    "color": Kind(
        # On one channel there is no colour to adjust.
        lambda x, m: x if x.shape[1] == 1 else F.adjust_saturation(x, 1.0 + m),
        lambda size: (0.0, 0.9),
        signed=True,
    ),
    "brightness": Kind(lambda x, m: F.adjust_brightness(x, 1.0 + m), lambda size: (0.0, 0.9), signed=True),
    "sharpness": Kind(lambda x, m: F.adjust_sharpness(x, 1.0 + m), lambda size: (0.0, 0.9), signed=True),
    "cutout": Kind(None, lambda size: (0.0, 60 / 331 * size)),
}
"""name -> kind, in the order of the module's table of operations"""


def magnitude(name: str, level: int | None, size: int) -> float:
    """The unsigned magnitude of an operation at level 0..9 on images of `size` pixels a side; 0.0 where it has none."""
    top = KINDS[name].top
    if top is None or level is None:
        return 0.0
    if name == "posterize":  # whole bits: 8, 8, 7, 7, 6, 6, 5, 5, 4, 4, as in torchvision
        return float(8 - round(level / ((LEVELS - 1) / 4)))
    return float(torch.linspace(*top(size), LEVELS)[level])  # float32 steps, as in torchvision


def check(policy: tuple[SubPolicy, ...]) -> None:
    """Refuse a policy that cannot be applied.

    Raises:
        ValueError: if an operation is unknown, its probability outside [0, 1], or its level outside 0..9 or missing.
    """
    for name, probability, level in (operation for sub_policy in policy for operation in sub_policy):
        if name not in KINDS:
            raise ValueError(f"unknown augmentation operation {name!r}; known are {', '.join(KINDS)}")
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"the probability of {name} lies in [0, 1], not {probability}")
        if KINDS[name].top is not None and (level is None or not 0 <= level < LEVELS):
            raise ValueError(f"the level of {name} lies in 0..{LEVELS - 1}, not {level}")


def augment(images: Tensor, policy: tuple[SubPolicy, ...], generator: Generator, fill: tuple[int, ...]) -> Tensor:
    """Apply an augmentation policy.

    Args:
        images: (B, C, H, W) uint8, left as they are.
        policy: sub-policies, of which every image draws one uniformly; () is no policy.
        generator: on the CPU.
        fill: value of each channel in a cut-out square, (C,) in 0..255. AutoAugment's grey (125, 123, 114) is CIFAR-10's mean.

    Returns:
        (B, C, H, W) uint8.
    """
    if not policy:
        return images
    count, size = len(images), images.shape[-1]
    images = images.clone()
    choice = torch.randint(len(policy), (count,), generator=generator)
    for position in range(max(map(len, policy))):
        chance = torch.rand(count, generator=generator)
        negative = torch.rand(count, generator=generator) < 0.5
        groups: dict[tuple[str, float], list[Tensor]] = defaultdict(list)
        for number, sub_policy in enumerate(policy):
            if position >= len(sub_policy):
                continue
            name, probability, level = sub_policy[position]
            applied = (choice == number) & (chance < probability)
            value = magnitude(name, level, size)
            if KINDS[name].signed:
                groups[name, value].append((applied & ~negative).nonzero().squeeze(1))
                groups[name, -value].append((applied & negative).nonzero().squeeze(1))
            else:
                groups[name, value].append(applied.nonzero().squeeze(1))
        for (name, value), members in groups.items():
            index = torch.cat(members)
            if not len(index):
                continue
            index = index.to(images.device)
            apply, group = KINDS[name].apply, images[index]
            images[index] = apply(group, value) if apply else cutout(group, round(value), generator, fill)
    return images


def crop(images: Tensor, padding: int, generator: Generator) -> Tensor:
    """A crop of the old size at a random place of each zero-padded image; (B, C, H, W) uint8 to the same."""
    if padding <= 0:
        return images
    count, _, height, width = images.shape
    top, left = torch.randint(2 * padding + 1, (2, count), generator=generator).to(images.device)
    windows = torch.nn.functional.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, top, left]


def flip(images: Tensor, generator: Generator) -> Tensor:
    """A horizontal flip of each image with probability 1/2; (B, C, H, W) uint8 to the same."""
    flipped = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def cutout(images: Tensor, side: int, generator: Generator, fill: tuple[int, ...]) -> Tensor:
    """A square of `side` pixels of each image set to `fill`; its centre is any pixel, so it may reach over the border.

    DeVries and Taylor 2017. (B, C, H, W) uint8 to the same.
    """
    if side <= 0:
        return images
    count, channels, height, width = images.shape
    rows = torch.arange(height) - torch.randint(height, (count, 1), generator=generator) + side // 2
    columns = torch.arange(width) - torch.randint(width, (count, 1), generator=generator) + side // 2
    rows, columns = (rows >= 0) & (rows < side), (columns >= 0) & (columns < side)
    mask = (rows[:, :, None] & columns[:, None, :])[:, None].to(images.device)
    values = torch.tensor(fill, dtype=images.dtype, device=images.device).view(1, channels, 1, 1)
    return torch.where(mask, values, images)
