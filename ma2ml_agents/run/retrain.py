"""What follows a search: Algorithm 1, lines 14 to 16, and the mean and deviation of Table 3.

The pipelines of highest accuracy under a limit on MACs are trained to the end on the training images. One is chosen, by
validation accuracy unless told otherwise, and trained again under different seeds on training and validation images together;
its test accuracies give mean and deviation. With levels (section 4.1), the best of each limit on MACs is chosen instead, and
nothing is repeated.

`RUN/retrain/` holds `results.jsonl`, one finished training a line, on the disk before the next one is waited for; the weights;
and `summary.json`. A kill loses no finished training, and of those that were running what they did since their last
checkpoint: they leave one every ten minutes.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from rich.console import Console

from ma2ml_agents.run.results import Results, Wanted, tested, train
from ma2ml_agents.run.standing import by_accuracy, first_of_each, recipe_key
from ma2ml_agents.run.stored import HERE, build, trained_run
from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.files import FolderLock, write_atomic
from ma2ml_env.game import Game
from ma2ml_env.games import NamedGame
from ma2ml_env.registry import resolve
from ma2ml_env.trial import Outcome, Trial, trial_seed

Select = Literal["validation", "test"]
REPEATS_FROM = 1000
"""the r-th repeat has the seed `trial_seed(the trial's, REPEATS_FROM + r)`; the training itself draws from small numbers"""


@dataclass(frozen=True)
class Finished:
    """A training to the end."""

    trial: Trial
    """of the search"""
    job: Job
    outcome: Outcome
    """of the top: accuracy on validation images, and `test_accuracy`; of a repeat: both are on test images"""
    weights: Path

    def chosen_by(self, select: Select) -> tuple[bool, float, int]:
        """Sort key, best first; what failed is last."""
        accuracy = self.outcome.accuracy if select == "validation" else self.outcome.test_accuracy or 0.0
        return self.outcome.status != "ok", -accuracy, self.trial.number

    def under(self, limit: float) -> bool:
        """Whether it was trained to the end, with at most so many MACs."""
        return self.outcome.status == "ok" and self.outcome.flops <= limit


@dataclass(frozen=True)
class Level:
    """The best pipeline under one limit on MACs: a row of the paper's Table 2."""

    limit: float
    best: Finished | None
    """None if none that fits was trained"""


@dataclass(frozen=True)
class Retrained:
    """What a retraining came to."""

    select: Select
    """images that the winner was chosen by"""
    top: Sequence[Finished]
    """in the order of their accuracy in the search"""
    winner: Finished
    repeats: Sequence[Finished]
    """the winner on training and validation images, those that are ok"""
    mean: float
    """test accuracy of the repeats; of the winner itself if there are none"""
    deviation: float
    """their standard deviation (n - 1); 0.0 of one"""
    levels: Sequence[Level] = ()
    baseline: Sequence[Finished] = ()
    """trainings of the base recipe, with what no agent decides and neutral values for the rest; like the repeats"""
    failed: int = 0
    """repeats, and trainings of the base recipe, that failed and count nowhere"""


