"""A limit on time: what is started ends in time, the run holds what it would hold without, and goes on."""

import json
import time
from pathlib import Path

import pytest

from ma2ml_agents.cli.main import main
from ma2ml_agents.registry import make_learner
from ma2ml_agents.run.loop import search
from ma2ml_agents.run.signals import Signals
from ma2ml_env.evaluators import deadline
from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.evaluators.deadline import Deadline, NoTime
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.wrap import Cached
from ma2ml_env.game import Game
from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.store.mirror import read_mirror
from ma2ml_env.store.store import TrialStore
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.trial import Outcome

LONGEST = 19.0


class Clock:
    """Time that passes when somebody works."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Works(Evaluator):
    """A job takes 10 to 19 seconds of the clock, by its seed."""

    def __init__(self, clock: Clock, asks: bool) -> None:
        self.clock, self.asks, self.may_start, self.begun = clock, asks, None, []

    def limit(self, may_start):
        self.may_start = may_start
        return self.asks

    def evaluate(self, jobs):
        for index, job in enumerate(jobs):
            if self.asks and self.may_start is not None and not self.may_start():
                raise NoTime
            self.begun.append(job.number)
            seconds = 10.0 + job.seed % 10
            self.clock.now += seconds
            yield index, Outcome(accuracy=job.recipe.batch_size / 100, seconds=seconds)


class Size:
    """A module of 40 choices."""

    name = "size"
    space = SearchSpace([Decision("batch_size", tuple(range(1, 41)))])

    def apply(self, recipe, values):
        return Recipe(epochs=recipe.epochs, batch_size=values["batch_size"])


def make_game(clock: Clock, asks: bool = True) -> tuple[Game, Works]:
    works = Works(clock, asks)
    return Game([Size()], Cached(works)), works


def played(folder: Path, clock: Clock, asks: bool, **options):
    game, works = make_game(clock, asks)
    learner = make_learner("evolution", game.spec, seed=0)
    with TrialStore(folder) as store:
        best = search(game, learner, budget=20, batch=6, store=store, **options)
        closed, unclosed = store.known_trials(game.reward)
    return best, closed, unclosed, works


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("seconds", [5, 30, 44, 95, 120, 200, 260, 1000])
def test_a_limited_search_holds_the_first_and_is_never_over_by_more_than_one(tmp_path, seconds, asks):
    _, calm, _, _ = played(tmp_path / "calm", Clock(), asks)
    clock = Clock()
    best, closed, unclosed, works = played(tmp_path / "run", clock, asks, seconds=Deadline(seconds, clock=clock))
    held = closed + unclosed
    assert held == calm[: len(held)], "number by number, what a search without a limit holds"
    assert best == max(held, key=lambda trial: (trial.reward, -trial.number))
    assert clock.now - 1000.0 <= seconds + LONGEST
    assert len(held) == 20 or clock.now - 1000.0 >= seconds - LONGEST, "and it uses the time"
    _, whole, left, again = played(tmp_path / "run", Clock(), asks)
    assert (whole, left) == (calm, [])
    assert not set(works.begun) & set(again.begun), "nothing is trained twice"


def test_none_starts_where_the_prediction_passes_the_limit(tmp_path):
    clock = Clock()
    _, closed, unclosed, works = played(tmp_path, clock, True, seconds=Deadline(95, clock=clock))
    took = [trial.outcome.seconds for trial in closed + unclosed if trial.outcome.attempts]
    assert sum(took) <= 95, "here the next one was predicted well"
    assert len(works.begun) == len(took)


def test_without_any_outcome_it_says_so(tmp_path):
    clock = Clock()
    deadline = Deadline(5, began=clock.now - 6, clock=clock)
    with pytest.raises(NoTime, match="before a pipeline had a reward"):
        played(tmp_path, clock, True, seconds=deadline)
    with pytest.raises(ValueError, match="positive"):
        played(tmp_path, clock, True, seconds=-1.0)


def test_what_equals_a_job_that_is_done_takes_no_time():
    clock = Clock()
    works = Works(clock, asks=True)
    cached = Cached(works)
    assert cached.limit(Deadline(15, clock=clock).may_start)
    jobs = [Job(n, Recipe(batch_size=size), {}, 0, 1.0) for n, size in enumerate((8, 16, 8, 32, 16, 8, 64))]
    found = []
    with pytest.raises(NoTime):
        found.extend((index, outcome.cached) for index, outcome in cached.evaluate(jobs))
    assert found == [(0, False), (1, False), (2, True), (4, True), (5, True)]


def test_the_prediction_is_of_what_was_trained_and_no_stays_no():
    clock = Clock()
    room = [0.0]
    deadline = Deadline(100, clock=clock, room=lambda: room[0])
    assert deadline.predicted == 0.0
    for outcome in (Outcome(cached=True, attempts=0), Outcome("infeasible", attempts=0, seconds=90.0)):
        deadline.learn(outcome)
    assert deadline.predicted == 0.0
    for seconds in range(20, 0, -1):
        deadline.learn(Outcome(seconds=float(seconds)))
    assert deadline.predicted == 18.0
    clock.now += 82
    assert deadline.may_start()
    room[0] = 1.0
    assert not deadline.may_start()
    assert deadline.over
    room[0] = 0.0
    assert not deadline.may_start()


class Countdown:
    """Says yes so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left >= 0


