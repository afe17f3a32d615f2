"""What follows a search: Algorithm 1, lines 14 to 16, and the mean and deviation of Table 3.

The pipelines of highest accuracy under a limit on MACs are trained to the end on the training images. One is chosen, by
validation accuracy unless told otherwise, and trained again under different seeds on training and validation images together;
its test accuracies give mean and deviation. What it has to beat is trained as often (`floors.py`). With levels (section 4.1),
the best of each limit on MACs is chosen instead, and nothing is repeated. A run of another metric (`--metric`) is chosen from
by that.

`RUN/retrain/` holds `results.jsonl`, one finished training a line, on the disk before the next one is waited for; the weights;
and `summary.json`. A kill loses no finished training, and of those that were running what they did since their last
checkpoint: they leave one every ten minutes.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from ma2ml_agents.after import card_pixels, floors
from ma2ml_agents.after.per_class import per_class, short_rows
from ma2ml_agents.after.results import Results, Wanted, train
from ma2ml_agents.after.retrained import Finished, Floor, Level, Retrained, Select, mean_and_deviation, summary
from ma2ml_agents.run.data import KEY, KnownData, data_of_run
from ma2ml_agents.run.standing import by_score, first_of_each, recipe_key
from ma2ml_agents.run.stored import build_without_evaluator, trained_run, training_options
from ma2ml_agents.run.ticker import working
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.placement import place
from ma2ml_env.game import Game
from ma2ml_env.games.named import NamedGame
from ma2ml_env.io.files import FolderLock, write_atomic
from ma2ml_env.io.reading import read_json
from ma2ml_env.recipe import Recipe
from ma2ml_env.registry import resolve
from ma2ml_env.trial import Outcome, Trial, trial_seed

REPEATS_FROM = 1000
"""the r-th repeat has the seed `trial_seed(the trial's, REPEATS_FROM + r)`; the training itself draws from small numbers"""


def retrain(
    run: str | Path,
    *,
    top_k: int | None = None,
    max_flops: float | None = None,
    levels: Sequence[float] = (),
    repeats: int | None = None,
    baseline: bool = False,
    with_floors: bool = False,
    select: Select = "validation",
    accept_changed_data: bool = False,
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
        with_floors: also train what the winner has to beat, as often as the winner: a linear model, a plain network, and the
            base recipe. Not without repeats: the winner was trained on fewer images then.
        select: images to choose by. `test` is the paper's own protocol; what it reports is optimistic.
        accept_changed_data: train on the data although they are not those of the search; exports tell it.
        console: for the progress bar; None shows none.
        on_outcome: told of each training that is done and stored; an exception ends the retraining.
        **where: trainings run, as the run has it unless told: `workers`, `device`, `data` (the folder or file, if they have
            moved), `download`, `engine`, `address`, `gpus`. Results do not depend on it. The search's time limit was for its
            own trainings.

    Raises:
        ValueError: the run was not trained for real, has no fitting trial, or all trainings failed; its data have changed.
        OSError: the data are not there, or the folder cannot be written. BlockingIOError if it is being retrained already.
    """
    return Retraining(
        Path(run),
        where,
        top_k=top_k,
        max_flops=max_flops,
        levels=levels,
        repeats=repeats,
        baseline=baseline,
        with_floors=with_floors,
        select=select,
        accept_changed_data=accept_changed_data,
        console=console,
        on_outcome=on_outcome,
    ).result()


