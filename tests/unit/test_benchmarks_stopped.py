"""A suite that is stopped: its searches end, what is whole stays, the next call goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "run.py"
SLOW = """
title = "slow"
budget = 24
batch = 8
top_k = 3
reference = "evolution"
[[landscapes]]
name = "digits"
game = "digits-v0"
options = { evaluator = "surrogate", seed = 1, delay = 0.05 }
[[arms]]
learners = ["evolution", "random"]
seeds = 3
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_ignored"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux"),
]


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "slow.toml"
    path.write_text(SLOW)
    return path


@pytest.fixture
def start(suite):
    started = []

    def start(*program):
        words = [*program, str(suite), "--out", str(suite.parent / "runs"), "--jobs", "2"]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
        started.append(subprocess.Popen([sys.executable, *words], **options))
        return started[-1]

    yield start
    for process in started:
        for pid in at_work(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def files(suite):
    return {path: path.stat().st_mtime_ns for path in (suite.parent / "runs").rglob("*.json")}


def at_work(session):
    """Processes of a session, but no zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def all_ended(session, seconds=20):
    end = time.monotonic() + seconds
    while at_work(session) and time.monotonic() < end:
        time.sleep(0.1)
    return not at_work(session)


def first_file(suite, process):
    end = time.monotonic() + 100
    while not files(suite):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "to"), [(signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)], ids=["TERM", "INT"])
def test_a_signal_stops_a_suite_and_the_next_call_goes_on(suite, start, number, to):
    """A terminal's Ctrl-C reaches all processes at once."""
    process = start("-m", "ma2ml_agents.cli.main", "bench")
    first_file(suite, process)
    to(process.pid, number)
    told, _ = process.communicate(timeout=40)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name}; the same command goes on" in told
    assert "Traceback" not in told
    assert all_ended(process.pid)
    before = files(suite)
    assert 0 < len(before) < 6
    again = start(RUN)
    told, _ = again.communicate(timeout=200)
    assert again.returncode == 0
    assert f"{len(before)} of 6 runs are there" in told
    assert len(files(suite)) == 6
    assert before.items() <= files(suite).items()


def test_the_searches_of_a_suite_that_is_killed_end(suite, start):
    process = start(RUN)
    first_file(suite, process)
    process.kill()
    process.communicate()
    assert all_ended(process.pid)


def test_a_signal_while_a_suite_loads_waits_until_it_can_be_heard(start):
    process = start("-m", "ma2ml_agents.cli.main", "bench")
    end = time.monotonic() + 60
    while len(at_work(process.pid)) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    process.terminate()
    told, _ = process.communicate(timeout=40)
    assert (process.returncode, told) == (143, "stopped by SIGTERM; the same command goes on\n")
