"""Kill a search at the n-th pass of a named point, go on, and compare; for every n until the search gets through.

usage: crash_points.py FOLDER POINT; prints the number of kills.
"""

import os
import signal
import sys
from pathlib import Path

from parts import result, run

import ma2ml_env.io.files
from ma2ml_env.store.database import Database
from ma2ml_env.store.mirror import Mirror
from ma2ml_env.store.store import TrialStore

OWNERS = {
    "propose": TrialStore,
    "add_outcome": TrialStore,
    "close_batch": TrialStore,
    "write_best": TrialStore,
    "append": Mirror,
    "_create": Database,
    "fsync": os,
    "replace": os,
    "write_atomic": ma2ml_env.io.files,
}


def trap(owner, name, when, n):
    """Die before or after the n-th call."""
    original = getattr(owner, name)
    calls = 0

    def trapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == n and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        value = original(*args, **kwargs)
        if calls == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    setattr(owner, name, trapped)


def forked(action):
    """Run in a child; whether it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL


def main(folder, point):
    when, name = point.split(" ")
    calm = folder / "calm"
    forked(lambda: run(calm))
    for n in range(1, 1000):

        def killed(n=n):
            trap(OWNERS[name], name, when, n)
            run(folder / str(n))

        if not forked(killed):
            print(n - 1)
            return
        assert not forked(lambda n=n: run(folder / str(n)))
        assert result(folder / str(n)) == result(calm), n


main(Path(sys.argv[1]), sys.argv[2])
