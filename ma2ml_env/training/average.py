"""A moving average of a network's weights: what is evaluated and saved in place of the last step's."""

from copy import deepcopy

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average(nn.Module):
    """Exponential moving average of the weights, with batch norm's means and variances, which belong to them.

    torch's `AveragedModel` asks its device every step how often it has averaged, and the step then waits for the answer; here
    the loop tells. It is a module so that it is saved like one.

    Args:
        network: whose weights; on its device, in its layout.
        decay: share of the average that a step keeps, in [0, 1). The first steps keep less, `(1 + step) / (10 + step)`, so that
            a short training does not end with the weights that it began with; TensorFlow's average, which MnasNet and
            EfficientNet were trained with, does the same.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = deepcopy(network)
        """has the average; its batch norms do not count batches, which no evaluation reads"""
        # Both lists share memory with the weights.
        self._means, self._weights = (
            [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]
            for module in (self.network, network)
        )

    def update(self, step: int) -> None:
        """Take in the weights after a step, which are counted from 0."""
        take_in = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
        take_in(self._means, self._weights, step)
