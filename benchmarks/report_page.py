"""Size of a report and the time to make it: `python benchmarks/report_page.py [TRIALS]`, 2,016 trials unless told.

A search on the surrogate of the paper's CIFAR-10 game, which has 100 decisions; then its page, with the plotting library and
all that is computed for it. Prints JSON: bytes of the page and of the library in it, seconds of the clock and of this process.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from ma2ml_agents.cli.main import main
from ma2ml_agents.reports.page.page import library, write_report


def measure(trials: int) -> dict[str, float]:
    """Search, then write the page once, in a process that has imported nothing of it before."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["cifar10-600m-v0", "--evaluator", "surrogate", "--learner", "random", "--budget", str(trials)]
        if main(["search", *words, "--run", str(run)]):
            raise RuntimeError("the search failed")
        clock, used = time.perf_counter(), time.process_time()
        page = write_report([run], run / "report.html")
        seconds, own = time.perf_counter() - clock, time.process_time() - used
        size = (run / "report.html").stat().st_size
    return {
        "trials": trials,
        "bytes": size,
        "library": len(library().encode()),
        "charts": len(page.charts),
        "seconds": round(seconds, 1),
        "process_seconds": round(own, 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 2016)))
