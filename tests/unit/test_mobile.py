"""Mobile networks: against public figures, and by hand."""

import math

import pytest
import torch
from torch import nn

from ma2ml_env.modules import nas_mobile
from ma2ml_env.modules.fbnetv3 import FBNETV3
from ma2ml_env.recipe import Spec
from ma2ml_env.training import flops, parts
from ma2ml_env.training.networks.base import Drops, Image
from ma2ml_env.training.networks.mobile import Block, Mobile, Stage, round_channels

STAGE = {"kernel": (3, 5), "expansion": (2, 3), "channels": 16, "depth": 2, "stride": 2, "se": True}
PLAIN = {**STAGE, "stride": 1, "se": False}


def build(**changes: object) -> Mobile:
    settings = {"stem": 8, "stages": (PLAIN, STAGE), "head": 24, "image": Image(10, 1, 16)}
    return Mobile(**{**settings, **changes})  # type: ignore[arg-type]


def cost(network: Spec, size: int) -> tuple[int, int]:
    return flops.count(parts.network(network, Image(1000, size=size)), 3, size)


def changed(network: Spec, **fields: object) -> Spec:
    return network.with_args(stages=tuple({**stage, **fields} for stage in network.args["stages"]))


@pytest.mark.parametrize(
    ("name", "macs", "port", "params"), [("B", 520_022_232, 520e6, 8_598_464), ("D", 642_628_864, 643e6, 10_306_272)]
)
def test_released_architectures_have_the_size_of_their_public_ports(
    name: str, macs: int, port: float, params: int
) -> None:
    """Counted in the same way, MACs and parameters of timm 1.0.31's fbnetv3_b and fbnetv3_d are these numbers exactly."""
    recipe = FBNETV3[name]
    assert flops.network_cost(recipe, 1000, 3, 32) == (
        macs,
        params,
    )  # at its own resolution of 248, whatever the data's
    assert abs(macs / port - 1) < 0.01


@pytest.mark.parametrize("wrong", ["se", "kernel", "expansion", "head", "resolution"])
def test_a_wrong_variant_has_not(wrong: str) -> None:
    """The control of the test above. Squeeze and excitation costs hardly any MACs, so parameters have to tell."""
    recipe = FBNETV3["B"]
    network, size = recipe.network, recipe.resolution
    if wrong == "resolution":
        size = 256
    elif wrong == "head":
        network = network.with_args(head=3000)
    else:
        others: dict[str, dict[str, object]] = {
            "se": {"se": False}, "kernel": {"kernel": (3, 3)}, "expansion": {"expansion": (4, 4)},
        }  # fmt: skip
        network = changed(network, **others[wrong])
    macs, params = cost(network, size)
    assert max(abs(macs / 520e6 - 1), abs(params / 8_598_464 - 1)) > 0.01


def test_widths_are_multiples_of_eight() -> None:
    assert [round_channels(n) for n in (1, 8, 11, 12, 18, 20, 26, 100, 180)] == [8, 8, 16, 16, 24, 24, 32, 104, 184]
    assert round_channels(34) == 40  # 32 would lose more than 5 %
    assert round_channels(163) == 160
    for channels in range(8, 3000):
        rounded = round_channels(channels)
        assert rounded % 8 == 0
        assert 0.95 * channels <= rounded < channels + 8
        assert rounded == nas_mobile.round_channels(channels), "the module and the network round alike"


