"""Local processes that evaluate, one job at a time each: a dead or hung one costs one job.

Every worker is a pebble pool of its own with a single process. Workers share no queue and no lock, so one that is killed in
any instruction stops nobody, and how long a job has run is known exactly. The limit is measured on the monotonic clock here,
not by pebble, whose wall clock may jump, and it ends the worker's whole process group, so nothing that a job started stays.
"""

import os
import pickle
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.util import Finalize
from typing import Any

from pebble import ProcessExpired, ProcessPool

from ma2ml_env.evaluators.base import Evaluator, Job, close
from ma2ml_env.evaluators.schedule import Cost, Schedule
from ma2ml_env.trial import Outcome

ATTEMPTS = 2
"""how often a job is started if its worker dies"""
STARTS = 5
"""how many workers in a row may die before they are ready"""
_NOT_MADE = "the evaluator cannot be made"
_POLL = 0.5  # seconds between looks at clocks and processes; an outcome is not delayed by it


class Pool:
    """An evaluator over local worker processes.

    A job whose worker dies is started once more, under the same seed; then its outcome is failed, CRASH. A job that runs
    over the limit is failed, TIMEOUT. An exception in a job is failed, CRASH (OOM if memory ran out), and not tried again.
    Other jobs notice nothing. Workers live from the first job to `close()`; if this process dies, they end by themselves,
    with all that they started. They are spawned: a script that uses a pool needs `if __name__ == "__main__":` around it.

    Args:
        factory: makes the evaluator, once in each worker; picklable.
        workers: number of processes. Outcomes do not depend on it.
        time_limit: seconds that one job may take; None is no limit. Building the evaluator does not count.
        threads: torch threads of each worker.
        schedule: which job starts next, on which device; None takes them as they come. Outcomes do not depend on it.

    Raises:
        ValueError: if a number is out of range or the factory cannot be sent to a process.
    """

    def __init__(
        self,
        factory: Callable[[], Evaluator],
        workers: int = 1,
        *,
        time_limit: float | None = None,
        threads: int = 1,
        schedule: Schedule | None = None,
    ) -> None:
        if workers < 1 or threads < 1:
            raise ValueError(f"workers and threads are at least 1, not {workers} and {threads}")
        if time_limit is not None and not time_limit > 0:
            raise ValueError(f"the time limit is a positive number of seconds, not {time_limit!r}")
        try:
            pickle.dumps(factory)
        except Exception as error:
            raise ValueError(
                f"the factory must be a function or class of a module, or a partial of one: {error}"
            ) from None
        self.workers = workers
        self.time_limit = time_limit
        self._schedule = schedule or Schedule()
        self._initargs = (factory, threads)
        self._processes: list[_Worker] = []
        self._evaluating = False
        self._failures = 0  # workers in a row that died before they were ready
        weakref.finalize(self, _stop, self._processes)  # at the latest when the interpreter ends

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index into `jobs`, outcome), in order of completion.

        Raises:
            RuntimeError: if the factory raises, workers die before they are ready, or another evaluation is going on.
        """
        if self._evaluating:
            raise RuntimeError("this pool is evaluating already; finish or close that iterator first")
        self._evaluating = True
        try:
            costs = [self._schedule.cost(job) for job in jobs]
            waiting = [_Run(index, jobs[index], costs[index]) for index in self._schedule.order(costs)]
            while waiting or any(worker.run for worker in self._processes):
                self._assign(waiting)
                futures = [worker.future for worker in self._processes if not worker.idle]
                wait(futures, self._patience(), FIRST_COMPLETED)
                for worker in [worker for worker in self._processes if worker.over(self.time_limit)]:
                    run, result = worker.finish()
                    if worker.dead:
                        self._processes.remove(worker)
                    if run is None:
                        self._started(str(result))
                    elif isinstance(result, Outcome):
                        if result.status == "ok":
                            self._schedule.predictor.learn(run.cost, result.seconds)
                        yield run.index, replace(result, attempts=result.attempts + run.deaths)
                    elif run.deaths + 1 < ATTEMPTS:
                        waiting.insert(0, replace(run, deaths=run.deaths + 1))
                    else:
                        yield run.index, replace(_failed(run.job, "CRASH", result), attempts=ATTEMPTS)
        finally:  # a worker that is still at work has nobody to work for
            _stop(self._processes, [worker for worker in self._processes if worker.run])
            self._evaluating = False

    def close(self) -> None:
        """End all workers and wait until they are gone. The next `evaluate` starts new ones."""
        _stop(self._processes)

    def _assign(self, waiting: "list[_Run]") -> None:
        """Give jobs to idle workers, and start workers for what is left."""
        places = range(len(self._schedule.devices))
        while True:
            idle = [[worker for worker in self._processes if worker.idle and worker.place == p] for p in places]
            running = [
                [worker.run.cost for worker in self._processes if worker.run and worker.place == p] for p in places
            ]
            position, place = self._schedule.place([run.cost for run in waiting], running, [len(some) for some in idle])
            if position < 0:
                break
            if idle[place][0].start(waiting[position]):
                del waiting[position]
            else:
                self._processes.remove(idle[place][0])
        starting = sum(worker.run is None for worker in self._processes)
        for _ in range(min(len(waiting) - starting, self.workers - len(self._processes))):
            crews = [sum(worker.place == p for worker in self._processes) for p in places]
            place = crews.index(min(crews))
            self._processes.append(_Worker(place, self._schedule.devices[place].environment, self._initargs))

    def _started(self, problem: str) -> None:
        """A worker is ready, or it failed to be."""
        self._failures = self._failures + 1 if problem else 0
        made = not problem.startswith(_NOT_MADE)
        if self._failures >= STARTS or not made:
            self._failures = 0
            hint = '; a script needs `if __name__ == "__main__":` around it' if made else ""
            raise RuntimeError(f"no worker can start: {problem}{hint}")

    def _patience(self) -> float:
        """Seconds until a clock or a process has to be looked at."""
        if self.time_limit is None:
            return _POLL
        ends = [worker.began + self.time_limit for worker in self._processes if worker.run]
        return max(0.0, min([_POLL, *(end - time.monotonic() for end in ends)]))


@dataclass(frozen=True)
class _Run:
    """A job that is to be started, for the (deaths + 1)-th time."""

    index: int
    job: Job
    cost: Cost
    deaths: int = 0


class _Worker:
    """One process: first it gets ready, then it runs one job after the other."""

    def __init__(
        self, place: int, environment: Mapping[str, str], initargs: tuple[Callable[[], Evaluator], int]
    ) -> None:
        self._pool = ProcessPool(
            1, initializer=_initialize, initargs=(dict(environment), *initargs), context=get_context("spawn")
        )
        self.place = place  # index of its device
        self._pid = 0  # known when it is ready
        self.future: Future[Any] = self._pool.schedule(_ready)
        self.run: _Run | None = None
        self.began = 0.0
        self.idle = False
        self.dead = False

    def start(self, run: _Run) -> bool:
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

    def finish(self) -> tuple[_Run | None, Outcome | str]:
        """(what it ran, what came of it); a string says why it died, or could not get ready."""
        run, self.run = self.run, None
        if run is not None and not self.future.done() and _alive(self._pid):
            seconds = time.monotonic() - self.began
            self.stop()
            return run, replace(_failed(run.job, "TIMEOUT", f"stopped after {seconds:.1f} s"), seconds=seconds)
        try:
            result = self.future.result(timeout=1.0)  # pebble never tells of one that left with status 0
        except (ProcessExpired, RuntimeError, TimeoutError) as error:
            self.stop()
            code = getattr(error, "exitcode", None)
            return run, f"the worker process died{'' if code is None else f' (exit code {code})'}"
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


def _stop(processes: list[_Worker], some: Sequence[_Worker] | None = None) -> None:
    for worker in list(processes if some is None else some):
        processes.remove(worker)
        worker.stop()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _failed(job: Job, error: Any, note: str) -> Outcome:
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
    os.environ.update(environment)  # before the factory, so before a GPU is first looked for
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    try:
        _evaluator = factory()
    except Exception as error:  # told by _ready, once, instead of worker after worker
        _problem = f"{_NOT_MADE}: {type(error).__name__}: {error}"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _die_with_parent() -> None:
    parent = parent_process()
    while parent is not None and os.getppid() == parent.pid:
        time.sleep(_POLL)
    os.killpg(0, signal.SIGKILL)


def _ready() -> tuple[int, str]:
    return os.getpid(), _problem


def _evaluate(job: Job) -> Outcome:
    assert _evaluator is not None
    try:
        outcomes = _evaluator.evaluate([job])
        try:
            ((_, outcome),) = outcomes
        finally:
            close(outcomes)
        return outcome
    except MemoryError as error:
        return _failed(job, "OOM", f"out of memory: {error}")
    except (Exception, SystemExit) as error:
        return _failed(job, "CRASH", f"{type(error).__name__}: {error}")
