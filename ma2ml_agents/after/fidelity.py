"""Does a short training rank pipelines as a long one does? The gap that the paper names as its first limitation.

A sample of a run's pipelines is trained for several numbers of epochs, and the rankings by validation accuracy, or the run's
own metric, are compared.
Each training has a seed of its own, so what two of them share is the pipeline and not its initial weights. The same number of
epochs named twice is trained under two seeds: their correlation is what noise leaves of a ranking.
"""

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ma2ml_agents.after.correlation import Estimate, bootstrap, kendall, spearman
from ma2ml_agents.after.results import Results, Wanted, train
from ma2ml_agents.run.config import RunConfig
from ma2ml_agents.run.data import KnownData, data_of_run
from ma2ml_agents.run.standing import first_of_each, recipe_key
from ma2ml_agents.run.stored import build_without_evaluator, trained_run, training_options
from ma2ml_agents.run.ticker import working
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.placement import place
from ma2ml_env.game import Game
from ma2ml_env.io.files import FolderLock, write_atomic
from ma2ml_env.metrics import score
from ma2ml_env.trial import Outcome, Trial, trial_seed

PIPELINES = 24
"""in the sample unless told"""
FEWEST = 4
"""pipelines that a correlation is computed of"""


@dataclass(frozen=True)
class Pair:
    """Two trainings compared."""

    names: tuple[str, str]
    spearman: Estimate
    kendall: Estimate


@dataclass(frozen=True)
class Compared:
    """What a comparison of fidelities came to."""

    pipelines: Sequence[int]
    """trial numbers; those that failed at any fidelity are left out"""
    failed: int
    accuracy: Mapping[str, Sequence[float]]
    """training -> validation accuracy of each pipeline, or its score by the run's metric"""
    pairs: Sequence[Pair]
    places: Mapping[str, int]
    """training -> where in its ranking the best pipeline of the longest training stands, from 1; not of that training itself"""
    distinct: int
    """different pipelines of the run that were trained"""
    metric: str = "accuracy"
    """of the run"""

    def top_k(self, name: str) -> int:
        """How many of the run's best by this training have to be trained to the end for the best to be among them.

        An estimate from one sample: the share of the sample's ranking, of all of the run's pipelines.
        """
        return math.ceil(self.places[name] / len(self.pipelines) * self.distinct)


def compare(
    run: str | Path,
    epochs: Sequence[int] = (),
    *,
    pipelines: int = PIPELINES,
    seed: int = 0,
    accept_changed_data: bool = False,
    console: Console | None = None,
    on_outcome: Callable[[Job, Outcome], None] = lambda job, outcome: None,
    **where: Any,
) -> Compared:
    """Train a sample of a run's pipelines for each number of epochs and correlate the rankings.

    What is done is kept in `RUN/fidelity/results.jsonl` and not trained again; `summary.json` holds the result.

    Args:
        run: folder of a search whose evaluator was `train`.
        epochs: of each training, at least two; () is the proxy's, twice, and the final training's.
        pipelines: drawn uniformly from the distinct ones that the search trained; all if there are fewer.
        seed: of the sample and of the intervals.
        accept_changed_data: train on the data although they are not those of the search.
        console: for the progress bar; None shows none.
        on_outcome: told of each training that is done and stored; an exception ends the comparison.
        **where: trainings run, as of `retrain`. The search's time limit was for trainings of its own length.

    Raises:
        ValueError: an impossible number, a run that was not trained for real, or too few pipelines that can be compared;
            its data have changed.
        OSError: the data are not there, or the folder cannot be written. BlockingIOError if it is in use.
    """
    run = Path(run)
    config, trials = trained_run(run, where)
    data = data_of_run(run, config, accept_changed_data)
    game, placement = build_without_evaluator(config), config.placement()
    protocol = game.protocol
    epochs = tuple(epochs) or (protocol.proxy_epochs, protocol.proxy_epochs, protocol.final_epochs)
    if len(epochs) < 2 or not all(1 <= count <= protocol.final_epochs for count in epochs):
        raise ValueError(f"name at least two numbers of epochs in 1..{protocol.final_epochs}, not {list(epochs)}")
    if pipelines < FEWEST:
        raise ValueError(f"a correlation needs at least {FEWEST} pipelines, not {pipelines}")
    chosen = sample(trials, game, pipelines, seed)
    if len(chosen) < FEWEST:
        raise ValueError(f"{run} has {len(chosen)} different pipelines that were trained; {FEWEST} are needed")
    folder = run / "fidelity"
    with working(console or Console(quiet=True), "reading the data"):
        evaluator = place(_trainer(config, folder, data), placement)
    folder.mkdir(exist_ok=True)
    lock = FolderLock(folder / "fidelity.lock")
    try:
        trainings = _trainings(epochs)
        wanted = [Wanted(one.name, trial.number, one.job(game, trial)) for one in trainings for trial in chosen]
        results = Results(folder / "results.jsonl", data.identity.digest, trusted=data.holds_earlier)
        outcomes = train("fidelity", wanted, evaluator, results, console, on_outcome, folder / "progress")
        found = {(one.stage, one.trial): outcome for one, outcome in zip(wanted, outcomes, strict=True)}
        result = _compared(trainings, chosen, found, seed, len(first_of_each(trials, recipe_key(game))), config.metric)
        write_atomic(folder / "summary.json", (json.dumps(_summary(result), indent=2) + "\n").encode())
        return result
    finally:
        evaluator.close()
        lock.release()


