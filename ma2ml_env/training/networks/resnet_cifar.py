"""Residual networks for CIFAR (He et al. 2015, arXiv 1512.03385, section 4.2).

Three stages of 16, 32 and 64 channels; the second and third halve the image. Shortcuts have no weights (option A): where the
shape changes they take every second pixel and pad the missing channels with zeros. This file imports torch, torchvision and
`base.py` alone: exported models carry a copy.
"""

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation, StochasticDepth

from ma2ml_env.training.networks.base import BaseNetwork, Drops, Image

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3x3 convolutions and the input.

    Args:
        width: channels of the input.
        filters: of the output, at least `width`.
        stride: of the first convolution and of the shortcut.
        drop_path: probability that an image takes the shortcut alone, in [0, 1), in training mode.
    """

    def __init__(self, width: int, filters: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Conv2dNormActivation(width, filters, 3, stride),
            Conv2dNormActivation(filters, filters, 3, activation_layer=None),
        )
        self.drop = StochasticDepth(drop_path, "row")
        self.stride, self.missing = stride, filters - width

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, filters, ceil(H / stride), ceil(W / stride))."""
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.missing:
            before = self.missing // 2
            shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, before, self.missing - before))
        return nn.functional.relu(shortcut + self.drop(self.layers(x)))


class ResNetCifar(BaseNetwork):
    """Convolution, three stages of equally many blocks, average, linear layer.

    Args:
        depth: layers with weights, 6n + 2 for n blocks a stage: 20, 32, 44, 56, 110.
        image: nothing depends on its size.
        drops: a path is a block, which is skipped; both kinds are the same throughout the training.
        auxiliary: accepted as by every network; there is no auxiliary head here, and none is built.

    Raises:
        ValueError: if there is no such depth.
    """

    def __init__(
        self,
        depth: int,
        *,
        image: Image,
        drops: Drops = Drops(),  # noqa: B008 (frozen)
        auxiliary: bool = False,
    ) -> None:
        super().__init__(drops)
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth is 6n + 2 for n blocks a stage (20, 32, 44, 56, 110), not {depth}")
        blocks = (depth - 2) // 6
        width = WIDTHS[0]
        built: list[nn.Module] = []
        for filters in WIDTHS:
            for _ in range(blocks):
                drop = float(drops.path((len(built) + 1) / (len(WIDTHS) * blocks)))
                built.append(Block(width, filters, 1 if filters == width else 2, drop))
                width = filters
        self.stem = Conv2dNormActivation(image.channels, WIDTHS[0], 3)
        self.blocks = nn.Sequential(*built)
        self.dropout = nn.Dropout(drops.dropout)
        self.head = nn.Linear(width, image.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, size, size) -> logits (B, classes)."""
        logits: Tensor = self.head(self.dropout(self.blocks(self.stem(x)).mean(dim=(2, 3))))
        return logits
