"""ImageNet, or any folder of its layout, as squares of uint8 on disk.

The images of a split do not fit into memory, and decoding a JPEG takes longer than a small network's step. So every image is
decoded once, brought to a square, and kept in a file that training maps into memory; each batch is read from it. ImageNet-200
at 272 pixels takes 57 GB, all of ImageNet 285 GB.
"""

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ma2ml_env.io.files import write_atomic
from ma2ml_env.recipe import content_key
from ma2ml_env.training.data import own
from ma2ml_env.training.data.notes import SHOWN
from ma2ml_env.training.data.telling import bar

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""of each channel, as everybody normalises ImageNet"""
SIZE = 256
"""side of the kept squares in pixels, unless told otherwise"""
AT_ONCE = 256
"""images that are decoded before they are written"""
_ASKED = 1000
"""files, about, whose size is looked at: a million would take a network's disk minutes"""

Listed = Sequence[tuple[str, int]]
"""(path, label) of images"""


class Part(NamedTuple):
    """Images (N, 3, size, size) uint8, mapped from a file, and labels (N,) int64."""

    x: Tensor
    y: Tensor


class Joined:
    """The rows of two tensors, one after the other, where they lie: together they may be larger than the memory."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.first, self.second = first, second

    @property
    def shape(self) -> torch.Size:
        """As of one tensor."""
        return torch.Size([len(self), *self.first.shape[1:]])

    @property
    def nbytes(self) -> int:
        """Of both."""
        return self.first.nbytes + self.second.nbytes

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Rows (n,) int64 -> their values (n, ...), read into memory."""
        late = rows >= len(self.first)
        values = torch.empty(len(rows), *self.first.shape[1:], dtype=self.first.dtype)
        values[~late] = self.first[rows[~late]]
        values[late] = self.second[rows[late] - len(self.first)]
        return values


class Listing(NamedTuple):
    """What is where, before anything is decoded."""

    train: list[tuple[str, int]]
    test: list[tuple[str, int]]
    class_names: tuple[str, ...]


def listing(folder: Path, classes: int | None, seed: int) -> Listing:
    """Images of a folder, and their labels.

    Args:
        folder: of torchvision's `ImageNet` (the archives or what they unpack to), or with `train` and `val` folders of class
            folders.
        classes: draw so many classes by the seed, as FBNetV3 and the paper do (section 4.1); None takes all. Labels are
            0..classes-1 in the order of the class folders.
        seed: of the draw.

    Raises:
        FileNotFoundError: there is no such data, or an archive is missing or not the published one; the message says which.
        ValueError: there are fewer classes than asked for, or train and val have different ones.
    """
    train, test = (_split(folder, part) for part in ("train", "val"))
    if train.class_to_idx != test.class_to_idx:
        odd = sorted(set(train.class_to_idx) ^ set(test.class_to_idx))
        raise ValueError(f"{folder}: train and val have different classes: {', '.join(odd[:5])}")
    names = list(train.classes)
    if classes is not None and not 2 <= classes <= len(names):
        raise ValueError(f"{folder}: {classes} classes cannot be drawn from {len(names)}; at least 2 are needed")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(names))[:classes])
    place = {int(label): position for position, label in enumerate(drawn)}
    parts = [[(path, place[label]) for path, label in part.samples if label in place] for part in (train, test)]
    return Listing(parts[0], parts[1], tuple(names[label] for label in drawn))


def _split(folder: Path, part: str) -> Any:
    """Torchvision's view of `train` or `val`, which it unpacks, by digest, if only the archives are there.

    An unpacked folder is read as what it is, and not through `ImageNet`, which reads a pickle of names beside it.
    """
    from torchvision.datasets import ImageFolder, ImageNet

    if not (folder / part).is_dir():
        try:
            ImageNet(folder, split=part)
        except RuntimeError as error:
            raise FileNotFoundError(
                f"no {part} folder in {folder}: --data takes the folder of ImageNet's archives, or one with train and val "
                f"folders that hold a folder of images for each class. Of the archives: {error}"
            ) from None
    elif archives := sorted(path.name for path in (folder / part).glob("*.tar")):
        raise FileNotFoundError(
            f"{folder / part} was not unpacked to the end ({archives[0]} is left): delete it, and it is unpacked anew"
        )
    return ImageFolder(folder / part)


