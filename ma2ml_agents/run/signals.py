"""What a signal does to a command: SIGINT (Ctrl-C), and SIGTERM, SIGUSR1 and SIGHUP, which schedulers and terminals send.

This file stands before all that takes long to import, so it imports next to nothing.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
GRACE = 30
"""seconds that clean-up may take after a signal"""
AGAIN_LATER = 75  # EX_TEMPFAIL of sysexits.h: the job is to be started again


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop. What was acknowledged is stored."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
        self.name = signal.Signals(signum).name
        self.exit_code = exit_code(signum)


def exit_code(signum: int) -> int:
    """As docs/run.md has it: 130 of Ctrl-C, else 75."""
    return 128 + signum if signum == signal.SIGINT else AGAIN_LATER


def heard() -> tuple[signal.Signals, ...]:
    """Those of `SIGNALS` that are listened to: a SIGHUP that is ignored, as under nohup, stays ignored."""
    return tuple(
        each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    )


def settle() -> None:
    """Ignore further signals: cleaning up takes seconds and must not be cut short, nor last for ever."""
    for each in heard():
        signal.signal(each, signal.SIG_IGN)
    signal.alarm(GRACE)


class Signals:
    """The handlers of a whole command; `stop.stoppable` has its own ones for what stores results.

    Before the command begins there is nothing to clean up, and an exception in the middle of an import may be swallowed or
    turned into another. So a signal ends the process at once then, with a line and its exit code. Later it raises `Stopped`.

    Args:
        own: whether the process is the command's alone: elsewhere a signal raises `Stopped` always, and the former handlers
            come back.
    """

    began: float | None = None
    """when the command that runs now began, on the monotonic clock; None while there is none"""

    def __init__(self, own: bool) -> None:
        self._own = own
        self.begun = False
        self._done: int | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        Signals.began = time.monotonic()
        if threading.current_thread() is threading.main_thread():  # which alone can
            self._before = {each: signal.signal(each, self._handle) for each in heard()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Signals.began = None
        if self._before:
            signal.alarm(0)
        if self._done is None:
            for each, handler in self._before.items():
                signal.signal(each, handler)  # type: ignore[arg-type]  # as it was given

    def done(self, code: int) -> int:
        """The command's exit code is known: while Python takes itself apart, a signal cuts that short. Returns the code."""
        if self._own:
            self._done = code
            for each in self._before:
                signal.signal(each, self._handle)
        return code

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._done is not None:
            os._exit(self._done)
        if self._own and (not self.begun or _importing(frame)):
            name = signal.Signals(signum).name
            with suppress(OSError):  # the terminal may be what is gone
                if os.isatty(1):
                    os.write(1, b"\r\x1b[2K\x1b[?25h")  # a live line stands there, and hides the cursor
                os.write(2, f"ma2ml: stopped by {name} while loading\n".encode())
            os._exit(exit_code(signum))
        settle()
        raise Stopped(signum)


def stopped_by(error: BaseException | None) -> Stopped | None:
    """The signal behind an error, if there is one: clean-up after it may fail, as where the terminal is gone."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__ or error.__context__
    return error


def _importing(frame: FrameType | None) -> bool:
    """Whether an import is under way."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


class Loading:
    """Say on a terminal that modules are being loaded, if that takes more than a second or two."""

    def __init__(self, seconds: float = 1.5) -> None:
        self._timer = threading.Timer(seconds, lambda: os.write(2, b"loading ...\n"))
        self._timer.daemon = True

    def __enter__(self) -> None:
        if sys.stderr is not None and sys.stderr.isatty():
            self._timer.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