def retrain(
    run: str | Path,
    *,
    top_k: int | None = None,
    max_flops: float | None = None,
    levels: Sequence[float] = (),
    repeats: int | None = None,
    baseline: bool = False,
    select: Select = "validation",
    workers: int | None = None,
    device: str | None = None,
    data: str | Path | None = None,
    console: Console | None = None,
    on_outcome: Callable[[Job, Outcome], None] = lambda job, outcome: None,
) -> Retrained:
    """Train the top pipelines to the end, choose, repeat.

    Args:
        run: folder of a search whose evaluator was `train`.
        top_k: pipelines to train to the end; None is the game's own.
        max_flops: MACs that a pipeline may have; None is any.
        levels: limits on MACs; the top k under each of them are trained (once, if they are under several), and the best of each
            is reported.
        repeats: trainings of the winner; None is the game's own, or none where there are levels. With none, the mean is the
            winner's own test accuracy.
        baseline: also train the game's base recipe, as often as the winner and at least once: the "Baseline" of Table 4.
        select: images to choose by. `test` is the paper's own protocol; what it reports is optimistic.
        workers: processes; None as the run has it. Results do not depend on it.
        device: None as the run has it.
        data: where the data lie, the folder or file, if they have moved.
        console: for the progress bar; None shows none.
        on_outcome: told of each training that is done and stored; an exception ends the retraining.

    Raises:
        ValueError: the run was not trained for real, has no fitting trial, or all trainings failed.
        OSError: the data are not there, or the folder cannot be written. BlockingIOError if it is being retrained already.
    """
    run = Path(run)
    config, trials = trained_run(run, workers=workers, device=device, data=data)
    game = build({**config, "workers": 1, **HERE})
    top_k = game.protocol.top_k if top_k is None else top_k
    repeats = (0 if levels else game.protocol.repeats) if repeats is None else repeats
    if top_k < 1 or repeats < 0:
        raise ValueError(f"top_k is at least 1 and repeats at least 0, not {top_k} and {repeats}")
    if levels and max_flops is not None:
        raise ValueError("levels are limits on MACs: give either levels or max_flops")
    named: NamedGame = resolve("games", config["game"])
    source = replace(_trainer(game).source, **named.final_source)
    dataset = source.load() if named.final_source else _trainer(game).dataset()
    macs = macs_on(game, dataset) if named.final_source else macs_in_search
    each = [best_trials(trials, game, top_k, limit, macs) for limit in levels or (max_flops,)]
    chosen = sorted({trial.number: trial for best in each for trial in best}.values(), key=by_accuracy)
    if not chosen:
        limit = max(levels, default=max_flops)
        told = "" if limit is None else f" of at most {limit:,.0f} MACs"
        raise ValueError(f"{run} has no finished pipeline{told} to retrain")
    folder = run / "retrain"
    folder.mkdir(exist_ok=True)
    lock = FolderLock(folder / "retrain.lock")
    try:
        _write_data(folder, dataset, source.name)
        finished = _Trainings(folder, source, config["device"], config["workers"], console, on_outcome)
        jobs = [replace(game.job(trial.number, trial.proposal.codes, trial.seed), fidelity=1.0) for trial in chosen]
        top = finished("top", chosen, jobs, test=True)
        winner = min(top, key=lambda one: one.chosen_by(select))
        if winner.outcome.status != "ok":
            raise ValueError(
                f"all {len(top)} full trainings failed; the first: {top[0].outcome.error} {top[0].outcome.note}"
            )
        under = [
            Level(
                limit,
                min((one for one in top if one.under(limit)), key=lambda one: one.chosen_by(select), default=None),
            )
            for limit in levels
        ]
        seeds = [trial_seed(winner.trial.seed, REPEATS_FROM + r) for r in range(repeats)]
        jobs = [replace(winner.job, number=r, seed=seed) for r, seed in enumerate(seeds)]
        again = finished(f"repeats-{winner.trial.number}", [winner.trial] * repeats, jobs, train_on_validation=True)
        again = [one for one in again if one.outcome.status == "ok"]
        if repeats and not again:
            raise ValueError(f"all {repeats} repeats of trial {winner.trial.number} failed")
        plain, count = [], max(1, repeats) if baseline else 0
        if baseline:
            seeds = [trial_seed(config["seed"], REPEATS_FROM + r) for r in range(count)]
            jobs = [replace(winner.job, number=r, seed=seed, recipe=game.base) for r, seed in enumerate(seeds)]
            plain = finished("baseline", [winner.trial] * count, jobs, train_on_validation=True)
            told = f"{plain[0].outcome.error} {plain[0].outcome.note}"
            plain = [one for one in plain if one.outcome.status == "ok"]
            if not plain:
                raise ValueError(f"all {count} trainings of the base recipe failed; the first: {told}")
        mean, deviation = mean_and_deviation(again or [winner])
        failed = repeats - len(again) + count - len(plain)
        result = Retrained(select, top, winner, again, mean, deviation, under, plain, failed)
        write_atomic(folder / "summary.json", (json.dumps(_summary(result, folder), indent=2) + "\n").encode())
        return result
    finally:
        lock.release()


def mean_and_deviation(trainings: Sequence[Finished]) -> tuple[float, float]:
    """Of their test accuracies; the deviation is 0.0 of one."""
    accuracies = [tested(one.outcome) for one in trainings]
    return fmean(accuracies), stdev(accuracies) if len(accuracies) > 1 else 0.0


