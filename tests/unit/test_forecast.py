"""What a run says while it works: how long it will take, and a sign of life at least every ten seconds."""

import errno
import io
import threading
import time

import pytest
from rich.console import Console

from ma2ml_agents.after import watch
from ma2ml_agents.after.watch import Watch
from ma2ml_agents.run import ticker, tracking
from ma2ml_agents.run.forecast import Forecast, spoken
from ma2ml_agents.run.tracking import SearchProgress
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.game import Protocol
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.reward import Accuracy
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.trial import Outcome, Proposal, Trial

HIT = Outcome(accuracy=0.5, cached=True, attempts=0)


class Clock:
    now = 500.0

    def __call__(self) -> float:
        return self.now


def trained(seconds: float, epochs: float = 3.0, accuracy: float = 0.5) -> Outcome:
    return Outcome(accuracy=accuracy, seconds=seconds, metrics={"epochs": epochs})


def test_what_is_told_again_and_what_took_no_time_has_no_pace():
    clock = Clock()
    forecast = Forecast(clock)
    forecast.before([trained(1000.0)] * 10)  # an earlier session, on another machine perhaps
    assert forecast.search(10) is None
    clock.now += 30  # workers start
    for _ in range(4):
        clock.now += 20
        forecast.hear(trained(20.0))
    assert forecast.search(10) == pytest.approx(200)
    clock.now += 5
    assert forecast.search(10) == pytest.approx(195), "it falls between outcomes"
    clock.now -= 5
    for _ in range(14):
        forecast.hear(HIT)
    assert forecast.new == 4
    assert forecast.search(10) == pytest.approx(100), "half of all were hits so far, so half of the ten are taken to be"


def test_two_workers_take_half_the_time():
    clock = Clock()
    forecast = Forecast(clock)
    for _ in range(3):
        clock.now += 20
        forecast.hear(trained(20.0))
        forecast.hear(trained(19.0))
    assert forecast.search(6) == pytest.approx(60)


def test_retraining_is_the_top_to_the_end_and_the_repeats():
    forecast = Forecast(Clock())
    protocol = Protocol(proxy_epochs=3, final_epochs=100, top_k=2, repeats=4)
    assert forecast.retraining(protocol, 1) is None
    forecast.before(
        [trained(3.0, accuracy=0.9), trained(30.0, accuracy=0.1), Outcome("failed", seconds=9.0, error="NAN")]
    )
    forecast.before([HIT])
    assert forecast.retraining(protocol, 1) == pytest.approx((1 + 10) * 100 + (4 + 5) * 550)
    forecast.before([trained(9.0, accuracy=0.8)])
    assert forecast.retraining(protocol, 1) == pytest.approx((1 + 3) * 100 + (4 + 5) * 200)
    assert forecast.retraining(protocol, 2) == pytest.approx(300 + 400 + 500), (
        "the longer of two takes as long as it takes"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (600, "10 min"), (5400, "1.5 h"), (200_000, "2.3 days")],
)
def test_durations_are_for_people(seconds, text):
    assert spoken(seconds) == text


def progress(out: io.StringIO, monkeypatch, clock: Clock, told_again=(), **options) -> SearchProgress:
    made = SearchProgress(
        Console(file=out, width=200, **options),
        3,
        lambda t: str(t.number),
        Accuracy(),
        workers=2,
        retraining=Protocol(proxy_epochs=3, final_epochs=30, top_k=2, repeats=2),
        told_again=told_again,
    )
    monkeypatch.setattr(made.forecast, "_clock", clock)
    return made


def test_after_the_first_pipelines_a_line_says_how_long(monkeypatch):
    out, clock = io.StringIO(), Clock()
    closed = [Trial(n, n, Proposal({}), trained(600.0), 0.5) for n in range(24)]
    with progress(out, monkeypatch, clock, told_again=(24, 25)) as made:
        made.on_start(96, closed)
        made.on_outcome(24, trained(600.0))
        made.on_outcome(25, trained(600.0))
        assert "about" not in out.getvalue(), "what is told again has no pace"
        clock.now += 60
        made.on_outcome(26, trained(60.0))
        made.on_outcome(27, trained(60.0))
        for number in (28, 29):
            made.on_outcome(number, trained(60.0))
    lines = [line for line in out.getvalue().splitlines() if "about" in line]
    # 68 pipelines at 30 s; the top two at 200 s an epoch, two repeats, and what they have to beat, two at a time
    assert lines == ["about 34 min for the search, 5.8 h for ma2ml retrain after it"]


