"""A plain convolutional network: what a practitioner writes in ten minutes, and the small network of small data.

Each block is a 3x3 convolution, batch norm, ReLU and a 2x2 pool, as long as there is something to pool. A block may have a
residual pair of convolutions more (He et al. 2015, arXiv 1512.03385), after its pool, where it costs a quarter. Dense
convolutions of some width are what a CPU does best: it trains ten times as many images a second as in cells of as many MACs.
This file imports torch, torchvision and `base.py` alone: exported models carry a copy.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from ma2ml_env.training.networks.base import BaseNetwork, Drops, Image

POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
HEADS = ("flat", "mean")


class Residual(nn.Module):
    """Two convolutions beside the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(Conv2dNormActivation(width, width, 3), Conv2dNormActivation(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same."""
        out: Tensor = x + self.layers(x)
        return out


class Plain(BaseNetwork):
    """Blocks, then a linear layer.

    Args:
        widths: channels of each block; () is a linear model on the pixels.
        residual: how many of the blocks, from the last, have a residual pair.
        pool: max or average.
        head: the linear layer reads all that is left of the image (flat), or the mean of each channel.
        image: each block halves its side, rounding down, until it is 1.
        drops: of these, `dropout` alone: there is no path that could be dropped.
        auxiliary: accepted as by every network; there is no auxiliary head here, and none is built.

    Raises:
        ValueError: if a block has no channel, or one of the others is not as described.
    """

    def __init__(
        self,
        widths: Sequence[int],
        residual: int = 0,
        pool: str = "max",
        head: str = "flat",
        *,
        image: Image,
        drops: Drops = Drops(),  # noqa: B008 (frozen)
        auxiliary: bool = False,
    ) -> None:
        super().__init__(drops)
        if any(width < 1 for width in widths):
            raise ValueError(f"widths are the channels of each block, at least 1, not {tuple(widths)}")
        if not 0 <= residual <= len(widths):
            raise ValueError(f"residual is a number of the {len(widths)} blocks, not {residual}")
        if pool not in POOLS or head not in HEADS:
            raise ValueError(f"pool is {' or '.join(POOLS)} and head {' or '.join(HEADS)}, not {pool} and {head}")
        channels, size = image.channels, image.size
        layers: list[nn.Module] = []
        for number, width in enumerate(widths):
            layers.append(Conv2dNormActivation(channels, width, 3))
            channels = width
            if size > 1:
                layers.append(POOLS[pool](2))
                size //= 2
            if len(widths) - number <= residual:
                layers.append(Residual(width))
        if head == "mean":
            layers.append(nn.AdaptiveAvgPool2d(1))
            size = 1
        self.blocks = nn.Sequential(*layers)
        self.dropout = nn.Dropout(drops.dropout)
        self.head = nn.Linear(channels * size * size, image.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, size, size) -> logits (B, classes)."""
        logits: Tensor = self.head(self.dropout(self.blocks(x).flatten(1)))
        return logits
