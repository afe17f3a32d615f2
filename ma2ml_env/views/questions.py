"""What a benchmark is asked, however it answers: pipelines by codes or values, epochs, seeds; and its clock.

Answers are exact unless noise is wanted: then a seed picks a training, as in a game over the same table. What is outside the
space is an error, and so is an epoch after which nothing is known.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ma2ml_env.evaluators.table import picks_of
from ma2ml_env.space import SearchSpace
from ma2ml_env.views.joint import Asked, JointSpace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """What is known of n pipelines after so many epochs. What failed has the accuracy 0, as in a search."""

    epochs: int
    reward: Floats
    """(n,) of the game: the accuracy, or what it and the MACs are worth"""
    accuracy: Floats
    """(n,) in [0, 1], of validation images"""
    test_accuracy: Floats
    """(n,) in [0, 1]; NaN before the last epoch, or where it was not measured"""
    flops: Ints
    """(n,) MACs; 0 of what always failed before they were counted"""
    params: Ints
    """(n,) parameters; 0 likewise"""
    seconds: Floats
    """(n,) of the training from its begin until here; all of them of what failed, as nobody knows when it did"""


@dataclass(frozen=True)
class Answer:
    """What is known of a pipeline; see `Answers`."""

    epochs: int
    reward: float
    accuracy: float
    test_accuracy: float
    flops: int
    params: int
    seconds: float


class Questions(ABC):
    """A benchmark.

    Args:
        spaces: agent -> space.
        epochs: after which accuracies are known; the last one is the end of a training.
        noise: whether a seed picks a training; else answers are exact.
    """

    def __init__(self, spaces: Mapping[str, SearchSpace], epochs: Sequence[int], noise: bool) -> None:
        self.noise = noise
        self.space = JointSpace(spaces)
        """what can be asked: its `code`, `values` and `to_configspace` go from one way of saying a pipeline to another"""
        self.epochs = tuple(epochs)
        """after which accuracies are known; the last one is the end of a training"""

    def sample(self, n: int, seed: int) -> Ints:
        """Codes (n, decisions), drawn uniformly."""
        return self.space.sample(n, seed)

    def query(self, asked: Asked, epochs: int | None = None, seed: int | None = None) -> Answer:
        """What is known of a pipeline after so many epochs.

        Args:
            asked: the pipeline, by its codes or its values.
            epochs: one of `epochs`; None is the last one.
            seed: with noise, picks the training.

        Raises:
            ValueError: what is outside the space, with agent, decision, value and the closest one; an epoch after which nothing
                was measured; a seed without noise, or noise without one.
        """
        found = self.query_batch(self.space.code(asked)[None], epochs, seed)
        first = {name: value if name == "epochs" else value[0].item() for name, value in vars(found).items()}
        return Answer(**first)

    @abstractmethod
    def query_batch(self, codes: Asked, epochs: int | None = None, seeds: ArrayLike | None = None) -> Answers:
        """What is known of n pipelines; see `query`.

        Args:
            codes: (n, decisions), or agent -> (n, its decisions).
            epochs: of all of them.
            seeds: (n,), or one for all.
        """

    def curve(self, asked: Asked, seed: int | None = None) -> dict[int, float]:
        """Epochs -> accuracy of a pipeline, all that are known: a whole training by the clock."""
        code = self.space.code(asked)
        return {epochs: self.query(code, epochs, seed).accuracy for epochs in self.epochs}

    @abstractmethod
    def optimum(self, *, test: bool = False) -> tuple[dict[str, dict[str, Any]], float]:
        """(values, reward) of the pipeline with the best mean of all, ties to the first; by test images if wanted."""

    def regret(self, asked: Asked, *, test: bool = False) -> float:
        """What a pipeline's mean reward lacks to the best one; by test images if wanted. The clock stands still."""
        return float(self.regret_batch(self.space.code(asked)[None], test=test)[0])

    @abstractmethod
    def regret_batch(self, codes: Asked, *, test: bool = False) -> Floats:
        """The same (n,) of n pipelines, as of `query_batch`."""

    @property
    @abstractmethod
    def seconds(self) -> float:
        """What all trainings that were asked for would have taken, one after another.

        One that goes on costs the difference; what is asked twice is trained once. An epoch takes its share of the seconds
        that its whole training takes. Without noise a pipeline is one training.
        """

    @abstractmethod
    def restart(self) -> None:
        """Set the clock to 0: nothing was trained."""

    def _until(self, epochs: int | None) -> int:
        """The epochs that are asked for."""
        if epochs is None:
            return self.epochs[-1]
        if isinstance(epochs, bool) or not isinstance(epochs, Integral):
            raise ValueError(f"epochs are a whole number, not {epochs!r}")
        return int(epochs)

    def _picks(self, n: int, seeds: ArrayLike | None) -> NDArray[np.uint64] | None:
        """Random numbers (n,) that choose the trainings; None where answers are exact."""
        if not self.noise:
            if seeds is not None:
                raise ValueError("a seed picks a measurement, and these answers are exact: benchmark(..., noise=True)")
            return None
        told = np.asarray(np.nan if seeds is None else seeds)
        if not np.issubdtype(told.dtype, np.integer) or told.shape not in ((), (n,)):
            raise ValueError(f"with noise, {n} pipelines take as many seeds, whole numbers, or one for all")
        return picks_of(np.broadcast_to(told, (n,)))
