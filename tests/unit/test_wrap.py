"""Wrappers: indices, laziness, and what is reused when."""

import pytest

from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.evaluators.wrap import Cached, Feasible, Repeated
from ma2ml_env.recipe import Recipe
from ma2ml_env.trial import Outcome, trial_seed


def job(number, epochs=1, seed=None, fidelity=1.0):
    return Job(number, Recipe(epochs=epochs), {"a": (epochs,)}, 100 + number if seed is None else seed, fidelity)


class Fake(Evaluator):
    """Yields in reverse order; the accuracy tells the seed, `results` overrule it by number."""

    def __init__(self, results=()):
        self.results = dict(results)
        self.trained = []
        self.closed = False
        self.stopped = 0

    def evaluate(self, jobs):
        try:
            for index in reversed(range(len(jobs))):
                self.trained.append(jobs[index].number)
                yield (
                    index,
                    self.results.get(jobs[index].number, Outcome(accuracy=jobs[index].seed % 1000 / 1000, seconds=2.0)),
                )
        finally:
            self.stopped += 1

    def close(self):
        self.closed = True


WRAPPERS = [Cached, lambda inner: Feasible(inner, 10, lambda job: 1), lambda inner: Repeated(inner, 2)]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_every_index_once_lazy_and_closed(wrap):
    inner = Fake()
    outer = wrap(inner)
    assert isinstance(outer, Evaluator)
    outcomes = outer.evaluate([job(n, epochs=n + 1) for n in range(5)])
    assert inner.trained == []
    assert sorted(index for index, _ in outcomes) == [0, 1, 2, 3, 4]
    assert list(outer.evaluate([])) == []
    outcomes = outer.evaluate([job(n, epochs=n + 20) for n in range(5)])
    next(outcomes)
    before = inner.stopped
    outcomes.close()  # at once, and not when memory is collected
    assert inner.stopped == before + 1
    outer.close()
    assert inner.closed


def test_equal_jobs_are_trained_once_under_the_lowest_numbers_seed():
    inner = Fake()
    cached = Cached(inner)
    jobs = [job(7), job(5), job(6, epochs=2), job(9), job(8, fidelity=0.5)]
    found = dict(cached.evaluate(jobs))
    assert sorted(inner.trained) == [5, 6, 8]
    assert found[1] == Outcome(accuracy=0.105, seconds=2.0)
    for hit in (0, 3):
        assert found[hit] == Outcome(accuracy=0.105, seconds=0.0, attempts=0, cached=True)
    assert [dict(cached.evaluate([job(20)]))[0].cached, len(inner.trained)] == [True, 3]


@pytest.mark.parametrize(
    ("outcome", "reused"),
    [
        (Outcome("infeasible"), True),
        (Outcome("failed", error="NAN"), True),
        (Outcome("failed", error="INVALID"), True),
        (Outcome("failed", error="CRASH"), False),
        (Outcome("failed", error="TIMEOUT"), False),
        (Outcome("failed", error="OOM"), False),
    ],
)
def test_what_lies_in_the_machine_is_tried_again(outcome, reused):
    inner = Fake({0: outcome})
    found = dict(Cached(inner).evaluate([job(0), job(1), job(2)]))
    assert inner.trained == ([0] if reused else [0, 1])
    assert found[1].status == (outcome.status if reused else "ok")
    assert found[2].cached


