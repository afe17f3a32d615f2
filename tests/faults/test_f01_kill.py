"""F1: the driver is killed. The run goes on and ends with the same bytes."""

import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest
from parts import HERE, mirrored, python, result

from ma2ml_agents.registry import make_learner
from ma2ml_agents.run.loop import Callback, search
from ma2ml_env.games.make import make_game
from ma2ml_env.store.database import TABLES
from ma2ml_env.store.store import TrialStore

POINTS = ["propose", "add_outcome", "close_batch", "write_best", "append", "fsync", "replace"]


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("fsync", "replace") else name for name in POINTS]
)
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
    assert mirrored(tmp_path / "storm") == mirrored(tmp_path / "calm")


@pytest.mark.slow
def test_f1_killed_at_random_moments(tmp_path):
    storm(tmp_path, "light", budget=240, kills=4, seed=0)


def test_f1_every_file_is_the_same_to_the_byte(tmp_path):
    """But for the lock, which says who drove, and the database's free space: its rows are the same."""
    game = make_game("digits-v0", evaluator="surrogate")
    assert list(game.spec.nvec) != sorted(game.spec.nvec)  # the order of the agents is one that can be lost

    class Stop(Callback):
        def __init__(self, after):
            self.left = after

        def on_outcome(self, number, outcome):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    def go(folder, *callbacks):
        with TrialStore(folder) as store:
            learner = make_learner("evolution", game.spec)
            search(game, learner, budget=24, batch=8, store=store, callbacks=callbacks)

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "calm", Stop(1))
    shutil.copytree(tmp_path / "calm", tmp_path / "storm")  # one run, with one id
    go(tmp_path / "calm")
    for after in (3, 9, 4):
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "storm", Stop(after))
    for _ in range(2):  # the second finds everything done
        go(tmp_path / "storm")
    files = {}
    for folder in (tmp_path / "calm", tmp_path / "storm"):
        names = [path for path in folder.iterdir() if path.name not in ("run.lock", "run.sqlite")]
        with closing(sqlite3.connect(folder / "run.sqlite")) as db:
            rows = [db.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]
        files[folder.name] = {path.name: path.read_bytes() for path in names} | {"rows": rows}
    assert sorted(files["calm"]) == ["best.json", "rows", "run.json", "trials.jsonl"]
    assert files["storm"] == files["calm"]


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
