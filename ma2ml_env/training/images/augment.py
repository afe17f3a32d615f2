"""Augmentation of uint8 batches, (B, C, H, W), in which every image draws for itself.

The policy is AutoAugment's (Cubuk et al. 2019): an image draws one sub-policy uniformly; each of its operations in turn is
applied with its own probability and, where the operation has one, with a sign of its own. The values are torchvision's bit
for bit, at the price of some ten calls for each place in a sub-policy, however many sub-policies, levels and signs there are:
what torchvision does to an image of the pixels' numbers tells once and for all what a move does, and what it does to an image
of the 256 values what a tone does, so that one gather moves all images that are to be moved and one changes all tones.

Draws come from a generator on the CPU whatever the images' device: the same seed draws the same everywhere. What a device needs
of them is copied to it without waiting.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from ma2ml_env.recipe import SubPolicy
from ma2ml_env.training.images.operations import KINDS, LEVELS, SHADES, magnitude


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


@dataclass(frozen=True)
class _Plan:
    """A policy made ready for images of one shape on one device.

    A variant is an operation with its signed magnitude, number 0 the one that does nothing. Groups of variants go together:
    all moves, all tones, and every other operation. P places in a sub-policy, S sub-policies, V variants.
    """

    probability: Tensor
    """(P, S)"""
    variant: Tensor
    """(P, S, 2), of either sign"""
    group: Tensor
    """(V,) index into `groups`"""
    groups: tuple[str, ...]
    """none, move, tone, or the name of an operation"""
    magnitude: Tensor
    """(V,) float64"""
    row: Tensor
    """(V,) into `sources` or `tones`"""
    sources: Tensor
    """(moves, H x W) int64 on the device: where each pixel comes from; H x W is outside"""
    tones: Tensor
    """(tones, 256) uint8 on the device: what each value becomes"""


@lru_cache(maxsize=4)  # a training augments chunk after chunk by one policy
def _plan(policy: tuple[SubPolicy, ...], height: int, width: int, device: torch.device) -> _Plan:
    places = max(map(len, policy))
    probability = torch.zeros(places, len(policy))
    variant = torch.zeros(places, len(policy), 2, dtype=torch.int64)
    variants: dict[tuple[str, float], int] = {}
    for number, sub_policy in enumerate(policy):
        for place, (name, chance, level) in enumerate(sub_policy):
            value = magnitude(name, level, width)
            probability[place, number] = chance
            for negative in (0, 1):
                signed = -value if negative and KINDS[name].signed else value
                variant[place, number, negative] = variants.setdefault((name, signed), len(variants) + 1)
    numbers = torch.arange(1.0, height * width + 1).view(1, height, width)  # exact in float32 up to 4096 x 4096 pixels
    shades = torch.arange(SHADES, dtype=torch.uint8).view(1, 1, SHADES)
    sources, tones = [torch.zeros(0, height * width)], [torch.zeros(0, SHADES, dtype=torch.uint8)]
    groups, group, row = ["none"], [0], [0]
    for name, value in variants:
        kind = KINDS[name]
        if kind.move:
            sources.append(kind.move(numbers, value).view(1, -1))
        elif kind.tone:
            tones.append(kind.tone(shades, value).view(1, -1))
        together = "move" if kind.move else "tone" if kind.tone else name
        if together not in groups:
            groups.append(together)
        group.append(groups.index(together))
        row.append(len(sources) - 2 if kind.move else len(tones) - 2)
    return _Plan(
        probability,
        variant,
        torch.tensor(group),
        tuple(groups),
        torch.tensor([0.0, *(value for _, value in variants)], dtype=torch.float64),
        torch.tensor(row),
        (torch.cat(sources).long() - 1).remainder(height * width + 1).to(device),  # 0, the outside, becomes H x W
        torch.cat(tones).to(device),
    )


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
    if not any(policy) or not len(images):
        return images
    count, _, height, width = images.shape
    plan = _plan(policy, height, width, images.device)
    choice = torch.randint(len(policy), (count,), generator=generator)
    for probability, variant in zip(plan.probability, plan.variant, strict=True):
        applied = torch.rand(count, generator=generator) < probability[choice]
        negative = torch.randint(2, (count,), generator=generator)
        drawn = variant[choice, negative] * applied
        order = torch.argsort(plan.group[drawn], stable=True)
        sizes = torch.bincount(plan.group[drawn], minlength=len(plan.groups)).tolist()
        parts = torch.split(images.index_select(0, order.to(images.device, non_blocking=True)), sizes)
        variants = torch.split(drawn[order], sizes)
        changed = [
            _apply(name, part, which, plan, generator, fill) if len(part) else part
            for name, part, which in zip(plan.groups, parts, variants, strict=True)
        ]
        images = torch.cat(changed).index_select(0, torch.argsort(order).to(images.device, non_blocking=True))
    return images


def _apply(
    name: str, images: Tensor, variant: Tensor, plan: _Plan, generator: Generator, fill: tuple[int, ...]
) -> Tensor:
    """A group's operation on its images, (G, C, H, W), each with its own variant, (G,)."""
    if name == "none":
        return images
    if name == "move":
        sources = plan.sources.index_select(0, plan.row[variant].to(images.device, non_blocking=True))
        padded = torch.nn.functional.pad(images.flatten(2), (0, 1))  # one black pixel for what comes from outside
        return padded.gather(2, sources[:, None].expand(-1, images.shape[1], -1)).view_as(images)
    if name == "tone":
        tones = plan.tones.index_select(0, plan.row[variant].to(images.device, non_blocking=True))
        return tones.gather(1, images.flatten(1).long()).view_as(images)
    kind, value = KINDS[name], plan.magnitude[variant].view(-1, 1, 1, 1)
    if kind.blend:
        return kind.blend(images, (1.0 + value).to(images.device, non_blocking=True))
    if kind.adapt:
        return kind.adapt(images)
    return cutout(images, value.round().long(), generator, fill)


