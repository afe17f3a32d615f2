"""The same contract on a Ray cluster: each job is a task, with a CPU and a share of a GPU.

Inside of its Ray worker a job runs in a `Pool` of one process, which brings what Ray has not: a time limit, an end for all that
a job started, and an outcome where a process dies. So only what a job did becomes an outcome. Ray brings the job to a free
machine, and where that is lost it is sent again; where Ray itself dies the evaluation ends (`ray_link.py`).

Who reaches Ray's ports can run code on it (CVE-2023-48022). A Ray that is started here listens on the loopback interface alone,
has no dashboard and asks for a token that only this process and its children know, unless the caller has imported Ray before,
which reads its settings then. A cluster that somebody else started is theirs to guard. Ray is the extra `ray`.
"""

import os
import secrets
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ma2ml_env.evaluators.base import Evaluator, Job, MayStart, NoWorker
from ma2ml_env.evaluators.deadline import NoTime
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.evaluators.workers.ray_link import Link, RayLost
from ma2ml_env.evaluators.workers.schedule import Schedule
from ma2ml_env.evaluators.workers.worker import Attempt, failed
from ma2ml_env.trial import Outcome

RETRIES = 3
"""how often a job is started again if its machine or Ray worker is lost"""
_ALONE = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on every system it is this that puts Ray's ports on 127.0.0.1
}
_LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default; without it, it warns
    "RAY_kill_child_processes_on_worker_exit": "0",  # a pool ends with all its jobs started; killed before, it could not
}
_POLL = 0.5  # seconds between looks at signals; an outcome is not delayed by it
_GRACE = 10.0  # seconds that cancelled jobs have to end


