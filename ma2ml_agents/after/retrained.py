"""What a retraining came to, and `summary.json`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from ma2ml_agents.after.per_class import PerClass
from ma2ml_env.evaluators.base import Job
from ma2ml_env.io.reading import expected, read_json
from ma2ml_env.metrics import metric, score, value
from ma2ml_env.registry import names
from ma2ml_env.trial import Outcome, Trial

Select = Literal["validation", "test"]


@dataclass(frozen=True)
class Finished:
    """A training to the end."""

    trial: Trial
    """of the search"""
    job: Job
    outcome: Outcome
    """of the top: accuracy on validation images, and `test_accuracy`; of a repeat: both are on test images"""
    weights: Path

    def chosen_by(self, select: Select, metric: str = "accuracy") -> tuple[bool, float, int]:
        """Sort key, best first; what failed is last."""
        return self.outcome.status != "ok", -score(metric, self.outcome, test=select == "test"), self.trial.number

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
class Floor:
    """A pipeline that no search has found, trained as the winner is."""

    name: str
    trainings: Sequence[Finished]
    """those that are ok, at least one"""
    rate: float | None = None
    """peak learning rate that was chosen; None of the base recipe, which has its own"""

    def told(self) -> dict[str, Any]:
        """As JSON."""
        mean, deviation = mean_and_deviation(self.trainings)
        return {
            "name": self.name,
            "mean": mean,
            "deviation": deviation,
            "count": len(self.trainings),
            "learning_rate": self.rate,
            "flops": self.trainings[0].outcome.flops,
        }


@dataclass(frozen=True)
class Verdict:
    """The winner against its best floor, by test accuracy."""

    against: str
    """name of the floor"""
    difference: float
    """the winner's mean less the floor's"""
    interval: float
    """half the width of the difference's 95 % interval: deviation over trainings, and the number of test images"""
    trainings: int
    """of the winner or of the floor, whichever has fewer; one tells no deviation, and the interval is of test images alone"""
    metric: str = "accuracy"
    """that the search went by; compared are accuracies"""

    @property
    def better(self) -> bool:
        """Whether the winner is above the floor, by more than the interval."""
        return self.difference > self.interval

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "better": self.better, "sentence": self.sentence()}

    def sentence(self) -> str:
        """For people."""
        of = (
            "trainings and test images"
            if self.trainings > 1
            else "test images alone, for one training has no deviation"
        )
        seen = f"{self.difference:+.4f} +- {self.interval:.4f} (95 %, of {of})"
        if self.metric != "accuracy":
            seen += f"; this compares test accuracies, and the search went by {metric(self.metric).title}"
        if self.better:
            return f"the winner is better than its best floor, {self.against}: {seen}"
        how = "worse" if self.difference < -self.interval else "not better"
        return f"THE SEARCH DID NOT PAY: the winner is {how} than {self.against}, which needs no search: {seen}"


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
    deviation: float | None
    """their standard deviation (n - 1); None of one"""
    levels: Sequence[Level] = ()
    baseline: Sequence[Finished] = ()
    """trainings of the base recipe, with what no agent decides and neutral values for the rest; like the repeats"""
    failed: int = 0
    """repeats, and trainings of the base recipe and of floors, that failed and count nowhere"""
    metric: str = "accuracy"
    """that the winner was chosen by, the run's"""
    classes: PerClass | None = None
    """of the repeats, or of the winner if there are none, on test images; None if an earlier version trained them"""
    floors: Sequence[Floor] = ()
    """what the winner has to beat"""
    verdict: Verdict | None = None
    """whether it does; None without floors"""

    @property
    def finals(self) -> Sequence[Finished]:
        """Whose test accuracies give mean and deviation."""
        return self.repeats or [self.winner]

    def rank(self, one: Finished) -> tuple[bool, float, int]:
        """Sort key of the top, best first."""
        return one.chosen_by(self.select, self.metric)


def mean_and_deviation(trainings: Sequence[Finished], metric: str = "accuracy") -> tuple[float, float | None]:
    """Of their values on test images; the deviation is None of one.

    Raises:
        LookupError: if one was not measured.
    """
    values = [value(metric, one.outcome, test=True) for one in trainings]
    known = [each for each in values if each is not None]
    if len(known) < len(values):
        raise LookupError(f"{metric} was not measured on test images")
    return fmean(known), stdev(known) if len(known) > 1 else None


def plus_minus(mean: float, deviation: float | None) -> str:
    """For people: a mean with its deviation; one training has none."""
    return f"{mean:.4f}" if deviation is None else f"{mean:.4f} +- {deviation:.4f}"


def measured_on_test(trainings: Sequence[Finished]) -> list[str]:
    """Names of the metrics that all of them have on test images; those of earlier versions have accuracies alone."""
    return [name for name in names("metrics") if all(value(name, o.outcome, test=True) is not None for o in trainings)]


def retrained_classes(run: Path) -> PerClass | None:
    """What a run's retraining has by class; None if there is none, or an earlier version made it.

    Raises:
        ValueError: if its summary is damaged.
    """
    path = run / "retrain" / "summary.json"
    if not path.exists():
        return None
    with expected(path, f"run `ma2ml retrain {run}` again"):
        told = read_json(path.read_bytes()).get("classes")
        return None if told is None else PerClass.from_json(told)


def summary(result: Retrained, folder: Path) -> dict[str, Any]:
    """As JSON; places of weights are relative to the folder."""

    def row(one: Finished) -> dict[str, Any]:
        return {
            "trial": one.trial.number,
            "seed": one.job.seed,
            "weights": str(one.weights.relative_to(folder.absolute())),
            "outcome": one.outcome.to_json(),
            "recipe": one.job.recipe.to_json(),
        }

    mean, deviation = mean_and_deviation(result.baseline) if result.baseline else (None, None)
    spread = {name: mean_and_deviation(result.finals, name) for name in measured_on_test(result.finals)}
    return {
        "select": result.select,
        "metric": result.metric,
        "winner": result.winner.trial.number,
        "mean": result.mean,
        "deviation": result.deviation,
        "metrics": {name: {"mean": each[0], "deviation": each[1]} for name, each in spread.items()},
        "classes": result.classes and result.classes.to_json(),
        "top": [row(one) for one in result.top],
        "repeats": [row(one) for one in result.repeats],
        "failed": result.failed,
        "levels": [{"limit": each.limit, "trial": each.best and each.best.trial.number} for each in result.levels],
        "baseline": {"mean": mean, "deviation": deviation, "trainings": [row(one) for one in result.baseline]},
        "floors": [floor.told() for floor in result.floors],
        "verdict": result.verdict and result.verdict.told(),
    }
