"""The cache of squares: what files became, and by which size and times an unchanged file is known again.

A data set is two files of a folder: `images-KEY-CRC.npy`, the squares, and `images-KEY.json`, the index, which names the former
and is written last. Both appear when they are whole, so two processes at once are safe. What is damaged is as if it were not
there.
"""

import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, get_type_hints

import numpy as np
from numpy.typing import NDArray

LIMIT = 32e9
"""most bytes in a folder, unless told otherwise"""
TEMPORARY = 4e9
"""most bytes in the temporary folder, which may lie in memory"""
PARTIAL = ".partial"
DAY = 86_400.0


@dataclass(frozen=True)
class Entry:
    """What is known of a file."""

    size: int
    mtime: int
    ctime: int
    """in ns; 0 if it was too fresh to tell a later change from it"""
    inode: int
    """two files of one name and one size may have been written within one tick of the clock"""
    sha256: str
    width: int
    height: int
    mode: str
    depth: str
    low: float
    high: float
    channels: int
    several: bool
    vanished: bool

    def seen(self) -> tuple[Any, ...]:
        """What its bytes alone say."""
        return tuple(vars(self).values())[4:]


_KINDS = tuple(get_type_hints(Entry).values())


@dataclass(frozen=True, eq=False)
class Squares:
    """Squares (N, C, size, size) uint8 of the entries, in their order, by name; and which values became 0 and 255."""

    entries: Mapping[str, Entry]
    values: NDArray[np.uint8]
    value_range: tuple[float, float]


class Kept:
    """Where the squares of one data set are kept.

    Args:
        folder: of the cache; None is a temporary one of the user. It need not be there, nor be writable: then the temporary
            folder takes its place, and if that fails nothing is kept.
        key: of what the squares depend on beside the bytes of the files.
        limit: most bytes of squares in the folder; those that were not used for longest go first.
    """

    def __init__(self, folder: Path | None, key: str, limit: float) -> None:
        self.key = key
        self.places = [] if folder is None else [(folder, limit)]
        if (temporary := _temporary()) is not None:
            self.places.append((temporary, min(limit, TEMPORARY)))

    def load(self) -> Squares | None:
        """What is there and whole, mapped from its file."""
        for number, (folder, _) in enumerate(self.places):
            with suppress(Exception):  # of damaged bytes json, numpy and Python's tokenizer raise a dozen
                if (found := self._load(folder)) is not None:
                    if number:  # the folder that was asked for is to have them as well
                        with suppress(OSError):
                            self._save(*self.places[0], found)
                    return found
        return None

    def _load(self, folder: Path) -> Squares | None:
        file = folder / f"images-{self.key}.json"
        if not file.is_file():  # a FIFO would be waited for
            return None
        index = json.loads(file.read_bytes())
        entries = {str(name): Entry(*row) for name, row in index["entries"]}
        if any(tuple(map(type, vars(entry).values())) != _KINDS for entry in entries.values()):
            raise ValueError("these are no entries")
        path = folder / f"images-{self.key}-{int(index['crc']):08x}.npy"
        if not path.is_file():
            return None
        values = np.load(path, mmap_mode="c", allow_pickle=False)
        if values.dtype != np.uint8 or values.ndim != 4 or len(values) != len(entries):
            raise ValueError("these are other squares")
        if zlib.crc32(values.data) != index["crc"] or _crc(index["entries"]) != index["crc_of_entries"]:
            raise ValueError("some bytes are not as they were written")
        low, high = map(float, index["value_range"])
        with suppress(OSError):
            os.utime(path)  # it is in use
        return Squares(entries, values, (low, high))

    def save(self, squares: Squares) -> str:
        """Keep them, in place of what was there.

        Returns:
            the folder, and why it is not the one that was asked for; or why nothing is kept.
        """
        why = ""
        for folder, limit in self.places:
            try:
                self._save(folder, limit, squares)
            except OSError as error:
                why = f"{folder} cannot be used: {error.strerror or error}"
            else:
                return f"kept in {folder}" + (f" ({why})" if why else "")
        return f"not kept ({why or 'there is no folder for it'}): each process reads them again"

    def _save(self, folder: Path, limit: float, squares: Squares) -> None:
        values = np.ascontiguousarray(squares.values)
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if values.nbytes > min(limit, 0.9 * free):
            raise OSError(f"{values.nbytes / 1e9:.1f} GB are above its limit, or the {free / 1e9:.1f} GB that are free")
        crc = zlib.crc32(values.data)
        path = folder / f"images-{self.key}-{crc:08x}.npy"
        with _appearing(path) as file:
            np.lib.format.write_array(file, values, allow_pickle=False)
        rows = [[name, list(asdict(entry).values())] for name, entry in squares.entries.items()]
        index = {"crc": crc, "value_range": squares.value_range, "crc_of_entries": _crc(rows), "entries": rows}
        with _appearing(folder / f"images-{self.key}.json") as file:
            file.write(json.dumps(index).encode())
        for other in folder.glob(f"images-{self.key}-*.npy"):
            if other != path:
                other.unlink(missing_ok=True)
        _make_room(folder, limit, path)


@contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    """A file that is written under a name of this process and appears when it is whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _crc(rows: Sequence[Any]) -> int:
    return zlib.crc32(json.dumps(rows).encode())


def _make_room(folder: Path, limit: float, current: Path) -> None:
    """Drop what was not used for longest, until the rest is within the limit."""
    with suppress(OSError):  # another process does the same
        for partial in folder.glob(f".images-*{PARTIAL}"):
            if time.time() - partial.stat().st_mtime > DAY:  # of one that was killed
                partial.unlink(missing_ok=True)
        found = sorted(folder.glob("images-*.npy"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in found)
        for path in found:
            if total > limit and path != current:
                total -= path.stat().st_size
                path.with_name(f"{path.stem.rpartition('-')[0]}.json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)


def _temporary() -> Path | None:
    """A folder that belongs to this user alone."""
    folder = Path(tempfile.gettempdir()) / f"ma2ml-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    mine = found.st_uid == os.getuid() and found.st_mode & 0o077 == 0 and folder.is_dir() and not folder.is_symlink()
    return folder if mine else None
