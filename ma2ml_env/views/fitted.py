"""A surrogate as a benchmark: it answers as a measured game does, but nobody knows its optimum."""

from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from ma2ml_env.evaluators.halving import Halving
from ma2ml_env.evaluators.table import Table
from ma2ml_env.game import Game
from ma2ml_env.tables.fit import END, TEST
from ma2ml_env.tables.fitted import Fitted
from ma2ml_env.views.joint import Asked
from ma2ml_env.views.questions import Answers, Floats, Questions


class FittedBenchmark(Questions):
    """Questions to a surrogate.

    Args:
        game: over a surrogate.
        noise: as of `benchmark`.

    Raises:
        ValueError: if the game is over something else.
    """

    def __init__(self, game: Game, *, noise: bool = False) -> None:
        if isinstance(game.evaluator, Halving):
            raise ValueError("a benchmark is asked for any epoch, and halves nothing: make the game without halving")
        source = game.evaluator.source if isinstance(game.evaluator, Table) else None
        if not isinstance(source, Fitted):
            raise ValueError("this benchmark is of a game with a surrogate; make_game plays all others")
        super().__init__(source.spaces, source.epochs, noise)
        self._source, self._reward = source, game.reward
        self._trained: dict[bytes, tuple[int, float]] = {}
        """training -> epochs that it has come to, seconds of one of them"""

    def query_batch(self, codes: Asked, epochs: int | None = None, seeds: ArrayLike | None = None) -> Answers:
        """See `Questions.query_batch`."""
        source, until, rows = self._source, self._until(epochs), self.space.rows(codes)
        column, picks = source.column(until), self._picks(len(rows), seeds)
        ended = until == self.epochs[-1]
        told = source.tell(rows, picks, [END, TEST] if ended else [source.outputs[column]])
        accuracy = told.accuracy[:, 0]
        each = told.seconds / self.epochs[-1]
        trainings = (
            source.canonical(rows) if picks is None else np.column_stack([source.canonical(rows), picks.view(np.int64)])
        )
        for training, seconds in zip(trainings, each.tolist(), strict=True):
            key = training.tobytes()
            reached, _ = self._trained.get(key, (0, 0.0))
            self._trained[key] = (max(reached, until), seconds)
        return Answers(
            until,
            self._reward.vector(accuracy, told.flops),
            accuracy,
            told.accuracy[:, 1] if ended else np.full(len(rows), np.nan),
            told.flops,
            told.params,
            each * until,
        )

    def optimum(self, *, test: bool = False) -> tuple[dict[str, dict[str, Any]], float]:
        """Nobody knows it.

        Raises:
            ValueError: always.
        """
        self._refuse()

    def regret_batch(self, codes: Asked, *, test: bool = False) -> Floats:
        """Nobody knows it.

        Raises:
            ValueError: always.
        """
        self._refuse()

    @property
    def seconds(self) -> float:
        """See `Questions.seconds`."""
        return float(sum(epochs * seconds for epochs, seconds in self._trained.values()))

    def restart(self) -> None:
        """See `Questions.restart`."""
        self._trained.clear()

    def _refuse(self) -> NoReturn:
        size = sum(space.log10_size for space in self._source.spaces.values())
        raise ValueError(
            f"the optimum of 10^{size:.0f} pipelines is not known, so there is no regret: compare rewards, or take a game that "
            "was measured whole"
        )