@pytest.mark.parametrize("known", [[], [0], [0, 1], [0, 1, 2], [3], [0, 3], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("first", [Outcome(accuracy=0.5), Outcome("failed", error="CRASH")])
def test_a_resumed_batch_comes_out_as_a_calm_one(known, first):
    """Whatever of the batch is known already: outcome by outcome the same, hits included."""
    jobs = [job(0), job(1), job(2), job(3, epochs=2), job(4, epochs=2)]
    calm = {jobs[index].number: outcome for index, outcome in Cached(Fake({0: first})).evaluate(jobs)}
    cached = Cached(Fake({0: first}))
    for number in known:
        cached.remember(jobs[number], calm[number])
    rest = [job for job in jobs if job.number not in known]
    resumed = {rest[index].number: outcome for index, outcome in cached.evaluate(rest)}
    assert {**{number: calm[number] for number in known}, **resumed} == calm


def test_an_outcome_that_nobody_took_is_not_cached():
    cached = Cached(Fake())
    outcomes = cached.evaluate([job(0)])
    next(outcomes)
    outcomes.close()  # say because it could not be stored
    assert not dict(cached.evaluate([job(0)]))[0].cached


def test_remember_reaches_a_cache_inside():
    inner = Fake()
    outer = Feasible(Cached(inner), 10, lambda job: 1)
    outer.remember(job(0), Outcome(accuracy=0.25))
    assert dict(outer.evaluate([job(1)]))[0].accuracy == 0.25
    assert inner.trained == []


def test_feasible_refuses_before_training_and_counts_failures_of_the_count():
    inner = Fake()

    def flops(job):
        if job.number == 2:
            raise RuntimeError("no such layer")
        return [10, 11, 0, 5][job.number]

    found = dict(Feasible(inner, 10, flops).evaluate([job(n) for n in range(4)]))
    assert sorted(inner.trained) == [0, 3]
    assert (found[1].status, found[1].flops, found[1].fidelity, found[1].attempts) == ("infeasible", 11, 0.0, 0)
    assert (found[2].status, found[2].error) == ("failed", "INVALID")
    assert "no such layer" in found[2].note
    assert found[0].status == found[3].status == "ok"
    with pytest.raises(ValueError, match="positive number of MACs"):
        Feasible(inner, 0, flops)


def test_repeated_averages_sub_seeds():
    class Seeds(Fake):
        def evaluate(self, jobs):
            for index in reversed(range(len(jobs))):
                self.trained.append(jobs[index].seed)
                yield (
                    index,
                    Outcome(
                        accuracy=(jobs[index].seed % 97) / 100,
                        seconds=1.0,
                        metrics={"loss": float(jobs[index].seed % 5)},
                    ),
                )

    inner = Seeds()
    found = dict(Repeated(inner, 3).evaluate([job(0), job(1)]))
    seeds = [trial_seed(100, k) for k in range(3)]
    assert sorted(inner.trained) == sorted(seeds + [trial_seed(101, k) for k in range(3)])
    accuracies = [seed % 97 / 100 for seed in seeds]
    mean = sum(accuracies) / 3
    assert found[0].accuracy == pytest.approx(mean, abs=1e-12)
    sd = (sum((a - mean) ** 2 for a in accuracies) / 2) ** 0.5
    assert found[0].metrics["accuracy_sd"] == pytest.approx(sd, abs=1e-12)
    assert found[0].metrics["loss"] == pytest.approx(sum(seed % 5 for seed in seeds) / 3)
    assert (found[0].seconds, found[0].attempts) == (3.0, 3)
    assert dict(Repeated(Fake(), 1).evaluate([job(0)]))[0].metrics == {"accuracy_sd": 0.0}


def test_one_failed_repeat_fails_the_job():
    class Third(Fake):
        def evaluate(self, jobs):
            for index in reversed(range(len(jobs))):
                yield index, Outcome("failed", error="NAN", note="lost") if index >= 1 else Outcome(accuracy=0.9)

    outcome = dict(Repeated(Third(), 3).evaluate([job(0)]))[0]
    assert (outcome.status, outcome.error, outcome.note) == ("failed", "NAN", "repeat 2 of 3: lost")


def test_wrong_nesting_and_numbers():
    with pytest.raises(ValueError, match=r"Cached\(Repeated"):
        Repeated(Cached(Fake()), 2)
    with pytest.raises(ValueError, match="at least 1"):
        Repeated(Fake(), 0)
