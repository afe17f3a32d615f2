"""The recipe: what to train, complete.

Every slot that a trainer reads is a field here, with a neutral default. Modules write slots with `Recipe.with_slots`; the
trainer reads them; nothing else crosses. Two recipes with the same content have the same `key`, in every process.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, NamedTuple

from ma2ml_env.io.reading import check_fields
from ma2ml_env.io.settings import LARGEST as HUGE
from ma2ml_env.io.settings import MOST

# NASNet-A (Zoph et al. 2018, Fig. 4) in this project's words: (input, operation, input, operation, combine) per block;
# input 0 is the cell before the previous one, 1 the previous one, 2.. the blocks of this cell.
NASNET_A_NORMAL = (
    (0, "sep_conv_3x3", 0, "sep_conv_5x5", "add"),
    (0, "avg_pool_3x3", 0, "avg_pool_3x3", "add"),
    (0, "identity", 1, "avg_pool_3x3", "add"),
    (0, "sep_conv_3x3", 1, "sep_conv_5x5", "add"),
    (1, "identity", 1, "sep_conv_3x3", "add"),
)
NASNET_A_REDUCTION = (
    (0, "sep_conv_7x7", 1, "sep_conv_5x5", "add"),
    (0, "sep_conv_7x7", 1, "max_pool_3x3", "add"),
    (0, "sep_conv_5x5", 1, "avg_pool_3x3", "add"),
    (1, "max_pool_3x3", 2, "sep_conv_3x3", "add"),
    (2, "avg_pool_3x3", 3, "identity", "add"),
)

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
LARGEST = 10_000
"""side of an image in pixels"""


class Operation(NamedTuple):
    """One augmentation operation of a sub-policy."""

    name: str
    """one of `ma2ml_env.modules.aug.OPERATIONS`"""
    probability: float
    """of being applied to an image, in (0, 1]"""
    level: int | None
    """magnitude index in 0..9; None where the operation has no magnitude"""


SubPolicy = tuple[Operation, ...]


@dataclass(frozen=True)
class Spec:
    """A part by its kind and arguments: `Spec("nasnet", {"filters": 36})`. `training/parts.py` builds it.

    Arguments are JSON values with tuples for lists.
    """

    kind: str
    args: Mapping[str, Any] = field(default_factory=dict)

    def with_args(self, **args: Any) -> "Spec":
        """The same kind with these arguments replaced or added."""
        return Spec(self.kind, {**self.args, **args})


@dataclass(frozen=True)
class Recipe:
    """Every slot a trainer reads. The defaults are the paper's CIFAR final training where the paper gives a number."""

    network: Spec = Spec(
        "nasnet",
        {
            "normal": NASNET_A_NORMAL,
            "reduction": NASNET_A_REDUCTION,
            "cells": 17,
            "reductions": (5, 11),
            "filters": 36,
        },
    )
    """nasnet: cells in order, positions (0-based) of the reduction cells, filters of the first cell"""
    resolution: int = 0
    """side in pixels that images are resized to before the network, after the augmentation, in training and ever after; 0
    leaves them as they are"""
    augment: tuple[SubPolicy, ...] = ()
    """every image draws one of these uniformly; () is no policy, an empty sub-policy leaves the image alone"""
    crop_padding: int = 4
    """pixels of zero padding before the random crop; 0 is no crop"""
    crop_area: float = 0.0
    """smallest share of an image's area that a random crop keeps, which is then resized (ImageNet: 0.08); 0 is no such crop"""
    flip: bool = True
    """horizontal flip with probability 1/2"""
    cutout: int = 16
    """side of the square that is erased after the policy, in pixels; 0 is none (DeVries and Taylor 2017)"""
    mixup: float = 0.0
    """alpha of mixup, which comes last: pairs of images and of labels are averaged, with a share of Beta(alpha, alpha) for each
    batch; 0 is none"""
    optimizer: Spec = Spec("sgd", {"momentum": 0.9, "nesterov": True})
    """update rule, without rate and decay"""
    learning_rate: float = 0.025
    """peak rate at the end of the linear warm-up; then cosine to zero"""
    weight_decay: float = 3e-4
    """L2 on all weights"""
    warmup: float = 0.05
    """share of the training in which the rate rises linearly, in [0, 1)"""
    loss: Spec = Spec("cross_entropy", {"label_smoothing": 0.0})
    """training loss"""
    batch_size: int = 96
    """images a step"""
    clip_norm: float = 5.0
    """largest norm of the whole gradient; 0 is no clipping"""
    precision: str = "auto"
    """what the training multiplies in: float32, bfloat16 or float16 by autocast; auto is what suits the device"""
    ema: float = 0.0
    """decay a step, in [0, 1), of a moving average of the weights, which is then the trained network; 0 is none"""
    dropout: float = 0.0
    """probability of dropping a feature before the classifier"""
    stochastic_depth: float = 0.0
    """probability of dropping a path in the last layers, falling linearly to the first; the same throughout, at any fidelity"""
    drop_path: float = 0.4
    """final probability of dropping a path in the last cell; acts at fidelity 1.0 only (ScheduledDropPath)"""
    auxiliary: float = 0.4
    """weight of the auxiliary head's loss; acts at fidelity 1.0 only, and nowhere in a network without such a head"""
    epochs: int = 600
    """of the full training; a job trains round(fidelity x epochs), at least one"""

    @cached_property
    def key(self) -> str:
        """Content key, 32 hex digits: equal content, equal key, whatever the process or the order of dicts."""
        return content_key(self.to_json())

    @cached_property
    def network_key(self) -> str:
        """Content key of the network alone: what MACs and parameters depend on, beside the image's shape."""
        return content_key({"kind": self.network.kind, "args": self.network.args})

    def with_slots(self, **slots: Any) -> "Recipe":
        """`dataclasses.replace`, at a fifth of its price: modules call this for every pipeline that is played."""
        unknown = slots.keys() - _SLOTS
        if unknown:
            raise TypeError(f"not slots of a recipe: {', '.join(sorted(unknown))}")
        recipe = object.__new__(Recipe)
        kept = {name: value for name, value in self.__dict__.items() if name in _SLOTS}  # but no cached key
        recipe.__dict__.update(kept | slots)
        return recipe

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Recipe":
        """Inverse of `to_json`.

        Raises:
            ValueError: if a field is unknown or has the wrong shape; the field is named.
        """
        check_fields(cls(), data, "a recipe")
        values = {name: _freeze(value) for name, value in data.items()}
        for name in ("network", "optimizer", "loss"):
            if name in values:
                part = values[name]
                if (
                    set(part) != {"kind", "args"}
                    or not isinstance(part["kind"], str)
                    or not isinstance(part["args"], dict)
                ):
                    raise ValueError(f"recipe field {name!r} must be an object with 'kind' and 'args'")
                values[name] = Spec(**part)
        if "augment" in values:
            try:
                values["augment"] = tuple(tuple(Operation(*op) for op in sub) for sub in values["augment"])
            except TypeError:
                raise ValueError("recipe field 'augment' must be sub-policies of [name, probability, level]") from None
        return cls(**values)


