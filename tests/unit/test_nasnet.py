"""NASNet's structure, against public figures and by hand."""

import subprocess
import sys

import pytest
import torch

from ma2ml_env.recipe import NASNET_A_NORMAL, NASNET_A_REDUCTION
from ma2ml_env.training.networks import nasnet
from ma2ml_env.training.networks.base import Drops, Image
from ma2ml_env.training.networks.nasnet import OPERATIONS, Cell, FactorizedReduction, NASNet

PLAIN = ((0, "identity", 1, "identity", "add"),)


def build(**changes: object) -> NASNet:
    settings: dict[str, object] = {
        "normal": NASNET_A_NORMAL,
        "reduction": NASNET_A_REDUCTION,
        "cells": 3,
        "reductions": (1,),
        "filters": 4,
        "image": Image(10, 1, 8),
    }
    return NASNet(**{**settings, **changes})  # type: ignore[arg-type]


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_nasnet_a_has_its_published_size() -> None:
    """Zoph et al.'s layout with 36 filters has 3.2 million parameters, counted on public implementations."""
    with torch.device("meta"):
        network = build(cells=17, reductions=(5, 11), filters=36, image=Image(10))
    assert parameters(network) / 1e6 == pytest.approx(3.2, abs=0.1)


def test_thirteen_operations_keep_their_promise_of_shape() -> None:
    assert len(OPERATIONS) == 13
    for size in (1, 2, 5, 8):
        for stride in (1, 2):
            for width in (4, 8):
                for name, make in OPERATIONS.items():
                    out = make(width, 4, stride).eval()(torch.rand(2, width, size, size))
                    assert out.shape == (2, 4, -(-size // stride), -(-size // stride)), name


def test_factorized_reduction_sees_every_pixel() -> None:
    module = FactorizedReduction(1, 2).eval()
    torch.nn.init.ones_(module.even.weight)
    torch.nn.init.ones_(module.odd.weight)
    image = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    out = module(image) * (1 + 1e-5) ** 0.5  # undo batch norm's epsilon
    assert torch.allclose(out[0, 0], torch.tensor([[1.0, 3.0], [7.0, 9.0]]))
    assert torch.allclose(out[0, 1], torch.tensor([[5.0, 0.0], [0.0, 0.0]]))


@pytest.mark.slow
def test_a_pointwise_convolution_takes_its_stride_first() -> None:
    """In a process of its own: where the stride is the convolution's, a CPU that is hit by the bug aborts here."""
    program = """
import torch
from ma2ml_env.training.networks.nasnet import Pointwise

ours = Pointwise(2, 3, 2).to(memory_format=torch.channels_last)
for size in (8, 7, 1):
    for _ in range(50):
        images = torch.rand(32, 2, size, size).contiguous(memory_format=torch.channels_last).requires_grad_()
        out = ours(images)
        out.sum().backward()
    assert torch.allclose(out, torch.nn.functional.conv2d(images, ours.weight, stride=2), atol=1e-6)
assert set(ours.state_dict()) == {"weight"}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def gradients(module: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of a fixed scalar product of the output, in the input and the weights; the output first."""
    x = x.clone().requires_grad_(True)
    out = module(x)
    weight = torch.arange(float(out.numel())).view_as(out).sin()
    return (out, *torch.autograd.grad((out * weight).sum(), [x, *module.parameters()]))


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_a_thinned_convolution_is_the_convolution(size: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, size, size)
    fast = nasnet._Thinned(4, 4, 3, 2, 2, 2, groups=4, bias=False)
    plain = torch.nn.Conv2d(4, 4, 3, 2, 2, 2, groups=4, bias=False)
    plain.load_state_dict(fast.state_dict())
    for ours, theirs in zip(gradients(fast, x), gradients(plain, x), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert any(isinstance(m, nasnet._Thinned) for m in OPERATIONS["dil_conv_3x3"](4, 4, 2).modules())
    assert not any(isinstance(m, nasnet._Thinned) for m in OPERATIONS["dil_conv_3x3"](4, 4, 1).modules())


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_a_max_pool_of_rows_and_then_of_columns_is_the_max_pool(kernel: int, stride: int, size: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, size, size)  # no two are equal, so each gradient has one way to go
    fast = OPERATIONS[f"max_pool_{kernel}x{kernel}"](4, 4, stride)
    plain = torch.nn.MaxPool2d(kernel, stride, kernel // 2)
    out, gradient = gradients(fast, x)
    expected, expected_gradient = gradients(plain, x)
    assert torch.equal(out, expected)
    assert torch.allclose(gradient, expected_gradient, atol=1e-6)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_factorized_reduction_is_two_strided_convolutions(size: int) -> None:
    torch.manual_seed(0)
    module, x = FactorizedReduction(3, 4), torch.randn(5, 3, size, size)

    class Strided(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.even, self.odd, self.norm = module.even, module.odd, module.norm

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(x)
            shifted = torch.nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
            pixels = [
                torch.nn.functional.conv2d(x, self.even.weight, stride=2),
                torch.nn.functional.conv2d(shifted, self.odd.weight, stride=2),
            ]
            return self.norm(torch.cat(pixels, dim=1))  # type: ignore[no-any-return]

    for ours, theirs in zip(gradients(module, x), gradients(Strided(), x), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_output_concatenates_what_no_block_reads() -> None:
    blocks = (
        (1, "identity", 1, "identity", "concat"),
        (2, "identity", 1, "conv_1x1", "add"),
        (1, "identity", 1, "identity", "concat"),
    )
    cell = Cell(blocks, (4, 4), 4, reduction=False, shrink=False)
    assert cell.loose == (0, 3, 4)  # the unread cell input, an add of 4 channels, a concat of 8
    assert cell.width == 4 + 4 + 8
    out = cell(torch.rand(2, 4, 6, 6), torch.rand(2, 4, 6, 6))
    assert out.shape == (2, 16, 6, 6)


def test_add_and_identity_by_hand() -> None:
    cell = Cell(PLAIN, (4, 4), 4, reduction=False, shrink=False).eval()
    before, previous = torch.rand(2, 4, 5, 5), torch.rand(2, 4, 5, 5)
    assert torch.equal(cell(before, previous), before + cell.second(previous))


def test_reduction_halves_and_doubles() -> None:
    network = build(cells=4, reductions=(1, 3), image=Image(10, 1, 9))
    sizes: list[tuple[int, ...]] = []
    for cell in network.cells:
        cell.register_forward_hook(lambda module, args, out: sizes.append(tuple(out.shape[2:])))
    network(torch.rand(2, 1, 9, 9))
    assert sizes == [(9, 9), (5, 5), (5, 5), (3, 3)]
    widths = [cell.second[1].out_channels for cell in network.cells]
    assert widths == [4, 8, 8, 16]


@pytest.mark.parametrize("size", [1, 2, 7, 8, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_auxiliary_head_fits_any_size_and_acts_in_training_alone(size: int, channels: int) -> None:
    network = build(image=Image(10, channels, size), auxiliary=True)
    images = torch.rand(3, channels, size, size)
    logits, auxiliary = network(images)
    assert logits.shape == auxiliary.shape == (3, 10)
    (logits.sum() + auxiliary.sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.eval()(images).shape == (3, 10)


def test_auxiliary_head_of_the_cifar_layout() -> None:
    """After the second reduction, at 8x8: pool to 2x2, 1x1 to 128, 2x2 to 768 (DARTS)."""
    with torch.device("meta"):
        network = build(cells=17, reductions=(5, 11), image=Image(10), auxiliary=True)
    assert network.auxiliary_after == 11
    assert network.auxiliary is not None
    assert network.auxiliary.layers[5].weight.shape == (768, 128, 2, 2)


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    out = nasnet.drop_path(torch.ones(4000, 2, 3, 3), 0.4)
    means = out.mean((1, 2, 3))
    assert means.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert means.mean().item() == pytest.approx(1.0, abs=4 * (0.4 / 0.6 / 4000) ** 0.5)


def test_drop_path_rises_with_depth_and_progress() -> None:
    network = build(drops=Drops(drop_path=0.6))
    drops: list[float] = []
    for cell in network.cells:
        cell.register_forward_hook(lambda module, args, out: drops.append(args[2]))
    images = torch.rand(2, 1, 8, 8)
    network.progress = 0.5
    network(images)
    network.eval()(images)
    assert drops == [pytest.approx(0.1), pytest.approx(0.2), pytest.approx(0.3), 0.0, 0.0, 0.0]


def test_identity_paths_are_never_dropped() -> None:
    cell = Cell(PLAIN, (4, 4), 4, reduction=False, shrink=False)
    before, previous = torch.rand(64, 4, 2, 2), torch.rand(64, 4, 2, 2)
    assert torch.equal(cell.train()(before, previous, 0.9), cell(before, previous, 0.0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"normal": ((2, "identity", 0, "identity", "add"),)}, "block 0 reads state 2"),
        ({"normal": ((0, "conv_9x9", 0, "identity", "add"),)}, "unknown operation 'conv_9x9'"),
        ({"reduction": ((0, "identity", 0, "identity", "mul"),)}, "combines by 'mul'"),
        ({"normal": ()}, "at least one block"),
        ({"reductions": (3,)}, "reductions lie in"),
        ({"filters": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(**changes)
