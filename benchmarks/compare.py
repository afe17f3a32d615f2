"""Did a change of the code change what learners reach? `python benchmarks/compare.py OLD NEW --suite smoke`.

Both commits are checked out into temporary folders and run the suite as they have it. Prints, for each landscape and arm that
both have, the mean over seeds of new minus old at the full budget, with a bootstrap interval of 95 %, and the time of a batch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from summary import interval

ROOT = Path(__file__).parent.parent
Runs = dict[tuple[str, str, int], dict[str, Any]]


def git(*words: str) -> str:
    """Output of git; its message as a ValueError."""
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return done.stdout.strip()


def runs_of(commit: str, suite: str, arguments: Sequence[str], folder: Path) -> Runs:
    """All runs of a suite by the code of a commit: (landscape, arm, seed) -> file."""
    checkout = folder / commit
    git("worktree", "add", "--detach", str(checkout), commit)
    try:
        for kept in (checkout / "benchmarks" / "results").glob("*.runs.gz"):
            kept.unlink()  # they would be taken for this commit's own: settings are the same, the code is not
        program = [
            sys.executable,
            str(checkout / "benchmarks" / "run.py"),
            suite,
            "--out",
            str(folder / "runs"),
            *arguments,
        ]
        # The folder of a script comes first on its path, so the checkout's packages are put before the installed ones.
        done = subprocess.run(program, env={**os.environ, "PYTHONPATH": str(checkout)})
        if done.returncode:
            raise ValueError(f"the suite failed at {commit} (exit code {done.returncode})")
        found = {}
        for file in (folder / "runs" / suite).rglob("*.json"):
            found[file.parent.parent.name, file.parent.name, int(file.stem)] = json.loads(file.read_text())
            file.unlink()
        return found
    finally:
        git("worktree", "remove", "--force", str(checkout))


def table(old: Runs, new: Runs) -> Table:
    """New minus old."""
    made = Table("landscape", "arm", "seeds", "old", "new", "difference (95 %)", "s a batch, old", "new")
    rng = np.random.default_rng(0)
    pairs: dict[tuple[str, str], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for key in sorted(set(old) & set(new)):
        pairs.setdefault(key[:2], []).append((old[key], new[key]))
    for (landscape, arm), both in pairs.items():
        before, after = (
            np.array([run["curves"][run["judged_by"]][-1] for run in side]) for side in zip(*both, strict=True)
        )
        low, high = interval(after - before, np.mean, rng)
        seconds = [
            float(np.median([run["learner_seconds_per_batch"] for run in side])) for side in zip(*both, strict=True)
        ]
        made.add_row(
            landscape,
            arm,
            str(len(both)),
            f"{before.mean():.4f}",
            f"{after.mean():.4f}",
            f"{(after - before).mean():+.4f} ({low:+.4f} to {high:+.4f})",
            *(f"{s:.3f}" for s in seconds),
        )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", help="a commit")
    parser.add_argument("new", help="a commit; only what is committed counts")
    parser.add_argument("--suite", default="smoke", help="a name in benchmarks/suites (smoke)")
    parser.add_argument("--jobs", default="1", help="searches at a time (1, so that times can be compared)")
    parser.add_argument("--only", nargs="*", default=[], metavar="ARM", help="these arms alone")
    args = parser.parse_args(argv)
    arguments = ["--jobs", args.jobs, *(["--only", *args.only] if args.only else [])]
    try:
        commits = [git("rev-parse", "--verify", f"{name}^{{commit}}") for name in (args.old, args.new)]
        with tempfile.TemporaryDirectory() as folder:
            old, new = (runs_of(commit, args.suite, arguments, Path(folder)) for commit in commits)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    Console().print(table(old, new))
    return 0


if __name__ == "__main__":
    sys.exit(main())
