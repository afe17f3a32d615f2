"""Evaluators around an evaluator: `Cached(Feasible(Pool(Train(...))))`.

What they share: an index of `jobs` is yielded once, work starts at the first `next()`, `close()` and `remember` are passed on.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace

from ma2ml_env.evaluators.base import Evaluates, Evaluator, Job, Wrapper, closing
from ma2ml_env.evaluators.deadline import NoTime
from ma2ml_env.trial import Outcome, trial_seed

_Key = tuple[str, float, float]


class Cached(Wrapper):
    """Trains equal jobs once: same recipe key, same fidelity.

    Equal jobs of a batch are trained under the seed of the lowest number. A hit is the stored outcome with `cached`
    true, seconds 0.0 and attempts 0; it is a trial like any other. What is reused: ok, infeasible, and failures that lie in the
    recipe (NAN, INVALID). CRASH, TIMEOUT and OOM may lie in the machine: the next equal job, of the same batch or a later one,
    is trained again under its own seed. So a resumed batch comes out as an undisturbed one, whatever was done when it stopped.

    Put it outside `Repeated`: seeds do not enter the key.
    """

    def __init__(self, inner: Evaluator | Evaluates) -> None:
        super().__init__(inner)
        self._outcomes: dict[_Key, Outcome] = {}

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index into `jobs`, outcome): hits first, then what is trained, then its equals."""
        waiting = sorted(range(len(jobs)), key=lambda index: jobs[index].number)
        while waiting:
            first: dict[_Key, int] = {}
            equals = []
            for index in waiting:
                key = _key(jobs[index])
                if key in self._outcomes:
                    yield index, _hit(self._outcomes[key])
                elif key in first:
                    equals.append(index)
                else:
                    first[key] = index
            try:
                yield from evaluate_some(self.inner, jobs, list(first.values()), self._store)
            except NoTime:  # what equals a job that is done takes none
                for index in equals:
                    if _key(jobs[index]) in self._outcomes:
                        yield index, _hit(self._outcomes[_key(jobs[index])])
                raise
            waiting = equals

    def remember(self, job: Job, outcome: Outcome) -> None:
        """Fill the cache on resume, in the order of trial numbers; what it holds already stays, a hit is no news."""
        if not outcome.cached:
            self._store(job, outcome)
        super().remember(job, outcome)

    def _store(self, job: Job, outcome: Outcome) -> None:
        if outcome.error not in ("CRASH", "TIMEOUT", "OOM"):
            self._outcomes.setdefault(_key(job), outcome)


