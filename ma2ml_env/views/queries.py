"""A measured game as a benchmark: it is asked, and a clock counts what the trainings would have taken.

Answers are exact, the mean of a pipeline's measurements, unless noise is wanted: then a seed picks one of them, as in a game
over the same table. What is outside the space is an error, and so is an epoch after which nothing was measured.
"""

from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ma2ml_env.evaluators.halving import Halving
from ma2ml_env.evaluators.table import Table, picks_of
from ma2ml_env.game import Game
from ma2ml_env.games.make import make_game
from ma2ml_env.tables.measured import Measured
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


def benchmark(id: str, *, data: str | Path | None = None, noise: bool = False) -> "Benchmark":
    """The benchmark of a measured game.

    Args:
        id: of the game.
        data: a file of trainings, as `ma2ml table` writes it; None is what comes with the package.
        noise: whether a seed picks one of a pipeline's measurements; else answers are exact.

    Raises:
        ValueError: if there is no such game, or it was not measured.
        FileNotFoundError: if there is no such file.
    """
    return Benchmark(make_game(id, "table", data=data), noise=noise)


class Benchmark:
    """Questions to a measured game.

    Args:
        game: over a table of trainings of all its pipelines.
        noise: as of `benchmark`.

    Raises:
        ValueError: if the game is over another table, or over none.
    """

    def __init__(self, game: Game, *, noise: bool = False) -> None:
        if isinstance(game.evaluator, Halving):
            raise ValueError("a benchmark is asked for any epoch, and halves nothing: make the game without halving")
        source = game.evaluator.source if isinstance(game.evaluator, Table) else None
        if not isinstance(source, Measured):
            raise ValueError("a benchmark is of a game with a table of its own trainings; make_game plays all others")
        self.noise = noise
        self.space = JointSpace(source.spaces)
        """what can be asked: its `code`, `values` and `to_configspace` go from one way of saying a pipeline to another"""
        self.epochs = source.epochs
        """after which accuracies are known; the last one is the end of a training"""
        self._source, self._reward = source, game.reward
        tests, worth = source.mean_tests, game.reward.vector
        self._rewards = worth(source.mean_curves[:, -1], source.macs)
        self._test_rewards = None if tests is None else worth(tests, source.macs)
        seconds = np.column_stack([source.seconds, source.mean_seconds])
        self._taken = (
            np.nan_to_num(seconds) / self.epochs[-1]
        )  # by an epoch of each training; the last column is the mean
        failed = (source.errors > 0) | np.isnan(source.values)
        self._failed = np.column_stack(
            [source.errors > 0, failed.all(1)]
        )  # nobody knows when: all their seconds are spent
        self._reached = np.zeros(seconds.shape, dtype=np.int64)  # epochs of each that were asked for

    def __len__(self) -> int:
        """Number of codes."""
        return len(self._rewards)

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

    def query_batch(self, codes: Asked, epochs: int | None = None, seeds: ArrayLike | None = None) -> Answers:
        """What is known of n pipelines; see `query`.

        Args:
            codes: (n, decisions), or agent -> (n, its decisions).
            epochs: of all of them.
            seeds: (n,), or one for all.
        """
        source, until = self._source, self.epochs[-1] if epochs is None else _whole(epochs)
        column, point = source.column(until), source.numbers(self.space.rows(codes))
        training = self._trainings(point, seeds)
        if training is None:
            curves, tests = source.mean_curves, source.mean_tests
        else:
            curves, tests = source.curves, source.tests
        which: Any = point if training is None else (point, training)
        clock = (source.same[point], -1 if training is None else training)
        spent = np.where(self._failed[clock], self.epochs[-1], until)
        self._reached[clock] = np.maximum(self._reached[clock], spent)
        accuracy, macs = curves[..., column][which], source.macs[point]
        tested = tests[which] if tests is not None and until == self.epochs[-1] else np.full(len(point), np.nan)
        seconds = self._taken[clock] * spent
        return Answers(
            until, self._reward.vector(accuracy, macs), accuracy, tested, macs, source.params[point], seconds
        )

    def curve(self, asked: Asked, seed: int | None = None) -> dict[int, float]:
        """Epochs -> accuracy of a pipeline, all that are known: a whole training by the clock."""
        code = self.space.code(asked)
        return {epochs: self.query(code, epochs, seed).accuracy for epochs in self.epochs}

    def optimum(self, *, test: bool = False) -> tuple[dict[str, dict[str, Any]], float]:
        """(values, reward) of the pipeline with the best mean of all, ties to the first; by test images if wanted."""
        rewards = self._exact(test)
        best = int(rewards.argmax())
        return self.space.values(self._source.rows(np.array([best]))[0]), float(rewards[best])

    def regret(self, asked: Asked, *, test: bool = False) -> float:
        """What a pipeline's mean reward lacks to the best one; by test images if wanted. The clock stands still."""
        return float(self.regret_batch(self.space.code(asked)[None], test=test)[0])

    def regret_batch(self, codes: Asked, *, test: bool = False) -> Floats:
        """The same (n,) of n pipelines, as of `query_batch`."""
        rewards = self._exact(test)
        return np.asarray(rewards.max() - rewards[self._source.numbers(self.space.rows(codes))])

    @property
    def seconds(self) -> float:
        """What all trainings that were asked for would have taken, one after another.

        One that goes on costs the difference; what is asked twice is trained once. One that failed costs all its seconds at
        whatever epoch, as in the game. An epoch takes its share of the seconds that
        its whole training took where it was measured. Without noise a pipeline is one training, of the median.
        """
        return float((self._taken * self._reached).sum())

    def restart(self) -> None:
        """Set the clock to 0: nothing was trained."""
        self._reached[:] = 0

    def _exact(self, test: bool) -> Floats:
        """(codes,) rewards of the means."""
        if not test:
            return self._rewards
        if self._test_rewards is None:
            raise ValueError("not every pipeline was tested: there is no test accuracy")
        return self._test_rewards

    def _trainings(self, point: Ints, seeds: ArrayLike | None) -> Ints | None:
        """Which training (n,) of each point (n,) is asked for; None is the mean."""
        if not self.noise:
            if seeds is not None:
                raise ValueError("a seed picks a measurement, and these answers are exact: benchmark(..., noise=True)")
            return None
        told = np.asarray(np.nan if seeds is None else seeds)
        if not np.issubdtype(told.dtype, np.integer) or told.shape not in ((), point.shape):
            raise ValueError(f"with noise, {len(point)} pipelines take as many seeds, whole numbers, or one for all")
        return self._source.repeats(point, picks_of(np.broadcast_to(told, point.shape)))


def _whole(epochs: Any) -> int:
    if isinstance(epochs, bool) or not isinstance(epochs, Integral):
        raise ValueError(f"epochs are a whole number, not {epochs!r}")
    return int(epochs)
