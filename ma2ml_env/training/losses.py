"""Training losses that torch and torchvision do not have for more than two classes.

Each is the mean over a batch of what an image's class costs; of probabilities in place of a class, as mixup makes them, the
mean over the classes too. Both are computed in float32, whatever the precision of the logits.
"""

from torch import Tensor, nn


class Focal(nn.Module):
    """(1 - p)^gamma x cross-entropy, p being the probability of the image's class (Lin et al. 2017, arXiv 1708.02002, eq. 4).

    Images that are already right count less.

    Args:
        gamma: at least 0; 0 is cross-entropy.

    Raises:
        ValueError: if gamma is out of its range.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        if not 0.0 <= gamma < float("inf"):
            raise ValueError(f"gamma is at least 0, not {gamma}")
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, classes), labels (B,) or class probabilities (B, classes) -> scalar."""
        logs = logits.float().log_softmax(1)
        others = (1.0 - logs.exp()).clamp(min=1e-6)  # a power below 1 has no slope at 0
        return _mean(-(others**self.gamma) * logs, targets)


class Poly(nn.Module):
    """Poly-1: cross-entropy + epsilon x (1 - p), p as above (Leng et al. 2022, arXiv 2204.12511, section 4).

    Cross-entropy is the sum of (1 - p)^j / j over j = 1, 2, ...; this changes the weight of its first term.

    Args:
        epsilon: at least -1, which takes the term away; 0 is cross-entropy.

    Raises:
        ValueError: if epsilon is out of its range: below it, certainty is punished.
    """

    def __init__(self, epsilon: float = 2.0) -> None:
        super().__init__()
        if not -1.0 <= epsilon < float("inf"):
            raise ValueError(f"epsilon is at least -1, not {epsilon}")
        self.epsilon = epsilon

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, classes), labels (B,) or class probabilities (B, classes) -> scalar."""
        logs = logits.float().log_softmax(1)
        return _mean(self.epsilon * (1.0 - logs.exp()) - logs, targets)


def _mean(costs: Tensor, targets: Tensor) -> Tensor:
    """Mean over images of the cost (B, classes) of their class, or over classes by their probabilities as well."""
    if targets.is_floating_point():
        return (costs * targets).sum(1).mean()
    return costs.gather(1, targets[:, None]).mean()
