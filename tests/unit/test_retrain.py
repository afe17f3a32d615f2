"""Training the top to the end: what is chosen, what is stored, what a kill costs."""

import json
import shutil
import statistics
from pathlib import Path
from typing import ClassVar

import pytest

from ma2ml_agents.after.results import Results
from ma2ml_agents.after.retrain import REPEATS_FROM, best_trials, retrain
from ma2ml_agents.after.retrained import Finished
from ma2ml_agents.cli.main import main
from ma2ml_agents.run.options import amounts
from ma2ml_agents.run.stored import build_without_evaluator, stored_config
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.games.make import make_game
from ma2ml_env.recipe import Recipe
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome, Proposal, Trial, trial_seed

TINY = (
    "proxy_epochs=1",
    "final_epochs=2",
    "cells=1",
    "reductions=[]",
    "filters=2",
    "limit=64",
    "validation=60",
    "repeats=2",
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    run = tmp_path_factory.mktemp("retrain") / "run"
    sets = [word for setting in TINY for word in ("--set", setting)]
    args = ["--learner", "random", "--start", "none", "--budget", "4", "--batch", "4", "--workers", "1"]
    assert main(["search", "digits-v0", "--run", str(run), *args, *sets]) == 0
    return run


@pytest.fixture
def run(searched, tmp_path):
    return shutil.copytree(searched, tmp_path / "run")


@pytest.fixture(scope="module")
def retrained(searched, tmp_path_factory):
    run = shutil.copytree(searched, tmp_path_factory.mktemp("retrained") / "run")
    return run, retrain(run, top_k=2)


def lines(run):
    return [json.loads(line) for line in (run / "retrain" / "results.jsonl").read_text().splitlines()]


def test_top_is_trained_in_full_and_the_winner_is_repeated(retrained):
    run, result = retrained
    with TrialStore(run) as store:
        trials, game = list(store.trials()), build_without_evaluator(stored_config(store))
    by_accuracy = sorted(trials, key=lambda t: (-t.outcome.accuracy, t.number))
    assert [one.trial for one in result.top] == by_accuracy[:2]
    for one in result.top:
        assert one.outcome.fidelity == 1.0
        assert one.outcome.metrics["epochs"] == 2.0
        assert one.job.recipe == game.recipe(one.trial.proposal.codes)
        assert one.job.seed == one.trial.seed
        assert one.weights.exists()
    assert result.winner.outcome.accuracy == max(one.outcome.accuracy for one in result.top)
    assert [one.job.seed for one in result.repeats] == [
        trial_seed(result.winner.trial.seed, REPEATS_FROM + r) for r in range(2)
    ]
    tests = [one.outcome.test_accuracy for one in result.repeats]
    assert result.mean == pytest.approx(statistics.fmean(tests))
    assert result.deviation == pytest.approx(statistics.stdev(tests))
    steps = result.winner.outcome.metrics["steps"]
    assert all(one.outcome.metrics["steps"] > steps for one in result.repeats), "repeats see the validation images too"


def test_again_trains_nothing(retrained, monkeypatch):
    from ma2ml_env.evaluators.train import Train

    run, result = retrained
    monkeypatch.setattr(Train, "evaluate", lambda self, jobs: iter(()) if not jobs else pytest.fail("trained again"))
    assert retrain(run, top_k=2) == result


def test_an_interrupted_retraining_loses_no_finished_training(run, retrained):
    seen = []

    def stop(job, outcome):
        seen.append(job.seed)
        if len(seen) in (1, 3):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            retrain(run, top_k=2, on_outcome=stop)
    result = retrain(run, top_k=2, on_outcome=stop)
    assert len(seen) == len(set(seen)) == 4, "each training is done once"
    assert [one.outcome.accuracy for one in result.top] == [one.outcome.accuracy for one in retrained[1].top]
    assert result.mean == retrained[1].mean
    assert len(lines(run)) == 4


def test_a_torn_line_is_trained_again_and_the_file_stays_readable(run):
    retrain(run, top_k=1, repeats=1)
    path = run / "retrain" / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    seen = []
    retrain(run, top_k=1, repeats=1, on_outcome=lambda job, outcome: seen.append(job))
    assert len(seen) == 1
    retrain(run, top_k=1, repeats=1, on_outcome=lambda job, outcome: pytest.fail("trained again"))


def test_more_repeats_and_more_of_the_top_train_only_what_is_new(retrained, tmp_path):
    run = shutil.copytree(retrained[0], tmp_path / "run")
    seen = []
    result = retrain(run, top_k=3, repeats=3, on_outcome=lambda job, outcome: seen.append(job))
    assert len(result.top) == 3
    assert len(result.repeats) == 3
    same = result.winner.trial == retrained[1].winner.trial
    assert len(seen) == (2 if same else 4)


def test_command_prints_the_table_and_says_what_is_optimistic(run, capsys):
    options = ["--top-k", "1", "--repeats", "1", "--no-floors", "--workers", "1"]
    assert main(["retrain", str(run), "--select", "test", *options]) == 0
    out = capsys.readouterr().out
    assert "trained to the end" in out
    assert "optimistic" in out
    assert "trained once on training and validation images: 0." in out
    assert "+-" not in out, "one training has no deviation"
    assert json.loads((run / "retrain" / "summary.json").read_text())["deviation"] is None
    assert json.loads((run / "retrain" / "summary.json").read_text())["select"] == "test"
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "won: its test accuracy is" in page
    assert "chosen by test accuracy, which is optimistic" in page


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--max-flops", "10"], "at most 10 MACs"),
        (["--top-k", "0"], "at least 1"),
        (["--repeats", "-1"], "at least 0"),
        (["--select", "train"], "--select"),
        (["--device", "cuda:99"], "cuda:99"),
    ],
)
def test_bad_input(searched, args, message, capsys):
    assert main(["retrain", str(searched), *args]) == 2
    assert message in capsys.readouterr().err
    assert not (searched / "retrain").exists()


