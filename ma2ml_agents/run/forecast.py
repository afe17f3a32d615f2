"""How long a search will still take, and the retraining after it, from the pipelines that were trained."""

import math
import time
from collections.abc import Callable, Iterable
from statistics import fmean

from ma2ml_env.game import Protocol
from ma2ml_env.trial import Outcome


class Forecast:
    """Counts what was trained.

    The pace is that of this session's trainings: an outcome of an earlier session, which is told again, is not among them, and
    a hit of the cache or a pipeline over the limit of MACs takes no time. Of the pipelines to come as many are taken to be such
    as were so far.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard = self._trained = 0  # in all
        self.new = 0
        """trainings of this session"""
        self._began = self._last = math.nan  # of this session's trainings
        self._epochs: list[tuple[float, float]] = []  # accuracy and seconds an epoch of what was trained

    def before(self, outcomes: Iterable[Outcome]) -> None:
        """Outcomes of an earlier session."""
        for outcome in outcomes:
            self._count(outcome)

    def hear(self, outcome: Outcome) -> None:
        """An outcome of this session has just arrived."""
        self._count(outcome)
        if trained(outcome):
            self._last = self._clock()
            began = self._last - outcome.seconds  # workers take their time to start; the training began then
            self._began = began if math.isnan(self._began) else min(began, self._began)
            self.new += 1

    def search(self, pipelines: int) -> float | None:
        """Seconds from now until so many more pipelines are done; None if none was trained yet, or they are overdue.

        Overdue are those of a halved batch: its outcomes come late and together.
        """
        if not self.new:
            return None
        pace = (self._last - self._began) / self.new
        left = pipelines * self._trained / self._heard * pace - (self._clock() - self._last)
        return max(0.0, left) if left > 0.0 or not pipelines else None

    def retraining(self, protocol: Protocol, workers: int) -> float | None:
        """Seconds that `ma2ml retrain` takes as it is unless told; None if no pipeline was trained yet.

        The top k by accuracy, each for its seconds an epoch; then the repeats, for the mean of these; then what the winner has
        to beat: the base recipe as often, and one training more for the plain networks. It is a guess: validation images, on
        which repeats are trained as well, are not counted.
        """
        if not self._epochs:
            return None
        best = [seconds for _, seconds in sorted(self._epochs, reverse=True)[: protocol.top_k]]
        each = fmean(best)
        top = [seconds * protocol.final_epochs for seconds in best] + [each * protocol.final_epochs] * (
            protocol.top_k - len(best)
        )
        repeats = [each * protocol.final_epochs] * protocol.repeats
        beaten = [*repeats, each * protocol.final_epochs]
        return sum(max(max(some), sum(some) / workers) for some in (top, repeats, beaten))

    def _count(self, outcome: Outcome) -> None:
        self._heard += 1
        if trained(outcome):
            self._trained += 1
            epochs = outcome.metrics.get("epochs", 0.0)
            if outcome.status == "ok" and epochs > 0.0:
                self._epochs.append((outcome.accuracy, outcome.seconds / epochs))


def trained(outcome: Outcome) -> bool:
    """Whether time went into it."""
    return outcome.attempts > 0 and not outcome.cached


def spoken(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
