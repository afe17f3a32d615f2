"""Reader of images that a user brings as a folder of class folders. What is wrong in it is named."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.training.data.raw import Part, Raw

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
VALIDATION_FOLDERS = ("val", "validation", "valid")
_PART_NAMES = {"train", "training", *VALIDATION_FOLDERS, "test", "testing"}
"""in small letters: no class is called so that holds folders"""


@dataclass(frozen=True)
class ImageFile:
    """An image file of a data set, not read yet."""

    path: Path
    name: str
    """relative to the data set's folder, with `/`: the same wherever the folder lies"""
    label: int


@dataclass(frozen=True)
class Listing:
    """What lies in a folder of images, before anything is read."""

    root: Path
    class_names: tuple[str, ...]
    files: Mapping[Part, tuple[ImageFile, ...]]
    unread: tuple[str, ...]
    """names of the files in class folders that are no images by their suffix"""


def list_images(folder: Path) -> Listing:
    """Which images a folder holds, by part and class.

    Either `train`, and optionally `val` and `test`, hold the class folders, or `folder` itself does. Names that start with a
    dot are not looked at.

    Raises:
        FileNotFoundError: if the folder or its images are missing.
        ValueError: if a class of val or test is not among those of train, a class has no images, or a folder looks like a part
            of the data under a name that is not read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: --images takes a folder of class folders")
    _check_names(folder)
    places: dict[Part, Path] = {"train": folder}
    if (folder / "train").is_dir():
        places = {"train": folder / "train"}
        others: list[tuple[Part, str]] = [("validation", name) for name in VALIDATION_FOLDERS]
        for part, name in [*others, ("test", "test")]:
            if (folder / name).is_dir():
                places[part] = folder / name
    class_names = tuple(sorted(_folders(places["train"])))
    files: dict[Part, tuple[ImageFile, ...]] = {}
    unread: list[str] = []
    for part, place in places.items():
        unknown = [name for name in sorted(_folders(place)) if name not in class_names]
        if unknown:
            raise ValueError(f"{place}: classes {', '.join(unknown)} are not among the training classes")
        found = [
            ImageFile(path, path.relative_to(folder).as_posix(), label)
            for label, name in enumerate(class_names)
            for path in sorted((place / name).rglob("*"))
            if not path.name.startswith(".") and not path.is_dir()
        ]
        files[part] = tuple(each for each in found if each.path.suffix.lower() in SUFFIXES)
        unread += [each.name for each in found if each.path.suffix.lower() not in SUFFIXES]
        if not files[part]:
            raise FileNotFoundError(f"no images in the class folders of {place}; known are {', '.join(SUFFIXES)}")
    empty = set(range(len(class_names))) - {each.label for each in files["train"]}
    if empty:
        raise ValueError(
            f"{places['train']}: no images of class {', '.join(class_names[label] for label in sorted(empty))}"
        )
    return Listing(folder, class_names, files, tuple(unread))


def read_images(folder: Path, size: int) -> Raw:
    """The images of a folder, resized and centre-cropped to `size` pixels; one channel if all of them are grey, else three.

    Raises:
        FileNotFoundError, ValueError: as `list_images`; and if a file cannot be read as an image.
    """
    listing = list_images(folder)
    arrays = {part: [read_image(each.path, size) for each in files] for part, files in listing.files.items()}
    channels = max(array.shape[0] for images in arrays.values() for array in images)
    return Raw(
        {
            part: np.stack([np.broadcast_to(a, (channels, size, size)) for a in images])
            for part, images in arrays.items()
        },
        {part: np.array([each.label for each in files], dtype=np.int64) for part, files in listing.files.items()},
        listing.class_names,
        {part: tuple(each.name for each in files) for part, files in listing.files.items()},
    )


def _folders(place: Path) -> Iterator[str]:
    return (path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _check_names(folder: Path) -> None:
    """Refuse `Train`, `testing`, ... that hold class folders: they would be taken for classes, or left out."""
    read = {"train", "test", *VALIDATION_FOLDERS} if (folder / "train").is_dir() else set()
    odd = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir()
        and path.name not in read
        and path.name.lower() in _PART_NAMES
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
