"""Run a suite: `python benchmarks/run.py smoke`.

Each search leaves one file, and a suite that was stopped goes on where it stood: `--out DIR` (benchmarks/runs). A file whose
settings are no longer the suite's is run again. Runs that were reported are kept in `results/SUITE.runs.gz`, and are not run
again either; `--fresh` leaves them alone, and plays what `--out` lacks. `--own my_algorithm.py` plays that file's `train` as
well. `--only ARM ...` and `--landscapes NAME ...` pick; `--seeds N` takes the first N.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
from exact import exact, surrogate_digest
from frameworks import algorithm, is_algorithm
from provenance import header
from rich.console import Console
from stopping import searches, stoppable, unheard
from suite import Run, Suite, is_known, judged_by, load, noise_free, read_kept, tables_of

from ma2ml_agents.learner import Saves
from ma2ml_agents.registry import make_learner
from ma2ml_agents.run.loop import Callback, search
from ma2ml_agents.run.standing import recipe_key
from ma2ml_agents.run.tracking import progress_bar
from ma2ml_env.game import Game
from ma2ml_env.io.files import write_atomic
from ma2ml_env.registry import closest
from ma2ml_env.trial import Trial

HERE = Path(__file__).parent
AT_MOST = 20
"""times its budget in pipelines a search by seconds may have: quick failures would take it for ever"""


def codes_key(trial: Trial) -> str:
    """Codes as a key, in the agents' order."""
    return repr(list(trial.proposal.codes.values()))


class OutOfTime(Exception):
    """The simulated seconds of a search are over."""


class Curves(Callback):
    """What a search reached after each batch. The top k are distinct pipelines; a repeat costs budget and adds nothing.

    The first measurement of a pipeline counts: the best of several would be luck, most of it where most is repeated. Where
    pipelines are trained, codes of one recipe are one pipeline: its accuracy is known, and would stand there twice. Of a
    measured game there are the levels of `exact.FOUND` as well, and the simulated seconds of the trainings so far.

    Args:
        game: what is played.
        top_k: as of the suite.
        seconds: simulated ones after which the search ends; a batch that would end later is not counted.
    """

    def __init__(self, game: Game, top_k: int, seconds: float = math.inf) -> None:
        self.game, self.top_k, self.seconds = game, top_k, seconds
        self._distinct: dict[Hashable, float] = {}
        self._exact = exact(game)
        self._key = codes_key if is_known(game) else recipe_key(game)
        self._true_best = -math.inf
        self._named: tuple[float, Any] = (-math.inf, None)  # reward and key of the best trial: what a user would take
        self._spent = 0.0
        self.trials = 0
        self.curves: dict[str, list[float]] = {}

    def on_batch(self, batch: int, trials: Sequence[Trial], metrics: Mapping[str, float]) -> None:
        self._spent += sum(trial.outcome.seconds for trial in trials)
        if self._spent > self.seconds:
            raise OutOfTime
        self.trials += len(trials)
        codes = {agent: np.array([t.proposal.codes[agent] for t in trials]) for agent in self.game.spec.nvec}
        keys: Sequence[Hashable]
        keys = [self._key(trial) for trial in trials] if self._exact is None else self._exact.pipelines(codes)
        for key, trial in zip(keys, trials, strict=True):
            self._distinct.setdefault(key, trial.reward)
            if trial.reward > self._named[0]:
                self._named = (trial.reward, key)
        true = noise_free(self.game, codes) if is_known(self.game) else np.array([trial.reward for trial in trials])
        self._true_best = max(self._true_best, float(true.max()))
        rewards = sorted(self._distinct.values(), reverse=True)
        levels = {
            "top": float(np.mean(rewards[: self.top_k])),
            "best": rewards[0],
            "batch": float(np.mean([trial.reward for trial in trials])),
            "true_best": self._true_best,
            "distinct": float(len(rewards)),
        }
        if self._exact is not None:
            top: list[Any] = sorted(self._distinct, key=lambda key: -self._distinct[key])[: self.top_k]
            levels |= self._exact.levels(self._named[1], top) | {"seconds": self._spent}
        for name, value in levels.items():
            self.curves.setdefault(name, []).append(round(value, 6))


class Timed:
    """A learner whose CPU seconds per batch are kept."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.seconds: list[float] = []

    def ask(self, n: int, states: Any = None) -> Any:
        began = time.process_time()
        proposals = self.inner.ask(n, states)
        self.seconds.append(time.process_time() - began)
        return proposals

    def tell(self, trials: Sequence[Trial]) -> Any:
        began = time.process_time()
        metrics = self.inner.tell(trials)
        self.seconds[-1] += time.process_time() - began
        return metrics


class TimedSaves(Timed):
    """The same of a learner that has a state to go back to; somebody's own may have none."""

    def state_dict(self) -> Any:
        return self.inner.state_dict()

    def load_state_dict(self, state: Any) -> None:
        self.inner.load_state_dict(state)


def _search(run: Run, game: Game, budget: int, recorder: Curves) -> float:
    """A learner asks and is told; its seconds per batch, the median."""
    made = make_learner(run.learner, game.spec, seed=run.seed, **run.config)
    learner = (TimedSaves if isinstance(made, Saves) else Timed)(made)
    with suppress(OutOfTime):
        search(game, learner, budget=budget, batch=run.batch, seed=run.seed, callbacks=[recorder])
    return median(learner.seconds)


