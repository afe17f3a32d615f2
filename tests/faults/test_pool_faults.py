"""F2 a worker dies, F10 it hangs, F11 what it leaves, F14 /dev/shm, F15 a straggler, F20 budget, F25 order, F27 a storm."""

import os
import random
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest
from parts import Faulty, Steps, group, job, python, result, run, until

from ma2ml_agents.run.loop import Callback
from ma2ml_env.evaluators.base import Evaluator, Job, NoWorker
from ma2ml_env.evaluators.halving import Halving
from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.recipe import Recipe
from ma2ml_env.training.data.source import DataSource

SURROGATE = partial(Surrogate, {"steps": Steps.space.nvec}, seed=1, delay=0.02)


@pytest.fixture
def pool():
    made = []

    def make(*args, **options):
        made.append(Pool(*args, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def accuracies(outcomes):
    return {index: outcome.accuracy for index, outcome in outcomes.items()}


def test_f2_a_worker_that_dies_costs_one_attempt_of_one_job(pool, tmp_path):
    jobs = [job(0), job(1, die_once=1), job(2), job(3)]
    found = dict(pool(partial(Faulty, str(tmp_path)), 2).evaluate(jobs))
    assert accuracies(found) == {index: jobs[index].seed / 1e4 for index in range(4)}  # same seed, same outcome
    assert [found[index].attempts for index in range(4)] == [1, 2, 1, 1]


def test_f2_a_lost_device_costs_its_worker_and_no_job(pool, tmp_path):
    """In a process of its own the job is started again; in the old one all later jobs would have failed."""
    jobs = [job(0), job(1, lost_once=1), job(2), job(3)]
    found = dict(pool(partial(Faulty, str(tmp_path)), 1).evaluate(jobs))
    assert accuracies(found) == {index: jobs[index].seed / 1e4 for index in range(4)}
    assert [found[index].attempts for index in range(4)] == [1, 2, 1, 1]
    assert found[0].metrics["pid"] != found[2].metrics["pid"] == found[3].metrics["pid"]


def test_f6_where_no_job_can_be_run_it_is_no_outcome(pool):
    evaluating = pool(Faulty, 1).evaluate([job(0), job(1, unfit=1), job(2)])
    assert next(evaluating)[0] == 0
    with pytest.raises(NoWorker, match="the disk is full"):
        next(evaluating)


@pytest.mark.parametrize("order", [{"kill": signal.SIGKILL}, {"kill": signal.SIGSEGV}, {"exit": 3}, {"exit": 0}])
def test_f2_a_job_that_kills_every_worker_fails_and_the_others_do_not(pool, order):
    found = dict(pool(Faulty, 1).evaluate([job(0), job(1, **order), job(2)]))
    assert [found[index].status for index in range(3)] == ["ok", "failed", "ok"]
    assert (found[1].error, found[1].attempts) == ("CRASH", 2)
    assert "the worker process died" in found[1].note


def test_f2_an_exception_is_an_outcome_and_costs_no_worker(pool):
    found = dict(pool(Faulty, 1).evaluate([job(n, **{"raise": n}) for n in range(3)] + [job(3)]))
    assert [found[n].error for n in range(4)] == ["CRASH", "OOM", "CRASH", ""]
    assert found[0].note == "ValueError: bad job"
    assert all(outcome.attempts == 1 for outcome in found.values())


def test_f2_an_idle_worker_that_was_killed_is_replaced(pool):
    evaluator = pool(Faulty, 1)
    (_, outcome), = evaluator.evaluate([job(0)])  # fmt: skip
    os.kill(int(outcome.metrics["pid"]), signal.SIGKILL)
    (_, again), = evaluator.evaluate([job(0)])  # fmt: skip
    assert again.status == "ok"  # at the second attempt, if the job was sent before the death was seen
    assert again.metrics["pid"] != outcome.metrics["pid"]


@pytest.mark.parametrize("order", [{"sleep": 600}, {"stop": 1}])
def test_f10_a_hanging_job_is_stopped_at_the_limit_and_the_others_are_not(pool, order):
    """A test may take half as long as the job would sleep, so it was stopped; when, tells the slow test below."""
    found = dict(pool(Faulty, 2, time_limit=1.0).evaluate([job(0, **order), job(1), job(2), job(3)]))
    assert [found[index].error for index in range(4)] == ["TIMEOUT", "", "", ""]
    assert "stopped after" in found[0].note
    assert found[0].seconds >= 1.0


@pytest.mark.slow  # not for its length: the clock is the point, and other tests beside it would slow it down
@pytest.mark.parametrize("limit", [1.0, 3.0])
def test_f10_the_limit_is_kept_to_two_seconds(pool, limit):
    (_, outcome), = pool(Faulty, 1, time_limit=limit).evaluate([job(0, sleep=600)])  # fmt: skip
    assert limit <= outcome.seconds < limit + 2.0


def test_f15_a_straggler_holds_its_batch_to_the_limit_and_the_other_worker_not_at_all(pool):
    """A batch is a barrier and nobody trains a straggler twice: the time limit is what bounds it."""
    jobs = [job(0, sleep=600), *(job(n, sleep=0.02) for n in range(1, 24))]
    arrived = list(pool(Faulty, 2, time_limit=3.0).evaluate(jobs))
    assert arrived[-1][0] == 0
    assert arrived[-1][1].error == "TIMEOUT"
    others = [outcome for _, outcome in arrived[:-1]]
    assert [outcome.status for outcome in others] == ["ok"] * 23
    assert len({outcome.metrics["pid"] for outcome in others}) == 1  # all by the worker that was free


def shared(pid):
    """What a process has mapped from /dev/shm, but for locks (a page each)."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if "/dev/shm/" in line and "/sem." not in line]


@pytest.mark.slow
def test_f14_nothing_lies_in_shared_memory_while_a_pool_trains(pool):
    """So a container's 64 MB of /dev/shm are enough: data lie in each worker's own memory, and no loader has workers."""
    small = Recipe().network.with_args(cells=2, reductions=(1,), filters=2)
    recipe = Recipe(network=small, crop_padding=0, cutout=0, batch_size=32, epochs=2)
    jobs = [Job(number, recipe, {}, number, 1.0) for number in range(4)]
    block = SharedMemory(create=True, size=1 << 20)
    try:
        assert shared(os.getpid())  # the control: it is seen
    finally:
        block.close()
        block.unlink()
    evaluator = pool(partial(Train, DataSource("digits", limit=64)), 2)
    found = []
    for _, outcome in evaluator.evaluate(jobs):
        pids = [os.getpid(), *(worker._pid for worker in evaluator._processes if worker._pid)]
        found.append((outcome.status, len(pids), [shared(pid) for pid in pids]))
    assert [status for status, _, _ in found] == ["ok"] * 4
    assert max(count for _, count, _ in found) == 3
    assert not any(line for _, _, each in found for line in each)


def test_f11_nothing_that_a_job_started_is_left(pool):
    evaluator = pool(Faulty, 2, time_limit=1.0)
    found = dict(evaluator.evaluate([job(0, child=1), job(1, child=1, sleep=600), job(2, child=1, kill=9)]))
    pids = {int(found[0].metrics["pid"])}
    assert [found[index].error for index in range(3)] == ["", "TIMEOUT", "CRASH"]
    pids |= {worker._pid for worker in evaluator._processes}
    evaluator.close()
    assert not [pid for pid in pids if group(pid)]


def test_f11_a_closed_iterator_ends_what_is_running(pool):
    evaluator = pool(Faulty, 2)
    outcomes = evaluator.evaluate([job(0, child=1, sleep=600), job(1)])  # the first is at work when the second is done
    next(outcomes)
    pids = [worker._pid for worker in evaluator._processes if worker.run]
    assert pids
    outcomes.close()
    assert not [pid for pid in pids if group(pid)]


@pytest.mark.parametrize("after", ["job(2, sleep=600), job(3, sleep=600)", ""], ids=["busy", "idle"])
def test_f11_workers_and_what_they_started_end_with_the_driver(after):
    code = f"""
import time
from parts import Faulty, job
from ma2ml_agents.run.loop import Callback
from ma2ml_env.evaluators.base import NoWorker
from ma2ml_env.evaluators.halving import Halving
from ma2ml_env.evaluators.workers.pool import Pool
pool = Pool(Faulty, 2)
for _, outcome in pool.evaluate([job(0, child=1, sleep=0.3), job(1, child=1, sleep=0.3), {after}]):
    print(int(outcome.metrics["pid"]), flush=True)
time.sleep(600)
"""
    process = python("-c", code, stdout=subprocess.PIPE)
    pids = {int(process.stdout.readline()) for _ in range(2)}
    assert all(group(pid) for pid in pids)  # the control: they are there
    process.kill()
    process.wait()
    process.stdout.close()
    assert until(lambda: not any(group(pid) for pid in pids), 20)


@pytest.mark.slow
def test_f11_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from parts import Faulty, job\n"
        "from ma2ml_env.evaluators.workers.pool import Pool\n"
        "print(list(Pool(Faulty).evaluate([job(0)])))"
    )
    process = python(script, stderr=subprocess.PIPE)
    assert b"__main__" in process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode != 0


def test_f20_f25_workers_and_order_of_completion_change_nothing(pool, tmp_path):
    """And exactly the budget is played, with more workers than a batch has jobs as well."""
    run(tmp_path / "0", evaluator=SURROGATE())
    for workers in (1, 2, 7):
        run(tmp_path / str(workers), evaluator=pool(SURROGATE, workers))
        assert result(tmp_path / str(workers)) == result(tmp_path / "0")
        assert len(result(tmp_path / str(workers))[0]) == 12


class Shuffled(Evaluator):
    """Completes in an order of its own."""

    def __init__(self, seed):
        self.inner, self.rng = SURROGATE(), random.Random(seed)

    def evaluate(self, jobs):
        outcomes = list(self.inner.evaluate(jobs))
        yield from self.rng.sample(outcomes, len(outcomes))


def test_f25_any_order_of_completion(tmp_path):
    run(tmp_path / "calm", evaluator=SURROGATE())
    for seed in range(5):
        run(tmp_path / str(seed), evaluator=Shuffled(seed))
        assert result(tmp_path / str(seed)) == result(tmp_path / "calm")


def test_f27_a_storm_of_kills(pool, tmp_path):
    """Workers are killed all the time; no job is lost, and what is not CRASH is what a calm run has."""
    evaluator = pool(partial(Faulty, str(tmp_path)), 2)
    over = threading.Event()

    def storm():
        rng = random.Random(0)
        while not over.wait(0.15):
            for worker in list(evaluator._processes):
                if worker._pid and rng.random() < 0.15:
                    with suppress(ProcessLookupError):
                        os.kill(worker._pid, signal.SIGKILL)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        jobs = [job(n, sleep=0) for n in range(40)]
        for each in jobs:
            each.codes["sleep"] = (0.1,)
        found = dict(evaluator.evaluate(jobs))
    finally:
        over.set()
        thread.join()
    assert sorted(found) == list(range(40))
    assert max(outcome.attempts for outcome in found.values()) == 2  # the storm did hit
    assert all(o.error == "CRASH" or o.accuracy == jobs[i].seed / 1e4 for i, o in found.items())


class Rising(Evaluator):
    """The surrogate's accuracy, times a share that depends on the job, until the end of the training."""

    def evaluate(self, jobs):
        for index, outcome in SURROGATE(delay=0.0).evaluate(jobs):
            share = random.Random(jobs[index].seed).random() if jobs[index].until < 1.0 else 1.0
            yield index, replace(outcome, accuracy=share * outcome.accuracy, fidelity=jobs[index].until)


class Killer(Callback):
    def __init__(self, after):
        self.left = after

    def on_outcome(self, number, outcome):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", range(12))
def test_f1_f25_a_halved_batch_that_was_cut_short_ends_the_same(tmp_path, after):
    """The cache is around it, and the light game has equal pipelines in a batch."""
    run(tmp_path / "calm", evaluator=Halving(Rising(), [0.25, 0.5]))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", evaluator=Halving(Rising(), [0.25, 0.5]), callbacks=[Killer(after)])
    run(tmp_path / "cut", evaluator=Halving(Rising(), [0.25, 0.5]))
    assert result(tmp_path / "cut") == result(tmp_path / "calm")
    assert len({trial["outcome"]["fidelity"] for trial in result(tmp_path / "calm")[0]}) == 3  # some were dropped
