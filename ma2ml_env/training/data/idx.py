"""Reader of idx files of unsigned bytes, the format of MNIST and Fashion-MNIST. What is wrong in one is named."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_MOST = 1 << 28  # bytes in an idx file; the largest of those that are read here has 47 million


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes, plain or gzipped: the format of MNIST and Fashion-MNIST.

    Raises:
        ValueError: if it is cut short or no idx file.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(4)
            dimensions = head[3] if len(head) == 4 and head[:3] == b"\x00\x00\x08" else 0
            sizes = file.read(4 * dimensions)
            shape: Sequence[int] = np.frombuffer(sizes, dtype=">u4").tolist() if len(sizes) == 4 * dimensions else ()
            body = file.read(min(math.prod(shape), _MOST) + 1)  # one that says little and holds much is not unfolded
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not shape or len(body) != math.prod(shape):
        raise ValueError(f"{path} is not a whole idx file of unsigned bytes")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape).copy()
