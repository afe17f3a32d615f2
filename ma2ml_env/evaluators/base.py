"""The contract between a game and whatever trains its pipelines."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.recipe import Recipe
from ma2ml_env.trial import Code, Outcome


@dataclass(frozen=True)
class Job:
    """A recipe to train, with a seed and a share of the full training."""

    number: int
    """of the trial that it belongs to"""
    recipe: Recipe
    codes: Mapping[str, Code]
    """what was decided; tables and surrogates look these up, trainers read the recipe"""
    seed: int
    fidelity: float
    """share of the full training, in (0, 1]"""
    until: float = 1.0
    """share of this job's own training after which it pauses, in (0, 1]; asked again with more, it may go on from there. Who
    cannot pause does it all"""
    since: float = 0.0
    """share that it was asked for before. Trainers go by their checkpoint; who looks up says what the rest takes"""

    @property
    def checkpoint_name(self) -> str:
        """Of the file that it leaves when it pauses: the same training has the same, whatever its number."""
        return f"{self.recipe.key}-{self.seed}-{self.fidelity!r}"


def epoch_at(share: float, epochs: int) -> int:
    """The epoch after which a share of a training of so many epochs is done, at least the first: it pauses between two."""
    return max(1, round(share * epochs))


MayStart = Callable[[], bool]
"""asked before a job starts; once it says no it never says yes again"""


class NoWorker(RuntimeError):
    """Jobs cannot be run here: the message says why, and it is neither a job's fault nor the program's."""


class DeviceLost(NoWorker):
    """The device no longer answers this process. Another process may have it back, so the job may be started again there."""


class Evaluator(ABC):
    """Turns jobs into outcomes: the base of all evaluators and of what is put around them.

    Every index of `jobs` is yielded exactly once, in order of completion; work starts at the first `next()`; closing the
    iterator cancels what is not done. A bad job never raises: it is an outcome with status `failed`. A job that was pre-empted
    is started again by the evaluator and never becomes an outcome. Where no job can be run any more, `NoWorker` is raised.
    """

    @abstractmethod
    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index into `jobs`, outcome), in order of completion. A generator is closed when its caller stops early."""

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Let go of processes and files. A later `evaluate` may take them again."""

    def remember(self, job: Job, outcome: Outcome) -> None:  # noqa: B027 (most keep nothing)
        """Hear what came of a job before this run was resumed."""

    def limit(self, may_start: MayStart | None) -> bool:
        """Be told of a limit on time, see `deadline.py`, or with None that there is none.

        Returns:
            Whether this evaluator asks: before each job, in the order of `jobs`; at the first no it starts none, lets those
            finish that are at work, and raises `NoTime`. By default it does not, and is stopped between two outcomes.
        """
        return False


class VectorEvaluator(Evaluator):
    """What is cheap offers this too: the same numbers as `evaluate`, without objects."""

    @abstractmethod
    def score(
        self, codes: Mapping[str, NDArray[Any]], seeds: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Accuracies (n,) and MACs (n,) of n pipelines: agent -> codes (n, L_i), trial seeds (n,)."""


class GroundTruth(VectorEvaluator):
    """Knows what its scores are without noise: a table, or a synthetic landscape."""

    @abstractmethod
    def noise_free(self, codes: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Accuracies (n,) without noise, and MACs (n,), of agent -> codes (n, L_i): for reports."""

    @abstractmethod
    def optimum(self) -> tuple[dict[str, Code], float]:
        """The best codes of all and their accuracy without noise.

        Raises:
            ValueError: if there are too many pipelines to find them.
        """


@runtime_checkable
class Evaluates(Protocol):
    """An object of a user's that has `evaluate` and nothing else of an `Evaluator`."""

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """See `Evaluator.evaluate`."""
        ...


class Wrapper(Evaluator):
    """An evaluator around another one, `inner`: what it does not say otherwise, that one hears."""

    def __init__(self, inner: Evaluator | Evaluates) -> None:
        self.inner = as_evaluator(inner)

    def close(self) -> None:
        """Close what is inside."""
        self.inner.close()

    def remember(self, job: Job, outcome: Outcome) -> None:
        """Tell what is inside."""
        self.inner.remember(job, outcome)

    def limit(self, may_start: MayStart | None) -> bool:
        """Limit what is inside."""
        return self.inner.limit(may_start)


def as_evaluator(given: Evaluator | Evaluates) -> Evaluator:
    """An `Evaluator` as it is; an object that has `evaluate` alone as one that holds and remembers nothing.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(given, Evaluator):
        return given
    if isinstance(given, Evaluates) and not isinstance(given, type):
        return _Adapted(given)
    raise ValueError(f"{given!r} is no evaluator: derive its class from ma2ml_env.Evaluator and write `evaluate`")


class _Adapted(Evaluator):
    """Somebody's object that is no `Evaluator`. Only its `evaluate` is called."""

    def __init__(self, given: Evaluates) -> None:
        self._given = given

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """As the object does."""
        return self._given.evaluate(jobs)


@contextmanager
def closing(outcomes: Iterator[tuple[int, Outcome]]) -> Iterator[Iterator[tuple[int, Outcome]]]:
    """Close a generator of outcomes on leaving, so that its work is cancelled now and not when memory is collected."""
    try:
        yield outcomes
    finally:
        if isinstance(outcomes, Generator):  # any other iterator holds no work that could be cancelled
            outcomes.close()
