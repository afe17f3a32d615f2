"""The random crop of ImageNet's recipes: a part of the image of random area and shape, resized (Szegedy et al. 2015)."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

RATIOS = (3 / 4, 4 / 3)
"""of width to height, torchvision's"""


def resized_crop(images: Tensor, area: float, side: int, draws: Generator) -> Tensor:
    """Crop every image for itself: uint8 (B, C, H, W) -> uint8 (B, C, side, side).

    The area is uniform in [area, 1] of the image's, the ratio of width to height log-uniform. A crop that is wider or higher
    than the image is cut to it, where torchvision draws again. Bilinear, without antialiasing: images are kept little larger
    than networks want them.

    Args:
        images: squares.
        area: smallest share of the image's area, in (0, 1].
        side: of the result, in pixels.
        draws: on the CPU, whatever the images' device.
    """
    n = len(images)
    uniform = torch.rand(4, n, generator=draws)
    share = area + (1.0 - area) * uniform[0]
    low, high = (torch.tensor(ratio).log() for ratio in RATIOS)
    ratio = (low + (high - low) * uniform[1]).exp()
    width, height = (share * ratio).sqrt().clamp(max=1.0), (share / ratio).sqrt().clamp(max=1.0)
    # In the grid's units an image reaches from -1 to 1, so a crop's centre is at most 1 - its share away from 0.
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = width, (1.0 - width) * (2.0 * uniform[2] - 1.0)
    theta[:, 1, 1], theta[:, 1, 2] = height, (1.0 - height) * (2.0 * uniform[3] - 1.0)
    grid = F.affine_grid(
        theta.to(images.device, non_blocking=True), [n, images.shape[1], side, side], align_corners=False
    )
    cropped = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cropped.round_().to(torch.uint8)
