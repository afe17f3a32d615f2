"""The pool on Ray keeps the contract of the local one: on a Ray of two workers that is started here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.evaluators.deadline import NoTime
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.workers.ray_pool import RayPool
from ma2ml_env.evaluators.workers.schedule import Cost, Schedule
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.testing import check_evaluator
from ma2ml_env.training.data.source import DataSource

FAULTS = Path(__file__).parents[1] / "faults"


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "ma2ml\[ray\]"'):
        RayPool(Train)


@pytest.fixture(scope="module")
def ray_here():
    if find_spec("ray") is None:  # it is not imported here: that is the pool's to do, after its settings
        pytest.skip('Ray is not installed: pip install "ma2ml[ray]"')


@pytest.fixture(scope="module")
def make(ray_here):
    """Pools, one Ray at a time. Ray's workers import what the tests' modules define."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(FAULTS), str(Path(__file__).parent), before]))
    sys.path.insert(0, str(FAULTS))
    made: list[RayPool] = []

    def start(*args, **options):
        for each in made:
            each.close()
        made.append(RayPool(*args, **options))
        return made[-1]

    yield start
    for each in made:
        each.close()
    sys.path.remove(str(FAULTS))
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "at least 1"),
        ({"threads": 0}, "at least 1"),
        ({"time_limit": 0}, "positive number of seconds"),
        ({"gpus": 1.5}, "gpus of a job"),
        ({"gpus": -1.0}, "gpus of a job"),
        ({"gpus": float("nan")}, "gpus of a job"),
        ({"factory": lambda: None}, "function or class of a module"),
    ],
)
def test_impossible_arguments(ray_here, options, message):
    with pytest.raises(ValueError, match=message):
        RayPool(**{"factory": Train, **options})


CELL = ((0, "conv_3x3", 1, "max_pool_3x3", "add"),)
RECIPE = Recipe(
    network=Spec("nasnet", {"normal": CELL, "reduction": CELL, "cells": 2, "reductions": (1,), "filters": 4}),
    crop_padding=1, flip=False, cutout=0, epochs=2, batch_size=50,
)  # fmt: skip


