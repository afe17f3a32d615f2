"""What lies in a folder of images that a user brings, before anything is read. What is wrong in it is named."""

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ma2ml_env.training.data.notes import few
from ma2ml_env.training.data.raw import Part

SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".avif", ".heic", ".heif", ".tga", ".ico", ".icns", ".dds", ".pcx", ".psd",
    ".sgi", ".qoi", ".xbm", ".xpm",
)  # fmt: skip
"""of images that Pillow opens, with a library more for some"""
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
    """names of what lies in class folders and is no image by its suffix, or a link to a folder"""
    loose: tuple[str, ...]
    """names of the images in no class folder, and of the folders beside `train` that are no part of the data"""


def list_images(folder: Path) -> Listing:
    """Which images a folder holds, by part and class.

    Either `train`, and optionally `val` and `test`, hold the class folders, or `folder` itself does. Names that start with a
    dot are not looked at. Names are in the composed form of Unicode (NFC), as file systems differ in it.

    Raises:
        FileNotFoundError: if the folder or its images are missing.
        ValueError: if a class of val or test is not among those of train, a class has no images, a folder looks like a part
            of the data under a name that is not read, or two folders are one by their names.
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
                if part in places:
                    raise ValueError(f"{folder} has both {places[part].name} and {name}: keep one of them")
                places[part] = folder / name
    class_names = tuple(sorted(_folders(places["train"])))
    read = {place.name for place in places.values()}
    loose = [] if places["train"] == folder else [f"{name}/" for name in _folders(folder) if name not in read]
    files: dict[Part, tuple[ImageFile, ...]] = {}
    unread: list[str] = []
    for part, place in places.items():
        folders = _folders(place)
        loose += [_name(path, folder) for path in sorted(place.iterdir()) if path.suffix.lower() in SUFFIXES]
        unknown = [name for name in sorted(folders) if name not in class_names]
        if unknown:
            raise ValueError(f"{place}: classes {', '.join(unknown)} are not among the training classes")
        found = [
            ImageFile(path, _name(path, folder), label)
            for label, name in enumerate(class_names)
            if name in folders
            for path in _below(folders[name])
        ]
        files[part] = tuple(each for each in found if each.path.suffix.lower() in SUFFIXES and not each.path.is_dir())
        read_here = set(files[part])
        unread += [each.name for each in found if each not in read_here]
        if not files[part]:
            raise FileNotFoundError(f"no images in the class folders of {place}; known are {', '.join(SUFFIXES)}")
    empty = set(range(len(class_names))) - {each.label for each in files["train"]}
    if empty:
        raise ValueError(
            f"{places['train']}: no images of class {', '.join(class_names[label] for label in sorted(empty))}"
        )
    return Listing(folder, class_names, files, tuple(unread), tuple(loose))


def _folders(place: Path) -> dict[str, Path]:
    """Name -> folder."""
    found = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    named = {unicodedata.normalize("NFC", path.name): path for path in found}
    if len(named) < len(found):
        twice = [path.name for path in found if path not in named.values()]
        raise ValueError(f"{place}: two folders have the same name, written in two ways of Unicode: {few(twice)}")
    return named


def _below(folder: Path) -> list[Path]:
    """Files in a class folder and in folders of it, sorted; and links to folders, which are not followed.

    Raises:
        OSError: if one of the folders cannot be read: its images must not lack unseen.
    """

    def refuse(error: OSError) -> None:
        raise error

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [Path(place, name) for name in [*names, *links] if not name.startswith(".")]
    return sorted(found)


def _name(path: Path, folder: Path) -> str:
    return unicodedata.normalize("NFC", path.relative_to(folder).as_posix())


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
