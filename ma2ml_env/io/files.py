"""Two things that are easy to get wrong: a file that is never half-written, and a lock that dies with its holder."""

import fcntl
import os
import socket
import weakref
from pathlib import Path


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or whoever comes after a power cut, finds the old content or the new one.

    Raises:
        OSError: if it cannot be written; the old content is still there then.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name must reach the disk as well
    finally:
        os.close(folder)


def inode(path: Path) -> tuple[int, int] | None:
    """(device, inode): which file has this name now; None if none has."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class FolderLock:
    """A lock on a folder that one process holds. The system frees it when the process ends, however it ends.

    The file stays behind; what counts is the lock on it, so a file of a dead process holds nobody up. Its first line says who
    held it last, the second is a note that outlives the holder.

    Raises:
        BlockingIOError: if somebody holds it; the message says who.
        OSError: if the lock file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._lines()[0] or "unknown"
            os.close(self._file)
            raise BlockingIOError(
                f"{path.parent} is in use by another process ({holder}); wait until it ends, or end it"
            ) from None
        self._note = self._lines()[1]
        self._holder = f"pid {os.getpid()} on {socket.gethostname()}"
        self.note = self._note
        _held.add(self)

    @property
    def note(self) -> str:
        """What the last holder has noted: a line; "" if nothing."""
        return self._note

    @note.setter
    def note(self, text: str) -> None:
        """It is not waited for until it is on the disk: it outlives the process, perhaps not the machine."""
        data = f"{self._holder}\n{text}\n".encode()
        os.pwrite(self._file, data, 0)
        os.ftruncate(self._file, len(data))
        self._note = text

    def _lines(self) -> list[str]:
        """Holder and note."""
        return [*os.pread(self._file, 400, 0).decode(errors="replace").split("\n"), "", ""][:2]

    def release(self) -> None:
        """Free it; a second time does nothing."""
        if self in _held:
            _held.discard(self)
            os.close(self._file)


_held: "weakref.WeakSet[FolderLock]" = weakref.WeakSet()


def _forget() -> None:
    """In a forked child: it shares the lock through its copies of the files, and would hold it after its parent's death."""
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_forget)
