"""`ma2ml bench`: the suites of `benchmarks/`, which stand beside the packages in a checkout and are not installed."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from ma2ml_agents.run.options import OptionalFolder, OptionalNumber
from ma2ml_agents.run.signals import SIGNALS, Stopped
from ma2ml_env.registry import closest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@dataclass(frozen=True)
class Bench:
    """Run a benchmark suite and print its tables: learners against each other, over games and seeds.

    Stopped, also by a signal, it goes on where it stood. For a learner of your own, write a suite of your own: a TOML file like
    those in benchmarks/suites.
    """

    suite: Positional[Annotated[str, arg(metavar="SUITE")]] = "smoke"
    """a name in benchmarks/suites, or a TOML file"""
    out: OptionalFolder = None
    """folder of the runs; benchmarks/runs unless told"""
    jobs: OptionalNumber = None
    """searches at a time; the number of cores unless told"""
    results: OptionalFolder = None
    """folder of the tables and pictures; the folder of the runs unless told"""

    fresh: bool = False
    """take no runs from the kept reports: play all that --out lacks"""

    def execute(self, console: Console) -> int:
        """Run, then report."""
        if not (FOLDER / "run.py").is_file():
            raise FileNotFoundError(f"there are no benchmarks in {FOLDER}: they come with a checkout of the project")
        known = sorted(path.stem for path in (FOLDER / "suites").glob("*.toml"))
        if self.suite not in known and not (self.suite.endswith(".toml") and Path(self.suite).is_file()):
            raise ValueError(f"unknown suite {self.suite!r}{closest(self.suite, known)}")
        out = self.out or FOLDER / "runs"
        jobs = [] if self.jobs is None else ["--jobs", str(self.jobs)]
        fresh = ["--fresh"] if self.fresh else []
        command = [str(FOLDER / "run.py"), self.suite, "--out", str(out), *jobs, *fresh]
        if code := _ended(command):
            return code
        command = [str(FOLDER / "report.py"), self.suite, "--out", str(out), "--results", str(self.results or out)]
        return _ended(command)


def _ended(command: Sequence[str]) -> int:
    """The exit code of a program. A signal is passed on to it, and it ends in good order: with 128 and the signal's number."""
    process = None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # it listens to them when it can end in good order
    try:
        process = subprocess.Popen([sys.executable, *command])
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        code = process.wait()
        return code if code >= 0 else 128 - code  # killed by a signal: as a shell says it
    except Stopped as stopped:
        if process is not None:
            process.send_signal(stopped.signum)
            process.wait()
        return 128 + stopped.signum
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
