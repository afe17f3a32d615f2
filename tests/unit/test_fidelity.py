"""Rank correlations, and the command that measures what a short training says of a long one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ma2ml_agents.after import fidelity
from ma2ml_agents.after.correlation import bootstrap, kendall, ranks, spearman
from ma2ml_agents.cli.main import main
from ma2ml_agents.run.signals import Stopped
from ma2ml_agents.run.stored import stored_config
from ma2ml_env.evaluators.placement import Placement
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome, Proposal, Trial


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [4, 11, 60])
def test_correlations_are_those_of_scipy(n, ties):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(n)
    x = rng.integers(0, 4, n).astype(float) if ties else rng.normal(size=n)
    y = x + (rng.integers(0, 4, n) if ties else rng.normal(size=n))
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert ranks(x).tolist() == stats.rankdata(x).tolist()


def test_correlations_by_hand():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(x, x**3) == kendall(x, x**3) == 1.0
    assert spearman(x, -x) == kendall(x, -x) == -1.0
    assert spearman(x, np.array([1.0, 2.0, 4.0, 3.0])) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert kendall(x, np.array([1.0, 2.0, 4.0, 3.0])) == pytest.approx((5 - 1) / 6)
    assert spearman(x, np.ones(4)) == kendall(x, np.ones(4)) == 0.0  # nothing is ranked
    assert ranks(np.array([5.0, 1.0, 5.0])).tolist() == [2.5, 1.0, 2.5]


@pytest.mark.slow
def test_interval_covers_the_truth_and_shrinks():
    """Spearman's correlation of a bivariate normal with rho 0.6 is 6/pi asin(0.3) = 0.582.

    Of 60 intervals of 95 % at n = 60 fewer than 50 cover it with a probability below 1e-3, were they exact.
    """
    rng = np.random.default_rng(0)
    covered, widths = 0, []
    for n in [60] * 60 + [240]:
        x = rng.normal(size=n)
        y = 0.6 * x + 0.8 * rng.normal(size=n)
        found = bootstrap(spearman, x, y, resamples=300)
        assert found.low <= found.value <= found.high
        covered += n == 60 and found.low <= 0.582 <= found.high
        widths.append(found.high - found.low)
    assert covered >= 50
    assert widths[-1] < 0.7 * np.mean(widths[:-1])  # half as wide, but for noise
    assert bootstrap(spearman, x, y, seed=1) == bootstrap(spearman, x, y, seed=1) != bootstrap(spearman, x, y, seed=2)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("fidelity") / "run"
    options = ["limit=100", "proxy_epochs=1", "final_epochs=4", "cells=2", "reductions=[1]"]
    settings = [text for option in options for text in ("--set", option)]
    arguments = ["--learner", "random", "--budget", "6", "--batch", "6", "--device", "cpu", "--workers", "1"]
    assert main(["search", "digits-v0", "--run", str(run), *arguments, *settings]) == 0
    return run


@pytest.mark.slow
def test_a_run_is_compared_and_nothing_is_trained_twice(searched, capsys, monkeypatch):
    assert main(["fidelity", str(searched), "--epochs", "1", "1", "2", "--pipelines", "5"]) == 0
    out = capsys.readouterr().out
    assert "5 pipelines, sampled from the run" in out
    assert "1 epochs (2): the best of the longest training is number" in out
    assert "--top-k" in out
    assert "2 epochs: 15/15, trial" in out  # a line for each training, as there is no terminal
    summary = json.loads((searched / "fidelity" / "summary.json").read_text())
    assert [pair["trainings"] for pair in summary["pairs"]] == [
        ["1 epochs", "1 epochs (2)"],
        ["1 epochs", "2 epochs"],
        ["1 epochs (2)", "2 epochs"],
    ]
    assert len(summary["pipelines"]) == 5
    first, again = summary["accuracy"]["1 epochs"], summary["accuracy"]["1 epochs (2)"]
    assert first != again  # another seed
    x, y = np.array(first), np.array(summary["accuracy"]["2 epochs"])
    assert summary["pairs"][1]["spearman"]["value"] == spearman(x, y)
    asked = []
    monkeypatch.setattr("ma2ml_env.evaluators.train.Train.evaluate", lambda self, jobs: iter(asked.extend(jobs) or ()))
    result = fidelity.compare(searched, (1, 1, 2), pipelines=5)
    assert asked == []
    assert result.accuracy["1 epochs"] == first


def test_long_trainings_have_no_limit_of_the_searchs(searched, monkeypatch):
    asked = []

    def place(trainer, placement):
        asked.append(placement)
        raise KeyError

    with TrialStore(searched) as store:
        told = replace(stored_config(store), time_limit=5.0, halving=(0.5,))
    assert told.placement().time_limit == 5.0  # the control
    monkeypatch.setattr("ma2ml_agents.run.stored.stored_config", lambda store: told)
    monkeypatch.setattr(fidelity, "place", place)
    with pytest.raises(KeyError):
        fidelity.compare(searched, (1, 2), workers=3)
    assert asked == [Placement(workers=3)]


@pytest.mark.slow
def test_it_runs_on_a_cluster_as_a_search_does(searched, monkeypatch):
    """Ray itself is not asked: what it is given trains here."""
    asked = []

    def ray_pool(factory, workers, *, schedule, **options):
        asked.append(options)
        return factory()

    there = shutil.copytree(searched, searched.parent / "there")
    shutil.rmtree(there / "fidelity", ignore_errors=True)
    here = fidelity.compare(searched, (1, 2), pipelines=4)
    monkeypatch.setattr("ma2ml_env.evaluators.workers.ray_pool.RayPool", ray_pool)
    words = ["--epochs", "1", "2", "--pipelines", "4", "--engine", "ray", "--address", "auto", "--gpus", "0.5"]
    assert main(["fidelity", str(there), *words, "--device", "auto"]) == 0
    assert asked == [{"address": "auto", "gpus": 0.5, "time_limit": None}]
    summary = json.loads((there / "fidelity" / "summary.json").read_text())
    assert summary["accuracy"] == here.accuracy


def test_stopped_it_goes_on(searched, monkeypatch):
    done = []

    def stop(job, outcome):
        done.append(job)
        if len(done) == 3:
            raise Stopped(15)

    with pytest.raises(Stopped):
        fidelity.compare(searched, (1, 3), pipelines=4, on_outcome=stop)
    lines = len((searched / "fidelity" / "results.jsonl").read_text().splitlines())
    result = fidelity.compare(searched, (1, 3), pipelines=4, on_outcome=lambda job, outcome: done.append(job))
    assert len({(job.recipe.key, job.fidelity) for job in done}) == len(done)  # none twice
    assert len((searched / "fidelity" / "results.jsonl").read_text().splitlines()) == lines + len(done) - 3
    assert len(result.pairs) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "3"], "at least two numbers of epochs in 1..4"),
        (["--epochs", "0", "3"], "at least two numbers of epochs in 1..4"),
        (["--epochs", "1", "9"], "at least two numbers of epochs in 1..4"),
        (["--pipelines", "3"], "at least 4 pipelines"),
        (["--device", "gpu"], "unknown device 'gpu'"),
    ],
)
def test_bad_input_is_one_line(searched, capsys, arguments, words):
    assert main(["fidelity", str(searched), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_run_that_was_not_trained_is_refused(tmp_path, capsys):
    surrogate = ["--evaluator", "surrogate", "--learner", "random", "--budget", "4", "--batch", "4"]
    assert main(["search", "digits-v0", "--run", str(tmp_path / "run"), *surrogate]) == 0
    assert main(["fidelity", str(tmp_path / "run")]) == 2
    assert "there is nothing to train" in capsys.readouterr().err


def compared(accuracy):
    """Four of a run's 30 pipelines, of which these accuracies were seen after 1 and 4 epochs."""
    chosen = [Trial(number, 0, Proposal({"a": (number,)}), Outcome(), 0.0) for number in range(4)]
    found = {
        (name, number): Outcome(accuracy=value)
        for name, values in accuracy.items()
        for number, value in enumerate(values)
    }
    return fidelity._compared(fidelity._trainings((1, 4)), chosen, found, 0, distinct=30)


