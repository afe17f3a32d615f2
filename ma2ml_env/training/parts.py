"""Builds the parts of a recipe from their specs, by kind. Those of third parties are found through the registry."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import nn

from ma2ml_env.recipe import Recipe, Spec, check_slots
from ma2ml_env.registry import names, resolve, singular
from ma2ml_env.training.images import augment
from ma2ml_env.training.losses import Focal, Poly, Weighted
from ma2ml_env.training.networks.base import Drops, Image
from ma2ml_env.training.networks.mobile import Mobile
from ma2ml_env.training.networks.nasnet import NASNet
from ma2ml_env.training.networks.plain import Plain
from ma2ml_env.training.networks.resnet_cifar import ResNetCifar

T = TypeVar("T")

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "nasnet": NASNet,
    "mobile": Mobile,
    "resnet_cifar": ResNetCifar,
    "plain": Plain,
}
"""kind -> class; it takes the spec's arguments and, by name, `image`, `drops` and `auxiliary`"""
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
FUSED = {"sgd"}
"""optimizers that can take all weights in one call, a quarter of the time, which is 4 % of a step of the smallest networks"""
LOSSES: dict[str, Callable[..., nn.Module]] = {"cross_entropy": nn.CrossEntropyLoss, "focal": Focal, "poly": Poly}
RECORDABLE: set[type[nn.Module]] = {NASNet, Mobile, ResNetCifar, Plain, nn.CrossEntropyLoss, Focal, Poly}
"""networks and losses whose steps a GPU may replay: they do the same at each call, with no state and no draws of Python's, and
change buffers in place"""
HEAVIEST = 1_000_000_000
"""weights of a network"""
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""autocast's type, None is none; beside these a recipe may say auto"""


class InvalidRecipe(ValueError):
    """A recipe that cannot be built; the message names the slot."""


def network(spec: Spec, image: Image, drops: Drops = Drops(), auxiliary: bool = False) -> nn.Module:  # noqa: B008 (frozen)
    """The network of a recipe.

    Args:
        spec: kind and arguments.
        image: what it sees and says.
        drops: what it leaves out in training.
        auxiliary: whether to build an auxiliary head, if it has one.

    Raises:
        InvalidRecipe: if the kind is unknown or does not take these arguments.
    """
    return _build("networks", NETWORKS, spec, image=image, drops=drops, auxiliary=auxiliary)


def check_network(spec: Spec) -> None:
    """Refuse a network that is far too large for any memory, before it takes that. Of the kinds of `NETWORKS` alone.

    Raises:
        InvalidRecipe: if it cannot be built, or has more than `HEAVIEST` weights.
    """
    if spec.kind in NETWORKS:
        with torch.device("meta"):  # sizes alone, no memory
            weights = sum(each.numel() for each in network(spec, Image(10)).parameters())
        if weights > HEAVIEST:
            told = ", ".join(f"{name} {value}" for name, value in spec.args.items() if isinstance(value, int))
            raise InvalidRecipe(f"the network has {weights:,} weights, more than {HEAVIEST:,} ({spec.kind}: {told})")


def network_class(kind: str) -> Callable[..., nn.Module]:
    """What a kind of network is made by.

    Raises:
        InvalidRecipe: if the kind is unknown.
    """
    return _maker("networks", NETWORKS, kind)


def optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter], *, fused: bool = True) -> torch.optim.Optimizer:
    """The update rule. The decay acts on all weights, those of batch norm and biases included, as in DARTS.

    Args:
        recipe: kind, learning rate and weight decay.
        parameters: what to update.
        fused: in one call where the kind can. Not with a scaler of gradients: on a CPU, torch's fused SGD takes the steps that
            the scaler found infinite.

    Raises:
        InvalidRecipe: if the kind is unknown or does not take these arguments.
    """
    options: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer.kind in FUSED:
        options["fused"] = fused
    return _build("optimizers", OPTIMIZERS, recipe.optimizer, list(parameters), **options)


def loss(spec: Spec, weights: torch.Tensor | None = None) -> nn.Module:
    """The training loss: (logits (B, classes), labels (B,) or class probabilities (B, classes)) -> scalar, a batch's mean.

    Args:
        spec: kind and arguments.
        weights: of the classes, (classes,); None leaves them alike.

    Raises:
        InvalidRecipe: if the kind is unknown or does not take these arguments; with weights, if it has no `reduction`.
    """
    if weights is None:
        return _build("losses", LOSSES, spec)
    try:
        return Weighted(_build("losses", LOSSES, spec.with_args(reduction="none")), weights)
    except InvalidRecipe as error:
        _build("losses", LOSSES, spec)  # an error of its own comes first
        raise InvalidRecipe(
            f"classes cannot be weighted in the loss {spec.kind!r}, it has no reduction: {error}"
        ) from None


def recordable(network: nn.Module, criterion: nn.Module) -> bool:
    """Whether a GPU may replay their steps: both are `RECORDABLE`, a loss whose classes are weighted if that inside is."""
    inside = criterion.criterion if isinstance(criterion, Weighted) else criterion
    return {type(network), type(inside)} <= RECORDABLE


def check(recipe: Recipe) -> None:
    """Refuse numbers that no training can use.

    Raises:
        InvalidRecipe: if a slot is out of its range; it is named.
    """
    try:
        check_slots(recipe)
    except (ValueError, TypeError) as error:
        raise InvalidRecipe(str(error)) from None
    if type(recipe.resolution) is not int:
        raise InvalidRecipe(f"recipe field 'resolution' is out of its range: {recipe.resolution}")
    try:
        augment.check(recipe.augment)
    except (ValueError, TypeError) as error:
        raise InvalidRecipe(f"recipe field 'augment': {error}") from None


def _maker(group: str, table: dict[str, Callable[..., T]], kind: str) -> Callable[..., T]:
    if kind not in (known := [*table, *names(group)]):
        raise InvalidRecipe(f"unknown {singular(group)} {kind!r}; known are {', '.join(known)}")
    made: Callable[..., T] = table[kind] if kind in table else resolve(group, kind)
    return made


def _build(group: str, table: dict[str, Callable[..., T]], spec: Spec, *args: Any, **extra: Any) -> T:
    make = _maker(group, table, spec.kind)
    try:
        return make(*args, **spec.args, **extra)
    except (TypeError, ValueError) as error:
        raise InvalidRecipe(f"recipe field {singular(group)!r}, kind {spec.kind!r}: {error}") from None