def kept(images: Listed, size: int, root: Path, cache: Path, threads: int | None = None) -> Part:
    """Images as squares, from the cache; decoded into it first if they are not there.

    A cache is found by the paths below the root, their order, the size, and how many bytes some of the files have: it moves
    with the data, and other images under the old names are seen. It appears under its name when it is whole; one that was
    interrupted starts again.

    Args:
        images: paths and labels, in the order that the rows are to have.
        size: side in pixels: shorter side resized, centre cropped.
        root: folder of the data.
        cache: folder of the cache.
        threads: that decode; None is one a core.

    Raises:
        ValueError: images cannot be read; all of them are named.
        OSError: the disk has no room for them (said before anything is decoded), or the folder cannot be written.
    """
    paths = [path for path, _ in images]
    below = [path.removeprefix(str(root)) for path in paths]
    file = cache / f"{content_key([size, below, some_sizes(paths)])}.npy"
    shape = (len(images), 3, size, size)
    if not file.is_file():
        _decode(images, shape, file, threads or os.cpu_count() or 1)
    try:
        rows: NDArray[np.uint8] | None = np.load(file, mmap_mode="c", allow_pickle=False)  # c: torch wants it writable
    except (ValueError, EOFError):
        rows = None
    if rows is None or rows.shape != shape or rows.dtype != np.uint8:
        raise ValueError(f"{file} does not hold {shape} bytes of images: delete it, and it is made anew")
    return Part(torch.from_numpy(rows), torch.tensor([label for _, label in images], dtype=torch.int64))


def some_sizes(paths: Sequence[str]) -> list[int]:
    """Bytes of about a thousand of the files, evenly spread over the list."""
    return [os.path.getsize(path) for path in paths[:: max(1, len(paths) // _ASKED)]]


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """One file as (1 or 3, size, size), the centre of it.

    Raises:
        ValueError: if it cannot be read, or has more than 8 bits, for which a data set needs one range; it is named.
    """
    return own.read_image(path, size, deep=False)


def _decode(images: Listed, shape: tuple[int, ...], file: Path, threads: int) -> None:
    def attempt(path: Path) -> NDArray[np.uint8] | str:
        try:
            return read_image(path, shape[2])
        except ValueError as error:
            return str(error)

    file.parent.mkdir(parents=True, exist_ok=True)
    needed, free = int(np.prod(shape)), shutil.disk_usage(file.parent).free
    if needed > free:
        raise OSError(
            f"{file.parent} has {free / 1e9:.0f} GB free, {len(images):,} images of {shape[2]} pixels take "
            f"{needed / 1e9:.0f} GB: give --cache DIR on a larger disk, or a smaller --size"
        )
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        rows = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        bad = []
        with ThreadPoolExecutor(threads) as pool, bar("decoding", len(images)) as advance:
            for start in range(0, len(images), AT_ONCE):
                paths = [Path(path) for path, _ in images[start : start + AT_ONCE]]
                for row, image in enumerate(pool.map(attempt, paths), start):
                    if isinstance(image, str):
                        bad.append(image)
                    else:
                        rows[row] = image  # a grey image fills all three channels
                    advance()
        if bad:
            raise ValueError("; ".join(bad[:SHOWN]) + (f" and {len(bad) - SHOWN} more" if bad[SHOWN:] else ""))
        rows.flush()
        del rows
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    about = {"images": len(images), "size": shape[2], "first": images[0][0] if images else ""}
    write_atomic(file.with_suffix(".json"), (json.dumps(about) + "\n").encode())