class Feasible(Wrapper):
    """Refuses a pipeline over the limit before it is trained: status `infeasible`, its MACs told, fidelity 0.0.

    Args:
        inner: evaluates the others.
        max_flops: limit in MACs; at the limit is feasible.
        flops: MACs of a job's network. If it raises, the outcome is failed, INVALID.

    Raises:
        ValueError: if the limit is not positive.
    """

    def __init__(self, inner: Evaluator | Evaluates, max_flops: float, flops: Callable[[Job], int]) -> None:
        super().__init__(inner)
        if max_flops <= 0:
            raise ValueError(f"the limit is a positive number of MACs, not {max_flops!r}")
        self.max_flops = max_flops
        self._flops = flops

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index into `jobs`, outcome): the refused first."""
        feasible = []
        for index, job in enumerate(jobs):
            try:
                flops = self._flops(job)
            except Exception as error:  # whatever a network of this space raises, it is this job's outcome
                note = f"its MACs cannot be counted: {error!r}"
                yield index, Outcome("failed", fidelity=0.0, attempts=0, error="INVALID", note=note)
                continue
            if flops > self.max_flops:
                note = f"{flops:,} MACs are over the limit of {self.max_flops:,}"
                yield index, Outcome("infeasible", flops=flops, fidelity=0.0, attempts=0, note=note)
            else:
                feasible.append(index)
        yield from evaluate_some(self.inner, jobs, feasible)


class Repeated(Wrapper):
    """Trains every job n times, under the seeds `trial_seed(job.seed, k)`, and averages.

    Accuracies and metrics are means; `metrics["accuracy_sd"]` is the sample's standard deviation (0.0 if n is 1);
    seconds and attempts are sums. If a repeat is not ok, the job's outcome is that of the first such repeat.

    Raises:
        ValueError: if n < 1, or if the inner evaluator is a cache, which would answer n times the same.
    """

    def __init__(self, inner: Evaluator | Evaluates, n: int) -> None:
        super().__init__(inner)
        if n < 1:
            raise ValueError(f"the number of repeats is at least 1, not {n!r}")
        if isinstance(inner, Cached):
            raise ValueError(
                "seeds do not enter the cache's key: write Cached(Repeated(...)), not Repeated(Cached(...))"
            )
        self.n = n

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index into `jobs`, mean outcome), each when its last repeat is done."""
        repeats = [replace(job, seed=trial_seed(job.seed, k)) for job in jobs for k in range(self.n)]
        done: list[dict[int, Outcome]] = [{} for _ in jobs]
        for position, outcome in evaluate_some(self.inner, repeats, range(len(repeats))):
            index, k = divmod(position, self.n)
            done[index][k] = outcome
            if len(done[index]) == self.n:
                yield index, self._mean([done[index][k] for k in range(self.n)])

    def remember(self, job: Job, outcome: Outcome) -> None:
        """A mean says nothing about one repeat: nothing is passed on."""

    def _mean(self, outcomes: Sequence[Outcome]) -> Outcome:
        seconds = math.fsum(outcome.seconds for outcome in outcomes)
        attempts = sum(outcome.attempts for outcome in outcomes)
        for k, outcome in enumerate(outcomes):
            if outcome.status != "ok":
                note = f"repeat {k + 1} of {self.n}: {outcome.note or outcome.error or outcome.status}"
                return replace(outcome, seconds=seconds, attempts=attempts, note=note)
        accuracies = [outcome.accuracy for outcome in outcomes]
        mean = min(1.0, math.fsum(accuracies) / self.n)
        variance = math.fsum((accuracy - mean) ** 2 for accuracy in accuracies) / max(1, self.n - 1)
        tests = [outcome.test_accuracy for outcome in outcomes if outcome.test_accuracy is not None]
        return replace(
            outcomes[0],
            accuracy=mean,
            seconds=seconds,
            attempts=attempts,
            test_accuracy=math.fsum(tests) / self.n if len(tests) == self.n else None,
            rungs=tuple(math.fsum(reached) / self.n for reached in zip(*(o.rungs for o in outcomes), strict=False)),
            metrics={**_mean_metrics([o.metrics for o in outcomes]), "accuracy_sd": math.sqrt(variance)},
        )


def evaluate_some(
    inner: Evaluator, jobs: Sequence[Job], indices: Sequence[int], done: Callable[[Job, Outcome], None] | None = None
) -> Generator[tuple[int, Outcome], None, None]:
    """Evaluate some of the jobs under their indices; `done` hears of an outcome once the caller has dealt with it.

    The inner iterator is closed with this one, so that its work is cancelled now and not when memory is collected.
    """
    if not indices:
        return
    with closing(inner.evaluate([jobs[index] for index in indices])) as outcomes:
        for position, outcome in outcomes:
            index = indices[position]
            yield index, outcome
            if done is not None:
                done(jobs[index], outcome)


def _key(job: Job) -> _Key:
    return job.recipe.key, job.fidelity, job.until


def _hit(outcome: Outcome) -> Outcome:
    return replace(outcome, seconds=0.0, attempts=0, cached=True)


def _mean_metrics(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    shared = [name for name in metrics[0] if all(name in other for other in metrics)]
    return {name: math.fsum(other[name] for other in metrics) / len(metrics) for name in shared}
