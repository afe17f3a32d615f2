"""How a suite is stopped: its searches end with it, the runs that are whole stay, and the next call goes on."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process, resource_tracker
from types import FrameType

from ma2ml_agents.run.signals import SIGNALS, Stopped, heard, settle
from ma2ml_env.io.output import outlive_readers


def stoppable(program: Callable[[], int]) -> int:
    """The exit code of a program, 128 and the signal's number if one has stopped it. Its output needs no reader."""
    outlive_readers()
    for each in heard():
        signal.signal(each, _stop)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # `ma2ml bench` blocks them until here
        return program()
    except Stopped as stopped:
        print(f"stopped by {stopped.name}; the same command goes on", file=sys.stderr)
        return 128 + stopped.signum  # the process ends: further signals stay ignored


@contextmanager
def searches(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes end when the body does not come to its end, and when this process is killed.

    They leave no half of a run: its file is written at once, at the end. Signals are this process's alone to hear, also those
    that a terminal or a scheduler sends to all.
    """
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.kill()
            raise


@contextmanager
def unheard() -> Iterator[None]:
    """Signals wait until the end of the body; processes that are started in it never hear of them."""
    resource_tracker.ensure_running()  # which lets some through again where it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(signum: int, frame: FrameType | None) -> None:
    settle()
    raise Stopped(signum)


def _end_with_parent() -> None:
    """In a process of the pool."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