def some_jobs(count: int) -> list[Job]:
    return [Job(number, Recipe(), {"a": (0,)}, number, 0.5) for number in range(count)]


def test_the_trainer_asks_and_its_twin_does_not():
    trainer = Train(DataSource("digits", limit=60), device="cpu")
    assert trainer.limit(Countdown(0))
    assert trainer.twin()._may_start is None
    with pytest.raises(NoTime, match="3 trainings"):
        next(trainer.evaluate(some_jobs(3)))


SURROGATE = ["--evaluator", "surrogate", "--learner", "random", "--batch", "4", "--budget", "12"]


def test_from_the_command_line_it_ends_well_and_goes_on(tmp_path, monkeypatch, capsys):
    calm, run = tmp_path / "calm", tmp_path / "run"
    assert main(["search", "digits-v0", "--run", str(calm), *SURROGATE]) == 0
    with monkeypatch.context() as patch:
        times = Countdown(6)
        patch.setattr(Deadline, "may_start", lambda self: times())
        assert main(["search", "digits-v0", "--run", str(run), *SURROGATE, "--hours", "1"]) == 0
    out = capsys.readouterr().out
    assert "the time is up at 6 of 12 trials, 2 of them in the open batch" in out
    assert f"ma2ml resume {run}" in out
    assert main(["resume", str(run), "--hours", "1"]) == 0
    assert "the time is up" not in capsys.readouterr().out
    assert read_mirror(run / "trials.jsonl") == read_mirror(calm / "trials.jsonl")


def test_a_limit_that_is_over_at_once_loses_nothing(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["search", "digits-v0", "--run", str(run), *SURROGATE, "--hours", "1e-9"]) == 0
    assert "the time is up at 0 of 12 trials" in capsys.readouterr().out
    assert main(["resume", str(run)]) == 0
    assert "12 trials: 12 ok" in capsys.readouterr().out


def test_room_for_retrain_ends_a_search_earlier(tmp_path, capsys):
    sets = ("proxy_epochs=1", "final_epochs=2000", "cells=1", "reductions=[]", "filters=2", "limit=64", "validation=60")
    args = ["--learner", "random", "--budget", "4", "--batch", "4", "--workers", "1"]
    args += [word for setting in sets for word in ("--set", setting)]
    assert (
        main(["search", "digits-v0", "--run", str(tmp_path / "a"), *args, "--hours", ".1", "--room-for-retrain"]) == 0
    )
    out = capsys.readouterr().out
    assert "the time is up at 1 of 4 trials" in out, (
        "2,000 epochs of the top do not fit beside it, as the first one tells"
    )
    assert main(["resume", str(tmp_path / "a"), "--hours", ".1"]) == 0
    assert "4 trials: 4 ok" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--hours", "0"], "--hours is a positive number, not 0"),
        (["--hours", "-1"], "--hours is a positive number"),
        (["--hours", "nan"], "--hours is a positive number"),
        (["--hours", "soon"], "--hours"),
        (["--room-for-retrain"], "say --hours"),
        (["--hours", "1", "--room-for-retrain"], "how long retraining takes is not known of digits-v0"),
    ],
)
def test_bad_limits_are_one_line_and_exit_code_2(args, message, tmp_path, capsys):
    assert main(["search", "digits-v0", "--run", str(tmp_path / "run"), *SURROGATE, *args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert "tyro" not in error
    assert not (tmp_path / "run").exists()


def test_extend_is_a_budget_by_a_difference(tmp_path, capsys):
    calm, run = tmp_path / "calm", tmp_path / "run"
    assert main(["search", "digits-v0", "--run", str(run), *SURROGATE]) == 0
    assert main(["resume", str(run), "--extend", "8"]) == 0
    assert main(["search", "digits-v0", "--run", str(calm), *SURROGATE[:-1], "20"]) == 0
    assert read_mirror(run / "trials.jsonl") == read_mirror(calm / "trials.jsonl")
    with TrialStore(run, create=False) as store:
        assert store.config["budget"] == 20
    for args, message in ((["--extend", "4", "--budget", "30"], "give one of them"), (["--extend", "0"], "at least 1")):
        capsys.readouterr()
        assert main(["resume", str(run), *args]) == 2
        assert message in capsys.readouterr().err
    assert len(json.loads((run / "trials.jsonl").read_text().splitlines()[-1])) > 1


def test_the_limit_counts_from_the_start_of_the_command(tmp_path, monkeypatch):
    """Reading the data takes its time, too."""
    made = []

    def noted(seconds, **told):
        made.append(told["began"])
        return Deadline(seconds, **told)

    monkeypatch.setattr(deadline, "Deadline", noted)
    before = time.monotonic()
    words = ["search", "digits-v0", "--evaluator", "surrogate", "--learner", "random", "--budget", "2", "--batch", "2"]
    assert main([*words, "--hours", "1", "--run", str(tmp_path / "run")]) == 0
    assert before <= made[0] < before + 0.05  # what is imported since takes longer
    assert Signals.began is None
