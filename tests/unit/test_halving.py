"""Halving drops the worst of a batch, the others go on from their checkpoints, and a resumed batch is the same."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ma2ml_agents.cli.main import main
from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.evaluators.halving import Halving
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.evaluators.wrap import Cached
from ma2ml_env.games.make import make_game
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.store.store import TrialStore
from ma2ml_env.training import loop
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.trial import Outcome


class Growing(Evaluator):
    """Accuracy grows with `until`, seeds differ in how; remembers what it was asked. Seeds of `failing` fail at a share."""

    def __init__(self, failing=None):
        self.asked, self.failing = [], failing or {}

    def evaluate(self, jobs):
        for index in random.Random(len(self.asked)).sample(range(len(jobs)), len(jobs)):  # any order of completion
            job = jobs[index]
            self.asked.append((job.number, job.until))
            if job.until >= self.failing.get(job.seed, 2.0):
                yield index, Outcome("failed", error="NAN", fidelity=job.fidelity * job.until, seconds=1.0)
                continue
            accuracy = float(np.random.default_rng([job.seed, round(1000 * job.until)]).uniform(0, job.until))
            yield index, Outcome(accuracy=accuracy, fidelity=job.fidelity * job.until, seconds=job.until)


def jobs(n, first=0):
    return [Job(first + i, Recipe(epochs=i + 1), {}, first + i, 0.5) for i in range(n)]


def test_the_worst_go_and_the_others_go_on():
    inner = Growing()
    found = dict(Halving(inner, [0.25, 0.5]).evaluate(jobs(7)))
    assert sorted(found) == list(range(7))
    assert [sum(until == share for _, until in inner.asked) for share in (0.25, 0.5, 1.0)] == [7, 4, 2]
    assert sorted(outcome.fidelity for outcome in found.values()) == [0.125] * 3 + [0.25] * 2 + [0.5] * 2
    at_rung = {i: outcome.rungs[0] for i, outcome in found.items()}
    best = sorted(at_rung, key=lambda i: -at_rung[i])[:4]
    assert all((found[i].fidelity > 0.125) == (i in best) for i in range(7))
    assert all(found[i].accuracy == found[i].rungs[0] for i in range(7) if i not in best)
    assert {found[i].seconds for i in range(7)} == {0.25, 0.75, 1.75}  # of all parts together
    assert {outcome.batch_end for outcome in found.values()} == {7}


def test_ties_go_to_the_lower_number_and_failures_go_first():
    class Same(Evaluator):
        def evaluate(self, jobs):
            for index, job in enumerate(jobs):
                yield index, Outcome(accuracy=0.5, fidelity=job.fidelity * job.until)

    found = dict(Halving(Same(), [0.5]).evaluate(jobs(4)))
    assert [found[i].fidelity for i in range(4)] == [0.5, 0.5, 0.25, 0.25]
    found = dict(Halving(Growing({0: 0.5, 1: 0.5, 2: 0.5, 3: 1.0}), [0.5]).evaluate(jobs(4)))
    assert [found[i].status for i in range(4)] == ["failed"] * 4  # 3 passed the rung alone, and failed after it
    assert [(found[i].batch_end, len(found[i].rungs)) for i in (0, 3)] == [(4, 0), (4, 1)]
    assert list(Halving(Growing(), [0.5]).evaluate([])) == []


def test_another_metric_ranks_a_batch():
    class Opposed(Evaluator):
        def evaluate(self, jobs):
            for index, job in enumerate(jobs):
                found = {"log_loss": job.number / 2}  # the higher the accuracy, the higher the loss
                yield index, Outcome(accuracy=job.number / 10, fidelity=job.fidelity * job.until, metrics=found)

    by_accuracy, by_loss = (
        dict(Halving(Opposed(), [0.5], **how).evaluate(jobs(4))) for how in ({}, {"metric": "log_loss"})
    )
    assert [by_accuracy[i].fidelity for i in range(4)] == [0.25, 0.25, 0.5, 0.5]
    assert [by_loss[i].fidelity for i in range(4)] == [0.5, 0.5, 0.25, 0.25]
    assert by_loss[2].rungs == (pytest.approx(np.exp(-1.0)),)


def comparable(found):
    return {number: replace(outcome, seconds=0.0, attempts=0) for number, outcome in found.items()}


@pytest.mark.parametrize("failing", [{}, {14: 0.3, 11: 1.0, 17: 0.6}], ids=["calm", "failures"])
def test_a_resumed_batch_comes_out_as_an_undisturbed_one(failing):
    """Whatever was known when it stopped: every prefix of what was told, over the second of three batches."""
    batches = [jobs(8, first) for first in (0, 8, 16)]
    evaluator = Halving(Growing(failing), [0.3, 0.6])
    told = [[(batch[i].number, outcome) for i, outcome in evaluator.evaluate(batch)] for batch in batches]
    whole = [comparable(dict(each)) for each in told]
    for known in range(9):
        inner = Growing(failing)
        resumed = Halving(inner, [0.3, 0.6])
        for number, outcome in itertools.chain(told[0], told[1][:known]):
            resumed.remember(batches[number // 8][number % 8], outcome)
        before = dict(told[1][:known])
        waiting = [job for job in batches[1] if job.number not in before]
        found = {waiting[i].number: outcome for i, outcome in resumed.evaluate(waiting)}
        assert not before.keys() & {number for number, _ in inner.asked}  # what is known is not trained again
        assert comparable(before | found) == whole[1]
        assert comparable({16 + i: o for i, o in resumed.evaluate(batches[2])}) == whole[2]


def test_what_is_known_changes_who_is_dropped():
    """The control of the test above: without what is known, the rest is ranked by itself, and comes out differently."""
    batch = jobs(8)
    told = [(batch[i].number, outcome) for i, outcome in Halving(Growing(), [0.3]).evaluate(batch)]
    before = dict(told[:4])
    waiting = [job for job in batch if job.number not in before]
    found = {waiting[i].number: outcome for i, outcome in Halving(Growing(), [0.3]).evaluate(waiting)}
    assert comparable(before | found) != comparable(dict(told))


@pytest.mark.parametrize("rungs", [[], [0.0], [1.0], [0.5, 0.25], [0.5, 0.5], [float("nan")]])
def test_impossible_rungs(rungs):
    with pytest.raises(ValueError, match="rising shares"):
        Halving(Growing(), rungs)


@pytest.mark.parametrize("keep", [0.0, 1.0, -1.0, float("nan")])
def test_impossible_share_that_passes(keep):
    with pytest.raises(ValueError, match="share that passes"):
        Halving(Growing(), [0.5], keep)


CELL = ((0, "conv_3x3", 1, "max_pool_3x3", "add"),)
RECIPE = Recipe(
    network=Spec("nasnet", {"normal": CELL, "reduction": CELL, "cells": 2, "reductions": (1,), "filters": 4}),
    crop_padding=1, flip=False, cutout=0, epochs=8, batch_size=50,
)  # fmt: skip
SOURCE = DataSource("digits", limit=150)


def real_jobs():
    rates = (0.2, 0.1, 0.05, 0.001)
    return [Job(i, replace(RECIPE, learning_rate=rate), {}, 40 + i, 0.5) for i, rate in enumerate(rates)]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_survivor_is_bit_equal_to_an_uninterrupted_training(tmp_path: Path, monkeypatch, workers):
    """Accuracy, loss and steps of Train alone; and the epochs that are trained are those of the rungs, none twice."""
    epochs: list[int] = []
    fit = loop.fit
    monkeypatch.setattr(loop, "fit", lambda *a, **o: fit(*a, **o, on_epoch=lambda *_: epochs.append(1)))
    plain = dict(Train(SOURCE).evaluate(real_jobs()))
    assert len(epochs) == 4 * 4
    epochs.clear()
    trainer = Train(SOURCE, checkpoints=str(tmp_path / "checkpoints"))
    inner = Pool(trainer.twin, workers) if workers else trainer
    halved = Halving(inner, [0.25], folder=tmp_path / "checkpoints")
    found = dict(halved.evaluate(real_jobs()))
    halved.close()
    survivors = [i for i in range(4) if found[i].fidelity == 0.5]
    assert len(survivors) == 2
    for i in survivors:
        assert found[i].accuracy == plain[i].accuracy
        assert {name: found[i].metrics[name] for name in plain[i].metrics} == plain[i].metrics
    if not workers:
        assert len(epochs) == 4 * 1 + 2 * 3
    for i in set(range(4)) - set(survivors):
        assert found[i].fidelity == 0.125
        assert found[i].metrics["epochs"] == 1
    assert not (tmp_path / "checkpoints").exists()


def test_a_lost_checkpoint_costs_time_and_changes_nothing(tmp_path: Path, monkeypatch):
    paths = [tmp_path / "a", tmp_path / "b"]
    kept, lost = (Halving(Train(SOURCE, checkpoints=str(path)), [0.25]) for path in paths)
    found = dict(kept.evaluate(real_jobs()))
    outcomes = lost.evaluate(real_jobs())
    again = {}
    for i, outcome in outcomes:
        for path in paths[1].iterdir():
            path.write_bytes(b"torn")
        again[i] = outcome
    assert comparable(again) == comparable(found)


def test_a_rung_that_is_the_whole_training_is_not_trained_twice(tmp_path: Path, monkeypatch):
    epochs: list[int] = []
    fit = loop.fit
    monkeypatch.setattr(loop, "fit", lambda *a, **o: fit(*a, **o, on_epoch=lambda *_: epochs.append(1)))
    one = [replace(job, fidelity=1 / 8) for job in real_jobs()]
    found = dict(Cached(Halving(Train(SOURCE, checkpoints=str(tmp_path)), [0.5])).evaluate(one))
    assert len(epochs) == 4
    assert all(outcome.fidelity == 1 / 8 for outcome in found.values())


def test_a_dropped_pipeline_tells_the_epochs_that_it_had(tmp_path: Path):
    """A quarter of three epochs is one, a third."""
    found = dict(Halving(Train(SOURCE), [0.25]).evaluate([replace(job, fidelity=3 / 8) for job in real_jobs()]))
    assert sorted(round(8 * outcome.fidelity, 9) for outcome in found.values()) == [3, 3, 3, 3]  # nobody can pause
    pausing = Halving(Train(SOURCE, checkpoints=str(tmp_path)), [0.25], folder=tmp_path)
    found = dict(pausing.evaluate([replace(job, fidelity=3 / 8) for job in real_jobs()]))
    assert sorted(round(8 * outcome.fidelity, 9) for outcome in found.values()) == [1, 1, 3, 3]


def test_only_checkpoints_are_deleted(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("precious")
    list(Halving(Train(SOURCE, checkpoints=str(tmp_path)), [0.25], folder=tmp_path).evaluate(real_jobs()))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("shares", [(0.8,), (0.1, 0.2), (0.01, 0.4)])
def test_a_rung_needs_an_epoch_of_its_own(shares):
    with pytest.raises(ValueError, match="an epoch of its own before the last"):
        make_game("digits-v0", halving=shares, limit=60)


def outcomes(run: Path):
    with TrialStore(run, create=False) as store:
        return [replace(trial.outcome, seconds=0.0) for trial in store.trials()]


@pytest.mark.slow
def test_from_the_command_line_and_resumed(tmp_path: Path, capsys):
    def search(run, *more):
        options = ["--set", "limit=100", "--set", "proxy_epochs=4", "--device", "cpu", "--workers", "1"]
        return main(["search", "digits-v0", "--run", str(run), "--learner", "random", "--batch", "4", *options, *more])

    assert search(tmp_path / "a", "--budget", "8", "--halving", "0.25") == 0
    whole = outcomes(tmp_path / "a")
    assert sorted(o.fidelity for o in whole) == pytest.approx([1 / 30] * 4 + [4 / 30] * 4)
    assert search(tmp_path / "b", "--budget", "4", "--halving", "0.25") == 0
    assert main(["resume", str(tmp_path / "b"), "--budget", "8"]) == 0
    assert outcomes(tmp_path / "b") == whole
    assert not (tmp_path / "a" / "checkpoints").exists()
    capsys.readouterr()
    assert search(tmp_path / "a", "--budget", "8") == 2
    assert "halving is [0.25] there and null here" in capsys.readouterr().err
    assert search(tmp_path / "c", "--budget", "8", "--halving", "2") == 2
    assert "rising shares of a training" in capsys.readouterr().err
    assert search(tmp_path / "c", "--budget", "8", "--halving", "0.5", "--evaluator", "surrogate") == 2
    assert "halving is for what is trained" in capsys.readouterr().err