def test_a_ranking_that_misleads_says_how_many_to_retrain():
    """The best of the long training is second of four after the short one, so half of the run's 30."""
    accuracy = {"1 epochs": [0.5, 0.9, 0.7, 0.6], "4 epochs": [0.6, 0.7, 0.9, 0.8]}
    result = compared(accuracy)
    assert result.places == {"1 epochs": 2}
    assert result.top_k("1 epochs") == 15
    assert fidelity._summary(result)["remedies"] == {"1 epochs": {"place": 2, "top_k": 15}}


def test_the_runs_metric_ranks():
    """Where the accuracy ranks nothing, the loss does: the lower, the better."""
    chosen = [Trial(number, 0, Proposal({"a": (number,)}), Outcome(), 0.0) for number in range(4)]
    found = {
        (name, number): Outcome(accuracy=0.5, metrics={"log_loss": 1.0 + number * sign})
        for name, sign in (("1 epochs", 0.1), ("4 epochs", -0.1))
        for number in range(4)
    }
    (pair,) = fidelity._compared(fidelity._trainings((1, 4)), chosen, found, 0, 30, "log_loss").pairs
    assert pair.spearman.value == pytest.approx(-1.0)
    (pair,) = fidelity._compared(fidelity._trainings((1, 4)), chosen, found, 0, 30).pairs
    assert pair.spearman.value == 0.0


def test_a_ranking_that_says_nothing_is_no_remedy():
    """All equal after the short training: whoever is best in the end may be the last of them."""
    accuracy = {"1 epochs": [0.1] * 4, "4 epochs": [0.6, 0.7, 0.8, 0.9]}
    result = compared(accuracy)
    assert (result.places, result.top_k("1 epochs")) == ({"1 epochs": 4}, 30)
