"""The contract between a game and whatever trains its pipelines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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

    @property
    def checkpoint_name(self) -> str:
        """Of the file that it leaves when it pauses: the same training has the same, whatever its number."""
        return f"{self.recipe.key}-{self.seed}-{self.fidelity!r}"


def epoch_at(share: float, epochs: int) -> int:
    """The epoch after which a share of a training of so many epochs is done, at least the first: it pauses between two."""
    return max(1, round(share * epochs))


class NoWorker(RuntimeError):
    """Jobs cannot be run here: the message says why, and it is neither a job's fault nor the program's."""


class DeviceLost(NoWorker):
    """The device no longer answers this process. Another process may have it back, so the job may be started again there."""


@runtime_checkable
class Evaluator(Protocol):
    """Turns jobs into outcomes.

    Every index of `jobs` is yielded exactly once, in order of completion; work starts at the first `next()`; closing the
    iterator cancels what is not done. A bad job never raises: it is an outcome with status `failed`. A job that was pre-empted
    is started again by the evaluator and never becomes an outcome. Where no job can be run any more, `NoWorker` is raised.
    """

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index into `jobs`, outcome), in order of completion."""
        ...


@runtime_checkable
class VectorEvaluator(Evaluator, Protocol):
    """What is cheap offers this too: the same numbers as `evaluate`, without objects."""

    def score(
        self, codes: Mapping[str, NDArray[np.int64]], seeds: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Accuracies (n,) and MACs (n,) of n pipelines: agent -> codes (n, L_i), seeds (n,)."""
        ...


def close(evaluator: object) -> None:
    """Close an evaluator that holds processes or files; others need nothing."""
    method = getattr(evaluator, "close", None)
    if callable(method):
        method()
