"""Reader of images that a user brings as arrays in an npz file. Nothing in it is run; what is wrong is named."""

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.training.data.raw import Part, Raw

# What numpy and zipfile raise on files of another kind, and on members that cannot be unpacked or lie about their size.
_NO_ARRAYS = (
    zipfile.BadZipFile, zlib.error, ValueError, OSError, LookupError, EOFError, AttributeError, TypeError
)  # fmt: skip
_UNREADABLE = (MemoryError, NotImplementedError, RuntimeError, struct.error)


def read_npz(path: Path) -> Raw:
    """An npz file: `x_train` uint8 N x H x W or N x H x W x C, `y_train` integers; `x_test` and `y_test` if there are any.

    Labels may be any integers: the sorted distinct ones of `y_train` are the classes, and name them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no npz file, or an array is missing or not as described.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: --npz takes a file with x_train and y_train")
    arrays = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in ("x_train", "y_train", "x_test", "y_test"):
                if name in archive:
                    arrays[name] = archive[name]
                    if not isinstance(arrays[name], np.ndarray):  # numpy hands out a member that is no array as it is
                        raise ValueError(f"{name} is no array")
    except _NO_ARRAYS as error:
        raise ValueError(f"{path} is not an npz file of plain arrays: {error}") from None
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not an npz file that can be read: {error}") from None
    missing = [name for name in ("x_train", "y_train") if name not in arrays]
    if missing or ("x_test" in arrays) != ("y_test" in arrays):
        raise ValueError(
            f"{path}: x_train and y_train are needed, x_test and y_test only together; it has {sorted(arrays)}"
        )
    parts: list[Part] = ["train", "test"] if "x_test" in arrays else ["train"]
    for part in parts:
        _check_pair(path, part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    names = np.unique(arrays["y_train"])
    unknown = sorted(set(np.unique(arrays["y_test"]).tolist()) - set(names.tolist())) if "y_test" in arrays else []
    if unknown:
        raise ValueError(f"{path}: y_test holds labels that y_train does not: {unknown[:5]}")
    images: dict[Part, NDArray[np.uint8]] = {part: _channels_first(arrays[f"x_{part}"]) for part in parts}
    if "test" in images and images["test"].shape[1:] != images["train"].shape[1:]:
        raise ValueError(f"{path}: images of x_train and x_test differ in shape")
    labels: dict[Part, NDArray[np.int64]] = {
        part: np.searchsorted(names, arrays[f"y_{part}"]).astype(np.int64) for part in parts
    }
    class_names = tuple(str(name) for name in names.tolist())
    return Raw(images, labels, class_names)


def _check_pair(path: Path, part: str, x: NDArray[np.generic], y: NDArray[np.generic]) -> None:
    shape = x.shape
    if x.dtype != np.uint8:
        raise ValueError(f"{path}: x_{part} must be uint8 in 0..255, not {x.dtype}")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or 0 in shape:
        raise ValueError(
            f"{path}: x_{part} must be N x H x W or N x H x W x C with C 1 or 3, not {' x '.join(map(str, shape))}"
        )
    if y.shape != (shape[0],) or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"{path}: y_{part} must be {shape[0]} integers, not {y.dtype} of shape {y.shape}")


def _channels_first(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """N x H x W [x C] to (N, C, H, W)."""
    return images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
