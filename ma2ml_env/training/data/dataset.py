"""Data sets as uint8 tensors in memory, in training, validation and test images."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ma2ml_env.training.data import imagenet


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images (N, C, H, W) uint8 and labels (N,) int64 of one split."""

    train_x: Tensor | imagenet.Joined
    train_y: Tensor
    validation_x: Tensor
    validation_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """of each channel, in [0, 1]"""
    std: tuple[float, ...]
    resident: bool = True
    """False: there are too many images for a device; they stay in their files, and each batch is read from there"""
    pixels: Mapping[str, Any] = field(default_factory=dict)
    """how what was stored became these, for who makes them of other images: fit, background, depth, value_range, files"""

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.train_x.shape[1])

    @property
    def size(self) -> int:
        """Side of the square images in pixels."""
        return int(self.train_x.shape[2])

    def merged(self) -> "Dataset":
        """Validation images joined to the training images, none left for validation: for a winner's last training."""
        parts: Any = self.train_x, self.validation_x
        return replace(
            self,
            train_x=torch.cat(parts) if self.resident else imagenet.Joined(*parts),
            train_y=torch.cat([self.train_y, self.validation_y]),
            validation_x=self.validation_x[:0],
            validation_y=self.validation_y[:0],
        )

    def to(self, device: torch.device) -> "Dataset":
        """The same images on another device; themselves if they are not resident."""
        if not self.resident:
            return self
        names = ("train_x", "train_y", "validation_x", "validation_y", "test_x", "test_y")
        return replace(self, **{name: vars(self)[name].to(device) for name in names})


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel in [0, 1], from exact integer histograms."""
    means, stds = [], []
    for channel in range(images.shape[1]):
        histogram = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share, value = histogram / histogram.sum(), torch.arange(256).double() / 255
        mean = float((share * value).sum())
        means.append(mean)
        # A blank channel has no deviation to divide by.
        stds.append(max(float((share * (value - mean) ** 2).sum().sqrt()), 1 / 255))
    return tuple(means), tuple(stds)
