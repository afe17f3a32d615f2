"""Training losses that torch and torchvision do not have for more than two classes, and weights of classes around any loss.

Each is the mean over a batch of what an image's class costs; of probabilities in place of a class, as mixup makes them, the
mean over the classes too. Both are computed in float32, whatever the precision of the logits. `reduction` is as of torch's
losses: `none` gives what each image costs, which weights of classes need.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

ClassWeights = Literal["none", "balanced"]


class Focal(nn.Module):
    """(1 - p)^gamma x cross-entropy, p being the probability of the image's class (Lin et al. 2017, arXiv 1708.02002, eq. 4).

    Images that are already right count less.

    Args:
        gamma: at least 0; 0 is cross-entropy.
        reduction: `mean` or `none`.

    Raises:
        ValueError: if gamma is out of its range.
    """

    def __init__(self, gamma: float = 2.0, reduction: str = "mean") -> None:
        super().__init__()
        self.reduce = _reduction(reduction)
        if not 0.0 <= gamma < float("inf"):
            raise ValueError(f"gamma is at least 0, not {gamma}")
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, classes), labels (B,) or class probabilities (B, classes) -> scalar."""
        logs = logits.float().log_softmax(1)
        others = (1.0 - logs.exp()).clamp(min=1e-6)  # a power below 1 has no slope at 0
        return self.reduce(_costs(-(others**self.gamma) * logs, targets))


class Poly(nn.Module):
    """Poly-1: cross-entropy + epsilon x (1 - p), p as above (Leng et al. 2022, arXiv 2204.12511, section 4).

    Cross-entropy is the sum of (1 - p)^j / j over j = 1, 2, ...; this changes the weight of its first term.

    Args:
        epsilon: at least -1, which takes the term away; 0 is cross-entropy.
        reduction: `mean` or `none`.

    Raises:
        ValueError: if epsilon is out of its range: below it, certainty is punished.
    """

    def __init__(self, epsilon: float = 2.0, reduction: str = "mean") -> None:
        super().__init__()
        self.reduce = _reduction(reduction)
        if not -1.0 <= epsilon < float("inf"):
            raise ValueError(f"epsilon is at least -1, not {epsilon}")
        self.epsilon = epsilon

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, classes), labels (B,) or class probabilities (B, classes) -> scalar."""
        logs = logits.float().log_softmax(1)
        return self.reduce(_costs(self.epsilon * (1.0 - logs.exp()) - logs, targets))


class Weighted(nn.Module):
    """A loss in which what an image costs is multiplied by its class's weight; then the mean over the batch.

    An image that is mixed of several classes has each of its shares weighted by that class's weight. Smoothing of labels is
    part of what an image costs. The mean is over images and not over weights, so micro-batches give the batch's gradient.

    Args:
        criterion: the loss, with the reduction `none`: (logits (B, classes), labels or probabilities) -> (B,).
        weights: of the classes, (classes,), at least 0.
    """

    weights: Tensor

    def __init__(self, criterion: nn.Module, weights: Tensor) -> None:
        super().__init__()
        self.criterion = criterion
        self.register_buffer("weights", weights.float())

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, classes), labels (B,) or class probabilities (B, classes) -> scalar."""
        costs: Tensor
        if not targets.is_floating_point():
            costs = self.criterion(logits, targets)
            return (costs * self.weights[targets]).mean()
        shares = targets * self.weights
        total = shares.sum(1)
        mixed = shares / total.clamp(min=torch.finfo(total.dtype).tiny)[:, None]  # probabilities again
        costs = self.criterion(logits, mixed)
        return (costs * total).mean()


def weights_of_classes(name: ClassWeights, labels: Tensor, classes: int) -> Tensor | None:
    """Weights (classes,) by the labels (N,) of the training images; None of `none`.

    `balanced`: N / (classes that have images x images of the class), as scikit-learn's `compute_class_weight`, so that each of
    them has the same share of the loss and their mean over images is 1; 0 of a class without images.

    Raises:
        ValueError: if the name is another.
    """
    if name not in get_args(ClassWeights):
        raise ValueError(f"class_weights is {' or '.join(get_args(ClassWeights))}, not {name!r}")
    if name == "none":
        return None
    counts = torch.bincount(labels.cpu(), minlength=classes).double()
    weights = len(labels) / ((counts > 0).sum() * counts.clamp(min=1.0))
    return torch.where(counts > 0, weights, 0.0).float()


def _costs(costs: Tensor, targets: Tensor) -> Tensor:
    """Of costs (B, classes) that of each image's class (B,), or their mean by the probabilities of its classes."""
    if targets.is_floating_point():
        return (costs * targets).sum(1)
    return costs.gather(1, targets[:, None])[:, 0]


def _reduction(name: str) -> Callable[[Tensor], Tensor]:
    if name not in ("mean", "none"):
        raise ValueError(f"reduction is mean or none, not {name!r}")
    return torch.mean if name == "mean" else _each


def _each(costs: Tensor) -> Tensor:
    return costs
