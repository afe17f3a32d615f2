"""Local processes that evaluate, one job at a time each: a dead or hung one costs one job.

Every worker is a pebble pool of its own with a single process. Workers share no queue and no lock, so one that is killed in
any instruction stops nobody, and how long a job has run is known exactly. The limit is measured on the monotonic clock here,
not by pebble, whose wall clock may jump, and it ends the worker's whole process group, so nothing that a job started stays.
"""

import pickle
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace

from ma2ml_env.evaluators.base import Evaluator, Job, MayStart, NoWorker
from ma2ml_env.evaluators.deadline import NoTime
from ma2ml_env.evaluators.workers.schedule import Schedule
from ma2ml_env.evaluators.workers.worker import NOT_MADE, POLL, Attempt, Worker, failed
from ma2ml_env.trial import Outcome

ATTEMPTS = 2
"""how often a job is started if its worker dies"""
STARTS = 5
"""how many workers in a row may die before they are ready"""


class Pool(Evaluator):
    """An evaluator over local worker processes.

    A job whose worker dies is started once more, under the same seed; then its outcome is failed, CRASH. A job that runs
    over the limit is failed, TIMEOUT. An exception in a job is failed, CRASH (OOM if memory ran out), and not tried again; but
    a worker whose device is lost (`DeviceLost`) ends, as one that dies.
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
        self._processes: list[Worker] = []
        self._evaluating = False
        self._may_start: MayStart | None = None
        self._failures = 0  # workers in a row that died before they were ready
        weakref.finalize(self, _stop, self._processes)  # at the latest when the interpreter ends

    def limit(self, may_start: MayStart | None) -> bool:
        """Ask before each job; they start in their order then, so that what is done in the end is the first of them.

        Where one does not fit into the memory beside the others, smaller ones pass it as ever.
        """
        self._may_start = may_start
        return True

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index into `jobs`, outcome), in order of completion.

        Raises:
            NoWorker: a RuntimeError; if the factory raises, workers die before they are ready, or a job says that none can be
                run.
            NoTime: a RuntimeError; if a job may not start, and all that had started are yielded.
            RuntimeError: if another evaluation is going on.
        """
        if self._evaluating:
            raise RuntimeError("this pool is evaluating already; finish or close that iterator first")
        self._evaluating = True
        try:
            costs = [self._schedule.cost(job) for job in jobs]
            order = self._schedule.order(costs) if self._may_start is None else range(len(jobs))
            waiting = [Attempt(index, jobs[index], costs[index]) for index in order]
            in_time = True
            while waiting or any(worker.run for worker in self._processes):
                in_time = in_time and self._assign(waiting)
                if not in_time and not any(worker.run for worker in self._processes):
                    raise NoTime(f"{len(waiting)} jobs may not start any more")
                futures = [worker.future for worker in self._processes if not worker.idle]
                wait(futures, self._patience(), FIRST_COMPLETED)
                for worker in [worker for worker in self._processes if worker.over(self.time_limit)]:
                    run, result = worker.finish()
                    if worker.dead:
                        self._processes.remove(worker)
                    if isinstance(result, NoWorker):
                        raise result
                    if run is None:
                        self._started(str(result))
                    elif isinstance(result, Outcome):
                        if result.status == "ok":
                            self._schedule.predictor.learn(run.cost, result.seconds)
                        yield run.index, replace(result, attempts=result.attempts + run.deaths)
                    elif run.deaths + 1 < ATTEMPTS:
                        waiting.insert(0, replace(run, deaths=run.deaths + 1))
                    else:
                        yield run.index, replace(failed(run.job, "CRASH", result), attempts=ATTEMPTS)
        finally:  # a worker that is still at work has nobody to work for
            _stop(self._processes, [worker for worker in self._processes if worker.run])
            self._evaluating = False

    def close(self) -> None:
        """End all workers and wait until they are gone. The next `evaluate` starts new ones."""
        _stop(self._processes)

    def _assign(self, waiting: "list[Attempt]") -> bool:
        """Give jobs to idle workers, and start workers for what is left; False if a job may not start any more."""
        places = range(len(self._schedule.devices))
        while True:
            idle = [[worker for worker in self._processes if worker.idle and worker.place == p] for p in places]
            running = [
                [worker.run.cost for worker in self._processes if worker.run and worker.place == p] for p in places
            ]
            position, place = self._schedule.place([run.cost for run in waiting], running, [len(some) for some in idle])
            if position < 0:
                break
            if self._may_start is not None and not self._may_start():
                return False
            if idle[place][0].start(waiting[position]):
                del waiting[position]
            else:
                self._processes.remove(idle[place][0])
        starting = sum(worker.run is None for worker in self._processes)
        for _ in range(min(len(waiting) - starting, self.workers - len(self._processes))):
            crews = [sum(worker.place == p for worker in self._processes) for p in places]
            place = crews.index(min(crews))
            self._processes.append(Worker(place, self._schedule.devices[place].environment, self._initargs))
        return True

    def _started(self, problem: str) -> None:
        """A worker is ready, or it failed to be."""
        self._failures = self._failures + 1 if problem else 0
        made = not problem.startswith(NOT_MADE)
        if self._failures >= STARTS or not made:
            self._failures = 0
            hint = '; a script needs `if __name__ == "__main__":` around it' if made else ""
            raise NoWorker(f"no worker can start: {problem}{hint}")

    def _patience(self) -> float:
        """Seconds until a clock or a process has to be looked at."""
        if self.time_limit is None:
            return POLL
        ends = [worker.began + self.time_limit for worker in self._processes if worker.run]
        return max(0.0, min([POLL, *(end - time.monotonic() for end in ends)]))


def _stop(processes: list[Worker], some: Sequence[Worker] | None = None) -> None:
    for worker in list(processes if some is None else some):
        processes.remove(worker)
        worker.stop()