class Retraining:
    """The trainings that follow a run. Arguments are those of `retrain`."""

    def __init__(
        self,
        run: Path,
        where: Mapping[str, Any],
        *,
        top_k: int | None,
        max_flops: float | None,
        levels: Sequence[float],
        repeats: int | None,
        baseline: bool,
        with_floors: bool,
        select: Select,
        accept_changed_data: bool,
        console: Console | None,
        on_outcome: Callable[[Job, Outcome], None],
    ) -> None:
        self.run, self.folder = run, run / "retrain"
        self.config, self.trials = trained_run(run, where)
        self.data = data_of_run(run, self.config, accept_changed_data)
        self.game = build_without_evaluator(self.config)
        self.top_k = self.game.protocol.top_k if top_k is None else top_k
        self.repeats = (0 if levels else self.game.protocol.repeats) if repeats is None else repeats
        self.floors = with_floors and self.repeats > 0
        self.wants_baseline = baseline
        self.baselines = max(1, self.repeats) if baseline or self.floors else 0
        if self.top_k < 1 or self.repeats < 0:
            raise ValueError(f"top_k is at least 1 and repeats at least 0, not {self.top_k} and {self.repeats}")
        if levels and max_flops is not None:
            raise ValueError("levels are limits on MACs: give either levels or max_flops")
        self.max_flops, self.levels, self.select = max_flops, levels, select
        self.console, self.on_outcome = console, on_outcome
        named: NamedGame = resolve("games", self.config.game)
        self.other_data = bool(named.final_source)
        source, self._options = training_options(self.config)
        self.source = replace(source, **named.final_source)
        self.digest = self.source.identity().digest if self.other_data else self.data.identity.digest
        self.source = replace(self.source, digest=self.digest)
        self.placement = self.config.placement()

    def result(self) -> Retrained:
        """Train what is not trained yet; all of it is in `RUN/retrain` when this returns."""
        with working(self.console or Console(quiet=True), "reading the data"):
            dataset = self._dataset()
            chosen = self._chosen(dataset)
        self.folder.mkdir(exist_ok=True)
        lock = FolderLock(self.folder / "retrain.lock")
        try:
            if _other_data(self.folder, self.data):  # what stands there is of other images and classes than what will
                (self.folder / "summary.json").unlink(missing_ok=True)
            _write_data(self.folder, dataset, self.source.name, self.data)
            top = self._top(chosen)
            winner = min(top, key=self._rank)
            repeats, baseline = self._repeats(winner), self._baseline(winner)
            done, base = _finished(repeats), _finished(baseline)
            failed = len(repeats) - len(done) + len(baseline) - len(base)
            mean, deviation = mean_and_deviation(done or [winner])
            classes = per_class([one.weights for one in done or [winner]], dataset.class_names)
            beaten = self._floors(winner, dataset.size, baseline)
            failed += sum(self.repeats - len(floor.trainings) for floor in beaten if floor.rate is not None)
            verdict = floors.judge(done, beaten, len(dataset.test_y), dataset.classes, self.config.metric)
            told = (self._levels(top), base, failed, self.config.metric, classes, beaten, verdict)
            result = Retrained(self.select, top, winner, done, mean, deviation, *told)
            text = short_rows(json.dumps(summary(result, self.folder), indent=2)) + "\n"
            write_atomic(self.folder / "summary.json", text.encode())
            return result
        finally:
            lock.release()

    def _dataset(self) -> Any:
        """The images of these trainings; who asks finds out what would fail each of them."""
        from ma2ml_env.evaluators.train import Train

        return Train(self.source, **self._options).dataset()

    def _chosen(self, dataset: Any) -> list[Trial]:
        """The top under each limit, by their accuracy in the search, or the run's own metric."""
        limits = self.levels or (self.max_flops,)
        macs = macs_on(self.game, dataset) if self.other_data else macs_in_search
        metric = self.config.metric
        each = [best_trials(self.trials, self.game, self.top_k, limit, macs, metric) for limit in limits]
        chosen = sorted({trial.number: trial for best in each for trial in best}.values(), key=by_score(metric))
        if not chosen:
            limit = max(self.levels, default=self.max_flops)
            told = "" if limit is None else f" of at most {limit:,.0f} MACs"
            raise ValueError(f"{self.run} has no finished pipeline{told} to retrain")
        return chosen

    def _top(self, chosen: Sequence[Trial]) -> list[Finished]:
        """Each of them, trained to the end on the training images."""
        jobs = [replace(self.game.job(one.number, one.proposal.codes, one.seed), fidelity=1.0) for one in chosen]
        top = self._train("top", chosen, jobs, test=True)
        self._check(top, f"all {len(top)} full trainings failed")
        return top

    def _rank(self, one: Finished) -> tuple[bool, float, int]:
        return one.chosen_by(self.select, self.config.metric)

    def _levels(self, top: Sequence[Finished]) -> list[Level]:
        """The best under each limit."""
        return [
            Level(limit, min((one for one in top if one.under(limit)), key=self._rank, default=None))
            for limit in self.levels
        ]

    def _repeats(self, winner: Finished) -> list[Finished]:
        """The winner under other seeds, on training and validation images."""
        jobs = self._under_seeds(winner.job, winner.trial.seed, self.repeats)
        again = self._again(f"repeats-{winner.trial.number}", winner, jobs)
        self._check(again, f"all {len(again)} repeats of trial {winner.trial.number} failed")
        return again

    def _baseline(self, winner: Finished) -> list[Finished]:
        """The base recipe, trained as the winner is; it stands under the winner's number for want of one of its own."""
        jobs = self._under_seeds(replace(winner.job, recipe=self.game.base), self.config.seed, self.baselines)
        base = self._again("baseline", winner, jobs)
        if self.wants_baseline:
            self._check(base, f"all {len(base)} trainings of the base recipe failed")
        return base

    def _floors(self, winner: Finished, size: int, base: Sequence[Finished]) -> list[Floor]:
        """What the winner has to beat; they stand under its number, too."""
        if not self.floors:
            return []

        def trained(stage: str, recipes: Sequence[Recipe], share: float) -> list[Finished]:
            jobs = [
                replace(job, recipe=recipe, fidelity=share)
                for recipe, job in zip(
                    recipes, self._under_seeds(winner.job, self.config.seed, len(recipes)), strict=True
                )
            ]
            return self._train(stage, [winner.trial] * len(jobs), jobs, train_on_validation=share == 1.0)

        found = floors.floors(self.game.base, size, self.repeats, trained, self.config.metric)
        return [*found, *floors.base_floor(base)]

    def _under_seeds(self, job: Job, seed: int, count: int) -> list[Job]:
        return [replace(job, number=r, seed=trial_seed(seed, REPEATS_FROM + r)) for r in range(count)]

    def _check(self, trainings: Sequence[Finished], wrong: str) -> None:
        """Some of them, if any, have to be ok."""
        if trainings and not _finished(trainings):
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
        results = Results(self.folder / "results.jsonl", self.digest, trusted=self.data.holds_earlier)
        checkpoints = str(self.data.checkpoints(self.folder).absolute())
        progress = (self.folder / "progress").absolute()
        kept: dict[str, Any] = {"weights": str(weights), "checkpoints": checkpoints, "progress": str(progress)}
        trainer = Train(self.source, **{**self._options, **kept, **how})
        evaluator = place(trainer, replace(self.placement, workers=min(self.placement.workers, len(jobs))))
        try:
            outcomes = train(stage, wanted, evaluator, results, self.console, self.on_outcome, progress)
        finally:
            evaluator.close()
        for outcome, path in zip(outcomes, paths, strict=True):
            if outcome.status == "ok" and not path.exists():
                raise FileNotFoundError(
                    f"{path} was written by another machine and is not seen here: {self.run} has to be on a file system that "
                    "all machines see"
                )
        return [Finished(*each) for each in zip(trials, jobs, outcomes, paths, strict=True)]


