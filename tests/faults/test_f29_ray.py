"""F29: a part of Ray itself dies. That is no pipeline's doing: nothing is stored of it, and a resume ends as a calm run."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from parts import Faulty, comparable, job, parents, python, until

from ma2ml_agents.cli.main import main
from ma2ml_env.evaluators.base import NoWorker
from ma2ml_env.evaluators.workers import ray_link
from ma2ml_env.evaluators.workers.ray_link import Link, RayLost
from ma2ml_env.evaluators.workers.ray_pool import RETRIES, RayPool
from ma2ml_env.store.store import TrialStore
from ma2ml_env.trial import Outcome

SIZES = ["limit=200", "proxy_epochs=2", "final_epochs=2"]
WORDS = ["digits-v0", "--learner", "evolution", "--budget", "6", "--batch", "6", "--workers", "2", "--device", "cpu"]
WORDS += ["--seed", "3", *(word for size in SIZES for word in ("--set", size))]


class Lost(Exception):
    """As Ray's own errors are."""


class Memory(Lost):
    """Ray has ended a worker that took too much."""


class Task(Exception):
    """As Ray says what a task has raised."""


class Ray:
    """What a pool uses of Ray, with a GCS and a raylet that listen; `answers` are the results of tasks, in order."""

    exceptions = SimpleNamespace(RayTaskError=Task, RayError=Lost, OutOfMemoryError=Memory)

    def __init__(self, answers=()):
        self.answers, self.sent, self.cancelled, self.alive = list(answers), 0, 0, True
        self.gcs, self.raylet = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.hangs, self.freed = threading.Event(), threading.Event()

    def init(self, **options):
        self.options = options

    def is_initialized(self):
        return False

    def get_runtime_context(self):
        port = self.gcs.getsockname()[1]
        return SimpleNamespace(gcs_address=f"127.0.0.1:{port}", get_node_id=lambda: "here")

    def cluster_resources(self):
        if self.hangs.is_set():
            self.freed.wait()
        return {"CPU": 2.0}

    def nodes(self):
        port = self.raylet.getsockname()[1]
        return [{"NodeID": "here", "Alive": self.alive, "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": port}]

    def remote(self, **options):
        assert options["max_retries"] == 0, "Ray says of none of its own retries why"
        return lambda function: SimpleNamespace(remote=self._send)

    def _send(self, *args):
        self.sent += 1
        return object()

    def wait(self, tasks, num_returns=1, timeout=None):
        return tasks[:1], tasks[1:]

    def get(self, task):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self, task, force):
        self.cancelled += 1

    def shutdown(self):
        self.over = True


@pytest.fixture
def fake(monkeypatch):
    made = []

    def make(answers=()):
        ray = Ray(answers)
        made.append(ray)
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setitem(sys.modules, "ray.exceptions", ray.exceptions)
        return ray

    yield make
    for ray in made:
        ray.freed.set()
        ray.gcs.close()
        ray.raylet.close()


def pool_of(ray):
    pool = RayPool(Faulty, 2)
    assert pool._ray is ray
    return pool


def test_f29_a_job_that_ray_lost_is_sent_again_and_counted(fake):
    ray = fake([Lost(), Memory(), Outcome(accuracy=0.5)])
    pool = pool_of(ray)
    assert list(pool.evaluate([job(0)])) == [(0, Outcome(accuracy=0.5, attempts=3))]
    assert ray.sent == 3
    pool.close()


def test_f29_a_job_that_ray_loses_again_and_again_is_no_outcome(fake):
    ray = fake([Lost() for _ in range(2 * (1 + RETRIES))])
    pool = pool_of(ray)
    with pytest.raises(RayLost, match="trial 0 was lost 4 times with its Ray worker or machine"):
        list(pool.evaluate([job(0), job(1)]))
    pool.close()


def test_f29_memory_that_a_job_takes_is_its_own_doing(fake):
    pool = pool_of(fake([Memory() for _ in range(1 + RETRIES)]))
    ((_, outcome),) = pool.evaluate([job(0)])
    assert (outcome.status, outcome.error, outcome.attempts) == ("failed", "OOM", 1 + RETRIES)
    pool.close()


@pytest.mark.parametrize("dead", ["raylet", "gcs"])
def test_f29_where_a_part_of_ray_has_died_no_job_has_an_outcome(fake, dead):
    """Whether Ray says that the job was lost, or that it is done: what has not been yielded is to be done again."""
    ray = fake([Lost(), Outcome(accuracy=0.5)])
    pool = pool_of(ray)
    found = pool.evaluate([job(0), job(1)])
    ray.wait = lambda tasks, num_returns=1, timeout=None: (vars(ray)[dead].close(), (tasks[:1], tasks[1:]))[1]
    what = "raylet of this machine" if dead == "raylet" else "GCS"
    with pytest.raises(RayLost, match=rf"Ray's {what} \(127.0.0.1:.* has died"):
        next(found)
    assert ray.cancelled == 0  # nobody is there to cancel anything
    pool.close()
    assert ray.over


def test_f29_a_raylet_that_the_gcs_takes_for_dead(fake):
    ray = fake()
    link = Link(ray, None, 2)
    link.start()
    link.check()
    ray.alive = False
    assert until(lambda: link._gone, 5)
    with pytest.raises(RayLost, match="does not answer Ray's GCS"):
        link.check()
    link.stop()


