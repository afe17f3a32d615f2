"""F12: the driver's memory over 5,000 trials. What it holds of a trial is a few kilobytes, and nothing grows beside that."""

import subprocess

import pytest
from parts import python

SEARCH = """
import sys
from pathlib import Path
from parts import Light, Steps
from ma2ml_agents.run.loop import Callback, search
from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.game import Game
from ma2ml_env.store.store import TrialStore

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6

class Listen(Callback):
    def on_batch(self, batch, trials, metrics):
        if leak:
            kept.append(bytearray(1_000_000))
        if batch in (20, 208):
            print(resident(), flush=True)

kept, leak = [], len(sys.argv) > 2
game = Game([Steps()], Surrogate({"steps": Steps.space.nvec}))
with TrialStore(sys.argv[1]) as store:
    search(game, Light(game.spec), budget=5016, batch=24, store=store, callbacks=[Listen()])
"""


def growth(folder, *leak):
    """MB that the driver's resident memory grows by from the 21st batch to the last of 209."""
    process = python("-c", SEARCH, folder, *leak, stdout=subprocess.PIPE, text=True)
    first, last = map(float, process.communicate(timeout=280)[0].split())
    return last - first


@pytest.mark.slow
def test_f12_memory_over_5000_trials(tmp_path):
    found = growth(tmp_path / "run")
    print(f"grew by {found:.1f} MB")
    assert found < 50.0
    assert growth(tmp_path / "leak", "leak") > 150.0  # the control: a megabyte a batch is seen