def macs_in_search(trial: Trial) -> int:
    """MACs of the network that was searched."""
    return trial.outcome.flops


def macs_on(game: Game, data: Any) -> Callable[[Trial], int]:
    """MACs of the network that is trained to the end: where the search drew some classes, all of them need a larger head."""
    from ma2ml_env.training.flops import network_cost

    def macs(trial: Trial) -> int:
        return network_cost(game.recipe(trial.proposal.codes), data.classes, data.channels, data.size)[0]

    return macs


def best_trials(
    trials: Iterable[Trial],
    game: Game,
    top_k: int,
    max_flops: float | None = None,
    macs: Callable[[Trial], int] = macs_in_search,
) -> list[Trial]:
    """The top k distinct pipelines by accuracy under a limit on MACs, ties to the lower number.

    Line 14 says "in terms of accuracy", so the reward, which may have MACs in it, is not asked: MACs are what the limit is for.
    """
    best = first_of_each(sorted(trials, key=by_accuracy), recipe_key(game))
    return list(islice((trial for trial in best if max_flops is None or macs(trial) <= max_flops), top_k))


@dataclass(frozen=True)
class _Trainings:
    """Trains jobs that have no stored result, and stores each the moment it is there."""

    folder: Path
    source: Any
    device: str
    workers: int
    console: Console | None
    on_outcome: Callable[[Job, Outcome], None]

    def __call__(self, stage: str, trials: Sequence[Trial], jobs: Sequence[Job], **how: bool) -> list[Finished]:
        """One `Finished` per job, in order."""
        weights = (self.folder / stage).absolute()
        paths = [weights / f"{job.number}.safetensors" for job in jobs]
        wanted = [Wanted(stage, *each) for each in zip([trial.number for trial in trials], jobs, paths, strict=True)]
        results = Results(self.folder / "results.jsonl")
        evaluator = self._evaluator(weights, min(self.workers, len(jobs)), how)
        try:
            outcomes = train(stage, wanted, evaluator, results, self.console, self.on_outcome)
        finally:
            evaluator.close()
        return [Finished(*each) for each in zip(trials, jobs, outcomes, paths, strict=True)]

    def _evaluator(self, weights: Path, workers: int, how: dict[str, Any]) -> Evaluator:
        from ma2ml_env.evaluators.pool import Pool
        from ma2ml_env.evaluators.schedule import Schedule
        from ma2ml_env.evaluators.train import Train

        checkpoints = str((self.folder / "checkpoints").absolute())
        trainer = Train(self.source, device=self.device, weights=str(weights), checkpoints=checkpoints, **how)
        if workers <= 1:
            return trainer
        return Pool(trainer.twin, workers, schedule=Schedule(trainer.cost, trainer.devices()))


def _trainer(game: Game) -> Any:
    """The `Train` inside a game's evaluator."""
    evaluator: Any = game.evaluator
    while not hasattr(evaluator, "source"):
        evaluator = evaluator.inner
    return evaluator


def _write_data(folder: Path, data: Any, name: str) -> None:
    """What an exported model must know of the data, so that exporting needs no data."""
    facts = {field: getattr(data, field) for field in ("classes", "class_names", "channels", "size", "mean", "std")}
    write_atomic(folder / "data.json", (json.dumps({"name": name, **facts}, indent=2) + "\n").encode())


def _summary(result: Retrained, folder: Path) -> dict[str, Any]:
    def row(one: Finished) -> dict[str, Any]:
        return {
            "trial": one.trial.number,
            "seed": one.job.seed,
            "weights": str(one.weights.relative_to(folder.absolute())),
            "outcome": one.outcome.to_json(),
            "recipe": one.job.recipe.to_json(),
        }

    mean, deviation = mean_and_deviation(result.baseline) if result.baseline else (None, None)
    return {
        "select": result.select,
        "winner": result.winner.trial.number,
        "mean": result.mean,
        "deviation": result.deviation,
        "top": [row(one) for one in result.top],
        "repeats": [row(one) for one in result.repeats],
        "failed": result.failed,
        "levels": [{"limit": each.limit, "trial": each.best and each.best.trial.number} for each in result.levels],
        "baseline": {"mean": mean, "deviation": deviation, "trainings": [row(one) for one in result.baseline]},
    }