_SLOTS = frozenset(f.name for f in fields(Recipe))


def check_slots(recipe: Recipe) -> None:
    """Refuse numbers that no training can use.

    Raises:
        ValueError: if a slot is out of its range; it is named.
    """
    ranges = {
        "resolution": 0 <= recipe.resolution <= LARGEST,
        "crop_padding": 0 <= recipe.crop_padding <= LARGEST,
        "crop_area": 0.0 <= recipe.crop_area <= 1.0,
        "cutout": 0 <= recipe.cutout <= LARGEST,
        "mixup": 0.0 <= recipe.mixup <= HUGE,
        "learning_rate": 0.0 < recipe.learning_rate <= HUGE,
        "weight_decay": 0.0 <= recipe.weight_decay <= HUGE,
        "warmup": 0.0 <= recipe.warmup < 1.0,
        "batch_size": 2 <= recipe.batch_size <= MOST,  # batch norm has no variance of one image
        "clip_norm": 0.0 <= recipe.clip_norm <= HUGE,
        "precision": recipe.precision in PRECISIONS,
        "ema": 0.0 <= recipe.ema < 1.0,
        "dropout": 0.0 <= recipe.dropout < 1.0,
        "stochastic_depth": 0.0 <= recipe.stochastic_depth < 1.0,
        "drop_path": 0.0 <= recipe.drop_path < 1.0,
        "auxiliary": 0.0 <= recipe.auxiliary <= HUGE,
        "epochs": 1 <= recipe.epochs <= MOST,
    }
    for name, fits in ranges.items():
        if not fits:
            raise ValueError(f"recipe field {name!r} is out of its range: {str(vars(recipe)[name])[:50]}")


def content_key(content: Any) -> str:
    """SHA-256 of the canonical JSON of `content`, first 32 hex digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _freeze(value: Any) -> Any:
    """JSON lists as tuples, all the way down."""
    if isinstance(value, (list, tuple)):
        return tuple(_freeze(item) for item in value)
    if isinstance(value, Mapping):
        return {name: _freeze(item) for name, item in value.items()}
    return value
