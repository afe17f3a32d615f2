"""What a trained network says of images, in one pass on its device."""

import numpy as np
import torch
from torch import Tensor, nn

from ma2ml_env.metrics import LEAST, Predictions
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.images import batches
from ma2ml_env.training.numerics import half_type

EVALUATION_BATCH = 500
"""images that are measured at once, of up to 64 pixels a side; as many fewer of larger ones as they have more pixels"""


def predict(
    network: nn.Module,
    dataset: Dataset,
    images: Tensor,
    labels: Tensor,
    resolution: int = 0,
    most: int | None = None,
) -> Predictions | None:
    """What a network in evaluation mode says of uint8 images (N, C, H, W); None of no images.

    The images are brought to `resolution`, the recipe's, before the network, at most `most` at a time. Nothing but the answers
    waits for the device: they are fetched once, at the end.
    """
    if not len(images):
        return None
    batch = min(EVALUATION_BATCH, max(1, EVALUATION_BATCH * 64**2 // (resolution or dataset.size) ** 2))
    batch = min(batch, most or batch)
    device = next(network.parameters()).device
    half = half_type(device, "auto")
    answers = []
    with torch.inference_mode():
        for x, y in zip(torch.split(images, batch), torch.split(labels, batch), strict=True):
            with torch.autocast(device.type, half, enabled=half is not None):
                logits = network(batches.resize(batches.normalise(x.to(device), dataset), resolution))
            answers.append(_answers(logits, y.to(device)))
    predicted, ranks, logs = (torch.cat(some).cpu().numpy() for some in zip(*answers, strict=True))
    return Predictions(dataset.classes, labels.cpu().numpy().astype(np.int64), predicted, ranks, logs)


def _answers(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted class, rank and log-probability of the right one, of logits (B, classes), (B,) each."""
    predicted = logits.argmax(1)
    logits, right = logits.float(), labels[:, None]
    logs = logits.log_softmax(1).gather(1, right)[:, 0]
    numbers = logits.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    own, places = numbers.gather(1, right), torch.arange(logits.shape[1], device=logits.device)
    before = (numbers > own) | ((numbers == own) & (places < right))
    return predicted, before.sum(1), logs.nan_to_num(nan=LEAST).clamp(LEAST, 0.0)
