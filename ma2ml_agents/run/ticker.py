"""Signs of life: no step that takes long is without a message."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from rich.console import Console

SILENCE = 10.0
"""seconds after which something is said where there is no terminal"""


class Ticker:
    """Calls a function every so many seconds, from a thread of its own, while it is entered."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._seconds, self._call = seconds, call
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with suppress(OSError):  # what cannot be written, as on a full disk, is for the main thread to report
            while not self._over.wait(self._seconds):
                self._call()


@contextmanager
def working(console: Console, what: str) -> Iterator[None]:
    """Say what goes on inside: by a line that moves on a terminal, elsewhere by one every ten seconds."""
    if console.is_terminal:
        with console.status(what):
            yield
        return
    began = time.monotonic()
    with Ticker(SILENCE, lambda: console.print(f"{what}, {time.monotonic() - began:.0f} s so far", soft_wrap=True)):
        yield
