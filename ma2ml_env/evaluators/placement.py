"""Where trainings run: in this process, in several of this machine, or on a Ray cluster."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from ma2ml_env.evaluators.base import Evaluator
from ma2ml_env.evaluators.workers.schedule import Schedule
from ma2ml_env.io.settings import MOST

Engine = Literal["local", "pool", "ray"]


@dataclass(frozen=True)
class Placement:
    """Where trainings run. What they come to does not depend on it.

    Raises:
        ValueError: if there are no workers, the limit is no time, or what belongs to a cluster is given without one.
    """

    workers: int = 1
    """processes that train, at least 1; on Ray the CPUs of the Ray that is started here, a cluster has its own"""
    engine: Engine = "local"
    """`local` trains in this process where one worker without a time limit will do, else in processes of this machine; `pool`
    always in processes; `ray` on a cluster"""
    address: str | None = None
    """of the cluster, as `auto` or `10.0.0.1:6379`; None starts Ray on this machine"""
    gpus: float | None = None
    """of each training on Ray, as in 0.25: four share one. None is 1 where the cluster has any, else 0"""
    time_limit: float | None = None
    """seconds after which a training is ended and counts as failed; None is no limit"""

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= MOST:
            raise ValueError(f"workers is at least 1 and at most {MOST:,}, not {str(self.workers)[:50]}")
        if self.time_limit is not None and not 0.0 < self.time_limit < math.inf:
            raise ValueError(f"the time limit is a positive number of seconds, not {self.time_limit!r}")
        if self.engine != "ray" and (self.address is not None or self.gpus is not None):
            raise ValueError("address and gpus are of the evaluator ray_pool (--engine ray)")


def place(trainer: Any, placement: Placement) -> Evaluator:
    """A trainer where it is wanted.

    Args:
        trainer: a `Train`. Other processes get its `twin`; its `cost` and `devices` say which job starts next, and where.
        placement: where.

    Returns:
        The trainer itself, or a pool of it, which is to be closed.

    Raises:
        ImportError: if Ray is wanted and not installed; the extra is named.
        ValueError: if a limit or a number of GPUs is impossible, or the data or the device are not there.
    """
    if placement.engine == "ray":
        from ma2ml_env.evaluators.workers.ray_pool import RayPool

        return RayPool(
            trainer.twin,
            placement.workers,
            address=placement.address,
            gpus=0.0 if trainer.device == "cpu" else placement.gpus,
            time_limit=placement.time_limit,
            schedule=Schedule(trainer.cost),
        )
    if placement.engine == "pool" or placement.workers > 1 or placement.time_limit is not None:
        from ma2ml_env.evaluators.workers.pool import Pool

        schedule = Schedule(trainer.cost, trainer.devices())
        return Pool(trainer.twin, placement.workers, time_limit=placement.time_limit, schedule=schedule)
    alone: Evaluator = trainer
    return alone
