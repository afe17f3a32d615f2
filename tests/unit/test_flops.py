"""MACs: by hand, against torch's own counter, and against published networks."""

import logging

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ma2ml_env.games.make import make_game
from ma2ml_env.recipe import Recipe
from ma2ml_env.testing import random_codes
from ma2ml_env.training import flops, parts
from ma2ml_env.training.networks.base import Image

SMALL = Recipe(network=Recipe().network.with_args(cells=3, reductions=(1,), filters=4))


def torch_counter(network: nn.Module, channels: int, size: int) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, channels, size, size))
    return int(counter.get_total_flops())


def test_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 3 x 8 x 9 weights at 4 x 4 places
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),  # 8 x 25 weights at 4 x 4 places
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    macs, params = flops.count(network, 3, 8)
    assert macs == 216 * 16 + 200 * 16 + 80
    assert params == (216 + 8) + 16 + (200 + 8) + (80 + 10)


def test_modes_of_all_modules_are_restored_and_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Hardswish(), nn.MaxPool2d(2))
    network.train()
    network[1].eval()
    with caplog.at_level(logging.DEBUG):
        flops.count(network, 1, 8)
    assert [module.training for module in network] == [True, False, True, True]
    assert not caplog.records
    assert float(network[1].running_mean.abs().sum()) == 0.0


def test_torch_counts_exactly_twice_as_much() -> None:
    from ma2ml_env.training.networks.nasnet import NASNet

    network = NASNet(**SMALL.network.args, image=Image(10, 1, 8))
    assert 2 * flops.count(network, 1, 8)[0] == torch_counter(network, 1, 8)


def test_mobilenet_v3_large() -> None:
    network = torchvision.models.mobilenet_v3_large()
    assert flops.count(network, 3, 224)[0] == 216_589_760
    assert torch_counter(network, 3, 224) == 2 * 216_589_760


@pytest.mark.slow
def test_resnet50() -> None:
    assert flops.count(torchvision.models.resnet50(), 3, 224)[0] == 4_089_184_256


@pytest.mark.slow
def test_efficientnet_b1() -> None:
    """Its paper says 0.70 billion (Tan and Le 2019, Table 2): multiply-adds, not twice as many."""
    assert flops.count(torchvision.models.efficientnet_b1(), 3, 240)[0] == 686_802_832


def test_the_auxiliary_head_does_not_count() -> None:
    from ma2ml_env.training.networks.nasnet import NASNet

    network = NASNet(**SMALL.network.args, image=Image(10, 1, 8), auxiliary=True)
    assert flops.count(network, 1, 8)[0] == flops.network_cost(SMALL, 10, 1, 8)[0]


def test_cost_is_cached_by_the_network_alone() -> None:
    flops._network_cost.cache_clear()
    state = torch.random.get_rng_state()
    first = flops.network_cost(SMALL, 10, 1, 8)
    assert flops.network_cost(Recipe.from_json({**SMALL.to_json(), "learning_rate": 0.1}), 10, 1, 8) == first
    assert flops._network_cost.cache_info().misses == 1
    assert flops.network_cost(SMALL, 10, 1, 16)[0] == pytest.approx(4 * first[0], rel=0.01)
    assert flops._network_cost.cache_info().misses == 2
    assert torch.equal(state, torch.random.get_rng_state())


def test_cost_is_counted_at_the_recipes_resolution() -> None:
    flops._network_cost.cache_clear()
    at_eight = flops.network_cost(SMALL, 10, 1, 8)
    twice = SMALL.with_slots(resolution=16)
    assert flops.network_cost(twice, 10, 1, 8) == flops.network_cost(SMALL, 10, 1, 16) != at_eight
    assert flops._network_cost.cache_info().misses == 2  # 8 and 16 pixels: the cache holds the side that is counted at
    assert flops.network_cost(twice, 10, 1, 32) == flops.network_cost(twice, 10, 1, 8)


@pytest.mark.parametrize("seed", range(5))
def test_footprint_counts_as_the_reported_count_and_covers_what_a_step_keeps(seed: int) -> None:
    """Tensors that autograd saves for one image, against the values that the prediction of memory is made of."""
    game = make_game("digits-v0", "surrogate")
    codes = random_codes(game.spec.nvec, 1, seed=seed)
    recipe = game.recipe({agent: tuple(code[0].tolist()) for agent, code in codes.items()})
    one = flops.footprint(recipe, 10, 1, 8, final=False)
    assert (one.macs, one.params) == flops.network_cost(recipe, 10, 1, 8)
    network = parts.network(recipe.network, Image(10, 1, 8))
    own = {parameter.data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    batch = 16
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = network(torch.zeros(batch, 1, 8, 8)).sum()
    assert 0.5 * one.values < sum(kept.values()) / batch < 1.5 * one.values  # 1.5 is the trainer's SAFETY
    assert result.isfinite()
