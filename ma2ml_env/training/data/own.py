"""Reader of images that a user brings as a folder of class folders."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.io import memory
from ma2ml_env.recipe import content_key
from ma2ml_env.training.data import pixels
from ma2ml_env.training.data.kept import LIMIT, Entry, Kept
from ma2ml_env.training.data.listing import ImageFile, Listing, list_images
from ma2ml_env.training.data.notes import few, grouped, notes, swallowed
from ma2ml_env.training.data.raw import READER, Part, Raw, Seen
from ma2ml_env.training.data.reader import NO_FILE, Read, read_files


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
    check_room(folder, len(files), size)
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


def check_room(folder: Path, images: int, size: int) -> None:
    """Refuse what cannot be held: the system would end the process without a word.

    Raises:
        ValueError: if the memory that is left is too small for so many images of three channels.
    """
    needed, left = 3.0 * images * size**2, memory.available()
    if needed > left:
        raise ValueError(
            f"{folder}: {images:,} images of {size} pixels take {needed / 1e9:,.1f} GB of memory, and {left / 1e9:,.1f} GB are "
            "left: give a smaller --size, or fewer images"
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


def _is_text(name: str) -> bool:
    """Python has surrogates for bytes of a file's name that are no UTF-8; they cannot be written anywhere else."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


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
