"""F3: a signal stops at once what an evaluator does, and never cuts into anything else."""

import os
import signal
import subprocess
import sys

import pytest

from ma2ml_agents.run.signals import SIGNALS, Stopped
from ma2ml_agents.run.stop import Interruptible, stoppable
from ma2ml_env.evaluators.base import Evaluator
from ma2ml_env.trial import Outcome


class Signalled(Evaluator):
    """An evaluator that gets a signal while it works on a job."""

    closed = False

    def __init__(self):
        self.heard = []

    def evaluate(self, jobs):
        try:
            for index, number in enumerate(jobs):
                if number is not None:
                    os.kill(os.getpid(), number)
                yield index, Outcome()
        finally:
            self.closed = True

    def remember(self, job, outcome):
        self.heard.append("remember")

    def close(self):
        self.heard.append("close")


@pytest.mark.usefixtures("nothing_ignored")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), *((each, 75) for each in SIGNALS[1:])])
def test_an_evaluator_is_stopped_in_its_work(number, code):
    inner = Signalled()
    with stoppable() as stop:
        stop.on_start(3, ())
        outcomes = Interruptible(inner, stop).evaluate([None, number, None])
        assert next(outcomes) == (0, Outcome())
        with pytest.raises(Stopped) as caught:
            next(outcomes)
    assert caught.value.exit_code == code
    assert inner.closed
    assert caught.traceback[-1].name == "check"  # raised by the handler, within the evaluator
    assert any(entry.name == "evaluate" and "test_stop" in str(entry.path) for entry in caught.traceback)


def test_between_outcomes_a_signal_waits_for_the_next_safe_point():
    with stoppable() as stop:
        stop.on_start(3, ())
        os.kill(os.getpid(), signal.SIGTERM)  # as in the middle of a callback: nothing is raised
        os.kill(os.getpid(), signal.SIGINT)  # ignored: the first one counts
        assert stop.signum == signal.SIGTERM
        for look in (lambda: stop.on_outcome(0, Outcome()), lambda: stop.on_batch(0, (), {}), stop.check):
            with pytest.raises(Stopped, match="15"):
                look()
        with pytest.raises(Stopped):
            next(Interruptible(Signalled(), stop).evaluate([None]))


def test_before_the_start_it_is_raised_at_once():
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), signal.SIGINT)


def test_handlers_and_alarm_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.alarm(0) == 0


def test_what_is_inside_can_be_reached():
    inner = Signalled()
    with stoppable() as stop:
        inner = Signalled()
        outer = Interruptible(inner, stop)
        outer.remember(None, None)
        outer.close()
        assert inner.heard == ["remember", "close"]


@pytest.mark.parametrize("grace", [1, pytest.param(600, marks=pytest.mark.slow)])
def test_clean_up_that_hangs_is_ended_by_the_alarm(grace):
    code = f"""
import os, signal, threading
from ma2ml_agents.run import signals, stop
signals.GRACE = {grace}
with stop.stoppable():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        if grace == 1:
            assert process.wait(60) == -signal.SIGALRM
        else:  # the control: nothing else ends it
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(5)
    finally:
        process.kill()
        process.wait()
