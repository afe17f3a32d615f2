"""Files of images as squares: read once, all cores at work, kept for the next command and for the workers of this one."""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.training.data import pixels
from ma2ml_env.training.data.kept import Entry, Kept, Squares
from ma2ml_env.training.data.telling import bar, tell

FRESH = 2_000_000_000
"""ns between a file's change and its reading within which a second change might bear the same time"""
NO_FILE = "is no file, but a pipe, a device or the like"
SLOW = 1.0
"""seconds from which on it is said how long it took"""


_Stamp = tuple[int, int, int, int]
"""size, times and inode of a file"""


@dataclass(frozen=True, eq=False)
class Read:
    """What files are. Squares stand in the order of the files, without the bad ones."""

    squares: Squares
    depth: str
    bad: Mapping[str, str]
    """name of a file that cannot be read -> why"""


@dataclass(frozen=True, eq=False)
class _New:
    """A file that was read now."""

    entry: Entry
    values: NDArray[np.generic] | None
    """None: its bytes are among what is kept"""


def read_files(files: Mapping[str, Path], look: pixels.Look, kept: Kept, *, verify: bool = False) -> Read:
    """Squares of image files; of those whose bytes have not changed, from what is kept.

    Args:
        files: name, the same wherever the data lie -> where it lies.
        look: what they become.
        kept: the cache.
        verify: read the bytes of each file again, even if its size and times are as before.

    Raises:
        ValueError: if no one range of values fits all.
    """
    old, began = kept.load(), time.monotonic()
    read, new = _read(files, look, old, verify)
    if old is not None and old.value_range != read.squares.value_range:  # what is kept has another scale
        old = None
        read, new = _read(files, look, None, verify)
    entries = read.squares.entries
    if entries and (old is None or old.entries != entries):
        where = kept.save(read.squares)
        if (took := time.monotonic() - began) > SLOW and new:
            tell(f"read {new:,} images in {took:,.1f} s; {where}")
    return read


def _read(files: Mapping[str, Path], look: pixels.Look, old: Squares | None, verify: bool) -> tuple[Read, int]:
    """(what the files are, how many of them were read)."""
    before = old.entries if old is not None else {}
    known = {entry.sha256: entry for entry in before.values()}
    stamps, bad = _stamps(files)
    same = {} if verify else {name: before[name] for name in stamps if _as_before(stamps[name], before.get(name))}
    wanted = {name: files[name] for name in stamps if name not in same}
    new, failed = _in_parallel(partial(_one, look=look, stamps=stamps, known=known), wanted)
    entries = {name: same[name] if name in same else new[name].entry for name in files if name in same or name in new}
    values, depth, low, high = _values(entries, new, look, old)
    return Read(Squares(entries, values, (low, high)), depth, {**bad, **failed}), len(wanted)


def _values(
    entries: Mapping[str, Entry], new: dict[str, _New], look: pixels.Look, old: Squares | None
) -> tuple[NDArray[np.uint8], str, float, float]:
    """(squares (N, C, size, size), depth, low, high). What is new is given up on the way, so that memory holds it once."""
    if not entries:
        return np.empty((0, 1, look.size, look.size), np.uint8), "byte", 0.0, 255.0
    depth, low, high = pixels.value_range([(e.depth, e.mode, e.low, e.high) for e in entries.values()])
    channels = max(entry.channels for entry in entries.values())
    rows = {} if old is None else {entry.sha256: row for row, entry in enumerate(old.entries.values())}
    if old is not None and old.values.shape[1] == channels and _digests(entries) == _digests(old.entries):
        return old.values, depth, low, high
    values = np.empty((len(entries), channels, look.size, look.size), np.uint8)
    for row, (name, entry) in enumerate(entries.items()):
        fresh = new.pop(name).values if name in new else None
        if fresh is not None:
            values[row] = pixels.to_bytes(fresh, low, high, look.background)
        else:
            assert old is not None
            values[row] = old.values[rows[entry.sha256]][: entry.channels]
    return values, depth, low, high


def _digests(entries: Mapping[str, Entry]) -> list[str]:
    return [entry.sha256 for entry in entries.values()]


def _stamps(files: Mapping[str, Path]) -> tuple[dict[str, _Stamp], dict[str, str]]:
    """Size, times and inode of each file; why it is none."""
    stamps, bad = {}, {}
    for name, path in files.items():
        try:
            found = path.stat()
        except OSError as error:
            bad[name] = f"cannot be read: {error.strerror}"
            continue
        if stat.S_ISREG(found.st_mode):
            stamps[name] = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        else:  # a FIFO would be waited for, and a device never ends
            bad[name] = NO_FILE
    return stamps, bad


def _as_before(stamp: _Stamp, entry: Entry | None) -> bool:
    return entry is not None and stamp == (entry.size, entry.mtime, entry.ctime, entry.inode)


def _one(name: str, path: Path, *, look: pixels.Look, stamps: Mapping[str, _Stamp], known: Mapping[str, Entry]) -> _New:
    """Read a file, and decode it if its bytes are new.

    Raises:
        ValueError: if it cannot be read.
    """
    size, mtime, ctime, inode = stamps[name]
    stamp = size, mtime, ctime if time.time_ns() - ctime > FRESH else 0, inode
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except MemoryError:
        raise ValueError(f"cannot be read: its {size:,} bytes do not fit into memory") from None
    digest = hashlib.sha256(data).hexdigest()
    if (before := known.get(digest)) is not None:
        return _New(Entry(*stamp, *before.seen()), None)
    found = pixels.square(data, look)
    return _New(
        Entry(
            *stamp, digest, found.width, found.height, found.mode, found.depth, found.low, found.high,
            len(found.values), found.several, found.vanished,
        ),
        found.values,
    )  # fmt: skip


def _in_parallel(one: Callable[[str, Path], _New], files: Mapping[str, Path]) -> tuple[dict[str, _New], dict[str, str]]:
    """What each file is, or why it cannot be read. Pillow decodes without Python's lock: threads are as good as processes."""

    def attempt(item: tuple[str, Path]) -> _New | str:
        try:
            return one(*item)
        except ValueError as error:
            return str(error)

    new: dict[str, _New] = {}
    bad: dict[str, str] = {}
    if not files:
        return new, bad
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        with bar("reading images", len(files)) as advance:
            for name, result in zip(files, pool.map(attempt, files.items()), strict=True):
                if isinstance(result, str):
                    bad[name] = result
                else:
                    new[name] = result
                advance()
    finally:
        pool.shutdown(cancel_futures=True)
    return new, bad