def _finished(trainings: Sequence[Finished]) -> list[Finished]:
    return [one for one in trainings if one.outcome.status == "ok"]


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
    metric: str = "accuracy",
) -> list[Trial]:
    """The top k distinct pipelines by accuracy (or another metric) under a limit on MACs, ties to the lower number.

    Line 14 says "in terms of accuracy", so the reward, which may have MACs in it, is not asked: MACs are what the limit is for.
    """
    best = first_of_each(sorted(trials, key=by_score(metric)), recipe_key(game))
    return list(islice((trial for trial in best if max_flops is None or macs(trial) <= max_flops), top_k))


def _other_data(folder: Path, now: KnownData) -> bool:
    """Whether a retraining of before had other data. What an earlier version wrote does not say."""
    try:
        before = read_json((folder / "data.json").read_bytes()).get(KEY)
        return before is not None and KnownData.from_json(before).identity.digest != now.identity.digest
    except FileNotFoundError:
        return False
    except (ValueError, AttributeError, LookupError, TypeError):
        return True  # damaged: nobody knows


def _write_data(folder: Path, data: Any, name: str, known: KnownData) -> None:
    """What an exported model must know of the data, so that exporting needs no data."""
    facts = {
        "name": name,
        "classes": data.classes,
        "class_names": data.class_names,
        "channels": data.channels,
        "size": data.size,
        "mean": data.mean,
        "std": data.std,
        "pixels": card_pixels.of_dataset(data.pixels),
        KEY: known.to_json(),
    }
    write_atomic(folder / "data.json", (json.dumps(facts, indent=2) + "\n").encode())
