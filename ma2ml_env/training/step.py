"""What a batch does to a network: forward, loss, backward, clipping. The optimizer's step follows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Gradient:
    """(images, labels) -> the batch's loss, a scalar on the device; its gradient is left in the weights."""

    network: nn.Module
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    """whose weights get the gradient"""
    scaler: torch.amp.GradScaler
    half: torch.dtype | None
    """autocast's type; None is full precision"""
    auxiliary: float = 0.0
    """weight of the auxiliary head's loss, where the network has one"""
    clip_norm: float = 0.0
    """most that the gradient's norm may be; 0 is no limit"""
    micro_batch: int | None = None
    """images that go through the network at a time; None is the batch"""

    @property
    def weights(self) -> list[nn.Parameter]:
        """All that the optimizer updates."""
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (B, C, H, W); labels (B,) or class probabilities (B, classes). Nothing here waits for the device."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=images.device)
        for x, y in micro_batches(images, labels, self.micro_batch):
            with torch.autocast(images.device.type, self.half, enabled=self.half is not None):
                logits = self.network(x)
                if isinstance(logits, tuple):
                    loss = self.criterion(logits[0], y) + self.auxiliary * self.criterion(logits[1], y)
                else:
                    loss = self.criterion(logits, y)
            loss = loss * (len(x) / len(images))  # a mean over the batch is the weighted mean of its parts'
            self.scaler.scale(loss).backward()
            total += loss.detach()
        if self.clip_norm > 0.0:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.weights, self.clip_norm)
        return total


def micro_batches(images: Tensor, labels: Tensor, most: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """A batch in equal parts of at most so many images, but never of a single one: batch norm needs two."""
    if most is None or most >= len(images):
        yield images, labels
        return
    count = max(1, min(math.ceil(len(images) / most), len(images) // 2))
    yield from zip(torch.tensor_split(images, count), torch.tensor_split(labels, count), strict=True)