def test_without_repeats_the_winner_speaks_for_itself(run, capsys):
    assert main(["retrain", str(run), "--top-k", "1", "--repeats", "0", "--workers", "1"]) == 0
    assert "repeats-" not in capsys.readouterr().out
    result = retrain(run, top_k=1, repeats=0)
    assert not result.repeats
    assert (result.mean, result.deviation) == (result.winner.outcome.test_accuracy, None)
    assert json.loads((run / "retrain" / "summary.json").read_text())["repeats"] == []


def test_two_at_once_are_refused(run, capsys):
    from ma2ml_env.io.files import FolderLock

    (run / "retrain").mkdir()
    lock = FolderLock(run / "retrain" / "retrain.lock")
    assert main(["retrain", str(run), "--top-k", "1"]) == 2
    assert "in use" in capsys.readouterr().err
    lock.release()


def test_select_test_may_choose_another_winner():
    job = Job(0, Recipe(), {}, 0, 1.0)
    proposal = Proposal({"a": (0,)})

    def one(number, validation, test, **more):
        outcome = Outcome(accuracy=validation, test_accuracy=test, **more)
        return Finished(Trial(number, 0, proposal, Outcome(), 0.0), job, outcome, None)

    both = [one(0, 0.9, 0.7), one(1, 0.8, 0.95), one(2, 0.0, 1.0, status="failed", error="NAN")]
    assert min(both, key=lambda f: f.chosen_by("validation")) is both[0]
    assert min(both, key=lambda f: f.chosen_by("test")) is both[1]
    losses = {"log_loss": 0.9, "test_log_loss": 0.5}, {"log_loss": 0.8, "test_log_loss": 0.6}, {}
    told = [one(i, 0.9, 0.9, metrics=found) for i, found in enumerate(losses[:2])] + both[2:]
    assert min(told, key=lambda f: f.chosen_by("validation", "log_loss")) is told[1], "the lower loss is the better one"
    assert min(told, key=lambda f: f.chosen_by("test", "log_loss")) is told[0]


