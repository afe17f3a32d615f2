"""Which waiting job starts next, and where: longest predicted first, packed by predicted memory.

Longest first is list scheduling by LPT: with exact durations its makespan is at most 4/3 - 1/(3 m) of the best on m devices
(Graham 1969). A job that does not fit into what is left of a device's memory lets smaller ones pass. An outcome depends on its
job's seed alone, so none of this changes a result.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ma2ml_env.evaluators.base import Job


@dataclass(frozen=True)
class Cost:
    """What a job is expected to take."""

    macs: float = 0.0
    """multiply-adds of all its forward passes: MACs of an image x images x epochs"""
    calls: float = 0.0
    """layers called in all its steps; small networks are bound by these"""
    memory: float = 0.0
    """bytes of its device that it holds"""


@dataclass(frozen=True)
class Device:
    """Where workers run: one GPU, or all cores of the machine."""

    memory: float = math.inf
    """bytes that jobs may hold together, above 0; one that is predicted to need more runs alone"""
    environment: Mapping[str, str] = field(default_factory=dict)
    """variables of its workers, as `{"CUDA_VISIBLE_DEVICES": "1"}`"""

    def fits(self, cost: Cost, running: Sequence[Cost]) -> bool:
        """Whether a job may start beside those that run here."""
        return not running or cost.memory + math.fsum(other.memory for other in running) <= self.memory


class Predictor:
    """Seconds of a job as a x MACs + b x calls, with a and b learned from finished jobs and never negative.

    So more work never means less time. The fit weighs relative errors: a job of a second counts as much as one of an hour.
    """

    def __init__(self) -> None:
        self._moments = [0.0] * 5  # sums of x x, x y, y y, x, y where x and y are MACs and calls a second

    def learn(self, cost: Cost, seconds: float) -> None:
        """A job of this cost took so long."""
        if seconds > 0.0:
            x, y = cost.macs / seconds, cost.calls / seconds
            self._moments = [old + new for old, new in zip(self._moments, (x * x, x * y, y * y, x, y), strict=True)]

    def seconds(self, cost: Cost) -> float:
        """Predicted duration; before anything was learned only the order of such numbers means something."""
        a, b = self._rates()
        return a * cost.macs + b * cost.calls

    def _rates(self) -> tuple[float, float]:
        """The a, b >= 0 that minimise the sum of (a x + b y - 1)^2: the least squares of relative errors."""
        xx, xy, yy, x, y = self._moments
        if xx == 0.0:
            return (1.0, 0.0) if yy == 0.0 else (0.0, y / yy)
        determinant = xx * yy - xy * xy
        if determinant > 1e-9 * xx * yy:
            a, b = (x * yy - y * xy) / determinant, (y * xx - x * xy) / determinant
            if a >= 0.0 and b >= 0.0:
                return a, b
        # On a border of the quadrant: with one rate the squares sum to n - x^2 / xx, or n - y^2 / yy.
        return (x / xx, 0.0) if yy == 0.0 or x * x / xx >= y * y / yy else (0.0, y / yy)


class Schedule:
    """Orders a pool's jobs and says where they fit.

    Args:
        cost: of a job; what it raises is not an error here, the job is merely taken to cost nothing. None takes jobs as they
            come.
        devices: workers are spread over them evenly.

    Raises:
        ValueError: if there is no device, or one has no memory.
    """

    def __init__(self, cost: Callable[[Job], Cost] | None = None, devices: Sequence[Device] = (Device(),)) -> None:
        if not devices or not all(device.memory > 0 for device in devices):
            raise ValueError("a schedule needs at least one device, each with a positive number of bytes")
        self.devices = tuple(devices)
        self.predictor = Predictor()
        self._cost = cost

    def cost(self, job: Job) -> Cost:
        """Of one job; nothing if it cannot be told: such a job fails soon, and says why itself."""
        if self._cost is None:
            return Cost()
        try:
            return self._cost(job)
        except Exception:
            return Cost()

    def order(self, costs: Sequence[Cost]) -> list[int]:
        """Indices, longest first; equal ones as they came."""
        return sorted(range(len(costs)), key=lambda index: -self.predictor.seconds(costs[index]))

    def place(self, waiting: Sequence[Cost], running: Sequence[Sequence[Cost]], free: Sequence[int]) -> tuple[int, int]:
        """The next start as (position in `waiting`, device); (-1, -1) if nothing may start now.

        Args:
            waiting: in the order of `order`.
            running: on each device.
            free: idle workers on each device.
        """
        by_load = sorted(
            (device for device in range(len(self.devices)) if free[device]),
            key=lambda device: math.fsum(self.predictor.seconds(cost) for cost in running[device]),
        )
        for position, cost in enumerate(waiting):
            for device in by_load:
                if self.devices[device].fits(cost, running[device]):
                    return position, device
        return -1, -1