@pytest.mark.slow
# Ray leaves log files and sockets to the collector, and on a machine without GPUs asks for them in vain.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestOnRay:
    def test_one_bad_job_never_raises_and_costs_nobody_else(self, make):
        from parts import Faulty, job

        pool = make(Faulty, 2, time_limit=3.0)
        assert isinstance(pool, Evaluator)
        jobs = [job(0), job(1, **{"raise": 0}), job(2, kill=9), job(3, sleep=60), job(4, **{"raise": 1}), job(5)]
        found = dict(pool.evaluate(jobs))
        assert [found[i].error for i in range(6)] == ["", "CRASH", "CRASH", "TIMEOUT", "OOM", ""]
        assert [found[i].accuracy for i in (0, 5)] == [0.1, 0.1005]
        assert found[2].attempts == 2

    def test_outcomes_are_those_of_this_process_longest_first(self, make):
        source = DataSource("digits", limit=100)
        jobs = [Job(i, replace(RECIPE, learning_rate=0.1 / (i + 1)), {}, i, 0.5 + 0.5 * (i % 2)) for i in range(4)]
        trainer = Train(source, device="cpu")
        pool = make(trainer.twin, 2, schedule=Schedule(trainer.cost))
        found = check_evaluator(pool, jobs)
        here = dict(trainer.evaluate(jobs))
        assert {i: replace(o, seconds=0.0) for i, o in found.items()} == {
            i: replace(o, seconds=0.0) for i, o in here.items()
        }
        cost = Cost(macs=1e9, calls=1e3)  # jobs this small may be explained by their calls alone
        assert pool._schedule.predictor.seconds(cost) not in (0.0, 1e9)  # it has learned

    def test_a_limit_on_time_lets_end_what_has_begun_and_begins_in_order(self, make):
        from parts import Faulty, job

        pool = make(Faulty, 2, schedule=Schedule(lambda job: Cost(macs=float(job.number))))
        answers, found = iter([True] * 3 + [False] * 9), []
        assert pool.limit(lambda: next(answers))
        with pytest.raises(NoTime, match="3 jobs may not start"):
            found.extend(index for index, _ in pool.evaluate([job(number) for number in range(6)]))
        assert sorted(found) == [0, 1, 2]
        assert len(list(answers)) == 8
        pool.limit(None)
        assert len(list(pool.evaluate([job(0), job(1)]))) == 2

    def test_closed_it_cancels_and_leaves_nothing(self, make):
        from parts import Faulty, group, job, until

        pool = make(Faulty, 2)
        outcomes = pool.evaluate([job(0, child=1), job(1, sleep=600)])
        _, first = next(outcomes)
        pid = int(first.metrics["pid"])
        assert group(pid)  # the control: it and its child are there
        with pytest.raises(RuntimeError, match="evaluating already"):
            next(pool.evaluate([job(0)]))
        outcomes.close()  # it does not wait for the job: a test may take half as long as that sleeps
        assert dict(pool.evaluate([job(2)]))[0].status == "ok"  # the pool is still of use
        pool.close()
        assert until(lambda: not group(pid), 20)

    def test_a_lost_ray_worker_costs_no_job(self, make, tmp_path):
        from parts import Faulty, job

        pool = make(partial(Dies, str(tmp_path)), 2)
        found = dict(pool.evaluate([job(0), job(1)]))
        assert [found[i].status for i in (0, 1)] == ["ok", "ok"]
        assert sorted(found[i].attempts for i in (0, 1)) == [1, 2]
        assert (tmp_path / "died").exists()
        assert Faulty is not None

    def test_a_factory_that_fails_is_an_error(self, make):
        from parts import job

        with pytest.raises(RuntimeError, match="no worker can start"):
            list(make(partial(Dies, None)).evaluate([job(0)]))

    def test_gpus_that_are_not_there(self, make):
        from parts import Faulty, job

        with pytest.raises(RuntimeError, match="asks for 8 GPUs"):
            list(make(Faulty, 2, gpus=8.0).evaluate([job(0)]))

    def test_strangers_are_refused_ports_are_on_loopback_and_there_is_no_dashboard(self, make):
        """In a process of its own: Ray reads its settings when it is first imported."""
        code = """
import os, subprocess, sys
from parts import Faulty, job, listening
from ma2ml_env.evaluators.workers.ray_pool import RayPool
if __name__ == "__main__":
    pool = RayPool(Faulty, 1)
    assert len(list(pool.evaluate([job(0)]))) == 1
    import ray
    assert not ray._private.worker._global_node.webui_url
    places = listening(os.getpid())
    assert len(places) >= 5 and all(place.startswith("127.0.0.1:") for place in places), places
    address = ray.get_runtime_context().gcs_address
    knock = [sys.executable, "-c", f"import ray; ray.init(address={address!r})"]
    stranger = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    assert subprocess.run(knock, env=stranger, stderr=subprocess.PIPE).returncode != 0
    assert subprocess.run(knock, stderr=subprocess.PIPE).returncode == 0  # the control: who has the token gets in
    pool.close()
    print("as told")
"""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "as told", done.stderr[-2000:]

    def test_a_search_by_the_command_line_is_that_of_this_machine(self, ray_here, tmp_path):
        from ma2ml_env.store.store import TrialStore

        rewards = {}
        for engine in ("ray", "local"):
            run = tmp_path / engine
            words = ["search", "digits-v0", "--learner", "random", "--budget", "4", "--batch", "2", "--workers", "2"]
            words += ["--set", "limit=100", "--seed", "3", "--engine", engine, "--run", str(run)]
            done = subprocess.run(
                [sys.executable, "-m", "ma2ml_agents.cli.main", *words], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-2000:]
            with TrialStore(run) as store:
                rewards[engine] = [trial.reward for trial in store.trials()]
        assert len(rewards["ray"]) == 4
        assert rewards["ray"] == rewards["local"]

    def test_what_follows_a_search_is_that_of_this_machine(self, ray_here, tmp_path):
        """Retraining and fidelity of one run, on Ray and here."""

        def ma2ml(*words):
            command = [sys.executable, "-m", "ma2ml_agents.cli.main", *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-2000:]

        words = ["--learner", "random", "--budget", "4", "--batch", "4", "--workers", "2", "--device", "cpu"]
        sizes = ["limit=100", "proxy_epochs=1", "final_epochs=2", "cells=2", "reductions=[1]"]
        sets = [word for size in sizes for word in ("--set", size)]
        ma2ml("search", "digits-v0", *words, *sets, "--run", str(tmp_path / "ray"))
        shutil.copytree(tmp_path / "ray", tmp_path / "local")
        found = {}
        for engine in ("ray", "local"):
            run = tmp_path / engine
            ma2ml("retrain", str(run), "--top-k", "2", "--repeats", "2", "--no-floors", "--engine", engine)
            ma2ml("fidelity", str(run), "--epochs", "1", "2", "--pipelines", "4", "--engine", engine)
            retrained = json.loads((run / "retrain" / "summary.json").read_text())
            weights = [
                (run / "retrain" / row["weights"]).read_bytes() for row in retrained["top"] + retrained["repeats"]
            ]
            compared = json.loads((run / "fidelity" / "summary.json").read_text())
            found[engine] = retrained["mean"], retrained["deviation"], weights, compared["accuracy"]
        assert found["ray"] == found["local"]

    def test_jobs_of_a_node_that_is_lost_are_trained_elsewhere(self, make, tmp_path):
        """A cluster of two nodes at an address; one is gone while both are at work. In a process of its own, as Ray is."""
        code = """
import threading, time
import ray
from ray.cluster_utils import Cluster
from parts import Faulty, job
from ma2ml_env.evaluators.workers.ray_pool import RayPool
if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    lost = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    pool = RayPool(Faulty, address=cluster.address)
    warm = [outcome.status for _, outcome in pool.evaluate([job(0), job(1)])]
    assert warm == ["ok", "ok"] and len(ray.nodes()) == 2, warm
    threading.Timer(2.0, lambda: cluster.remove_node(lost, allow_graceful=False)).start()
    began = time.monotonic()
    found = dict(pool.evaluate([job(0, sleep=8), job(1, sleep=8)]))
    assert [found[i].status for i in (0, 1)] == ["ok", "ok"], found
    assert sorted(found[i].attempts for i in (0, 1)) == [1, 2], found
    assert sum(node["Alive"] for node in ray.nodes()) == 1
    assert time.monotonic() - began > 14  # one after the other: the control, without a loss they take 8 s
    pool.close()
    cluster.shutdown()
    print("as told")
"""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        said = tmp_path / "said"
        with said.open("w") as file:  # no pipe: what the lost node leaves behind would hold it open
            ran = subprocess.Popen(
                [sys.executable, "-c", code], env=clean, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                ran.wait(timeout=240)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(ran.pid, signal.SIGKILL)
        assert "as told" in said.read_text().splitlines(), said.read_text()[-3000:]


class Dies(Evaluator):
    """Kills the Ray worker above it at its first job, once for each folder; cannot be made without one."""

    def __init__(self, folder):
        if folder is None:
            raise FileNotFoundError("no folder")
        self.marker = Path(folder) / "died"

    def evaluate(self, jobs):
        from parts import Faulty

        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getppid(), 9)
            time.sleep(600)
        yield from Faulty().evaluate(jobs)