def test_top_is_of_distinct_pipelines_by_accuracy_under_the_limit():
    game = make_game("digits-v0", "surrogate")
    zeros = {agent: (0,) * len(sizes) for agent, sizes in game.spec.nvec.items()}
    ones = {**zeros, "hpo": (1,) * 20}

    def trial(number, codes, accuracy, reward, flops):
        return Trial(number, 0, Proposal(codes), Outcome(accuracy=accuracy, flops=flops), reward)

    trials = [
        trial(0, zeros, 0.7, 0.99, 10),
        trial(1, zeros, 0.8, 0.1, 10),  # the same pipeline, better
        trial(2, ones, 0.75, 0.5, 20),
        trial(3, {**zeros, "hpo": (2,) * 20}, 0.9, 0.9, 50),
        Trial(4, 0, Proposal({**zeros, "hpo": (3,) * 20}), Outcome(status="failed", error="NAN"), 0.0),
    ]
    assert [t.number for t in best_trials(trials, game, 9)] == [3, 1, 2], "by accuracy, not by reward"
    assert [t.number for t in best_trials(trials, game, 9, max_flops=20)] == [1, 2]
    assert [t.number for t in best_trials(trials, game, 1)] == [3]


def test_failures_that_may_pass_are_tried_again(tmp_path):
    job = Job(3, Recipe(), {}, 11, 1.0)
    path, weights = tmp_path / "results.jsonl", tmp_path / "3.safetensors"
    for error, kept in (("NAN", True), ("INVALID", True), ("OOM", False), ("CRASH", False), ("TIMEOUT", False)):
        outcome = Outcome(status="failed", error=error)
        Results(path, "data").add("top", job, 3, outcome)
        assert Results(path, "data").get("top", job, weights) == (outcome if kept else None)
    ok = Outcome(accuracy=0.5)
    Results(path, "data").add("top", job, 3, ok)
    assert Results(path, "data").get("top", job, weights) is None, "its weights are gone"
    weights.touch()
    assert Results(path, "data").get("top", job, weights) == ok
    assert Results(path, "data").get("repeats-3", job, weights) is None


def test_a_changed_line_does_not_count(tmp_path):
    job = Job(3, Recipe(), {}, 11, 1.0)
    path, weights = tmp_path / "results.jsonl", tmp_path / "3.safetensors"
    weights.touch()
    Results(path, "data").add("top", job, 3, Outcome(accuracy=0.5))
    path.write_text(path.read_text().replace("0.5", "0.9"))
    assert Results(path, "data").get("top", job, weights) is None


@pytest.mark.slow
def test_processes_give_the_same(run, retrained):
    result = retrain(run, top_k=2, workers=2)
    assert [one.outcome.accuracy for one in result.top] == [one.outcome.accuracy for one in retrained[1].top]
    assert result.mean == retrained[1].mean
    for here, there in zip((*result.top, *result.repeats), (*retrained[1].top, *retrained[1].repeats), strict=True):
        assert here.weights.read_bytes() == there.weights.read_bytes()


class FakeRay:
    """As `RayPool`, in this process: what was asked for is kept."""

    asked: ClassVar[list[tuple]] = []

    def __init__(self, factory, workers, *, address, gpus, time_limit, schedule):
        self.asked.append((workers, address, gpus, time_limit))
        self.trainer = factory()

    def evaluate(self, jobs):
        return self.trainer.evaluate(jobs)

    def close(self):
        self.asked.append("closed")


def test_it_runs_on_a_cluster_as_a_search_does(run, retrained, monkeypatch):
    monkeypatch.setattr("ma2ml_env.evaluators.workers.ray_pool.RayPool", FakeRay)
    monkeypatch.setattr(FakeRay, "asked", [])
    words = ["--engine", "ray", "--address", "10.0.0.1:6379", "--gpus", "0.5", "--workers", "4"]
    assert main(["retrain", str(run), "--top-k", "2", "--no-floors", *words]) == 0
    assert FakeRay.asked == [(2, "10.0.0.1:6379", 0.5, None), "closed"] * 2  # the top, and the repeats
    there, here = (json.loads((each / "retrain" / "summary.json").read_text()) for each in (run, retrained[0]))
    assert there["mean"] == here["mean"]
    for one, other in zip(there["top"] + there["repeats"], here["top"] + here["repeats"], strict=True):
        assert one["weights"] == other["weights"]
        assert (run / "retrain" / one["weights"]).read_bytes() == (
            retrained[0] / "retrain" / one["weights"]
        ).read_bytes()


def test_weights_that_another_machine_kept_are_missed(run, monkeypatch, capsys):
    class OtherDisk(FakeRay):
        def evaluate(self, jobs):
            for index, outcome in super().evaluate(jobs):
                (Path(self.trainer.weights) / f"{jobs[index].number}.safetensors").unlink()
                yield index, outcome

    monkeypatch.setattr("ma2ml_env.evaluators.workers.ray_pool.RayPool", OtherDisk)
    assert main(["retrain", str(run), "--top-k", "1", "--engine", "ray"]) == 2
    assert "has to be on a file system that all machines see" in capsys.readouterr().err


