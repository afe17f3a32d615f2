"""A plain convolutional network: what a practitioner writes in ten minutes. It is no search's; it is what one has to beat.

Each block is a 3x3 convolution, batch norm, ReLU and a 2x2 max pool, as long as there is something to pool. This file imports
torch, torchvision and `base.py` alone: exported models carry a copy.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from ma2ml_env.training.networks.base import BaseNetwork, Drops, Image


class Plain(BaseNetwork):
    """Blocks, then a linear layer on all that is left of the image.

    Args:
        widths: channels of each block; () is a linear model on the pixels.
        image: each block halves its side, rounding down, until it is 1.
        drops: of these, `dropout` alone: there is no path that could be dropped.
        auxiliary: accepted as by every network; there is no auxiliary head here, and none is built.

    Raises:
        ValueError: if a block has no channel.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        image: Image,
        drops: Drops = Drops(),  # noqa: B008 (frozen)
        auxiliary: bool = False,
    ) -> None:
        super().__init__(drops)
        if any(width < 1 for width in widths):
            raise ValueError(f"widths are the channels of each block, at least 1, not {tuple(widths)}")
        channels, size = image.channels, image.size
        layers: list[nn.Module] = []
        for width in widths:
            layers.append(Conv2dNormActivation(channels, width, 3))
            channels = width
            if size > 1:
                layers.append(nn.MaxPool2d(2))
                size //= 2
        self.blocks = nn.Sequential(*layers)
        self.dropout = nn.Dropout(drops.dropout)
        self.head = nn.Linear(channels * size * size, image.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, size, size) -> logits (B, classes)."""
        logits: Tensor = self.head(self.dropout(self.blocks(x).flatten(1)))
        return logits
