"""Stopping on a signal: SIGINT (Ctrl-C), SIGTERM and SIGUSR1, which schedulers send before they kill."""

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ma2ml_agents.run.search import Callback
from ma2ml_env.trial import Outcome, Trial

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
AGAIN_LATER = 75  # EX_TEMPFAIL of sysexits.h: the job is to be started again


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop. What was acknowledged is stored."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.name = signal.Signals(signum).name
        self.exit_code = 128 + signum if signum == signal.SIGINT else AGAIN_LATER


class Stop(Callback):
    """Raises `Stopped` in the main thread at a signal, whatever it is doing.

    Python loses an exception that is raised while an object is being finalised. So the request is also kept, and looked at
    after each outcome.
    """

    def __init__(self) -> None:
        self.signum: int | None = None

    def check(self) -> None:
        """Raise if a signal has come."""
        if self.signum is not None:
            raise Stopped(self.signum)

    def on_outcome(self, number: int, outcome: Outcome) -> None:
        """See `check`."""
        self.check()

    def on_batch(self, batch: int, trials: Sequence[Trial], metrics: Mapping[str, float]) -> None:
        """See `check`."""
        self.check()

    def handle(self, signum: int, frame: Any) -> None:
        """Signal handler. Further signals are ignored: cleaning up takes seconds and must not be cut short."""
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        self.signum = signum
        self.check()


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Handle signals inside; outside of the main thread, which alone can, nothing is changed."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {each: signal.signal(each, stop.handle) for each in SIGNALS}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
