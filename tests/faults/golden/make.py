"""Make a golden folder of this version: a search of ten trials in batches of four, stopped within the second.

usage: make.py FOLDER. The database is gzipped. Made once with each release and never anew.
"""

import gzip
import sys
from pathlib import Path

from ma2ml_agents.run.cli import main
from ma2ml_agents.run.tracking import TensorBoard

WORDS = ["digits-v0", "--evaluator", "surrogate", "--learner", "evolution", "--budget", "10", "--batch", "4"]


def stop(self, number, outcome):
    if number == 5:
        raise KeyboardInterrupt


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    TensorBoard.on_outcome = stop
    assert main(["search", *WORDS, "--run", str(folder)]) == 130
    database = folder / "run.sqlite"
    (folder / "run.sqlite.gz").write_bytes(gzip.compress(database.read_bytes(), mtime=0))
