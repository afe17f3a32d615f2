"""NASNet: a network of two searched cells (Zoph et al. 2018, arXiv 1707.07012), every code of the space included.

A cell is a tuple of blocks `(input_1, operation_1, input_2, operation_2, combine)`. Inputs are states: 0 the output of the
cell before the previous one, 1 that of the previous one, 2.. the blocks of this cell in order. The output of a cell is the
concatenation of the states that no block reads. This file imports torch and `base.py` alone: exported models carry a copy.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ma2ml_env.training.networks.base import BaseNetwork, Drops, Image

Block = tuple[int, str, int, str, str]
COMBINATIONS = ("add", "concat")


class Pointwise(nn.Conv2d):
    """A 1x1 convolution without bias, whose stride is taken before it: the same numbers.

    With stride 2, fewer than 8 channels and channels last, the backward pass of oneDNN's own writes outside its memory on some
    CPUs, and the process dies (seen with torch 2.14.1).
    """

    def __init__(self, width: int, filters: int, stride: int = 1) -> None:
        super().__init__(width, filters, 1, bias=False)
        self.step = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, filters, ceil(H / stride), ceil(W / stride))."""
        return super().forward(x[:, :, :: self.step, :: self.step])


def _conv_bn(width: int, filters: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution, batch norm: the order of every convolution here."""
    conv = (
        Pointwise(width, filters, stride)
        if kernel == 1
        else nn.Conv2d(width, filters, kernel, stride, kernel // 2, bias=False)
    )
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(filters))


def _factorised_conv(width: int, filters: int, length: int, stride: int) -> nn.Sequential:
    """1 x k and then k x 1, each with the stride along its own axis."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(width, filters, (1, length), (1, stride), (0, length // 2), bias=False),
        nn.Conv2d(filters, filters, (length, 1), (stride, 1), (length // 2, 0), bias=False),
        nn.BatchNorm2d(filters),
    )


class _Thinned(nn.Conv2d):
    """A convolution whose stride and dilation are both 2 reads every other pixel: without the others both are 1."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Conv2d`, to the last bit, in a sixth of the time on a CPU, gradients included."""
        return nn.functional.conv2d(
            input[:, :, ::2, ::2], self.weight, None, 1, self.kernel_size[0] // 2, 1, self.groups
        )


def _depthwise(width: int, filters: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """ReLU, depthwise, pointwise, batch norm."""
    padding = dilation * (kernel // 2)
    spatial = _Thinned if stride == dilation == 2 else nn.Conv2d
    return [
        nn.ReLU(),
        spatial(width, width, kernel, stride, padding, dilation, groups=width, bias=False),
        nn.Conv2d(width, filters, 1, bias=False),
        nn.BatchNorm2d(filters),
    ]


def _separable(width: int, filters: int, kernel: int, stride: int) -> nn.Sequential:
    """A separable convolution is applied twice, with the stride in the first."""
    return nn.Sequential(*_depthwise(width, filters, kernel, stride), *_depthwise(filters, filters, kernel, 1))


def _pool(pool: nn.Module, width: int, filters: int) -> nn.Module:
    """A pool keeps its width; a 1x1 convolution and batch norm follow only where the width must change."""
    if width == filters:
        return pool
    return nn.Sequential(pool, nn.Conv2d(width, filters, 1, bias=False), nn.BatchNorm2d(filters))


def _max_pool(width: int, filters: int, kernel: int, stride: int) -> nn.Module:
    padding = kernel // 2
    if kernel <= 3:
        return _pool(nn.MaxPool2d(kernel, stride, padding), width, filters)
    # Maxima of rows and then of these: the same numbers after 2 k comparisons, not k^2: 1.1 to 2.8 times as fast on a CPU.
    rows, columns = ((1, kernel), (1, stride), (0, padding)), ((kernel, 1), (stride, 1), (padding, 0))
    return _pool(nn.Sequential(nn.MaxPool2d(*rows), nn.MaxPool2d(*columns)), width, filters)


def _avg_pool(width: int, filters: int, kernel: int, stride: int) -> nn.Module:
    return _pool(nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=False), width, filters)


def _identity(width: int, filters: int, stride: int) -> nn.Module:
    if stride == 2:
        return FactorizedReduction(width, filters)
    return nn.Identity() if width == filters else _conv_bn(width, filters, 1)


OPERATIONS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "identity": _identity,
    "conv_1x3_3x1": lambda width, filters, stride: _factorised_conv(width, filters, 3, stride),
    "conv_1x7_7x1": lambda width, filters, stride: _factorised_conv(width, filters, 7, stride),
    "dil_conv_3x3": lambda width, filters, stride: nn.Sequential(*_depthwise(width, filters, 3, stride, dilation=2)),
    "avg_pool_3x3": lambda width, filters, stride: _avg_pool(width, filters, 3, stride),
    "max_pool_3x3": lambda width, filters, stride: _max_pool(width, filters, 3, stride),
    "max_pool_5x5": lambda width, filters, stride: _max_pool(width, filters, 5, stride),
    "max_pool_7x7": lambda width, filters, stride: _max_pool(width, filters, 7, stride),
    "conv_1x1": lambda width, filters, stride: _conv_bn(width, filters, 1, stride),
    "conv_3x3": lambda width, filters, stride: _conv_bn(width, filters, 3, stride),
    "sep_conv_3x3": lambda width, filters, stride: _separable(width, filters, 3, stride),
    "sep_conv_5x5": lambda width, filters, stride: _separable(width, filters, 5, stride),
    "sep_conv_7x7": lambda width, filters, stride: _separable(width, filters, 7, stride),
}
"""name -> (input width, filters, stride) -> module"""


class FactorizedReduction(nn.Module):
    """Halves the image, rounding up, and loses no pixel: two strided 1x1 convolutions, the second shifted by one pixel."""

    def __init__(self, width: int, filters: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(width, filters // 2, 1, bias=False)
        self.odd = nn.Conv2d(width, filters - filters // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, filters, ceil(H / 2), ceil(W / 2))."""
        # Taking the pixels first leaves a quarter of the work to what follows, for the same values as a stride of 2.
        even, odd = torch.relu(x[:, :, ::2, ::2]), torch.relu(x[:, :, 1::2, 1::2])
        if odd.shape != even.shape:
            odd = nn.functional.pad(odd, (0, even.shape[3] - odd.shape[3], 0, even.shape[2] - odd.shape[2]))
        out: Tensor = self.norm(torch.cat([self.even(even), self.odd(odd)], dim=1))
        return out


class Cell(nn.Module):
    """One cell.

    Args:
        blocks: see the module's docstring.
        widths: channels of the outputs of the cell before the previous one and of the previous one.
        filters: channels of an operation's output.
        reduction: whether operations on the two cell inputs have stride 2.
        shrink: whether the first input is twice as large as the second, which a reduction cell made.

    Raises:
        ValueError: if a block reads a state that is not there yet or names an unknown operation or combination.
    """

    def __init__(
        self, blocks: Sequence[Block], widths: tuple[int, int], filters: int, *, reduction: bool, shrink: bool
    ) -> None:
        super().__init__()
        if not blocks:
            raise ValueError("a cell needs at least one block")
        self.first: nn.Module
        if shrink:
            self.first = FactorizedReduction(widths[0], filters)
        else:
            self.first = nn.Identity() if widths[0] == filters else _conv_bn(widths[0], filters, 1)
        self.second = _conv_bn(widths[1], filters, 1)
        self.blocks = tuple((int(i), str(f), int(j), str(g), str(how)) for i, f, j, g, how in blocks)
        states = [filters, filters]  # widths
        operations: list[nn.Module] = []
        for number, (i, f, j, g, how) in enumerate(self.blocks):
            for state, operation in ((i, f), (j, g)):
                if not 0 <= state < len(states):
                    raise ValueError(f"block {number} reads state {state}; it may read 0..{len(states) - 1}")
                if operation not in OPERATIONS:
                    raise ValueError(f"unknown operation {operation!r}; known are {', '.join(OPERATIONS)}")
                stride = 2 if reduction and state < 2 else 1
                operations.append(OPERATIONS[operation](states[state], filters, stride))
            if how not in COMBINATIONS:
                raise ValueError(f"block {number} combines by {how!r}; it may be {' or '.join(COMBINATIONS)}")
            states.append(filters if how == "add" else 2 * filters)
        self.operations = nn.ModuleList(operations)
        read = {state for block in self.blocks for state in (block[0], block[2])}
        self.loose = tuple(state for state in range(len(states)) if state not in read)
        # In a reduction cell an unread input is still at the old size.
        self.resize = nn.ModuleDict(
            {str(state): FactorizedReduction(filters, filters) for state in self.loose if reduction and state < 2}
        )
        self.width = sum(states[state] for state in self.loose)

    def forward(self, before: Tensor, previous: Tensor, drop: float | Tensor = 0.0) -> Tensor:
        """(B, widths[0], H, W), (B, widths[1], H, W) -> (B, width, H', W'); `drop` is the probability of losing a path."""
        states = [self.first(before), self.second(previous)]
        for number, (i, f, j, g, how) in enumerate(self.blocks):
            left = self.operations[2 * number](states[i])
            right = self.operations[2 * number + 1](states[j])
            if isinstance(drop, Tensor) or drop > 0.0:  # to compare a tensor would wait for the device
                left = left if f == "identity" else drop_path(left, drop)
                right = right if g == "identity" else drop_path(right, drop)
            states.append(left + right if how == "add" else torch.cat([left, right], dim=1))
        loose = [self.resize[str(s)](states[s]) if str(s) in self.resize else states[s] for s in self.loose]
        return loose[0] if len(loose) == 1 else torch.cat(loose, dim=1)


def drop_path(x: Tensor, probability: float | Tensor) -> Tensor:
    """Zero the whole path of an image with this probability, and scale the others so that the mean stays."""
    keep = 1.0 - probability
    mask = torch.empty(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(keep)
    return x * (mask / keep)


class AuxiliaryHead(nn.Module):
    """A second classifier on an earlier feature map, for training alone.

    At the CIFAR networks' 8x8 maps: 5x5 average pool of stride 3, 1x1 convolution to 128, 2x2 convolution to 768, linear.
    Smaller maps get smaller windows; larger ones are averaged before the linear layer.
    """

    def __init__(self, width: int, classes: int, size: int) -> None:
        super().__init__()
        pool = min(5, size)
        kernel = min(2, (size - pool) // 3 + 1)
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(pool, 3),
            nn.Conv2d(width, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, kernel, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.linear = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> (B, classes)."""
        out: Tensor = self.linear(self.layers(x).mean(dim=(2, 3)))
        return out


class NASNet(BaseNetwork):
    """Stem, cells, head.

    Args:
        normal: blocks of the normal cell.
        reduction: blocks of the reduction cell, which halves the image (rounding up) and doubles the filters.
        cells: number of cells, reductions included.
        reductions: positions of the reduction cells, from 0.
        filters: of the first cell; the stem has three times as many.
        image: only the auxiliary head depends on its size.
        drops: paths are those of a cell's operations, the depth is the cell's, and `drop_path` rises with `progress`. Nothing
            here is a residual block, so stochastic depth drops the same paths.
        auxiliary: whether to build the auxiliary head, after the last reduction cell.

    Raises:
        ValueError: if a block, a number or a position is out of its range.
    """

    def __init__(
        self,
        normal: Sequence[Block],
        reduction: Sequence[Block],
        cells: int,
        reductions: Sequence[int],
        filters: int,
        *,
        image: Image,
        drops: Drops = Drops(),  # noqa: B008 (frozen)
        auxiliary: bool = False,
    ) -> None:
        super().__init__(drops)
        if min(cells, filters) < 1:
            raise ValueError("cells and filters are at least 1")
        if any(not 0 <= position < cells for position in reductions):
            raise ValueError(f"reductions lie in 0..{cells - 1}, not {tuple(reductions)}")
        size = image.size
        self.stem = nn.Sequential(
            nn.Conv2d(image.channels, 3 * filters, 3, padding=1, bias=False), nn.BatchNorm2d(3 * filters)
        )
        widths = (3 * filters, 3 * filters)
        built: list[nn.Module] = []
        shrink = False
        self.auxiliary_after = max(reductions) if reductions else 2 * cells // 3
        self.auxiliary: AuxiliaryHead | None = None
        for position in range(cells):
            reduce = position in reductions
            if reduce:
                filters, size = 2 * filters, (size + 1) // 2
            cell = Cell(reduction if reduce else normal, widths, filters, reduction=reduce, shrink=shrink)
            built.append(cell)
            widths, shrink = (widths[1], cell.width), reduce
            if auxiliary and position == self.auxiliary_after:
                self.auxiliary = AuxiliaryHead(cell.width, image.classes, size)
        self.cells = nn.ModuleList(built)
        self.dropout = nn.Dropout(drops.dropout)
        self.head = nn.Linear(widths[1], image.classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(B, channels, size, size) -> logits (B, classes).

        In training mode a network with an auxiliary head returns (logits, auxiliary logits).
        """
        auxiliary = None
        before = previous = self.stem(x)
        for position, cell in enumerate(self.cells):
            before, previous = previous, cell(before, previous, self.drop(position) if self.training else 0.0)
            if self.training and self.auxiliary is not None and position == self.auxiliary_after:
                auxiliary = self.auxiliary(previous)
        logits: Tensor = self.head(self.dropout(torch.relu(previous).mean(dim=(2, 3))))
        return logits if auxiliary is None else (logits, auxiliary)

    def drop(self, position: int) -> float | Tensor:
        """Probability of losing a path of the cell at this position now, in [0, 1)."""
        if self.drops.drop_path == self.drops.stochastic_depth == 0.0:
            return 0.0  # a number even while progress is a tensor
        return self.drops.path((position + 1) / len(self.cells), self.progress)