class RayPool(Evaluator):
    """An evaluator over a Ray cluster.

    Every node needs this package, and the data where the factory looks for them. Trainings of equal seeds give equal outcomes
    on equal machines; different processors may round differently.

    Args:
        factory: makes the evaluator, in each worker; picklable.
        workers: CPUs of the Ray that is started on this machine, a job at a time each; None is all. Not for a cluster.
        address: of a cluster that runs, as `auto` or `10.0.0.1:6379`; None starts Ray on this machine.
        gpus: of each job, as in 0.25: four jobs share one. None is 1 where the cluster has GPUs, else 0.
        time_limit: seconds that one job may take; None is no limit.
        threads: torch threads of each job.
        schedule: longest predicted first; its devices are not asked, Ray knows its own. None takes jobs as they come.

    Raises:
        ImportError: if Ray is not installed; the extra is named.
        ValueError: if a number is out of range or the factory cannot be sent to a process.
    """

    def __init__(
        self,
        factory: Callable[[], Evaluator],
        workers: int | None = None,
        *,
        address: str | None = None,
        gpus: float | None = None,
        time_limit: float | None = None,
        threads: int = 1,
        schedule: Schedule | None = None,
    ) -> None:
        self._ray = _import_ray(local=address is None)
        Pool(
            factory, 1 if workers is None else workers, time_limit=time_limit, threads=threads
        )  # it checks its arguments
        if gpus is not None and not (0.0 <= gpus <= 1.0 or (gpus > 1.0 and float(gpus).is_integer())):
            raise ValueError(f"gpus of a job is a share in [0, 1] or a whole number, not {gpus!r}")
        self.gpus = gpus
        self._link = Link(self._ray, address, workers)
        self._factory = factory
        self._options = {"time_limit": time_limit, "threads": threads}
        self._schedule = schedule or Schedule()
        self._token = uuid.uuid4().hex  # a Ray worker may serve several pools, one after the other
        self._remote: Any = None
        self._evaluating = False
        self._may_start: MayStart | None = None

    def limit(self, may_start: MayStart | None) -> bool:
        """Ask before each job; then no more of them are sent than the cluster has room for, in their order."""
        self._may_start = may_start
        return True

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index into `jobs`, outcome), in order of completion.

        Raises:
            NoWorker: a RuntimeError; if the factory raises, or the cluster has no GPU that a job needs. `RayLost` if Ray has
                died, or has lost a job again and again.
            NoTime: a RuntimeError; if a job may not start, and all that had started are yielded.
            RuntimeError: if another evaluation is going on.
            ConnectionError: if there is no cluster at the address.
        """
        if self._evaluating:
            raise RuntimeError("this pool is evaluating already; finish or close that iterator first")
        if not jobs:
            return
        self._evaluating = True
        running: dict[Any, Attempt] = {}
        try:
            task, in_time = self._task(), True
            costs = [self._schedule.cost(job) for job in jobs]
            # Tasks of one kind start in the order of their submission.
            order = self._schedule.order(costs) if self._may_start is None else range(len(jobs))
            waiting = [Attempt(index, jobs[index], costs[index]) for index in order]
            while waiting or running:
                while waiting and in_time and (self._may_start is None or len(running) < self._slots()):
                    in_time = self._may_start is None or self._may_start()
                    if in_time:
                        run = waiting.pop(0)
                        running[task.remote(self._token, self._factory, self._options, run.job)] = run
                if not running:
                    raise NoTime(f"{len(waiting)} jobs may not start any more")
                ready, _ = self._ray.wait(list(running), timeout=_POLL)
                self._link.check()
                for each in ready:
                    run = running.pop(each)
                    result = self._result(run, each)
                    if isinstance(result, Attempt):
                        running[task.remote(self._token, self._factory, self._options, result.job)] = result
                        continue
                    if result.status == "ok":
                        self._schedule.predictor.learn(run.cost, result.seconds)
                    yield run.index, result
        except RayLost:
            running.clear()  # with Ray all of them have gone, and nobody is there to cancel them
            raise
        finally:  # what is still at work has nobody to work for
            for each in running:
                self._ray.cancel(each, force=True)
            if running:
                self._ray.wait(list(running), num_returns=len(running), timeout=_GRACE)
            self._evaluating = False

    def close(self) -> None:
        """Leave the cluster, or end the Ray that was started here. The next `evaluate` starts again."""
        self._remote = None
        self._link.stop()

    def _task(self) -> Any:
        if not self._link.started:
            self._link.start()
        self._link.check()
        there, gpus = self._link.resources.get("GPU", 0.0), self._share()
        if gpus > there:
            raise NoWorker(f"each job asks for {gpus:g} GPUs and the cluster has {there:g}")
        if (
            self._remote is None
        ):  # once: Ray's GCS has to hear of it. Ray starts none again by itself, it does not say why
            self._remote = self._ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_evaluate)
        return self._remote

    def _share(self) -> float:
        """GPUs of each job."""
        return min(1.0, self._link.resources.get("GPU", 0.0)) if self.gpus is None else self.gpus

    def _slots(self) -> int:
        """Jobs that the cluster has room for at a time, at least one."""
        there, gpus = self._link.resources, self._share()
        slots = there.get("CPU", 1.0)
        return max(1, int(min(slots, there.get("GPU", 0.0) / gpus) if gpus else slots))

    def _result(self, run: Attempt, task: Any) -> Outcome | Attempt:
        """What came of a job; where Ray lost it, what is to be started again."""
        known = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(task)
        except known.RayTaskError as error:  # jobs raise nothing here: it is the pool in the worker
            raise NoWorker(f"on the cluster: {error.cause}") from None
        except known.RayError as error:
            self._link.check()
            if run.deaths < RETRIES:
                return replace(run, deaths=run.deaths + 1)
            lost = f"{1 + RETRIES} times"
            if isinstance(error, known.OutOfMemoryError):  # Ray ends what takes too much of its machine's memory
                note = f"out of memory: ended by Ray {lost}"
                return replace(failed(run.job, "OOM", note), attempts=1 + RETRIES)
            raise RayLost(
                f"trial {run.job.number} was lost {lost} with its Ray worker or machine ({type(error).__name__})"
            ) from None
        return replace(outcome, attempts=outcome.attempts + run.deaths)


def _import_ray(local: bool) -> Any:
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^Raylet is terminated")  # twenty lines; `Link` says it in one
    if local:
        for variable, value in (_LOCAL if "ray" in sys.modules else {**_LOCAL, **_ALONE}).items():
            os.environ.setdefault(variable, value)  # inherited by all that Ray starts
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise ImportError('the evaluator ray_pool needs Ray: pip install "ma2ml[ray]"') from None
    return ray


# What follows runs in a Ray worker, which keeps one pool between jobs.
_pool: tuple[str, Pool] | None = None


def _evaluate(token: str, factory: Callable[[], Evaluator], options: dict[str, Any], job: Job) -> Outcome:
    global _pool
    if _pool is None or _pool[0] != token:
        if _pool is not None:
            _pool[1].close()
        _pool = token, Pool(factory, 1, **options)
    ((_, outcome),) = _pool[1].evaluate([job])
    return outcome
