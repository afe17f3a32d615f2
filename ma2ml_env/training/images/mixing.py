"""Mixup: a network learns averages of two images and of their labels (Zhang et al. 2018, arXiv 1710.09412)."""

import numpy as np
from torch import Tensor, nn


def share(alpha: float, seed: int, step: int) -> float:
    """The first image's share in a step's averages, drawn from Beta(alpha, alpha).

    It is a function of its arguments, so mixup changes no other draw of a training, and one that is resumed goes on as it was.

    Args:
        alpha: above 0; small ones leave most batches nearly as they are.
        seed: of the training.
        step: of the training, from 0.
    """
    return float(np.random.default_rng([seed, step]).beta(alpha, alpha))


def mixup(images: Tensor, labels: Tensor, classes: int, share: float) -> tuple[Tensor, Tensor]:
    """Each image averaged with the one before it in its batch, whose order is random.

    Args:
        images: (B, C, H, W) floats.
        labels: (B,) classes.
        classes: how many there are.
        share: of the image itself, in [0, 1]; the other one has the rest.

    Returns:
        Images (B, C, H, W) and probabilities of the classes (B, classes).
    """
    targets = nn.functional.one_hot(labels, classes).to(images.dtype)
    return images.lerp(images.roll(1, 0), 1.0 - share), targets.lerp(targets.roll(1, 0), 1.0 - share)
