"""One process of a pool, from outside (`Worker`) and from inside (what stands below it)."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.util import Finalize
from typing import Any

from pebble import ProcessExpired, ProcessPool

from ma2ml_env.evaluators.base import DeviceLost, Evaluator, Job, NoWorker, as_evaluator, closing
from ma2ml_env.evaluators.workers.schedule import Cost
from ma2ml_env.io.output import outlive_readers
from ma2ml_env.trial import Error, Outcome

POLL = 0.5
"""seconds between looks at clocks and processes; an outcome is not delayed by it"""
NOT_MADE = "the evaluator cannot be made"
"""so begins what a worker says whose factory failed"""


@dataclass(frozen=True)
class Attempt:
    """A job that is to be started, for the (deaths + 1)-th time."""

    index: int
    job: Job
    cost: Cost
    deaths: int = 0


class Worker:
    """One process: first it gets ready, then it runs one job after the other."""

    def __init__(
        self, place: int, environment: Mapping[str, str], initargs: tuple[Callable[[], Evaluator], int]
    ) -> None:
        self._pool = ProcessPool(
            1, initializer=_initialize, initargs=(dict(environment), *initargs), context=get_context("spawn")
        )
        self.place = place  # index of its device
        self._pid = 0  # known when it is ready
        # While it loads it is still in the driver's process group, and Ctrl-C would be a traceback. It never hears of it so.
        resource_tracker.ensure_running()  # which lets the signal through again where it is started
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.future: Future[Any] = self._pool.schedule(_ready)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.run: Attempt | None = None
        self.began = 0.0
        self.idle = False
        self.dead = False

    def start(self, run: Attempt) -> bool:
        """Start a job; False if the process died while it was idle."""
        try:
            if not _alive(self._pid):
                raise BrokenProcessPool
            self.future = self._pool.schedule(_evaluate, args=(run.job,))
        except RuntimeError:  # as pebble's own BrokenProcessPool is
            self.stop()
            return False
        self.run, self.began, self.idle = run, time.monotonic(), False
        return True

    def over(self, time_limit: float | None) -> bool:
        """Whether there is a result, the limit is reached, or the process has gone without a word."""
        late = self.run is not None and time_limit is not None and time.monotonic() - self.began >= time_limit
        return not self.idle and (self.future.done() or late or (self._pid != 0 and not _alive(self._pid)))

    def finish(self) -> tuple[Attempt | None, Outcome | NoWorker | str]:
        """(what it ran, what came of it); a string says why it died, or could not get ready; an error is the driver's."""
        run, self.run = self.run, None
        if run is not None and not self.future.done() and _alive(self._pid):
            seconds = time.monotonic() - self.began
            self.stop()
            return run, replace(failed(run.job, "TIMEOUT", f"stopped after {seconds:.1f} s"), seconds=seconds)
        try:
            result = self.future.result(timeout=1.0)  # pebble never tells of one that left with status 0
        except (ProcessExpired, RuntimeError, TimeoutError) as error:
            self.stop()
            code = f" (exit code {error.exitcode})" if isinstance(error, ProcessExpired) else ""
            return run, f"the worker process died{code}"
        if run is None:
            self._pid, result = result
            if result:
                self.stop()
        self.idle = not self.dead
        return run, result

    def stop(self) -> None:
        """End the process and all that it started, and wait until it is gone."""
        self.dead, self.idle, self.run = True, False, None
        self._pool.stop()  # first: else pebble starts a successor
        if self._pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
        self._pool.join()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def failed(job: Job, error: Error, note: str) -> Outcome:
    """The outcome of a job that came to nothing."""
    return Outcome("failed", fidelity=job.fidelity, error=error, note=note)


# What follows runs in a worker. Its evaluator is the one thing that a worker keeps between jobs.
_evaluator: Evaluator | None = None
_problem = ""


def _initialize(environment: dict[str, str], factory: Callable[[], Evaluator], threads: int) -> None:
    global _evaluator, _problem
    os.setpgid(0, 0)  # of its own, so that Ctrl-C reaches the driver alone and a kill reaches all that a job started
    threading.Thread(target=_die_with_parent, daemon=True).start()
    Finalize(
        None, os.killpg, args=(0, signal.SIGKILL), exitpriority=0
    )  # an idle one may see the closed pipe, and leave, first
    outlive_readers(lossy=True)  # a training does not fail by a line that nobody reads, or that finds no space
    os.environ.update(environment)  # before the factory, so before a GPU is first looked for
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    try:
        _evaluator = as_evaluator(factory())
    except Exception as error:  # told by _ready, once, instead of worker after worker
        _problem = f"{NOT_MADE}: {type(error).__name__}: {error}"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _die_with_parent() -> None:
    parent = parent_process()
    while parent is not None and os.getppid() == parent.pid:
        time.sleep(POLL)
    os.killpg(0, signal.SIGKILL)


def _ready() -> tuple[int, str]:
    return os.getpid(), _problem


def _evaluate(job: Job) -> Outcome | NoWorker:
    assert _evaluator is not None
    try:
        with closing(_evaluator.evaluate([job])) as outcomes:
            ((_, outcome),) = outcomes
        return outcome
    except DeviceLost as error:  # in a process of its own it may be there again
        print(error, file=sys.stderr, flush=True)
        os._exit(1)
    except NoWorker as error:
        return error
    except MemoryError as error:
        return failed(job, "OOM", f"out of memory: {error}")
    except (Exception, SystemExit) as error:
        return failed(job, "CRASH", f"{type(error).__name__}: {error}")
