"""F19: the wall clock jumps, an hour back or forward. What is measured and what is waited for does not notice."""

import ast
import time
from pathlib import Path

import pytest
from parts import Faulty, job, result, run

from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.recipe import Recipe
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.loop import fit

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for name in ("ma2ml_env", "ma2ml_agents") for path in (ROOT / name).rglob("*.py"))
WALL = {
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
    "time.ctime",
    "time.strftime",
    "os.stat",
    "os.utime",
}


def wall_clock(source):
    """Names of a source that read the wall clock, or dates, which come from it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in WALL or node.attr in ("st_mtime", "st_mtime_ns", "st_ctime"):
                found.add(name)
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} - {"time.sleep", "time.monotonic"}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & {"datetime"}
    return found


@pytest.mark.parametrize(
    "source", ["import time\ntime.time()", "from time import time", "import datetime", "path.stat().st_mtime"]
)
def test_control_the_wall_clock_is_seen(source):
    assert wall_clock(source)


HARMLESS = {"reader.py", "kept.py", "tracker_runs.py", "page.py"}
"""files that measure nothing by it: they recognise unchanged images and leftovers, or date points of trackers and a page"""


def test_f19_no_source_reads_the_wall_clock():
    found = {path.name: wall_clock(path.read_text()) for path in SOURCES}
    assert {name for name, names in found.items() if names} == HARMLESS


JUMP = 3600.0
"""seconds that the clock jumps at least; no test takes as long, so what is below was not measured by it"""


@pytest.fixture
def jumps(monkeypatch):
    """Each look at the wall clock finds it elsewhere: an hour back, then two forward."""
    now, times = time.time(), []

    def jumping():
        times.append(0)
        return now + (-JUMP if len(times) % 2 else 2 * JUMP)

    monkeypatch.setattr(time, "time", jumping)
    return jumping


def test_f19_a_search_measures_and_ends_as_ever(tmp_path, monkeypatch, jumps):
    seconds = []

    class Listen:
        def on_start(self, budget, trials): ...
        def on_outcome(self, number, outcome): ...
        def on_batch(self, batch, trials, metrics):
            seconds.append(metrics["seconds"])

    run(tmp_path / "jumping", callbacks=[Listen()])
    monkeypatch.undo()
    run(tmp_path / "calm")
    assert result(tmp_path / "jumping") == result(tmp_path / "calm")
    assert all(0.0 <= each < JUMP for each in seconds)


def test_f19_the_limit_of_a_job_is_not_moved(jumps):
    pool = Pool(Faulty, 1, time_limit=1.0)
    try:
        found = dict(pool.evaluate([job(0, sleep=0.1), job(1, sleep=600)]))
    finally:
        pool.close()
    assert [found[index].error for index in range(2)] == ["", "TIMEOUT"]
    assert 1.0 <= found[1].seconds < JUMP


def test_f19_a_training_measures_its_own_time(jumps):
    data = DataSource("digits", limit=64).load()
    recipe = Recipe(epochs=1, crop_padding=0, cutout=0, batch_size=32)
    recipe = recipe.with_slots(network=recipe.network.with_args(cells=2, reductions=(1,), filters=2))
    fitted = fit(recipe, data, seed=0, fidelity=1.0)
    assert 0.0 < fitted.seconds < JUMP
