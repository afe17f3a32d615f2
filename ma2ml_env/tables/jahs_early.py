"""The early snapshot of a JAHS-Bench-201 surrogate on CIFAR-10: boosted trees, untuned, of June 2022.

Not the released JAHS-Bench-201. `docs/tables.md` says where it comes from.
"""

import os
import zipfile
import zlib
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.tables import cell201
from ma2ml_env.tables.base import Codes, TableSource
from ma2ml_env.tables.forest import PARTS, Forest

OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
EDGES = ("edge_1_2", "edge_1_3", "edge_1_4", "edge_2_3", "edge_2_4", "edge_3_4")
CELLS = (1, 3, 5)
WIDTHS = (4, 8, 16)
RESOLUTIONS = (0.25, 0.5, 1.0)
ACTIVATIONS = ("hardswish", "mish", "relu")
# Ten steps of the surrogate's ranges 1e-3..1 and 1e-5..1e-2, even in the logarithm.
LEARNING_RATES = (0.001, 0.002154, 0.004642, 0.01, 0.02154, 0.04642, 0.1, 0.2154, 0.4642, 1.0)
WEIGHT_DECAYS = (1e-5, 2.154e-5, 4.642e-5, 1e-4, 2.154e-4, 4.642e-4, 1e-3, 2.154e-3, 4.642e-3, 1e-2)
TRIVIAL_AUGMENT = (False, True)
EPOCHS = 200

AUG_SPACE = SearchSpace([Decision("trivial_augment", TRIVIAL_AUGMENT)])
NAS_SPACE = SearchSpace(
    [Decision(edge, OPERATIONS, kind="operation") for edge in EDGES]
    + [
        Decision("cells", CELLS, ordered=True),
        Decision("width", WIDTHS, ordered=True),
        Decision("resolution", RESOLUTIONS, ordered=True),
    ]
)
HPO_SPACE = SearchSpace(
    [
        Decision("activation", ACTIVATIONS),
        Decision("learning_rate", LEARNING_RATES, ordered=True),
        Decision("weight_decay", WEIGHT_DECAYS, ordered=True),
    ]
)

FOLDER = "jahs_cifar10_early"
VARIABLE = "MA2ML_LANDSCAPES"
"""environment variable: the folder that holds `FOLDER`"""
TOP = 95.0
"""per cent; what the surrogate predicts outside 0..95 is an artefact and is clipped"""

_FEATURES = 41  # activation 3, operation 6 x 5, constant, augmentation, then these:
_CONSTANT, _AUGMENT, _RATE, _CELLS, _RESOLUTION, _WIDTH, _DECAY, _EPOCH = range(33, 41)


class JahsEarly(TableSource):
    """The table. It has no repeated measurements: it is without noise.

    Args:
        data: folder that holds `jahs_cifar10_early`, or that folder itself; None takes the environment's MA2ML_LANDSCAPES.

    Raises:
        FileNotFoundError: it is not there; the message says how to get it.
        ValueError: the file is another one.
    """

    def __init__(self, data: str | Path | None = None) -> None:
        self.spaces = {"aug": AUG_SPACE, "nas": NAS_SPACE, "hpo": HPO_SPACE}
        path = _find(data)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                names = {part: f"valid_acc_{part}" for part in PARTS}
                arrays = {part: stored[name] for part, name in names.items() if name in stored.files}
            self._forest = Forest(arrays, _groups())
        except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is not the early JAHS snapshot: {error}") from None
        self._weights = np.array([cell201.WEIGHTS[name] for name in OPERATIONS])
        self._pixels = np.array([round(32 * resolution) for resolution in RESOLUTIONS])

    def look_up(self, codes: Codes, picks: NDArray[np.uint64] | None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """As the contract says; `picks` have nothing to choose."""
        (augment,), nas, (activation, rate, decay) = codes["aug"].T, codes["nas"].T, codes["hpo"].T
        choices = [
            nas[0] * 25 + nas[1] * 5 + nas[2],
            nas[3] * 25 + nas[4] * 5 + nas[5],
            nas[6] * 18 + nas[7] * 6 + nas[8] * 2 + augment,
            activation * 100 + rate * 10 + decay,
        ]
        accuracy = self._forest.predict(choices).clip(0.0, TOP) / 100.0
        weights = self._weights[nas[:6]].sum(axis=0)
        cells, width = np.array(CELLS)[nas[6]], np.array(WIDTHS)[nas[7]]
        return accuracy, cell201.macs(weights, cells, width, self._pixels[nas[8]])


def _find(data: str | Path | None) -> Path:
    given = data if data is not None else os.environ.get(VARIABLE)
    folders = [] if not given else [Path(given) / FOLDER, Path(given)]
    for folder in folders:
        if (folder / "trees.npz").is_file():
            return folder / "trees.npz"
    where = f"in {given}" if given else "given"
    raise FileNotFoundError(
        f"the early JAHS snapshot is not {where}: give the folder that holds {FOLDER}/trees.npz as data (--data DIR) or in "
        f"{VARIABLE}. It comes from the git history of github.com/automl/jahs_bench_201 (MIT); docs/tables.md says how"
    )


def _groups() -> list[NDArray[np.float32]]:
    """Feature values of the four groups of decisions that `look_up` puts together."""
    groups = []
    for edges in ((0, 1, 2), (3, 4, 5)):
        rows = _rows(5**3)
        for row, operations in zip(rows, product(range(5), repeat=3), strict=True):
            for edge, operation in zip(edges, operations, strict=True):
                start = 3 + 5 * edge
                row[start : start + 5] = np.arange(5) == operation
        groups.append(rows)
    rows = _rows(len(CELLS) * len(WIDTHS) * len(RESOLUTIONS) * 2)
    rows[:, [_CELLS, _WIDTH, _RESOLUTION, _AUGMENT]] = list(product(CELLS, WIDTHS, RESOLUTIONS, TRIVIAL_AUGMENT))
    rows[:, [_CONSTANT, _EPOCH]] = 1.0, EPOCHS
    groups.append(rows)
    rows = _rows(len(ACTIVATIONS) * len(LEARNING_RATES) * len(WEIGHT_DECAYS))
    settings = product(range(len(ACTIVATIONS)), LEARNING_RATES, WEIGHT_DECAYS)
    for row, (activation, rate, decay) in zip(rows, settings, strict=True):
        row[:3] = np.arange(3) == activation
        row[[_RATE, _DECAY]] = rate, decay
    groups.append(rows)
    return groups


def _rows(n: int) -> NDArray[np.float32]:
    return np.full((n, _FEATURES), np.nan, dtype=np.float32)