def test_levels_choose_the_best_under_each_limit_and_train_nothing_twice(run):
    with TrialStore(run) as store:
        flops = sorted({t.outcome.flops for t in store.trials()})
    limits = (float(flops[0]), float(flops[-1]))
    seen = []
    result = retrain(run, top_k=2, levels=limits, on_outcome=lambda job, outcome: seen.append(job.number))
    assert len(seen) == len(set(seen)) == len(result.top)
    assert not result.repeats
    assert [level.limit for level in result.levels] == list(limits)
    for level in result.levels:
        fitting = [one for one in result.top if one.outcome.flops <= level.limit]
        assert level.best.outcome.accuracy == max(one.outcome.accuracy for one in fitting)
    assert result.levels[0].best.outcome.flops == flops[0]
    assert result.mean == result.winner.outcome.test_accuracy


def test_a_level_that_nothing_fits_says_so(run, capsys):
    with TrialStore(run) as store:
        least = min(t.outcome.flops for t in store.trials())
    command = ["retrain", str(run), "--top-k", "1", "--levels", f"{least - 1},1g", "--workers", "1"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "none fits" in out
    assert "F" in out  # the paper's letter of 1g
    summary = json.loads((run / "retrain" / "summary.json").read_text())
    assert [level["trial"] is None for level in summary["levels"]] == [True, False]
    assert main(["export", str(run)]) == 0  # of the winner, which nobody repeated


def test_the_baseline_is_the_base_recipe(run):
    result = retrain(run, top_k=1, repeats=2, baseline=True)
    with TrialStore(run) as store:
        game = build_without_evaluator(stored_config(store))
    assert [one.job.recipe for one in result.baseline] == [game.base] * 2
    assert len({one.job.seed for one in result.baseline}) == 2
    stored = json.loads((run / "retrain" / "summary.json").read_text())["baseline"]
    accuracies = [one.outcome.test_accuracy for one in result.baseline]
    assert stored["mean"] == pytest.approx(statistics.fmean(accuracies))


def fail_on(monkeypatch, bad):
    """Trainings that fail: those of which `bad(job, trainer)` is true."""
    evaluate = Train.evaluate

    def some_fail(self, jobs):
        for index, job in enumerate(jobs):
            if bad(job, self):
                yield index, Outcome("failed", error="CRASH", note="no luck")
            else:
                yield index, next(evaluate(self, [job]))[1]

    monkeypatch.setattr(Train, "evaluate", some_fail)


def test_a_baseline_that_fails_is_an_error(run, monkeypatch):
    seeds = [
        trial_seed(0, REPEATS_FROM + r) for r in range(2)
    ]  # not those of the winner's repeats, be it the base recipe
    fail_on(monkeypatch, lambda job, trainer: job.seed in seeds)
    with pytest.raises(ValueError, match="all 2 trainings of the base recipe failed; the first: CRASH no luck"):
        retrain(run, top_k=1, repeats=2, baseline=True)


def test_a_repeat_that_fails_is_told(run, monkeypatch, capsys):
    fail_on(monkeypatch, lambda job, trainer: trainer.train_on_validation and job.number == 0)
    assert main(["retrain", str(run), "--top-k", "1", "--repeats", "2", "--no-floors", "--workers", "1"]) == 0
    assert "1 of these trainings failed and are not counted" in capsys.readouterr().out
    assert json.loads((run / "retrain" / "summary.json").read_text())["failed"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--levels", "500m,x"], "different amounts of MACs"),
        (["--levels", "500m,0.5g"], "different amounts of MACs"),
        (["--levels", "-1"], "different amounts of MACs"),
        (["--levels", "1"], "at most 1 MACs"),
        (["--levels", "1g", "--max-flops", "1e9"], "either levels or max_flops"),
    ],
)
def test_bad_levels_are_one_line_and_exit_code_2(run, arguments, message, capsys):
    assert main(["retrain", str(run), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_amounts_have_units():
    assert amounts("700m, 500M,1g,2k,3", "--levels") == (3.0, 2e3, 500e6, 700e6, 1e9)
