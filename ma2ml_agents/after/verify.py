"""Is a table true? The winners of a search on measured trainings are trained again, and put beside the table.

Each is trained under the seed of the measurement that the search was told, for as many epochs and on the same data: on the same
torch and kind of processor the numbers are equal to the last bit, elsewhere they differ by the noise of a training. Or under a
seed that nobody has measured, which tells whether the winner was lucky. `RUN/verify/` holds `results.jsonl`, one finished
training a line, and `summary.json`.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ma2ml_agents.after.results import Results, Wanted, train
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.made import made_with
from ma2ml_agents.run.standing import by_reward, first_of_each, recipe_key
from ma2ml_agents.run.stored import build, game_trains, known_trials, stored_config, training_options
from ma2ml_agents.run.ticker import working
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.placement import place
from ma2ml_env.evaluators.table import Table, picks_of
from ma2ml_env.evaluators.train import Train
from ma2ml_env.game import Game
from ma2ml_env.io.files import FolderLock, write_atomic
from ma2ml_env.store.store import TrialStore
from ma2ml_env.tables.analysis import noise_variance
from ma2ml_env.tables.measured import Measured
from ma2ml_env.trial import ERRORS, Outcome, Trial, trial_seed

FAR = 4.0
"""noise deviations: a training that is further off is not the one that was measured"""
FRESH = 2000
"""a winner's fresh seed is `trial_seed(the trial's, FRESH)`; retraining draws from smaller numbers"""
SAME = ("torch", "processor", "device")
"""what decides the last bits of a training"""


@dataclass(frozen=True)
class Again:
    """A winner that was trained again."""

    trial: int
    seed: int
    """of the training"""
    mean: float
    """accuracy in [0, 1], of all its measurements"""
    table: float
    """accuracy that the table has under this seed; of a fresh one, the mean"""
    table_test: float
    """the same of test images; NaN where they were not measured"""
    live: Outcome
    """what came of it now"""
    deviation: float
    """of what came of it now from `expected` by noise alone, at accuracies like this; NaN where nothing was measured twice"""
    same_make: bool
    """whether the measurement was made by the same torch on the same kind of processor, under the same seed; not of a GPU"""
    expected: float
    """mean accuracy of the pipeline's other trainings that did not fail. That of the table itself was selected: of many noisy
    measurements, a search finds one that was lucky. Where there is no other one, that of the table"""
    error: str = ""
    """with which the measurement of the table failed; "" if it did not"""

    @property
    def difference(self) -> float:
        """Live minus table."""
        return self.live.accuracy - self.table

    @property
    def deviations(self) -> float:
        """How far off the expected accuracy it is, in noise deviations; NaN where these are not known."""
        off = self.live.accuracy - self.expected
        if self.deviation == 0.0:
            return math.copysign(math.inf, off) if off else 0.0
        return off / self.deviation

    @property
    def verdict(self) -> str:
        """In a word or two: `equal`, `within noise`, `noise unknown`; in capitals what does not agree with the table."""
        if self.live.status != "ok":
            return "equal" if self.live.error == self.error else f"FAILED {self.live.error}"
        if (
            not self.error
            and not self.difference
            and (math.isnan(self.table_test) or self.table_test == self.live.test_accuracy)
        ):
            return "equal"
        if self.same_make:
            return "NOT EQUAL"
        if math.isnan(self.deviations):
            return "noise unknown"
        return "within noise" if abs(self.deviations) <= FAR else "TOO FAR"

    @property
    def agrees(self) -> bool:
        """With the table, as far as it can."""
        return self.verdict in ("equal", "within noise")

    @property
    def open(self) -> bool:
        """Whether nobody can say: the training is another one, and nothing tells how far off it may be."""
        return self.verdict == "noise unknown"

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        own = {"live": self.live.to_json(), "difference": self.difference, "verdict": self.verdict}
        numbers = vars(self) | own | {"deviations": self.deviations}
        return {
            name: None if isinstance(each, float) and not math.isfinite(each) else each
            for name, each in numbers.items()
        }


def verify(
    run: str | Path,
    *,
    top: int = 5,
    fresh: bool = False,
    console: Console | None = None,
    on_outcome: Callable[[Job, Outcome], None] = lambda job, outcome: None,
    **where: Any,
) -> list[Again]:
    """Train the winners of a search on a table of trainings again; best first.

    Args:
        run: folder of the search.
        top: winners, different pipelines.
        fresh: train under seeds that were not measured.
        console: for the progress bar; None shows none.
        on_outcome: told of each training that is done and stored; an exception ends the verification.
        **where: trainings run, as of `retrain`; `data` is the folder of the data set.

    Raises:
        ValueError: an impossible number, a search on something else, no finished pipeline, or other data than were measured.
        OSError: the data are not there, or the folder cannot be written. BlockingIOError if it is in use.
    """
    run = Path(run)
    if top < 1:
        raise ValueError(f"--top is at least 1, not {top}")
    config, game, table = _searched(run)
    winners = [_winner(game, table, trial, fresh, bool(config.set.get("mean"))) for trial in _best(run, game, top)]
    training = {name: value for name, value in config.set.items() if name != "mean"}  # that is a table's
    live = replace(config, evaluator="train", data=None, set=training).changed(where).beside(run)
    source, options = training_options(live)
    folder = run / "verify"
    progress = (folder / "progress").absolute()
    with working(console or Console(quiet=True), "reading the data"):
        digest = _same_data(source.identity().digest, table)
        told: dict[str, Any] = {**options, "progress": str(progress), "test": table.tests is not None}
        trainer = Train(replace(source, digest=digest), **told)
        trainer.check()
    folder.mkdir(exist_ok=True)
    lock = FolderLock(folder / "verify.lock")
    try:
        evaluator = place(trainer, live.placement())
    except BaseException:
        lock.release()
        raise
    try:
        here = made_with(None if live.engine == "ray" else live.device)
        results = Results(folder / "results.jsonl", digest, made=here)
        wanted = [Wanted("verify", each.job.number, each.job) for each in winners]
        outcomes = train("verify", wanted, evaluator, results, console, on_outcome, progress)
        found = [_again(table, each, outcome, here) for each, outcome in zip(winners, outcomes, strict=True)]
        text = json.dumps([each.to_json() for each in found], indent=2) + "\n"
        write_atomic(folder / "summary.json", text.encode())
        return found
    finally:
        evaluator.close()
        lock.release()


@dataclass(frozen=True)
class _Winner:
    """What is trained again, and where its measurement stands."""

    job: Job
    point: int
    repeat: int | None
    """None under a seed that was not measured"""


def _searched(run: Path) -> tuple[RunConfig, Game, Measured]:
    """The config of a run whole trainings long, its game and its table.

    Raises:
        ValueError: if it was not a search on a table of trainings.
    """
    with TrialStore(run, create=False) as store:
        config = stored_config(store).whole()
    if config.evaluator != "table" or not game_trains(config.game):
        raise ValueError(
            f"{run} was searched on {config.game} with the evaluator {config.evaluator!r}: only what was looked up in a table "
            "of trainings can be verified"
        )
    game = build(config)
    source = game.evaluator.source if isinstance(game.evaluator, Table) else None
    if not isinstance(source, Measured):
        raise ValueError(
            f"{run} was searched on a surrogate: none of its numbers was measured, so there is nothing to be equal to. Train "
            "its winners as any list of pipelines, by `ma2ml collect`"
        )
    return config, game, source


def _best(run: Path, game: Game, top: int) -> list[Trial]:
    """The best trials of different pipelines.

    Raises:
        ValueError: if there is none.
    """
    with TrialStore(run, create=False) as store:
        trials = known_trials(store).trials
    if not (best := first_of_each(sorted(trials, key=by_reward), recipe_key(game))[:top]):
        raise ValueError(f"{run} has no finished pipeline to verify")
    return best


def _winner(game: Game, table: Measured, trial: Trial, fresh: bool, mean: bool) -> _Winner:
    """Under the seed of the measurement that the search was told; of means, of the first one that did not fail.

    Raises:
        ValueError: if the table has changed since.
    """
    codes = {agent: np.array([code], dtype=np.int64) for agent, code in trial.proposal.codes.items()}
    point = table.points(codes)
    job = game.job(trial.number, trial.proposal.codes, trial_seed(trial.seed, FRESH))
    worked = np.flatnonzero((table.errors[point[0]] == 0) & ~np.isnan(table.values[point[0]]))
    repeat = (
        (int(worked[0]) if len(worked) else 0)
        if mean
        else int(table.repeats(point, picks_of(np.array([trial.seed])))[0])
    )
    now = float(table.mean_curves[point[0], -1] if mean else table.values[point[0], repeat])
    if trial.outcome.fidelity == table.fidelity and trial.outcome.accuracy != now:
        raise ValueError(
            f"trial {trial.number} was told an accuracy of {trial.outcome.accuracy!r}, and the table has {now!r}: it has "
            "changed since the search"
        )
    if fresh:
        return _Winner(job, int(point[0]), None)
    return _Winner(replace(job, seed=int(table.seeds[point[0], repeat])), int(point[0]), repeat)


def _again(table: Measured, winner: _Winner, live: Outcome, here: Mapping[str, str]) -> Again:
    point, repeat = winner.point, winner.repeat
    mean = float(table.mean_curves[point, -1])
    told = mean if repeat is None else float(table.values[point, repeat])
    tests = table.tests if repeat is not None else table.mean_tests
    which = point if repeat is None else (point, repeat)
    made = {} if repeat is None else table.about["sources"][table.sources[point, repeat]]["made"]
    expected, deviation = _expected(table, point, repeat, told)
    return Again(
        trial=winner.job.number,
        seed=winner.job.seed,
        mean=mean,
        table=told,
        table_test=math.nan if tests is None else float(tests[which]),
        live=live,
        deviation=deviation,
        same_make=here.get("device") == "cpu" and all(made.get(name) == here[name] for name in SAME),
        expected=expected,
        error="" if repeat is None else ERRORS[table.errors[point, repeat]],
    )


def _expected(table: Measured, point: int, repeat: int | None, told: float) -> tuple[float, float]:
    """The accuracy that a training of a point may be expected to have, and the deviation of a training from it by noise.

    It is the mean of n trainings that did not fail, without the one that was selected, so the variance of the difference is
    (1 + 1 / n) times that of a training.

    Args:
        table: the table.
        point: number of the joint code.
        repeat: the measurement that was selected; None if it was none.
        told: what the search was told, where nothing else is known.
    """
    values = np.where(table.errors == 0, table.values, np.nan)
    others = values[point] if repeat is None else np.delete(values[point], repeat)
    others = others[~np.isnan(others)]
    expected = float(others.mean()) if len(others) else told
    pipelines = values[np.unique(table.same)]  # not as often as one has codes
    try:
        variance = noise_variance(pipelines[~np.isnan(pipelines).all(1)], np.array([expected]))[0]
    except ValueError:
        return expected, math.nan
    return expected, math.sqrt(float(variance) * (1.0 + 1.0 / max(1, len(others))))


def _same_data(digest: str, table: Measured) -> str:
    """The digest of the data.

    Raises:
        ValueError: if others were measured.
    """
    measured = sorted({str(source.get("data")) for source in table.about["sources"]})
    if measured != [digest]:
        before = ", ".join(each[:8] for each in measured)
        raise ValueError(f"the data are not those that were measured: digest {digest[:8]} instead of {before}")
    return digest
