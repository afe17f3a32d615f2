"""What a search has reached: best trial, top k, counts. Progress, curves, tables and reports all read it here."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from ma2ml_env.game import Game
from ma2ml_env.metrics import score
from ma2ml_env.trial import Trial

Key = Callable[[Trial], str]
"""what makes two trials the same pipeline"""


def recipe_key(game: Game) -> Key:
    """Trials are the same pipeline if their recipes are."""
    return lambda trial: game.recipe(trial.proposal.codes).key


class Standing:
    """Keeps count of a search's trials.

    A top k is of distinct pipelines, each with its best trial: a learner that repeats its best proposal would flatter itself
    otherwise.

    Args:
        top_k: how many pipelines `top` holds.
        key: what makes two trials the same pipeline.
    """

    def __init__(self, top_k: int, key: Key) -> None:
        self.top_k = top_k
        self.trials: list[Trial] = []
        self.counts = {"ok": 0, "infeasible": 0, "failed": 0}
        self.key = key
        self._distinct: dict[str, Trial] = {}

    def add(self, trials: Iterable[Trial]) -> None:
        """Count further trials."""
        for trial in trials:
            self.trials.append(trial)
            self.counts[trial.outcome.status] += 1
            key = self.key(trial)
            self._distinct[key] = min(self._distinct.get(key, trial), trial, key=by_reward)

    @property
    def distinct(self) -> list[Trial]:
        """The best trial of each pipeline, best reward first."""
        return sorted(self._distinct.values(), key=by_reward)

    @property
    def top(self) -> list[Trial]:
        """The top k; fewer at the start."""
        return self.distinct[: self.top_k]

    @property
    def best(self) -> Trial | None:
        """Highest reward, ties to the lower number."""
        return min(self._distinct.values(), key=by_reward, default=None)

    @property
    def top_mean(self) -> float:
        """Mean reward of the top k (paper, Figs. 4 and 5); 0.0 of no trials."""
        return mean_reward(self.top)


def by_reward(trial: Trial) -> tuple[float, int]:
    """Sort key: best reward first, ties to the lower number."""
    return -trial.reward, trial.number


def by_score(metric: str) -> Callable[[Trial], tuple[float, int]]:
    """Sort key: best score by a metric of `ma2ml_env/metrics.py` first, ties to the lower number."""
    return lambda trial: (-score(metric, trial.outcome), trial.number)


def first_of_each(trials: Iterable[Trial], key: Key) -> list[Trial]:
    """Of each pipeline that was trained, its first trial here, in this order."""
    first: dict[str, Trial] = {}
    for trial in trials:
        if trial.outcome.status == "ok":
            first.setdefault(key(trial), trial)
    return list(first.values())


def mean_reward(trials: Sequence[Trial]) -> float:
    """Mean reward; 0.0 of no trials."""
    return fmean(trial.reward for trial in trials) if trials else 0.0


def batches(trials: Sequence[Trial], size: int) -> list[list[Trial]]:
    """Trials by batch, in order."""
    return [list(trials[start : start + size]) for start in range(0, len(trials), size)]


def first_and_last(trials: Sequence[Trial], size: int) -> tuple[float, float] | None:
    """Mean rewards of the first two and of the last two batches; None with fewer than four."""
    parts = batches(trials, size)
    if len(parts) < 4:
        return None
    return mean_reward(parts[0] + parts[1]), mean_reward(parts[-2] + parts[-1])


def curve(trials: Sequence[Trial], size: int, top_k: int, key: Key) -> list[tuple[int, float, float]]:
    """(trials so far, mean reward of the batch, mean of the top k so far) after each batch."""
    standing, points = Standing(top_k, key), []
    for part in batches(trials, size):
        standing.add(part)
        points.append((len(standing.trials), mean_reward(part), standing.top_mean))
    return points


def pareto(trials: Iterable[Trial], metric: str = "accuracy") -> list[Trial]:
    """Trials that no other one beats by the metric's score at as many MACs or fewer, fewest MACs first."""
    front: list[Trial] = []
    order = by_score(metric)
    known = [trial for trial in trials if trial.outcome.status == "ok" and trial.outcome.flops > 0]
    for trial in sorted(known, key=lambda t: (t.outcome.flops, *order(t))):
        if not front or score(metric, trial.outcome) > score(metric, front[-1].outcome):
            front.append(trial)
    return front
