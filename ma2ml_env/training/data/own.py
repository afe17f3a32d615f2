"""Readers of images that a user brings: folders, npz and idx files. Nothing in them is run; what is wrong is named."""

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
VALIDATION_FOLDERS = ("val", "validation", "valid")
PARTS = {"train", "training", *VALIDATION_FOLDERS, "test", "testing"}
"""in small letters: no class is called so that holds folders"""

# What numpy and zipfile raise on files of another kind, and on members that cannot be unpacked or lie about their size.
_NO_ARRAYS = (
    zipfile.BadZipFile, zlib.error, ValueError, OSError, LookupError, EOFError, AttributeError, TypeError
)  # fmt: skip
_UNREADABLE = (MemoryError, NotImplementedError, RuntimeError, struct.error)
_MOST = 1 << 28  # bytes in an idx file; the largest of those that are read here has 47 million


class Raw(NamedTuple):
    """Images (N, C, H, W) uint8 and labels (N,) int64 as they come, before the split. None: take it from the training part."""

    train_x: NDArray[np.uint8]
    train_y: NDArray[np.int64]
    class_names: tuple[str, ...]
    validation_x: NDArray[np.uint8] | None = None
    validation_y: NDArray[np.int64] | None = None
    test_x: NDArray[np.uint8] | None = None
    test_y: NDArray[np.int64] | None = None


def read_images(folder: Path, size: int) -> Raw:
    """A folder of images, one sub-folder a class.

    Either `train`, and optionally `val` and `test`, hold the class folders, or `folder` itself does. The caller splits off
    what is missing. Images are resized and centre-cropped to `size` pixels, one channel if all of them are grey, else three.

    Raises:
        FileNotFoundError: if the folder or its images are missing.
        ValueError: if a file cannot be read as an image, a class of val or test is not among those of train, or a folder looks
            like a part of the data under a name that is not read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: --images takes a folder of class folders")
    _check_names(folder)
    parts = {"train": folder}
    if (folder / "train").is_dir():
        parts = {"train": folder / "train"}
        for part, name in [("validation", name) for name in VALIDATION_FOLDERS] + [("test", "test")]:
            if (folder / name).is_dir():
                parts[part] = folder / name
    class_names = tuple(sorted(p.name for p in parts["train"].iterdir() if p.is_dir() and not p.name.startswith(".")))
    files: dict[str, list[tuple[Path, int]]] = {}
    for part, place in parts.items():
        unknown = sorted(p.name for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))
        unknown = [name for name in unknown if name not in class_names]
        if unknown:
            raise ValueError(f"{place}: classes {', '.join(unknown)} are not among the training classes")
        files[part] = [
            (path, label)
            for label, name in enumerate(class_names)
            for path in sorted((place / name).rglob("*"))
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ]
        if not files[part]:
            raise FileNotFoundError(f"no images in the class folders of {place}; known are {', '.join(SUFFIXES)}")
    empty = set(range(len(class_names))) - {label for _, label in files["train"]}
    if empty:
        raise ValueError(
            f"{parts['train']}: no images of class {', '.join(class_names[label] for label in sorted(empty))}"
        )
    arrays = {part: [read_image(path, size) for path, _ in listed] for part, listed in files.items()}
    channels = max(array.shape[0] for images in arrays.values() for array in images)
    stacked = {part: np.stack([np.broadcast_to(a, (channels, size, size)) for a in arrays[part]]) for part in arrays}
    labels = {part: np.array([label for _, label in listed], dtype=np.int64) for part, listed in files.items()}
    return Raw(
        stacked["train"],
        labels["train"],
        class_names,
        stacked.get("validation"),
        labels.get("validation"),
        stacked.get("test"),
        labels.get("test"),
    )


def _check_names(folder: Path) -> None:
    """Refuse `Train`, `testing`, ... that hold class folders: they would be taken for classes, or left out."""
    read = {"train", "test", *VALIDATION_FOLDERS} if (folder / "train").is_dir() else set()
    odd = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir()
        and path.name not in read
        and path.name.lower() in PARTS
        and any(p.is_dir() for p in path.iterdir())
    )
    if odd:
        raise ValueError(
            f"{folder}: {', '.join(odd)} would be {'left out' if read else 'taken for classes'}; the parts of the data are "
            "folders named train, val and test"
        )


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """(1 or 3, size, size): one channel for grey images, of which those of 16 bits keep the upper 8."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("L" if image.mode in ("1", "L") else "RGB")
            image = ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from None
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


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
    parts = ["train", "test"] if "x_test" in arrays else ["train"]
    for part in parts:
        _check_pair(path, part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    names = np.unique(arrays["y_train"])
    unknown = sorted(set(np.unique(arrays["y_test"]).tolist()) - set(names.tolist())) if "y_test" in arrays else []
    if unknown:
        raise ValueError(f"{path}: y_test holds labels that y_train does not: {unknown[:5]}")
    images = {part: _channels_first(arrays[f"x_{part}"]) for part in parts}
    if "test" in images and images["test"].shape[1:] != images["train"].shape[1:]:
        raise ValueError(f"{path}: images of x_train and x_test differ in shape")
    labels = {part: np.searchsorted(names, arrays[f"y_{part}"]).astype(np.int64) for part in parts}
    class_names = tuple(str(name) for name in names.tolist())
    return Raw(images["train"], labels["train"], class_names, test_x=images.get("test"), test_y=labels.get("test"))


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
