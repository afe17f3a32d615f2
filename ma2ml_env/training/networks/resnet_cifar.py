"""Residual networks for CIFAR (He et al. 2015, arXiv 1512.03385, section 4.2).

Three stages of 16, 32 and 64 channels; the second and third halve the image. Shortcuts have no weights (option A): where the
shape changes they take every second pixel and pad the missing channels with zeros. This file imports torch and torchvision
alone: exported models carry a copy of it.
"""

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation, StochasticDepth

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


class ResNetCifar(nn.Module):
    """Convolution, three stages of equally many blocks, average, linear layer.

    Args:
        depth: layers with weights, 6n + 2 for n blocks a stage: 20, 32, 44, 56, 110.
        classes: of the output.
        channels: of the image.
        size: side of the image in pixels; nothing depends on it.
        auxiliary: accepted as by every network; there is no auxiliary head here, and none is built.
        drop_path: probability of skipping the last block (stochastic depth, Huang et al. 2016, arXiv 1603.09382). It rises
            linearly with the block's depth, is the same throughout the training, and acts in training mode only.
        dropout: probability of dropping a feature before the linear layer, in training mode.
        stochastic_depth: as `drop_path`, which a recipe means for its full training alone; a block is kept if both keep it.

    Raises:
        ValueError: if a number is out of its range, or there is no such depth.
    """

    def __init__(
        self,
        depth: int,
        classes: int = 10,
        channels: int = 3,
        size: int = 32,
        auxiliary: bool = False,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth is 6n + 2 for n blocks a stage (20, 32, 44, 56, 110), not {depth}")
        if min(classes, channels, size) < 1:
            raise ValueError("classes, channels and size are at least 1")
        for name, share in (("drop_path", drop_path), ("dropout", dropout), ("stochastic_depth", stochastic_depth)):
            if not 0.0 <= share < 1.0:
                raise ValueError(f"{name} lies in [0, 1), not {share}")
        blocks = (depth - 2) // 6
        width = WIDTHS[0]
        built: list[nn.Module] = []
        for filters in WIDTHS:
            for _ in range(blocks):
                reached = (len(built) + 1) / (len(WIDTHS) * blocks)
                drop = 1.0 - (1.0 - drop_path * reached) * (1.0 - stochastic_depth * reached)
                built.append(Block(width, filters, 1 if filters == width else 2, drop))
                width = filters
        self.stem = Conv2dNormActivation(channels, WIDTHS[0], 3)
        self.blocks = nn.Sequential(*built)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, size, size) -> logits (B, classes)."""
        logits: Tensor = self.head(self.dropout(self.blocks(self.stem(x)).mean(dim=(2, 3))))
        return logits
