"""What is known of every pipeline of a measured game: how good a learner's finds really are, and how long trainings take.

A learner hears one training of a pipeline, perhaps a short one. It is judged by the mean of all of them, on validation images
and on test images.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.evaluators.base import GroundTruth
from ma2ml_env.evaluators.halving import Halving
from ma2ml_env.evaluators.table import Table
from ma2ml_env.game import Game
from ma2ml_env.tables.fitted import Fitted
from ma2ml_env.tables.measured import Measured

FOUND = {
    "found": "the best by what was told",
    "found_test": "the same by test images",
    "found_top": "mean of the top k",
    "found_top_test": "the same by test images",
}
"""curve -> what it follows: mean rewards of the pipelines that a learner would name"""
Array = NDArray[np.float64]


def truth(game: Game) -> GroundTruth | None:
    """What knows a game's rewards without noise; None of real trainings. A halving knows what the table in it knows."""
    evaluator = game.evaluator
    if isinstance(evaluator, Halving):
        evaluator = evaluator.inner
    return evaluator if isinstance(evaluator, GroundTruth) else None


@dataclass(frozen=True)
class Exact:
    """Mean rewards of all joint codes of a game over the trainings of all its pipelines."""

    source: Measured
    validation: Array
    """(points,)"""
    test: Array | None
    """(points,); None if one was not tested"""
    reward: str
    """of the game, in words"""

    @property
    def digest(self) -> str:
        """Of all that was measured, and of what it is worth: runs on another table are other runs."""
        source, digest = self.source, hashlib.sha256(self.reward.encode())
        for array in (source.values, source.curves, source.seconds, source.macs, source.tests):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    @property
    def training(self) -> float:
        """Simulated seconds of a whole training, the mean over pipelines."""
        return float(self.source.mean_seconds[np.unique(self.source.same)].mean())

    @property
    def optima(self) -> dict[str, float]:
        """Curve -> the best that it can come to; of a top k, that all of them are the best one."""
        best = {"found": round(float(self.validation.max()), 6)}  # as curves are
        if self.test is not None:
            best["found_test"] = round(float(self.test.max()), 6)
        return best | {curve.replace("found", "found_top"): value for curve, value in best.items()}

    def pipelines(self, codes: Mapping[str, NDArray[Any]]) -> list[int]:
        """Numbers of the pipelines of agent -> codes (n, L_i): one for all codes of a pipeline."""
        numbers: list[int] = self.source.same[self.source.points(codes)].tolist()
        return numbers

    def levels(self, best: int, top: list[int]) -> dict[str, float]:
        """Curve -> its level, from the pipeline that a learner would name and its top k."""
        levels = {"found": float(self.validation[best]), "found_top": float(self.validation[top].mean())}
        if self.test is not None:
            levels |= {"found_test": float(self.test[best]), "found_top_test": float(self.test[top].mean())}
        return levels


def exact(game: Game) -> Exact | None:
    """What is known of a game with a table of its own trainings; None of any other."""
    known = truth(game)
    source = known.source if isinstance(known, Table) else None
    if not isinstance(source, Measured):
        return None
    worth, tests = game.reward.vector, source.mean_tests
    test = None if tests is None else worth(tests, source.macs)
    return Exact(source, worth(source.mean_curves[:, -1], source.macs), test, repr(game.reward))


def surrogate_digest(game: Game) -> str | None:
    """Of the surrogate that a game is looked up in, and of what it is worth; None of any other."""
    known = truth(game)
    source = known.source if isinstance(known, Table) else None
    if not isinstance(source, Fitted):
        return None
    return hashlib.sha256((repr(game.reward) + source.digest).encode()).hexdigest()[:16]
