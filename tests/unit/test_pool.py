"""A pool of local processes gives what its evaluator gives."""

import os
from functools import partial

import pytest

from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.evaluators.deadline import NoTime
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.evaluators.workers.schedule import Cost, Schedule
from ma2ml_env.recipe import Recipe
from ma2ml_env.trial import Outcome


class Echo(Evaluator):
    """Tells seed, process and threads."""

    def __init__(self, message=""):
        if message:
            raise FileNotFoundError(message)

    def evaluate(self, jobs):
        for index, job in enumerate(jobs):
            yield (
                index,
                Outcome(
                    accuracy=job.seed / 100,
                    fidelity=job.fidelity,
                    metrics={"pid": float(os.getpid()), "threads": float(os.environ["OMP_NUM_THREADS"])},
                ),
            )


def jobs(n):
    return [Job(number, Recipe(), {"a": (0,)}, number, 0.5) for number in range(n)]


def test_outcomes_of_the_evaluator_from_workers_that_stay():
    pool = Pool(Echo, 2, threads=3)
    try:
        assert isinstance(pool, Evaluator)
        assert pool._processes == []  # nothing starts before the first next()
        outcomes = pool.evaluate(jobs(6))
        assert pool._processes == []
        found = dict(outcomes)
        assert [found[index].accuracy for index in range(6)] == [index / 100 for index in range(6)]
        assert {found[index].metrics["threads"] for index in found} == {3.0}
        pids = {outcome.metrics["pid"] for outcome in found.values()}
        assert os.getpid() not in pids
        assert list(pool.evaluate([])) == []
        again = {outcome.metrics["pid"] for _, outcome in pool.evaluate(jobs(3))}
        assert len(pids | again) <= 2
    finally:
        pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pids.pop()), 0)
    pool.close()


def test_a_limit_on_time_lets_end_what_has_begun_and_begins_in_order():
    pool = Pool(Echo, 2, schedule=Schedule(lambda job: Cost(macs=float(job.number))))
    answers = iter([True] * 5 + [False] * 9)
    try:
        assert pool.limit(lambda: next(answers))
        found = []
        with pytest.raises(NoTime, match="4 jobs may not start"):
            found.extend((index, outcome.accuracy) for index, outcome in pool.evaluate(jobs(9)))
        assert sorted(found) == [(index, index / 100) for index in range(5)], "the longest first would be the last ones"
        assert len(list(answers)) == 8, "no is no: it asks once more and not again"
        pool.limit(None)
        assert len(list(pool.evaluate(jobs(3)))) == 3
    finally:
        pool.close()


def test_a_factory_that_fails_is_an_error_and_no_outcome():
    pool = Pool(partial(Echo, "no data in /nowhere"), 1)
    with pytest.raises(RuntimeError, match=r"no worker can start: .*FileNotFoundError: no data in /nowhere"):
        next(pool.evaluate(jobs(2)))
    assert pool._processes == []
    pool.close()


def test_one_evaluation_at_a_time_and_a_closed_iterator_leaves_the_pool_usable():
    pool = Pool(Echo, 1)
    try:
        outcomes = pool.evaluate(jobs(3))
        next(outcomes)
        with pytest.raises(RuntimeError, match="evaluating already"):
            next(pool.evaluate(jobs(1)))
        outcomes.close()
        assert len(list(pool.evaluate(jobs(2)))) == 2
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 0}, "at least 1"),
        ({"threads": 0}, "at least 1"),
        ({"time_limit": 0}, "positive number of seconds"),
        ({"factory": lambda: Echo()}, "function or class of a module"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pool(**{"factory": Echo, **arguments})
