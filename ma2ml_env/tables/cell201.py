"""The skeleton of NAS-Bench-201 (Dong and Yang 2020, arXiv 2001.00326), which JAHS-Bench-201 scales: its multiply-adds.

Stem of `width` channels, three stages of `cells` cells with 1, 2 and 4 times the width, a residual block that halves the
resolution before the second and third. A cell has four nodes and an operation on each of the six edges between them.
"""

import numpy as np
from numpy.typing import NDArray

WEIGHTS = {"none": 0, "skip_connect": 0, "nor_conv_1x1": 1, "nor_conv_3x3": 9, "avg_pool_3x3": 0}
"""operation -> kernel elements: its multiply-adds for each pixel and pair of channels"""


def macs(
    weights: NDArray[np.int64], cells: NDArray[np.int64], width: NDArray[np.int64], pixels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Multiply-adds (n,) of the convolutions and the classifier for one RGB image and 10 classes.

    Args:
        weights: (n,) sum of `WEIGHTS` over the six edges.
        cells: (n,) cells in a stage.
        width: (n,) channels of the first stage.
        pixels: (n,) side of the image.
    """
    total = pixels**2 * 27 * width
    for stage in range(3):
        channels, area = width * 2**stage, (pixels // 2**stage) ** 2
        total += cells * area * channels**2 * weights
        if stage:  # two 3x3 convolutions, and 1x1 on the shortcut
            before = channels // 2
            total += area * (before * channels * 9 + channels**2 * 9 + before * channels)
    return total + 4 * width * 10
