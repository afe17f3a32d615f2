"""Stopping what stores results on a signal: nothing is cut short that would be half done (`signals.py` has the others)."""

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ma2ml_agents.run.loop import Callback
from ma2ml_agents.run.signals import Stopped, heard, settle
from ma2ml_env.evaluators.base import Evaluates, Evaluator, Job, Wrapper, closing
from ma2ml_env.trial import Outcome, Trial


class Stop(Callback):
    """Raises `Stopped` in the main thread at a signal: at once while an evaluator works, else after the next step.

    An exception that comes out of nowhere leaves a lock of the running code held, if it hits Python code that is taking it;
    then clean-up (TensorBoard's queue, the live line's thread) waits for ever. So between outcomes the request is kept, and
    looked at where nothing is half done. Before `on_start` there is nothing to spoil, and it is raised at once. Should clean-up
    hang all the same, the alarm ends the process: what was acknowledged is stored, and a run survives being killed.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.at_once = True

    def check(self) -> None:
        """Raise if a signal has come."""
        if self.signum is not None:
            raise Stopped(self.signum)

    def on_start(self, budget: int, trials: Sequence[Trial]) -> None:
        """From here on only at safe points."""
        self.at_once = False
        self.check()

    def on_outcome(self, number: int, outcome: Outcome) -> None:
        """See `check`."""
        self.check()

    def on_batch(self, batch: int, trials: Sequence[Trial], metrics: Mapping[str, float]) -> None:
        """See `check`."""
        self.check()

    def handle(self, signum: int, frame: Any) -> None:
        """Signal handler. Further signals are ignored: cleaning up takes seconds and must not be cut short."""
        settle()
        self.signum = signum
        if self.at_once:
            self.check()


class Interruptible(Wrapper):
    """An evaluator that a signal stops in the middle of its work."""

    def __init__(self, inner: Evaluator | Evaluates, stop: Stop) -> None:
        super().__init__(inner)
        self._stop = stop

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """As the evaluator inside; raises `Stopped` while that works."""
        with closing(self.inner.evaluate(jobs)) as arriving:
            while (item := self._next(arriving)) is not None:
                yield item

    def _next(self, arriving: Iterator[tuple[int, Outcome]]) -> tuple[int, Outcome] | None:
        self._stop.at_once = True
        try:
            self._stop.check()
            return next(arriving, None)
        finally:
            self._stop.at_once = False


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Handle signals inside; outside of the main thread, which alone can, nothing is changed."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {each: signal.signal(each, stop.handle) for each in heard()}
    try:
        yield stop
    finally:
        signal.alarm(0)
        for each, handler in before.items():
            signal.signal(each, handler)