def _train(run: Run, game: Game, budget: int, recorder: Curves) -> float:
    """A library's algorithm plays by itself, and what it played is told in batches, as a learner's; seconds per batch."""
    began = time.process_time()
    trials = algorithm(run.learner).train(game, budget, run.seed)
    each = (time.process_time() - began) / -(-len(trials) // run.batch)
    with suppress(OutOfTime):
        for batch, start in enumerate(range(0, len(trials), run.batch)):
            recorder.on_batch(batch, trials[start : start + run.batch], {})
    return each


def play(run: Run, header: Mapping[str, Any]) -> dict[str, Any]:
    """One search, as what its file holds."""
    import torch

    torch.set_num_threads(1)
    game = run.make()
    known, fitted = exact(game), surrogate_digest(game)
    seconds = math.inf if known is None or run.axis == "pipelines" else run.budget * known.training
    recorder = Curves(game, run.top_k, seconds)
    began = time.process_time()
    budget = run.budget if run.axis == "pipelines" else run.budget * AT_MOST
    each = (_train if is_algorithm(run.learner) else _search)(run, game, budget, recorder)
    if not recorder.curves:
        raise ValueError(f"a batch takes longer than the {seconds:.0f} s of the budget")
    return {
        **header,
        "settings": run.settings(),
        **({} if known is None else {"table": known.digest}),
        **({} if fitted is None else {"table": fitted}),
        **({"seconds": round(seconds, 6), "trials": recorder.trials} if run.axis == "seconds" else {}),
        "judged_by": judged_by(game),
        "cpu_seconds": round(time.process_time() - began, 2),
        "learner_seconds_per_batch": round(each, 4),
        "curves": recorder.curves,
    }


def play_and_write(run: Run, header: Mapping[str, Any], out: Path) -> None:
    result = play(run, header)
    file = run.file(out)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, (json.dumps(result) + "\n").encode())


def is_done(run: Run, out: Path, tables: Mapping[str, str] = {}) -> bool:
    """Whether there is a file of this run with these settings, and on these tables."""
    try:
        stored = json.loads(run.file(out).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return run.is_of(stored, tables)


def unpack(suite: Suite, kept: Path, out: Path) -> None:
    """Lay out the kept runs as files, where there are none."""
    stored = read_kept(kept)
    for run in suite.runs:
        file = run.file(out)
        if (result := stored.get(str(run.file(Path())))) is not None and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, (json.dumps(result) + "\n").encode())


def check_names(flag: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a name that the suite does not have: it would pick nothing."""
    for name in given:
        if name not in known:
            raise ValueError(f"{flag} {name}: this suite has no such name{closest(name, known)}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", help="a name in benchmarks/suites, or a TOML file")
    parser.add_argument("--out", type=Path, default=HERE / "runs", help="folder of the runs (benchmarks/runs)")
    parser.add_argument(
        "--own", type=Path, nargs="*", default=[], metavar="FILE", help="algorithms of your own, a file each"
    )
    parser.add_argument("--fresh", action="store_true", help="take no runs from the report: play all that --out lacks")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="searches at a time (cores)")
    parser.add_argument("--only", nargs="*", default=[], metavar="ARM", help="these arms alone")
    parser.add_argument("--landscapes", nargs="*", default=[], metavar="NAME", help="these landscapes alone")
    parser.add_argument("--seeds", type=int, default=sys.maxsize, help="the first N seeds alone")
    args = parser.parse_args(argv)
    console = Console()
    try:
        suite = load(args.suite, args.own)
        check_names("--only", args.only, suite.arms())
        check_names("--landscapes", args.landscapes, [landscape.name for landscape in suite.landscapes])
        if args.jobs < 1 or args.seeds < 1:
            raise ValueError(f"--jobs and --seeds are at least 1, not {args.jobs} and {args.seeds}")
        wanted = [
            run
            for run in suite.runs
            if run.seed < args.seeds
            and run.arm in (args.only or [run.arm])
            and run.landscape.name in (args.landscapes or [run.landscape.name])
        ]
        tables = tables_of(wanted)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not args.fresh:
        unpack(suite, HERE / "results" / f"{suite.name}.runs.gz", args.out)
    waiting = [run for run in wanted if not is_done(run, args.out, tables)]
    if len(waiting) < len(wanted):
        console.print(
            f"{len(wanted) - len(waiting)} of {len(wanted)} runs are there, from earlier or as they were reported"
        )
    told, failed = header(), 0
    bar = progress_bar(console)
    task = bar.add_task(suite.name, total=len(wanted), completed=len(wanted) - len(waiting))
    with bar, searches(args.jobs) as pool:
        with unheard():
            futures = {pool.submit(play_and_write, run, told, args.out): run for run in waiting}
        for future in as_completed(futures):
            run = futures[future]
            try:
                future.result()
            except Exception as error:  # the others go on
                failed += 1
                console.print(
                    f"{run.landscape.name} {run.arm} {run.seed}: {type(error).__name__}: {error}", markup=False
                )
            bar.update(task, advance=1, refresh=True)
    console.print(f"{len(wanted) - failed} of {len(wanted)} runs in {args.out / suite.name}; {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(stoppable(main))
