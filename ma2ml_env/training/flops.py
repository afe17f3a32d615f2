"""Multiply-adds (MACs) and parameters of a network: what the papers call FLOPs."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.training import parts
from ma2ml_env.training.networks.base import Image


def count(network: nn.Module, channels: int, size: int) -> tuple[int, int]:
    """MACs of the convolutions and linear layers for one image, and the number of parameters.

    Batch norm, pools and activations do not count, as in the papers: batch norm is folded into the convolution before it.
    The network is counted in evaluation mode and left in the mode that it came in.

    Args:
        network: takes (1, channels, size, size) float32 on its own device.
        channels: of the image.
        size: side of the image in pixels.

    Returns:
        (MACs, parameters).
    """
    modes = {module: module.training for module in network.modules()}
    parameters = list(network.parameters())
    image = torch.zeros(1, channels, size, size, device=parameters[0].device if parameters else None)
    try:
        network.eval()
        analysis = (
            _flop_count_analysis()(network, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        )
        flops = int(sum(analysis.by_operator()[name] for name in ("conv", "linear")))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return flops, sum(parameter.numel() for parameter in parameters)


def _flop_count_analysis() -> Any:
    """Fvcore's counter; it brings iopath and yacs along, so only who counts pays for the import.

    It decorates with torch.jit.script, which torch 2.14 announces to retire: nothing that a user could act on.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        from fvcore.nn import FlopCountAnalysis
    return FlopCountAnalysis


def network_cost(recipe: Recipe, classes: int, channels: int, size: int) -> tuple[int, int]:
    """(MACs, parameters) of a recipe's network, without its auxiliary head, for one image of `size` pixels a side.

    It is counted at the recipe's resolution, if it has one. Tracing is slow, so the count is cached.

    Raises:
        InvalidRecipe: if the network cannot be built.
    """
    return _network_cost(_Keyed(recipe.network, recipe.network_key), classes, channels, recipe.resolution or size)


@dataclass(frozen=True)
class Footprint:
    """What one image asks of a network in one forward pass, auxiliary head included: enough to predict a training's cost."""

    macs: int
    """multiply-adds; those of `count` where there is no auxiliary head"""
    calls: int
    """layers called"""
    values: int
    """numbers that all layers put out: what a backward pass needs kept"""
    largest: int
    """the most that one layer puts out"""
    params: int


def footprint(recipe: Recipe, classes: int, channels: int, size: int, final: bool) -> Footprint:
    """One dry pass on the CPU, some ten times faster than the count that is reported; cached.

    Raises:
        InvalidRecipe: if the network cannot be built.
    """
    return _footprint(_Keyed(recipe.network, recipe.network_key), classes, channels, recipe.resolution or size, final)


class _Keyed:
    """A network's spec that compares by its content key."""

    def __init__(self, spec: Spec, key: str) -> None:
        self.spec, self.key = spec, key

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.key == other.key


@lru_cache(maxsize=10_000)
def _network_cost(network: _Keyed, classes: int, channels: int, size: int) -> tuple[int, int]:
    with torch.random.fork_rng(devices=[]):  # weights are drawn, and thrown away
        built = parts.network(network.spec, Image(classes, channels, size))
    return count(built, channels, size)


@lru_cache(maxsize=10_000)
def _footprint(network: _Keyed, classes: int, channels: int, size: int, final: bool) -> Footprint:
    with torch.random.fork_rng(devices=[]):
        built = parts.network(network.spec, Image(classes, channels, size), auxiliary=final)
    sizes: list[int] = []
    macs = 0

    def called(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal macs
        sizes.append(output.numel() // 2)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            macs += sizes[-1] * layer.weight[0].numel()

    for layer in built.modules():
        if not any(True for _ in layer.children()):
            layer.register_forward_hook(called)
    with torch.no_grad():
        built.train()(torch.zeros(2, channels, size, size))  # two images: batch norm has no variance of one
    params = sum(parameter.numel() for parameter in built.parameters())
    return Footprint(macs, len(sizes), sum(sizes), max(sizes), params)
