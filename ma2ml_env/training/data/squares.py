"""Images that come decoded, as squares. torch and torchvision alone: the same source stands in every exported `model.py`."""

import torch
from torch import Tensor


def squared(images: Tensor, size: int, fit: str, background: tuple[int, int, int]) -> Tensor:
    """Images (N, C, H, W) uint8 as (N, C, size, size), by torchvision, with antialiasing.

    Args:
        images: grey (C = 1) or RGB (C = 3).
        size: side in pixels.
        fit: crop, pad or squash.
        background: red, green and blue of what is padded with.
    """
    height, width = images.shape[2:]
    if (height, width) == (size, size):
        return images
    from torchvision.transforms.v2 import functional as F  # who has squares already needs it not

    whole: Tensor
    if fit == "squash":
        whole = F.resize(images, [size, size])
        return whole
    if fit == "crop":
        whole = F.center_crop(F.resize(images, [size]), [size])
        return whole
    longer = max(height, width)
    inner = F.resize(images, [max(1, round(side * size / longer)) for side in (height, width)])
    filling = background if images.shape[1] == 3 else background[:1]
    whole = torch.tensor(filling, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
    whole = whole.repeat(len(images), 1, size, size)
    top, left = (size - inner.shape[2]) // 2, (size - inner.shape[3]) // 2
    whole[:, :, top : top + inner.shape[2], left : left + inner.shape[3]] = inner
    return whole
