"""What a long search costs: `python benchmarks/soak.py OUT` (cifar10-v0, surrogate, default learner, 5,016 trials).

Watches `ma2ml search` from outside, so the numbers are those of the command. At every five hundred trials: memory of the
driver, processor seconds a batch since the last mark, size of the folder, processor seconds of `ma2ml show` and `ma2ml trials`.
`OUT/soak.json` holds the rows; stopped, it goes on with the run.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from provenance import header

from ma2ml_env.io.files import write_atomic

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MA2ML = [sys.executable, "-m", "ma2ml_agents.cli.main"]


def processor(pid: int) -> float:
    """Seconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> float:
    """MB that it has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def opening(command: str, run: Path) -> float:
    """Processor seconds of a command that reads the run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*MA2ML, command, str(run)], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size(run: Path) -> float:
    return sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) / 1e6


def soak(out: Path, budget: int, every: int, learner: str) -> list[dict[str, float]]:
    run, kept = out / "run", out / "soak.json"
    rows: list[dict[str, float]] = json.loads(kept.read_text())["rows"] if kept.exists() else []
    words = ["search", "cifar10-v0", "--evaluator", "surrogate", "--learner", learner, "--budget", str(budget)]
    process = subprocess.Popen([*MA2ML, *words, "--run", str(run)], stdout=subprocess.DEVNULL)
    mark, then, began = lines(run / "trials.jsonl"), 0, 0.0
    try:
        while process.poll() is None:
            time.sleep(0.2)
            done = lines(run / "trials.jsonl")
            if not then and done > mark:  # Python has started, torch is there
                mark, then, began = done - done % every, done, processor(process.pid)
            if then and done >= mark + every:
                used = processor(process.pid)
                row = {
                    "trials": done,
                    "driver_mb": round(memory(process.pid), 1),
                    "seconds_a_batch": round((used - began) / (done - then) * 24, 3),
                    "folder_mb": round(size(run), 2),
                    "show_seconds": round(opening("show", run), 2),
                    "trials_seconds": round(opening("trials", run), 2),
                }
                rows.append(row)
                print(row, flush=True)
                mark, then, began = done - done % every, done, used
                write_atomic(kept, json.dumps({**header(), "learner": learner, "rows": rows}, indent=1).encode())
    finally:
        process.terminate()
        process.wait()
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget", type=int, default=5016)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--learner", default="hybrid")
    told = parser.parse_args()
    told.out.mkdir(parents=True, exist_ok=True)
    soak(told.out, told.budget, told.every, told.learner)
