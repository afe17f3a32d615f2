"""A limit on time: whoever starts jobs asks before each one, and what is at work goes to its end."""

import math
import time
from bisect import insort
from collections.abc import Callable

from ma2ml_env.trial import Outcome

QUANTILE = 0.9
"""of the trainings so far: so long the next one is predicted to take"""


class NoTime(RuntimeError):
    """No further job may start. What has been yielded stands, and nothing is at work any more."""


class Deadline:
    """A moment after which nothing should be at work, on the monotonic clock.

    A job may start if it is predicted to end before. The prediction is a high quantile of what this run's trainings took, so
    one in ten may end later, by less than itself; until one has ended, a job may start as long as there is any time. Once the
    answer was no it stays no.

    Args:
        seconds: of the limit, positive and finite.
        began: when they began, by the clock; None is now.
        room: seconds that are to be left before the limit, asked each time.
        clock: in seconds.

    Raises:
        ValueError: if the seconds are out of range.
    """

    def __init__(
        self,
        seconds: float,
        *,
        began: float | None = None,
        room: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0.0 < seconds < math.inf:
            raise ValueError(f"a limit on time is a positive number of seconds, not {seconds!r}")
        self._clock, self._room = clock, room
        self._ends = (clock() if began is None else began) + seconds
        self._taken: list[float] = []  # rising
        self.over = False
        """whether a job was kept from starting"""

    def learn(self, outcome: Outcome) -> None:
        """A job has this outcome. What was not trained, as a hit of a cache, says nothing."""
        if outcome.attempts and not outcome.cached and outcome.seconds > 0.0:
            insort(self._taken, outcome.seconds)

    @property
    def predicted(self) -> float:
        """Seconds of the next job; 0.0 if nothing is known."""
        return self._taken[math.ceil(QUANTILE * len(self._taken)) - 1] if self._taken else 0.0

    def may_start(self) -> bool:
        """Whether a job may start now."""
        left = self._ends - self._room() - self._clock()
        self.over = self.over or left <= 0.0 or left < self.predicted
        return not self.over
