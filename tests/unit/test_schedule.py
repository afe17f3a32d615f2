"""Longest first, packed by memory: the predictor, the order, and a pool that follows them."""

import math
import os
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import schedule as benchmark

from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.evaluators.workers.schedule import Cost, Device, Predictor, Schedule
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.trial import Outcome


def job(number, **codes):
    return Job(number, Recipe(), {key: (value,) for key, value in codes.items()}, number, 1.0)


def test_predictor_finds_both_rates_from_noisy_durations():
    rng = np.random.default_rng(0)
    predictor = Predictor()
    for _ in range(200):
        cost = Cost(macs=rng.uniform(1e9, 1e12), calls=rng.uniform(1e4, 1e6))
        predictor.learn(cost, (2e-11 * cost.macs + 3e-5 * cost.calls) * rng.uniform(0.9, 1.1))
    errors = []
    for _ in range(200):
        cost = Cost(macs=rng.uniform(1e9, 1e12), calls=rng.uniform(1e4, 1e6))
        errors.append(predictor.seconds(cost) / (2e-11 * cost.macs + 3e-5 * cost.calls) - 1.0)
    assert max(map(abs, errors)) < 0.05


@pytest.mark.parametrize("seed", range(20))
def test_predictor_is_monotone_whatever_it_was_told(seed):
    rng = np.random.default_rng(seed)
    predictor = Predictor()
    for _ in range(rng.integers(0, 6)):
        predictor.learn(Cost(*rng.uniform(0, 1e6, 2) * rng.integers(0, 2, 2)), rng.uniform(0.0, 1e3))
    for _ in range(50):
        macs, calls = rng.uniform(0, 1e6, 2)
        now = predictor.seconds(Cost(macs, calls))
        assert 0.0 <= now <= predictor.seconds(Cost(macs * 1.5, calls))
        assert now <= predictor.seconds(Cost(macs, calls * 1.5))


def test_predictor_of_one_job_is_right_about_it():
    predictor = Predictor()
    predictor.learn(Cost(macs=1e9, calls=1e3), 7.0)
    assert predictor.seconds(Cost(macs=1e9, calls=1e3)) == pytest.approx(7.0)
    predictor.learn(Cost(), 5.0)  # a job of unknown cost teaches nothing
    predictor.learn(Cost(macs=1.0), 0.0)
    assert predictor.seconds(Cost(macs=2e9, calls=2e3)) == pytest.approx(14.0)


def test_makespan_of_uneven_jobs_is_near_the_lower_bound_and_first_come_is_not():
    """The same 200 draws for both; the benchmark reports 1,000. Over 40 seeds, m = 8: medians <= 1.05 and >= 1.21."""
    for devices in (2, 4, 8):
        found = benchmark.measure(devices, draws=200, seed=1)
        assert found["longest_first"]["median"] <= 1.15
        assert found["first_come"]["median"] > found["longest_first"]["median"] + 0.01
    assert found["first_come"]["median"] > 1.15  # the control would not pass, on 8 devices


def test_place_packs_by_memory_and_lets_a_large_job_run_alone():
    schedule = Schedule(lambda job: Cost(), [Device(10.0), Device(10.0)])
    large, half, small, huge = (Cost(macs=1.0, memory=memory) for memory in (8.0, 5.0, 2.0, 99.0))
    assert schedule.place([large], [[half], []], [1, 1]) == (0, 1)
    assert schedule.place([large, small], [[half], [half]], [1, 1]) == (1, 0)  # a smaller one passes
    assert schedule.place([huge], [[small], [small]], [1, 1]) == (-1, -1)
    assert schedule.place([huge, small], [[], [small]], [1, 1]) == (0, 0)
    assert schedule.place([small], [[], [small]], [0, 1]) == (0, 1)  # no worker is free on the emptier one
    assert schedule.place([], [[], []], [1, 1]) == (-1, -1)
    assert schedule.place([small], [[half, half], [half]], [2, 2]) == (0, 1)


def test_impossible_devices():
    for devices in ((), (Device(0.0),), (Device(float("nan")),)):
        with pytest.raises(ValueError, match="at least one device"):
            Schedule(None, devices)


class Timed(Evaluator):
    """Sleeps as a job's code says, and tells when it ran and on which device."""

    def evaluate(self, jobs):
        for index, each in enumerate(jobs):
            began = time.monotonic()
            time.sleep(each.codes["ms"][0] / 1e3)
            told = {"began": began, "ended": time.monotonic(), "device": float(os.environ.get("DEVICE", -1))}
            yield index, Outcome(accuracy=each.seed / 100, seconds=time.monotonic() - began, metrics=told)


class Gathered(Timed):
    """Begins its first job when all of a crew are up: else one worker may have done everything before the second is."""

    def __init__(self, folder, crew):
        self.folder, self.crew = folder, crew
        (folder / str(os.getpid())).touch()

    def evaluate(self, jobs):
        for _ in range(6000):
            if len(list(self.folder.iterdir())) >= self.crew:
                break
            time.sleep(0.01)
        yield from super().evaluate(jobs)


def cost_of_code(each):
    return Cost(macs=float(each.codes["ms"][0]), memory=float(each.codes.get("gb", (0,))[0]))