def test_a_block_by_hand() -> None:
    block = Block(16, 24, kernel=5, expansion=4, stride=2, se=True, drop_path=0.0)
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    shapes = [tuple(c.weight.shape) for c in convolutions]
    squeeze = 8  # a quarter of the input's 16 is 4
    assert shapes == [(64, 16, 1, 1), (64, 1, 5, 5), (squeeze, 64, 1, 1), (64, squeeze, 1, 1), (24, 64, 1, 1)]
    assert block(torch.rand(2, 16, 7, 7)).shape == (2, 24, 4, 4)
    assert sum(isinstance(m, nn.Hardsigmoid) for m in block.modules()) == 1
    plain = Block(16, 16, kernel=3, expansion=1, stride=1, se=False, drop_path=0.0)
    shapes = [tuple(m.weight.shape) for m in plain.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == [(16, 1, 3, 3), (16, 16, 1, 1)]


@pytest.mark.parametrize(("channels", "stride", "residual"), [(16, 1, True), (16, 2, False), (24, 1, False)])
def test_a_block_with_a_sum_begins_as_the_identity(channels: int, stride: int, residual: bool) -> None:
    block = Block(16, channels, 3, 2, stride, se=True, drop_path=0.0)
    images = torch.rand(2, 16, 5, 5)
    out = block(images)
    assert (out.shape == images.shape and torch.equal(out, images)) == residual
    assert (block.layers[-1][1].weight == 0).all() == residual


def test_stochastic_depth_rises_linearly_and_skips_whole_images() -> None:
    network = build(drops=Drops(drop_path=0.4))
    assert [block.drop.p for block in network.blocks] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    block = Block(8, 8, 3, 2, 1, se=False, drop_path=0.5)
    nn.init.ones_(block.layers[-1][1].weight)
    images = torch.rand(64, 8, 4, 4)
    torch.manual_seed(0)
    skipped = (block(images) == images).flatten(1).all(1)
    assert 16 <= int(skipped.sum()) <= 48  # 32 +- 4 sd
    assert not (block.eval()(images) == images).flatten(1).all(1).any()


@pytest.mark.parametrize("size", [1, 7, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_is_halved_rounding_up(size: int, channels: int) -> None:
    network = parts.network(FBNETV3["A"].network, Image(5, channels, size))
    sides = []
    for block in network.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(lambda module, args, out: sides.append(out.shape[2]))
    images = torch.rand(2, channels, size, size)
    assert network(images).shape == (2, 5)
    halvings = [1] * 2 + [2] * 4 + [3] * 5 + [4] * 11 + [5] * 7  # the stem's, and those of stages 2, 3, 4 and 6
    assert sides == [math.ceil(size / 2**times) for times in halvings]


def test_stem_stride_and_dropout() -> None:
    images = torch.rand(2, 1, 16, 16)
    small, large = build(), build(stem_stride=1)
    assert small.stem(images).shape[2:] == (8, 8)
    assert large.stem(images).shape[2:] == (16, 16)
    torch.manual_seed(0)
    network = build(drops=Drops(dropout=0.5))
    assert not torch.equal(network.head(torch.ones(2, 16, 1, 1)), network.head(torch.ones(2, 16, 1, 1)))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_every_weight_learns() -> None:
    network = build(auxiliary=True)  # a network that has no auxiliary head builds none
    for block in network.blocks:
        nn.init.ones_(block.layers[-1][1].weight)
    logits = network(torch.rand(4, 1, 16, 16))
    assert isinstance(logits, torch.Tensor)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kernel": (3, 4)}, "kernels are odd, not"),
        ({"kernel": (3,)}, "kernel is a pair"),
        ({"expansion": (1, 2, 3)}, "expansion is a pair"),
        ({"expansion": (0, 1)}, "at least 1"),
        ({"channels": 0}, "at least 1"),
        ({"depth": 0}, "at least 1"),
        ({"stride": 0}, "at least 1"),
    ],
)
def test_stages_that_cannot_be_built_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Stage(**{**STAGE, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stem": 0}, "at least 1"),
        ({"stages": ()}, "at least one stage"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(**changes)


@pytest.mark.parametrize("stage", [{**STAGE, "width": 3}, {"kernel": (3, 3)}])
def test_a_recipe_with_a_wrong_stage_is_invalid(stage: dict[str, object]) -> None:
    spec = Spec("mobile", {"stem": 8, "stages": (stage,)})
    with pytest.raises(parts.InvalidRecipe, match="recipe field 'network', kind 'mobile'"):
        parts.network(spec, Image(10, 1, 8))
