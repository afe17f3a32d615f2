"""The road of the images: from uint8, on the device or in a file, to the batches that a network is trained on.

Each epoch draws a new order; every image is cropped and flipped, goes through the policy and Cutout, is normalised and, last,
brought to the recipe's resolution.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Generator, Tensor, nn

from ma2ml_env.recipe import Recipe
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.images import augment
from ma2ml_env.training.images.resized_crop import resized_crop

CHUNK = 1 << 22
"""values of the images that are augmented at once; small images are bound by the number of calls, not by their size"""


def epoch(
    recipe: Recipe, dataset: Dataset, size: int, draws: Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of (images (B, C, H, W) float32, labels (B,)). A single image left over is left out: batch norm needs two."""
    order = torch.randperm(len(dataset.train_x), generator=draws)
    chunk = size * max(1, CHUNK // (size * math.prod(dataset.train_x.shape[1:])))
    for images, labels in _chunks(dataset, torch.split(order, chunk), device):
        images = augmented(images, recipe, dataset, draws)
        for x, y in zip(torch.split(normalise(images, dataset), size), torch.split(labels, size), strict=True):
            if len(x) > 1:
                yield resize(x, recipe.resolution), y


def augmented(images: Tensor, recipe: Recipe, dataset: Dataset, draws: Generator) -> Tensor:
    """All that a recipe does to uint8 images (n, C, H, W) before they are normalised; every image draws its own."""
    fill = tuple(round(255 * mean) for mean in dataset.mean)
    if recipe.crop_area > 0.0:
        images = resized_crop(images, recipe.crop_area, recipe.resolution or dataset.size, draws)
    images = augment.crop(images, recipe.crop_padding, draws)
    if recipe.flip:
        images = augment.flip(images, draws)
    return augment.cutout(augment.augment(images, recipe.augment, draws, fill), recipe.cutout, draws, fill)


def _chunks(dataset: Dataset, rows: Sequence[Tensor], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels of these rows, on the device. From a file, the next ones are read while these are trained on."""
    if dataset.resident:
        for some in rows:
            here = some.to(device, non_blocking=True)
            yield dataset.train_x[here], dataset.train_y[here]
        return
    with ThreadPoolExecutor(1) as reader:
        pinned = device.type == "cuda"
        waiting = [reader.submit(_read, dataset, some, pinned) for some in rows[:1]]
        for following in [*rows[1:], None]:
            images, labels = waiting.pop().result()
            if following is not None:
                waiting.append(reader.submit(_read, dataset, following, pinned))
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def _read(dataset: Dataset, rows: Tensor, pinned: bool) -> tuple[Tensor, Tensor]:
    """Images and labels; pinned memory can be copied to a GPU while it computes."""
    images, labels = dataset.train_x[rows], dataset.train_y[rows]
    return (images.pin_memory(), labels.pin_memory()) if pinned else (images, labels)


def normalise(images: Tensor, dataset: Dataset) -> Tensor:
    """uint8 (B, C, H, W) to float32 of mean 0 and deviation 1 by the data set's statistics."""
    mean, std = (
        (255 * torch.tensor(values)).view(1, -1, 1, 1).to(images.device, non_blocking=True)
        for values in (dataset.mean, dataset.std)
    )
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def resize(images: Tensor, side: int) -> Tensor:
    """Float images (B, C, H, W) as (B, C, side, side), bilinear and antialiased; a side of 0 leaves them as they are."""
    if not side or images.shape[2:] == (side, side):
        return images
    resized = nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
    return resized.contiguous(memory_format=torch.channels_last)