def run(schedule, workers, jobs, factory=Timed):
    pool = Pool(factory, workers, schedule=schedule)
    try:
        return dict(pool.evaluate(jobs))
    finally:
        pool.close()


@pytest.mark.slow
def test_a_pool_starts_the_longest_first_and_results_do_not_depend_on_it():
    jobs = [job(number, ms=ms) for number, ms in enumerate((5, 40, 10, 80))]
    schedule = Schedule(cost_of_code)
    ordered, plain = run(schedule, 1, jobs), run(None, 1, jobs)
    began = {name: [found[i].metrics["began"] for i in range(4)] for name, found in (("o", ordered), ("p", plain))}
    assert sorted(range(4), key=lambda i: began["o"][i]) == [3, 1, 2, 0]
    assert sorted(range(4), key=lambda i: began["p"][i]) == [0, 1, 2, 3]  # the control
    assert [ordered[i].accuracy for i in range(4)] == [plain[i].accuracy for i in range(4)]
    taught = Predictor()
    for i, each in enumerate(jobs):
        taught.learn(cost_of_code(each), ordered[i].seconds)
    untaught = Predictor().seconds(Cost(macs=40.0))
    assert schedule.predictor.seconds(Cost(macs=40.0)) == pytest.approx(taught.seconds(Cost(macs=40.0))) != untaught


@pytest.mark.slow
def test_a_pool_spreads_over_devices_and_never_overfills_one(tmp_path):
    devices = [Device(10.0, {"DEVICE": str(number)}) for number in range(2)]
    jobs = [job(number, ms=60, gb=gb) for number, gb in enumerate((6, 6, 4, 4, 4, 4, 3, 3, 12))]
    found = run(Schedule(cost_of_code, devices), 6, jobs, partial(Gathered, tmp_path, 6))
    assert sorted(found) == list(range(9))
    assert {outcome.metrics["device"] for outcome in found.values()} == {0.0, 1.0}
    together = 0
    for i, outcome in found.items():
        beside = [
            jobs[k].codes["gb"][0]
            for k, other in found.items()
            if other.metrics["device"] == outcome.metrics["device"]
            and other.metrics["began"] <= outcome.metrics["began"] < other.metrics["ended"]
        ]
        assert sum(beside) <= 10 or beside == [12], (i, beside)
        together = max(together, len(beside))
    assert together >= 2  # several jobs do share a device: the limit above can be broken


def test_a_cost_that_cannot_be_told_fails_nobody():
    def broken(each):
        raise ValueError(each.number)

    found = run(Schedule(broken), 1, [job(0, ms=1), job(1, ms=1)])
    assert [found[i].status for i in range(2)] == ["ok", "ok"]


def test_the_factory_of_a_named_game_is_scheduled():
    from ma2ml_env.games.make import make_game

    game = make_game("digits-v0", "pool", limit=100)
    pool = game.evaluator.inner
    codes = {agent: (0,) * len(sizes) for agent, sizes in game.spec.nvec.items()}
    cost = pool._schedule.cost(game.job(0, codes, 0))
    assert cost.macs > 0
    assert cost.calls > 0
    assert cost.memory > 0
    one = game.job(0, codes, 0)
    heavy = replace(one.recipe, optimizer=Spec("rmsprop", {}), ema=0.999)
    assert pool._schedule.cost(replace(one, recipe=heavy)).memory > cost.memory  # two numbers a weight more
    assert isinstance(pool, Pool)
    assert partial(pool._schedule.place, [cost], [[]], [1])() == (0, 0)


def test_jobs_share_what_memory_is_left(tmp_path, monkeypatch):
    """A machine's, or a container's where that is less; without either, any number of jobs may run together."""
    from ma2ml_env.evaluators.train import Train
    from ma2ml_env.io import memory
    from ma2ml_env.training.data.source import DataSource

    trainer = Train(DataSource("digits"), device="cpu")
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert trainer.devices()[0].memory == math.inf
    (tmp_path / "meminfo").write_text("MemTotal:  4000000 kB\nMemAvailable:  2000000 kB\n")
    assert trainer.devices()[0].memory == pytest.approx(0.9 * 2_048_000_000)
    (tmp_path / "memory.current").write_text("700000000\n")
    (tmp_path / "memory.stat").write_text("anon 400000000\ninactive_file 200000000\n")
    for limit, left in (("max", 2_048_000_000), ("1500000000", 1_000_000_000), ("9000000000", 2_048_000_000)):
        (tmp_path / "memory.max").write_text(limit + "\n")
        assert trainer.devices()[0].memory == pytest.approx(0.9 * left)
    recipe = Recipe(network=Spec("resnet_cifar", {"depth": 8}), batch_size=256)
    cost = trainer.cost(Job(0, recipe, {}, 0, 1.0))
    (tmp_path / "memory.max").write_text(f"{500000000 + 1.5 * cost.memory:.0f}")
    assert Schedule(trainer.cost, trainer.devices()).place([cost], [[cost]], [1]) == (-1, -1), "two do not fit"
    assert Schedule(trainer.cost, trainer.devices()).place([cost], [[]], [1]) == (0, 0), "one does"
