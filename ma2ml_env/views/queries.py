"""A measured game as a benchmark: it is asked, and a clock counts what the trainings would have taken.

Answers are exact, the mean of a pipeline's measurements, unless noise is wanted: then a seed picks one of them, as in a game
over the same table. What is outside the space is an error, and so is an epoch after which nothing was measured.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ma2ml_env.evaluators.halving import Halving
from ma2ml_env.evaluators.table import Table
from ma2ml_env.game import Game
from ma2ml_env.games.make import make_game
from ma2ml_env.tables.fitted import Fitted
from ma2ml_env.tables.measured import Measured
from ma2ml_env.views.fitted import FittedBenchmark
from ma2ml_env.views.joint import Asked
from ma2ml_env.views.questions import Answers, Floats, Ints, Questions


def benchmark(id: str, *, data: str | Path | None = None, noise: bool = False) -> Questions:
    """The benchmark of a measured game, a `Benchmark`, or of a large one with a surrogate, a `FittedBenchmark`.

    Args:
        id: of the game.
        data: a file of trainings, as `ma2ml table` writes it, or a surrogate; None is what comes with the package.
        noise: whether a seed picks one of a pipeline's measurements; else answers are exact.

    Raises:
        ValueError: if there is no such game, or it was not measured.
        FileNotFoundError: if there is no such file.
    """
    game = make_game(id, "table", data=data)
    fitted = isinstance(game.evaluator, Table) and isinstance(game.evaluator.source, Fitted)
    return FittedBenchmark(game, noise=noise) if fitted else Benchmark(game, noise=noise)


class Benchmark(Questions):
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
        super().__init__(source.spaces, source.epochs, noise)
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

    def query_batch(self, codes: Asked, epochs: int | None = None, seeds: ArrayLike | None = None) -> Answers:
        """See `Questions.query_batch`."""
        source, until = self._source, self._until(epochs)
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

    def optimum(self, *, test: bool = False) -> tuple[dict[str, dict[str, Any]], float]:
        """(values, reward) of the pipeline with the best mean of all, ties to the first; by test images if wanted."""
        rewards = self._exact(test)
        best = int(rewards.argmax())
        return self.space.values(self._source.rows(np.array([best]))[0]), float(rewards[best])

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
        picks = self._picks(len(point), seeds)
        return None if picks is None else self._source.repeats(point, picks)