def crop(images: Tensor, padding: int, generator: Generator) -> Tensor:
    """A crop of the old size at a random place of each zero-padded image; (B, C, H, W) uint8 to the same."""
    if padding <= 0:
        return images
    count, _, height, width = images.shape
    top, left = torch.randint(2 * padding + 1, (2, count), generator=generator).to(images.device, non_blocking=True)
    windows = torch.nn.functional.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, top, left]


def flip(images: Tensor, generator: Generator) -> Tensor:
    """A horizontal flip of each image with probability 1/2; (B, C, H, W) uint8 to the same."""
    flipped = (torch.rand(len(images), generator=generator) < 0.5).to(images.device, non_blocking=True)
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def cutout(images: Tensor, side: int | Tensor, generator: Generator, fill: tuple[int, ...]) -> Tensor:
    """A square of `side` pixels of each image set to `fill`; its centre is any pixel, so it may reach over the border.

    DeVries and Taylor 2017. (B, C, H, W) uint8 to the same; sides of its own for each image are (B, 1, 1, 1), on the CPU.
    """
    if isinstance(side, int) and side <= 0:
        return images
    count, channels, height, width = images.shape
    sides = torch.as_tensor(side).view(-1, 1)
    # Where a square begins, of each image; the mask, which is as large as the images, is made where they are.
    top, left = (torch.randint(n, (count, 1), generator=generator) - sides // 2 for n in (height, width))
    sides, top, left = (x.to(images.device, non_blocking=True) for x in (sides, top, left))
    rows, columns = (torch.arange(n, device=images.device) - start for n, start in ((height, top), (width, left)))
    rows, columns = (rows >= 0) & (rows < sides), (columns >= 0) & (columns < sides)
    mask = (rows[:, :, None] & columns[:, None, :])[:, None]
    values = torch.tensor(fill, dtype=images.dtype).to(images.device, non_blocking=True).view(1, channels, 1, 1)
    return images * ~mask | values * mask  # on bytes a product is ten times as quick as `where`
