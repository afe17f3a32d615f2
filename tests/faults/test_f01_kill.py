"""F1: the driver is killed. The run goes on and ends with the same bytes."""

import random
import signal
import subprocess
import time

import pytest
from parts import HERE, python, result

POINTS = ["propose", "add_outcome", "close_batch", "write_best", "append", "fsync", "replace"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", POINTS)
def test_f1_killed_at_a_named_point(tmp_path, name, when):
    done = python(HERE / "crash_points.py", tmp_path, f"{when} {name}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = done.communicate(timeout=200)
    assert done.returncode == 0, err.decode()
    assert int(out) >= 2  # the trap did go off


def test_f1_killed_while_the_database_is_made(tmp_path):
    for when in ("before", "after"):
        done = python(HERE / "crash_points.py", tmp_path / when, f"{when} _create", stdout=subprocess.PIPE)
        assert int(done.communicate(timeout=200)[0]) == 1


def storm(tmp_path, learner, budget, kills, seed):
    """Kill `kills` times, each some new outcomes and a random moment later; then compare with a calm run."""

    def start(folder, **options):
        return python(HERE / "driver.py", folder, learner, budget, **options)

    calm = start(tmp_path / "calm", stdout=subprocess.DEVNULL)
    assert calm.wait(280) == 0
    rng = random.Random(seed)
    for _ in range(kills):
        process = start(tmp_path / "storm", stdout=subprocess.PIPE)
        for _ in range(rng.randint(1, budget // kills - 4)):  # so that there is something left to be killed in
            assert process.stdout.readline()
        time.sleep(rng.choice([0.0, rng.uniform(0.0, 0.02), rng.uniform(0.0, 0.5)]))  # while it plays, stores or learns
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    last = start(tmp_path / "storm", stdout=subprocess.DEVNULL)
    assert last.wait(280) == 0
    assert result(tmp_path / "storm") == result(tmp_path / "calm")


def test_f1_killed_at_random_moments(tmp_path):
    storm(tmp_path, "light", budget=240, kills=4, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_f1_killed_twenty_times_with_ma2ml(tmp_path):
    storm(tmp_path, "hybrid", budget=480, kills=20, seed=1)


def test_f1_control_a_change_is_seen(tmp_path):
    """The comparison of these tests can fail: another seed gives another result."""
    for name, seed in (("a", 0), ("b", 1)):
        code = f"from parts import run; run({str(tmp_path / name)!r}, seed={seed})"
        assert python("-c", code).wait(60) == 0
    assert result(tmp_path / "a")[0] != result(tmp_path / "b")[0]
