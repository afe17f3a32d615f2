"""Mobile networks: stages of inverted residual blocks, as FBNetV3 has them (Dai et al. 2021, arXiv 2006.02049).

A block of MobileNetV2 and V3 (Sandler et al. 2018, arXiv 1801.04381; Howard et al. 2019, arXiv 1905.02244) expands its input by
a 1x1 convolution, filters each channel by itself, weighs the channels by squeeze and excitation, and projects by another 1x1
convolution. This file imports torch, torchvision and `base.py` alone: exported models carry a copy.

The stem and every stage of stride 2 halve the image, rounding up, so any size of at least one pixel works. FBNetV3's five
halvings are made for 224 pixels and more, where maps of 7x7 are left; at 32 pixels one pixel is left. Small images want
`stem_stride` 1, a stage of stride 1, or a recipe's `resolution`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation, StochasticDepth

from ma2ml_env.training.networks.base import BaseNetwork, Drops, Image

DIVISOR = 8
"""all widths are multiples of it"""
HEAD_EXPANSION = 6
_conv = partial(Conv2dNormActivation, activation_layer=nn.Hardswish)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8, halves upwards, at least 8; the next one where that loses more than 5 %."""
    nearest = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest if nearest >= 0.95 * channels else nearest + DIVISOR


@dataclass(frozen=True)
class Stage:
    """Blocks of one width. Pairs hold the first block's value and that of the others.

    Raises:
        ValueError: if a number is out of its range; the field is named.
    """

    kernel: tuple[int, int]
    """side of the depthwise kernel, odd"""
    expansion: tuple[int, int]
    """widening inside a block, as a factor of its input; 1 has no convolution for it"""
    channels: int
    """of each block's output; rounded by `round_channels`, as all widths are"""
    depth: int
    """number of blocks"""
    stride: int
    """of the first block"""
    se: bool
    """whether the blocks have squeeze and excitation"""

    def __post_init__(self) -> None:
        for name, pair in (("kernel", self.kernel), ("expansion", self.expansion)):
            if len(pair) != 2:
                raise ValueError(f"a stage's {name} is a pair (first block, other blocks), not {pair}")
        if any(kernel < 1 or kernel % 2 == 0 for kernel in self.kernel):
            raise ValueError(f"a stage's kernels are odd, not {self.kernel}")
        if min(*self.expansion, self.channels, self.depth, self.stride) < 1:
            raise ValueError(f"expansion, channels, depth and stride of a stage are at least 1: {self}")


class Block(nn.Module):
    """Expand, filter, weigh, project; the input is added where it has the output's shape.

    The last batch norm of a block with a sum begins at zero, so that at first it passes its input on (Goyal et al. 2017,
    arXiv 1706.02677).

    Args:
        width: channels of the input, a multiple of 8.
        channels: of the output.
        kernel: side of the depthwise kernel.
        expansion: width inside the block as a factor of `width`.
        stride: of the depthwise convolution.
        se: whether to have squeeze and excitation, which squeezes to a quarter of `width`.
        drop_path: probability that an image skips the block, in [0, 1); only where the input is added, in training mode.
    """

    def __init__(
        self, width: int, channels: int, kernel: int, expansion: int, stride: int, se: bool, drop_path: float
    ) -> None:
        super().__init__()
        inner = round_channels(width * expansion)
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(_conv(width, inner, 1))
        layers.append(_conv(inner, inner, kernel, stride, groups=inner))
        if se:
            gate = {"activation": nn.Hardswish, "scale_activation": nn.Hardsigmoid}
            layers.append(SqueezeExcitation(inner, round_channels(width / 4), **gate))
        layers.append(Conv2dNormActivation(inner, channels, 1, activation_layer=None))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and width == channels
        self.drop = StochasticDepth(drop_path, "row")
        if self.residual:
            nn.init.zeros_(layers[-1][1].weight)  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, channels, ceil(H / stride), ceil(W / stride))."""
        out: Tensor = self.layers(x)
        return x + self.drop(out) if self.residual else out


class Mobile(BaseNetwork):
    """Stem, stages, and FBNetV3's head, which widens by 6, averages over the image, and widens again where it costs little.

    Args:
        stem: channels of the first convolution, 3x3.
        stages: fields of each `Stage`, in order.
        head: channels of the last 1x1 convolution, which has no batch norm.
        stem_stride: of the first convolution.
        image: nothing depends on its size.
        drops: a path is a block, which is skipped; both kinds are the same throughout the training.
        auxiliary: accepted as by every network; there is no auxiliary head here, and none is built.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if a stage lacks a field or has one too many.
    """

    def __init__(
        self,
        stem: int,
        stages: Sequence[Mapping[str, Any]],
        head: int = 1984,
        stem_stride: int = 2,
        *,
        image: Image,
        drops: Drops = Drops(),  # noqa: B008 (frozen)
        auxiliary: bool = False,
    ) -> None:
        super().__init__(drops)
        if min(stem, head, stem_stride) < 1:
            raise ValueError("stem, head and stem_stride are at least 1")
        if not stages:
            raise ValueError("a network needs at least one stage")
        rows = [Stage(**fields) for fields in stages]
        blocks = sum(row.depth for row in rows)
        width = round_channels(stem)
        self.stem = _conv(image.channels, width, 3, stem_stride)
        built: list[nn.Module] = []
        for row in rows:
            for place in range(row.depth):
                rest = int(place > 0)
                built.append(
                    Block(
                        width,
                        round_channels(row.channels),
                        row.kernel[rest],
                        row.expansion[rest],
                        1 if rest else row.stride,
                        row.se,
                        float(drops.path((len(built) + 1) / blocks)),
                    )
                )
                width = round_channels(row.channels)
        self.blocks = nn.Sequential(*built)
        inner = round_channels(HEAD_EXPANSION * width)
        self.head = nn.Sequential(
            _conv(width, inner, 1),
            nn.AdaptiveAvgPool2d(1),
            _conv(inner, head, 1, norm_layer=None, bias=False),
            nn.Flatten(),
            nn.Dropout(drops.dropout),
            nn.Linear(head, image.classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, size, size) -> logits (B, classes)."""
        logits: Tensor = self.head(self.blocks(self.stem(x)))
        return logits