def test_f29_a_gcs_that_hangs_is_dead_after_a_while(fake, monkeypatch):
    monkeypatch.setattr(ray_link, "EVERY", 0.05)
    monkeypatch.setattr(ray_link, "PATIENCE", 0.5)
    ray = fake()
    link = Link(ray, None, 2)
    link.start()
    time.sleep(1.0)
    link.check()  # the control: who answers may be asked for longer than that
    ray.hangs.set()
    time.sleep(1.0)
    with pytest.raises(RayLost, match="has not answered for"):
        link.check()
    link.stop()


def test_f29_a_clusters_gcs_may_be_started_again(fake, monkeypatch):
    monkeypatch.setattr(ray_link, "PATIENCE", 1.0)
    ray = fake()
    link = Link(ray, "10.0.0.1:6379", None)
    link.start()
    ray.gcs.close()
    link.check()
    time.sleep(1.1)
    with pytest.raises(RayLost, match="GCS"):
        link.check()
    link.stop()


HANGING = """
import time
from test_f29_ray import Ray
from rich.console import Console
from rich.live import Live
from ma2ml_env.evaluators.workers import ray_link
ray_link.EVERY, ray_link.PATIENCE, ray_link.LAST = 0.05, 0.2, 0.5
ray = Ray()
ray_link.Link(ray, None, 2).start()
ray.hangs.set()
with Live("so far", console=Console()):
    time.sleep(60)
"""


def test_f29_a_driver_that_hangs_in_ray_ends_in_good_order():
    done = python("-c", HANGING, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _, said = done.communicate(timeout=50)
    assert done.returncode == 2
    assert said.startswith("ma2ml: error: Ray's GCS has not answered for")
    assert said.count("\n") == 1


def test_f29_a_driver_that_hangs_in_ray_gives_the_terminal_its_cursor_back(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    ours, terminal = pty.openpty()
    done = python("-c", HANGING, stdout=terminal, stderr=terminal)
    os.close(terminal)
    said = b""
    with suppress(OSError):  # so ends a terminal
        while more := os.read(ours, 10_000):
            said += more
    os.close(ours)
    assert done.wait(50) == 2
    assert b"\x1b[?25l" in said
    assert b"ma2ml: error: Ray's GCS has not answered for" in said
    assert said.endswith(b"\x1b[?25h\r\n")


def test_f29_an_error_of_this_kind_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    from ma2ml_env.evaluators.surrogate import Surrogate

    def evaluate(self, jobs):
        yield 0, Outcome(accuracy=0.5)
        raise NoWorker("Ray's GCS has died")

    monkeypatch.setattr(Surrogate, "evaluate", evaluate)
    run = tmp_path / "a run"
    words = ["--evaluator", "surrogate", "--learner", "random", "--budget", "4", "--batch", "2"]
    assert main(["search", "digits-v0", *words, "--run", str(run)]) == 2
    assert capsys.readouterr().err == (
        f"ma2ml: error: Ray's GCS has died. Every outcome is stored; go on with: ma2ml resume '{run}'\n"
    )
    with TrialStore(run) as store:
        assert list(store.outcomes(0)) == [0]


def child(pid, name):
    """A child of a process by its name; 0 if it has none."""
    return next((each for each, told in parents().items() if told == (pid, name)), 0)


def stored(folder):
    if not (folder / "run.sqlite").exists():
        return {}
    with TrialStore(folder, create=False) as store:
        return store.outcomes(0)


def read(folder):
    with TrialStore(folder, create=False) as store:
        assert store.check() == []
        return [comparable(trial) for trial in store.trials()], json.loads((folder / "best.json").read_text())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_f29_ray_dies_under_a_search(tmp_path, name):
    if find_spec("ray") is None or not Path("/proc/self/stat").exists():
        pytest.skip('needs Linux, and Ray: pip install "ma2ml[ray]"')
    run, calm = tmp_path / "run", tmp_path / "calm"
    with (tmp_path / "said").open("w") as said:
        driver = python(
            "-m", "ma2ml_agents.cli.main", "search", *WORDS, "--engine", "ray", "--run", run, stdout=said, stderr=said
        )
    try:
        assert until(lambda: stored(run) or driver.poll() is not None, 400)
        found = child(driver.pid, name)
        assert found, (tmp_path / "said").read_text()[-3000:]
        os.kill(found, signal.SIGKILL)
        killed = time.monotonic()
        code = driver.wait(90)
    finally:
        driver.kill()
    text = (tmp_path / "said").read_text()
    assert (code, time.monotonic() - killed < 60) == (2, True), text[-3000:]
    what = "Ray's raylet of this machine" if name == "raylet" else "Ray's GCS"
    assert text.splitlines()[-1].startswith(f"ma2ml: error: {what} (127.0.0.1:")
    assert text.splitlines()[-1].endswith(f"go on with: ma2ml resume {run}")
    assert "state-dump" not in text  # Ray's own log
    assert 0 < len(stored(run)) < 6
    assert {outcome.status for outcome in stored(run).values()} == {"ok"}
    assert until(lambda: not child(driver.pid, "raylet"), 20)
    assert main(["resume", str(run), "--engine", "local"]) == 0
    assert main(["search", *WORDS, "--run", str(calm)]) == 0
    assert read(run) == read(calm)
