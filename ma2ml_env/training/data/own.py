"""Reader of images that a user brings as a folder of class folders. What is wrong in it is named."""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.recipe import content_key
from ma2ml_env.training.data import pixels
from ma2ml_env.training.data.kept import LIMIT, Entry, Kept
from ma2ml_env.training.data.notes import few, grouped, notes, swallowed
from ma2ml_env.training.data.raw import READER, Part, Raw, Seen
from ma2ml_env.training.data.reader import NO_FILE, Read, read_files

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


def read_images(
    folder: Path,
    size: int,
    *,
    fit: str = "crop",
    background: str = "white",
    cache: Path | None = None,
    limit: float = LIMIT,
    skip_bad: bool = False,
    verify: bool = False,
) -> Raw:
    """The images of a folder as squares; one channel if all of them are grey, else three.

    Args:
        folder: of the data.
        size: side in pixels.
        fit: one of `pixels.FITS`.
        background: what transparent pixels show.
        cache: folder in which squares are kept; None is a temporary one.
        limit: most bytes in it.
        skip_bad: leave out what cannot be read.
        verify: read the bytes of each file again, whatever is kept.

    Raises:
        FileNotFoundError, ValueError: as `list_images`; and if files cannot be read as images, all of which are named.
    """
    listing, look = list_images(folder), pixels.Look(size, fit, background)
    named = [each for found in listing.files.values() for each in found]
    files = {each.name: each.path for each in named}
    if odd := [os.fsencode(name).decode(errors="backslashreplace") for name in files if not _is_text(name)]:
        raise ValueError(f"{folder}: names are not UTF-8: {few(odd)}; rename them")
    if twice := [each.name for each in named if files[each.name] != each.path]:
        raise ValueError(f"{folder}: two files have the same name, written in two ways of Unicode: {few(twice)}")
    places = [folder.absolute().name, *sorted({name.rpartition("/")[0] for name in files})]
    kept = Kept(cache, content_key([READER, *look, places]), limit)
    try:
        read = read_files(files, look, kept, verify=verify)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    if read.bad and not skip_bad:
        raise ValueError(
            f"{folder}: {grouped(read.bad)} ({len(read.bad)} of {len(files)} files): mend or remove them, or --skip-bad "
            "leaves them out"
        )
    entries = read.squares.entries
    parts = {part: [each for each in found if each.name in entries] for part, found in listing.files.items()}
    _check_left(listing, parts)
    row = {name: number for number, name in enumerate(entries)}
    return Raw(
        {part: _slice(read.squares.values, [row[each.name] for each in found]) for part, found in parts.items()},
        {part: np.array([each.label for each in found], dtype=np.int64) for part, found in parts.items()},
        listing.class_names,
        {part: tuple(each.name for each in found) for part, found in parts.items()},
        {part: tuple(_seen(entries[each.name]) for each in found) for part, found in parts.items()},
        content_key(sorted((name, entry.sha256) for name, entry in entries.items())),
        read.squares.value_range,
        _notes(listing, read, background),
        read.depth,
    )


def _notes(listing: Listing, read: Read, background: str) -> tuple[str, ...]:
    """What a person should know of the files.

    Raises:
        ValueError: if nothing can be seen of any of them.
    """
    told = [
        (listing.unread, "not read, as their names are not those of images, or they are links to folders"),
        (listing.loose, "not read, as they are in no class folder of a part"),
    ]
    entries = read.squares.entries
    if entries and all(entry.vanished for entry in entries.values()):
        raise ValueError(f"{listing.root}: {swallowed(list(entries), background)}")
    return (*(f"{why}: {few(names)}" for names, why in told if names), *notes(read, background))


def _slice(values: NDArray[np.uint8], rows: list[int]) -> NDArray[np.uint8]:
    """A part's squares, which follow each other: not copied."""
    return values[rows[0] : rows[-1] + 1]


def _seen(entry: Entry) -> Seen:
    return Seen(entry.sha256, entry.width, entry.height, entry.mode, entry.low, entry.high)


def _check_left(listing: Listing, parts: Mapping[Part, Sequence[ImageFile]]) -> None:
    """Each class still has images to train on, and no part is empty."""
    left = {each.label for each in parts["train"]}
    empty = [name for label, name in enumerate(listing.class_names) if label not in left]
    empty += [part for part, found in parts.items() if not found]
    if empty:
        raise ValueError(f"{listing.root}: no image of {', '.join(empty)} can be read")


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


def _is_text(name: str) -> bool:
    """Python has surrogates for bytes of a file's name that are no UTF-8; they cannot be written anywhere else."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


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


def read_image(
    path: Path,
    size: int,
    fit: str = "crop",
    background: str = "white",
    value_range: tuple[float, float] | None = None,
    deep: bool = True,
) -> NDArray[np.uint8]:
    """One file as (1 or 3, size, size).

    Args:
        path: of the file.
        size: side in pixels.
        fit: one of `pixels.FITS`.
        background: what transparent pixels show.
        value_range: of the data set; None is that of this file alone.
        deep: whether more than 8 bits are taken.

    Raises:
        ValueError: if it cannot be read as an image; it is named.
    """
    try:
        if not path.is_file():
            raise ValueError(NO_FILE)
        found = pixels.square(path.read_bytes(), pixels.Look(size, fit, background))
        if found.depth != "byte" and not deep:
            raise ValueError(f"has more than 8 bits (Pillow's mode {found.mode}): save it with 8")
        own = pixels.value_range([(found.depth, found.mode, found.low, found.high)])[1:]
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} {error}") from None
    squares: NDArray[np.uint8] = pixels.to_bytes(found.values, *(value_range or own), background)
    return squares