def _trainer(config: RunConfig, folder: Path, data: KnownData) -> Any:
    """A `Train` that trains equal pipelines anew, as a cache would answer a second seed with the first.

    Raises:
        ValueError: the device or an option cannot be used.
        OSError: the data are not there.
    """
    from ma2ml_env.evaluators.train import Train

    source, options = training_options(config)
    kept: dict[str, Any] = {
        "checkpoints": str(data.checkpoints(folder).absolute()),
        "progress": str((folder / "progress").absolute()),
    }
    trainer = Train(replace(source, digest=data.identity.digest), **kept, **options)
    trainer.check()
    return trainer


def sample(trials: Sequence[Trial], game: Game, count: int, seed: int) -> list[Trial]:
    """Up to `count` trials of different pipelines that were trained, drawn uniformly, in the order of their numbers."""
    pool = first_of_each(trials, recipe_key(game))
    drawn = np.random.default_rng(seed).permutation(len(pool))[:count]
    return [pool[i] for i in sorted(drawn.tolist())]


@dataclass(frozen=True)
class _Training:
    """One number of epochs, for the first time or again."""

    epochs: int
    time: int = 1

    @property
    def name(self) -> str:
        """`3 epochs`, `3 epochs (2)`, `12 epochs`."""
        return f"{self.epochs} epochs" + (f" ({self.time})" if self.time > 1 else "")

    def job(self, game: Game, trial: Trial) -> Job:
        """Under a seed of this training's own, the same in whatever company it is asked for."""
        seed = trial_seed(trial_seed(trial.seed, self.epochs), self.time)
        job = game.job(trial.number, trial.proposal.codes, seed)
        return replace(job, fidelity=self.epochs / game.protocol.final_epochs)


def _trainings(epochs: Sequence[int]) -> list[_Training]:
    seen: Counter[int] = Counter()
    trainings = []
    for count in epochs:
        seen[count] += 1
        trainings.append(_Training(count, seen[count]))
    return trainings


def _compared(
    trainings: Sequence[_Training],
    chosen: Sequence[Trial],
    found: Mapping[tuple[str, int], Outcome],
    seed: int,
    distinct: int,
    metric: str = "accuracy",
) -> Compared:
    names = [one.name for one in trainings]
    whole = [t.number for t in chosen if all(found[name, t.number].status == "ok" for name in names)]
    if len(whole) < FEWEST:
        raise ValueError(f"only {len(whole)} of {len(chosen)} pipelines could be trained; {FEWEST} are needed")
    accuracy = {name: [score(metric, found[name, number]) for number in whole] for name in names}
    pairs = []
    for first, second in itertools.combinations(names, 2):
        x, y = np.array(accuracy[first]), np.array(accuracy[second])
        pairs.append(Pair((first, second), bootstrap(spearman, x, y, seed=seed), bootstrap(kendall, x, y, seed=seed)))
    longest = max(trainings, key=lambda one: one.epochs).name
    best = max(range(len(whole)), key=lambda i: accuracy[longest][i])
    # Ties come before it: what ranks nothing must not look like a remedy.
    places = {
        name: sum(value >= values[best] for value in values) for name, values in accuracy.items() if name != longest
    }
    return Compared(whole, len(chosen) - len(whole), accuracy, pairs, places, distinct, metric)


def _summary(result: Compared) -> dict[str, object]:
    return {
        "pipelines": list(result.pipelines),
        "failed": result.failed,
        "metric": result.metric,
        "accuracy": {name: list(values) for name, values in result.accuracy.items()},
        "pairs": [
            {"trainings": list(pair.names), "spearman": pair.spearman._asdict(), "kendall": pair.kendall._asdict()}
            for pair in result.pairs
        ],
        "remedies": {name: {"place": place, "top_k": result.top_k(name)} for name, place in result.places.items()},
    }
