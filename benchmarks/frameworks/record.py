"""A game that keeps every pipeline that was played, in order, and ends after so many: whatever view is put over it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.actions import Action
from ma2ml_env.game import Game
from ma2ml_env.trial import Proposal, Trial

WARM = 240
"""pipelines after which the scale of standardised rewards is fixed"""


class Enough(Exception):
    """So many pipelines were played: training ends here, in the middle of what the library does."""


class RecordedGame(Game):
    """The game of somebody's algorithm. All views end in `play` or `score`, so every pipeline is counted once.

    Args:
        game: what is played.
        pipelines: how many; then `Enough` is raised.
        standardise: the algorithm is told (reward - mean) / deviation, of all rewards until now, and from `WARM` on of the
            first `WARM`. It is for those that learn from rewards as they come: to them .90 and .91 are nearly the same.
            `trials` holds the rewards as they are.
    """

    def __init__(self, game: Game, pipelines: int, standardise: bool = False) -> None:
        super().__init__(
            list(game.modules.values()), game.evaluator, game.reward, game.base, game.protocol, game.spec.state_dim
        )
        self.pipelines, self.standardise = pipelines, standardise
        self.trials: list[Trial] = []

    def play(self, proposals: Sequence[Proposal], seeds: Sequence[int], **more: Any) -> list[Trial]:
        """As the game does; of a batch that goes beyond the end, what is beyond does not count."""
        played = super().play(proposals, seeds, **more)
        self.trials += [replace(trial, number=len(self.trials) + i) for i, trial in enumerate(played)]
        if len(self.trials) >= self.pipelines:
            del self.trials[self.pipelines :]
            raise Enough
        centre, scale = self._scale()
        return [replace(trial, reward=(trial.reward - centre) / scale) for trial in played]

    def score(self, codes: Mapping[str, Action], seeds: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same of batches."""
        proposals = [
            Proposal({agent: tuple(row) for agent, row in zip(codes, rows, strict=True)})
            for rows in zip(*(np.asarray(each).tolist() for each in codes.values()), strict=True)
        ]
        return np.array([trial.reward for trial in self.play(proposals, seeds.tolist())], dtype=np.float64)

    def _scale(self) -> tuple[float, float]:
        if not self.standardise:
            return 0.0, 1.0
        known = [trial.reward for trial in self.trials[:WARM]]
        return float(np.mean(known)), float(np.std(known)) or 1.0
