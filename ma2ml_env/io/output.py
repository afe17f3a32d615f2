"""Where lines go: to who reads them, and to nowhere once nobody does.

`| head -1`, a pager that is left, a terminal that is closed while its SIGHUP is ignored: the reader is gone, and the next line
would end a search of days, or fail the pipeline in training that has printed it. What a command does is in its folder and its
exit code, so it goes on.
"""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any


def outlive_readers(lossy: bool = False) -> None:
    """Make `sys.stdout` and `sys.stderr` of this process go on without a reader. One that is closed is open to nowhere then.

    A closed one would be worse than a broken one: the next file to be opened, a database say, takes its place, and its lines.

    Args:
        lossy: whether lines may also be lost that cannot be written for another reason, as on a full disk.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            _to_nowhere(descriptor)
    sys.stdout, sys.stderr = _stream(1, sys.stdout, lossy), _stream(2, sys.stderr, lossy)


def show_cursor() -> None:
    """Give a terminal its cursor back, on a new line, before a process ends at once: a live line has hidden it."""
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h\n")


class _Output(io.FileIO):
    """The file below a stream."""

    def __init__(self, descriptor: int, lossy: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._lossy, self._terminal = lossy, self.isatty()

    def write(self, data: Any) -> int:
        """Write some bytes; how many were.

        Raises:
            OSError: once, if they cannot be written for another reason than that nobody reads them.
        """
        try:
            return super().write(data)
        except OSError as error:
            _to_nowhere(self.fileno())  # also after an error: Python flushes what is left when it ends
            gone = error.errno == errno.EPIPE or (error.errno == errno.EIO and self._terminal)
            if not gone and not self._lossy:
                raise OSError(error.errno, f"the output cannot be written: {error.strerror}") from None
        return memoryview(data).nbytes


def _stream(descriptor: int, before: Any, lossy: bool) -> io.TextIOWrapper:
    """A stream like the one of before; Python has none where the file is closed."""
    file = _Output(descriptor, lossy)
    if before is None:
        return io.TextIOWrapper(io.BufferedWriter(file), encoding="utf-8", errors="backslashreplace")
    return io.TextIOWrapper(
        file if before.write_through else io.BufferedWriter(file),  # as Python's own
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    os.set_inheritable(descriptor, True)
