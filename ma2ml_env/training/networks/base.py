"""What all networks share: what they are told of the images and of drops, and how far their training is.

This file imports torch alone: exported models carry a copy of it.
"""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Image:
    """What a network sees and says.

    Raises:
        ValueError: if a number is below 1.
    """

    classes: int
    """of the output"""
    channels: int = 3
    size: int = 32
    """side in pixels"""

    def __post_init__(self) -> None:
        if min(self.classes, self.channels, self.size) < 1:
            raise ValueError(f"classes, channels and size are at least 1: {self}")


@dataclass(frozen=True)
class Drops:
    """What a network leaves out at random in training mode, as probabilities in [0, 1).

    Raises:
        ValueError: if one is out of its range; it is named.
    """

    drop_path: float = 0.0
    """of a path at full depth at the end of the training (ScheduledDropPath, Zoph et al. 2018, arXiv 1707.07012)"""
    dropout: float = 0.0
    """of a feature before the linear layer"""
    stochastic_depth: float = 0.0
    """of a path at full depth, throughout the training (Huang et al. 2016, arXiv 1603.09382)"""

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            if not 0.0 <= share < 1.0:
                raise ValueError(f"{name} lies in [0, 1), not {share}")

    def path(self, depth: float, progress: float | Tensor = 1.0) -> float | Tensor:
        """Probability of losing a path, in [0, 1): it survives if it survives both kinds, which rise linearly with its depth.

        Args:
            depth: of the path, in (0, 1]; 1 is the last.
            progress: share of the training that is done, in [0, 1], by which `drop_path` rises; 1 where it has no schedule.
        """
        return 1.0 - (1.0 - self.drop_path * progress * depth) * (1.0 - self.stochastic_depth * depth)


class BaseNetwork(nn.Module):
    """A network: images (B, channels, size, size) -> logits (B, classes)."""

    progress: float | Tensor
    """share of the training that is done, in [0, 1]; the training loop sets it before each step, on a GPU as a tensor"""

    def __init__(self, drops: Drops) -> None:
        super().__init__()
        self.drops = drops
        self.progress = 0.0
