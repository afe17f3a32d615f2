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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from rich.console import Console

from ma2ml_agents.run.results import Results, Wanted, train
from ma2ml_agents.run.standing import by_accuracy, first_of_each, recipe_key
from ma2ml_agents.run.stored import build_without_evaluator, trained_run, training_options
from ma2ml_env.evaluators.base import Job, close
from ma2ml_env.evaluators.placement import place
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
    """of the top: accuracy on validation images, `test_accuracy` in metrics; of a repeat: both are on test images"""
    weights: Path

    def chosen_by(self, select: Select) -> tuple[bool, float, int]:
        """Sort key, best first; what failed is last."""
        accuracy = self.outcome.accuracy if select == "validation" else self.outcome.metrics.get("test_accuracy", 0.0)
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
    console: Console | None = None,
    on_outcome: Callable[[Job, Outcome], None] = lambda job, outcome: None,
    **where: Any,
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
        console: for the progress bar; None shows none.
        on_outcome: told of each training that is done and stored; an exception ends the retraining.
        **where: trainings run, as the run has it unless told: `workers`, `device`, `data` (the folder or file, if they have
            moved), `download`, `engine`, `address`, `gpus`. Results do not depend on it. The search's time limit was for its
            own trainings.

    Raises:
        ValueError: the run was not trained for real, has no fitting trial, or all trainings failed.
        OSError: the data are not there, or the folder cannot be written. BlockingIOError if it is being retrained already.
    """
    options = Choice(top_k, max_flops, tuple(levels), repeats, baseline, select)
    return Retraining(Path(run), options, where, console, on_outcome).result()


@dataclass(frozen=True)
class Choice:
    """What is to be trained, see `retrain`."""

    top_k: int | None
    max_flops: float | None
    levels: tuple[float, ...]
    repeats: int | None
    baseline: bool
    select: Select

    def of(self, game: Game) -> "Choice":
        """With the game's own numbers where there are none.

        Raises:
            ValueError: if they are impossible.
        """
        own = 0 if self.levels else game.protocol.repeats
        top_k = game.protocol.top_k if self.top_k is None else self.top_k
        repeats = own if self.repeats is None else self.repeats
        if top_k < 1 or repeats < 0:
            raise ValueError(f"top_k is at least 1 and repeats at least 0, not {top_k} and {repeats}")
        if self.levels and self.max_flops is not None:
            raise ValueError("levels are limits on MACs: give either levels or max_flops")
        return replace(self, top_k=top_k, repeats=repeats)


class Retraining:
    """The trainings that follow a run. Arguments are those of `retrain`."""

    def __init__(
        self,
        run: Path,
        choice: Choice,
        where: Mapping[str, Any],
        console: Console | None,
        on_outcome: Callable[[Job, Outcome], None],
    ) -> None:
        self.run, self.folder = run, run / "retrain"
        self.config, self.trials = trained_run(run, where)
        self.game = build_without_evaluator(self.config)
        self.choice = choice.of(self.game)
        self.placement = self.config.placement()
        self.console, self.on_outcome = console, on_outcome
        named: NamedGame = resolve("games", self.config.game)
        self.other_data = bool(named.final_source)
        source, self._options = training_options(self.config)
        self.source = replace(source, **named.final_source)

    def result(self) -> Retrained:
        """Train what is not trained yet; all of it is in `RUN/retrain` when this returns."""
        dataset = self._dataset()
        chosen = self._chosen(dataset)
        self.folder.mkdir(exist_ok=True)
        lock = FolderLock(self.folder / "retrain.lock")
        try:
            _write_data(self.folder, dataset, self.source.name)
            top = self._top(chosen)
            winner = self._best(top)
            assert winner is not None
            repeats = self._repeats(winner)
            baseline = self._baseline(winner)
            ok = [[one for one in some if one.outcome.status == "ok"] for some in (repeats, baseline)]
            failed = len(repeats) + len(baseline) - sum(map(len, ok))
            mean, deviation = mean_and_deviation(ok[0] or [winner])
            result = Retrained(
                self.choice.select, top, winner, ok[0], mean, deviation, self._levels(top), ok[1], failed
            )
            write_atomic(
                self.folder / "summary.json", (json.dumps(_summary(result, self.folder), indent=2) + "\n").encode()
            )
            return result
        finally:
            lock.release()

    def _dataset(self) -> Any:
        """The images of these trainings; who asks finds out what would fail each of them."""
        from ma2ml_env.evaluators.train import Train

        return Train(self.source, **self._options).dataset()

    def _chosen(self, dataset: Any) -> list[Trial]:
        """The top under each limit, by their accuracy in the search."""
        limits = self.choice.levels or (self.choice.max_flops,)
        macs = macs_on(self.game, dataset) if self.other_data else macs_in_search
        assert self.choice.top_k is not None
        each = [best_trials(self.trials, self.game, self.choice.top_k, limit, macs) for limit in limits]
        chosen = sorted({trial.number: trial for best in each for trial in best}.values(), key=by_accuracy)
        if not chosen:
            limit = max(self.choice.levels, default=self.choice.max_flops)
            told = "" if limit is None else f" of at most {limit:,.0f} MACs"
            raise ValueError(f"{self.run} has no finished pipeline{told} to retrain")
        return chosen

    def _top(self, chosen: Sequence[Trial]) -> list[Finished]:
        """Each of them, trained to the end on the training images."""
        jobs = [replace(self.game.job(one.number, one.proposal.codes, one.seed), fidelity=1.0) for one in chosen]
        top = self._train("top", chosen, jobs, test=True)
        self._check(top, f"all {len(top)} full trainings failed")
        return top

    def _best(self, some: Iterable[Finished]) -> Finished | None:
        return min(some, key=lambda one: one.chosen_by(self.choice.select), default=None)

    def _levels(self, top: Sequence[Finished]) -> list[Level]:
        """The best under each limit."""
        return [Level(limit, self._best(one for one in top if one.under(limit))) for limit in self.choice.levels]

    def _repeats(self, winner: Finished) -> list[Finished]:
        """The winner under other seeds, on training and validation images."""
        seeds = self._seeds(winner.trial.seed, self.choice.repeats or 0)
        jobs = [replace(winner.job, number=r, seed=seed) for r, seed in enumerate(seeds)]
        again = self._again(f"repeats-{winner.trial.number}", winner, jobs)
        self._check(again, f"all {len(again)} repeats of trial {winner.trial.number} failed")
        return again

    def _baseline(self, winner: Finished) -> list[Finished]:
        """The base recipe, trained as the winner is; numbered by it for want of a trial of its own."""
        seeds = self._seeds(self.config.seed, max(1, self.choice.repeats or 0) if self.choice.baseline else 0)
        jobs = [replace(winner.job, number=r, seed=seed, recipe=self.game.base) for r, seed in enumerate(seeds)]
        plain = self._again("baseline", winner, jobs)
        self._check(plain, f"all {len(plain)} trainings of the base recipe failed")
        return plain

    def _seeds(self, seed: int, count: int) -> list[int]:
        return [trial_seed(seed, REPEATS_FROM + r) for r in range(count)]

    def _check(self, trainings: Sequence[Finished], wrong: str) -> None:
        """Some of them, if any, have to be ok."""
        if trainings and all(one.outcome.status != "ok" for one in trainings):
            first = trainings[0].outcome
            raise ValueError(f"{wrong}; the first: {first.error} {first.note}")

    def _again(self, stage: str, winner: Finished, jobs: Sequence[Job]) -> list[Finished]:
        return self._train(stage, [winner.trial] * len(jobs), jobs, train_on_validation=True)

    def _train(self, stage: str, trials: Sequence[Trial], jobs: Sequence[Job], **how: Any) -> list[Finished]:
        """One `Finished` per job, in order: those without a stored result are trained, and stored the moment they are there."""
        from ma2ml_env.evaluators.train import Train

        if not jobs:
            return []
        weights = (self.folder / stage).absolute()
        paths = [weights / f"{job.number}.safetensors" for job in jobs]
        wanted = [Wanted(stage, *each) for each in zip([trial.number for trial in trials], jobs, paths, strict=True)]
        results = Results(self.folder / "results.jsonl")
        checkpoints = str((self.folder / "checkpoints").absolute())
        trainer = Train(self.source, weights=str(weights), checkpoints=checkpoints, **self._options, **how)
        evaluator = place(trainer, replace(self.placement, workers=min(self.placement.workers, len(jobs))))
        try:
            outcomes = train(stage, wanted, evaluator, results, self.console, self.on_outcome)
        finally:
            close(evaluator)
        for outcome, path in zip(outcomes, paths, strict=True):
            if outcome.status == "ok" and not path.exists():
                raise FileNotFoundError(
                    f"{path} was written by another machine and is not seen here: {self.run} has to be on a file system that "
                    "all machines see"
                )
        return [Finished(*each) for each in zip(trials, jobs, outcomes, paths, strict=True)]


def mean_and_deviation(trainings: Sequence[Finished]) -> tuple[float, float]:
    """Of their test accuracies; the deviation is 0.0 of one."""
    accuracies = [one.outcome.metrics["test_accuracy"] for one in trainings]
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


def _write_data(folder: Path, data: Any, name: str) -> None:
    """What an exported model must know of the data, so that exporting needs no data."""
    facts = {
        "name": name,
        "classes": data.classes,
        "class_names": data.class_names,
        "channels": data.channels,
        "size": data.size,
        "mean": data.mean,
        "std": data.std,
    }
    write_atomic(folder / "data.json", (json.dumps(facts, indent=2) + "\n").encode())


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
