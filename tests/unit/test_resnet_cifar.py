"""The CIFAR ResNet: against its published size, and by hand."""

import pytest
import torch

from ma2ml_env.training import flops
from ma2ml_env.training.networks.base import Drops, Image
from ma2ml_env.training.networks.resnet_cifar import Block, ResNetCifar


def test_resnet56_has_its_published_size() -> None:
    macs, params = flops.count(ResNetCifar(56, image=Image(100)), 3, 32)
    assert macs == 125_491_456
    assert params / 1e6 == pytest.approx(0.86, abs=0.005)
    assert flops.count(ResNetCifar(50, image=Image(100)), 3, 32)[0] != macs  # this can fail


def test_macs_by_hand() -> None:
    """A 3x3 convolution of every two channels, at 32x32, 16x16 and 8x8 pixels; shortcuts are free."""
    stages = [(16, 16, 32), (16, 32, 16), (32, 64, 8)]
    convolutions = sum(9 * (first + 17 * width) * width * side**2 for first, width, side in stages)
    assert 9 * 3 * 16 * 32**2 + convolutions + 64 * 100 == 125_491_456


def test_parameters_of_other_depths() -> None:
    """Millions, by He et al. 2015, Table 6."""
    for depth, millions in ((20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)):
        with torch.device("meta"):
            network = ResNetCifar(depth, image=Image(10))
        assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.04)


def test_the_shortcut_takes_every_second_pixel_and_pads_with_zeros() -> None:
    block = Block(2, 4, 2, drop_path=0.0)
    torch.nn.init.zeros_(block.layers[1][1].weight)
    images = torch.rand(3, 2, 5, 5)
    out = block(images).detach()
    assert out.shape == (3, 4, 3, 3)
    assert torch.equal(out[:, 1:3], images[:, :, ::2, ::2])
    assert float(out[:, [0, 3]].abs().max()) == 0.0
    same = Block(2, 2, 1, drop_path=0.0)
    torch.nn.init.zeros_(same.layers[1][1].weight)
    assert torch.equal(same(images), images)


@pytest.mark.parametrize("size", [1, 8, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size(size: int, channels: int) -> None:
    network = ResNetCifar(8, image=Image(7, channels, size), drops=Drops(drop_path=0.3), auxiliary=True)
    assert [block.drop.p for block in network.blocks] == pytest.approx([0.1, 0.2, 0.3])
    logits = network(torch.rand(4, channels, size, size))
    assert logits.shape == (4, 7)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("depth", [55, 2])
def test_a_depth_that_is_none_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=r"6n . 2"):
        ResNetCifar(depth, image=Image(10))


@pytest.mark.parametrize("number", ["classes", "channels", "size"])
def test_an_image_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="classes, channels and size are at least 1"):
        Image(**{"classes": 10, number: 0})


@pytest.mark.parametrize("name", ["drop_path", "dropout", "stochastic_depth"])
@pytest.mark.parametrize("share", [1.0, -0.1, float("nan")])
def test_drops_that_are_no_probabilities_are_refused(name: str, share: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} lies in \[0, 1\)"):
        Drops(**{name: share})