def test_the_bar_counts_what_is_told_again_and_takes_its_time_from_the_rest(monkeypatch):
    out, clock = io.StringIO(), Clock()
    with progress(out, monkeypatch, clock, told_again=range(12), force_terminal=True) as made:
        made.on_start(24, [])
        for number in range(12):
            made.on_outcome(number, trained(600.0))
        (task,) = made._bar.tasks
        made._picture()
        assert (task.completed, task.fields["left"]) == (12, "-:--:--")
        clock.now += 30
        made.on_outcome(12, trained(30.0))
        made._picture()
        assert (task.completed, task.fields["left"]) == (13, "6 min")


def wait_for(text: str, out: io.StringIO) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end and text not in out.getvalue():
        time.sleep(0.01)
    return text in out.getvalue()


def test_a_sign_of_life_that_cannot_be_written_ends_quietly(capsys):
    called = threading.Event()

    def full():
        called.set()
        raise OSError(errno.ENOSPC, "no space left on device")

    with ticker.Ticker(0.01, full) as ticking:
        assert called.wait(10)
        ticking._thread.join(10)
        assert not ticking._thread.is_alive()
    assert capsys.readouterr().err == ""


def test_where_there_is_no_terminal_silence_is_broken(monkeypatch):
    monkeypatch.setattr(tracking, "SILENCE", 0.05)
    out = io.StringIO()
    with progress(out, monkeypatch, Clock()) as made:
        made.on_start(24, [])
        assert wait_for("0/24 trials  0 s so far", out)
    count = len(out.getvalue())
    time.sleep(0.2)
    assert len(out.getvalue()) == count, "and it ends with the search"
    monkeypatch.setattr(ticker, "SILENCE", 0.05)
    with ticker.working(Console(file=out), "reading the data"):
        assert wait_for("reading the data, 0 s so far", out)


JOBS = [Job(n, Recipe(epochs=8), {}, n, 1.0) for n in range(3)]


@pytest.mark.parametrize("terminal", [True, False])
def test_trainings_to_their_ends_move_a_bar_by_epochs(tmp_path, monkeypatch, terminal):
    monkeypatch.setattr(watch, "SILENCE", 0.05)
    out, folder = io.StringIO(), tmp_path / "progress"
    folder.mkdir()
    (folder / JOBS[1].checkpoint_name).write_text("7")  # of a session that was killed
    with Watch("top", JOBS, JOBS[1:], Console(file=out, width=150, force_terminal=terminal), folder) as bar:
        (task,) = bar._bar.tasks
        assert (task.completed, task.total) == (8, 24), "one was done before"
        assert wait_for("top 1/3" if terminal else "top: 1/3, 8 of 24 epochs\n", out)
        folder.mkdir(exist_ok=True)
        (folder / JOBS[1].checkpoint_name).write_text("3")
        (folder / JOBS[2].checkpoint_name).write_text("")  # just being written
        assert wait_for("11/24" if terminal else "11 of 24 epochs", out)
        bar.ended(JOBS[1], "top", "trial 1, accuracy 0.5000, 3 s")
        assert task.completed == 16
        assert terminal or "top: 2/3, trial 1, accuracy 0.5000, 3 s\n" in out.getvalue()
    assert not folder.exists()


def test_a_trainer_leaves_its_epochs(tmp_path, monkeypatch):
    cell = ((0, "conv_3x3", 1, "max_pool_3x3", "add"),)
    spec = Spec("nasnet", {"normal": cell, "reduction": cell, "cells": 1, "reductions": (), "filters": 2})
    recipe = Recipe(network=spec, crop_padding=1, flip=False, cutout=0, epochs=3, batch_size=50)
    job, folder = Job(0, recipe, {}, 0, 1.0), tmp_path / "progress"
    source = DataSource("digits", limit=100)
    ((_, watched),) = Train(source, device="cpu", progress=str(folder)).evaluate([job])
    assert [path.name for path in folder.iterdir()] == [job.checkpoint_name]
    assert (folder / job.checkpoint_name).read_text() == "3"
    ((_, alone),) = Train(source, device="cpu").evaluate([job])
    assert watched.accuracy == alone.accuracy
    (tmp_path / "file").touch()
    ((_, unwritten),) = Train(source, device="cpu", progress=str(tmp_path / "file" / "under")).evaluate([job])
    assert unwritten.status == "ok"
