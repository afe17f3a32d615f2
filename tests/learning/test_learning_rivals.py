"""Rivals find the one best code of 2.5 million in 480 proposals; random search, and a rival that is told the opposite, do not.

Most of them never repeat themselves, so what counts is the best of all proposals, noise-free.
"""

import numpy as np
import pytest

from ma2ml_agents.registry import make_learner
from ma2ml_env.trial import Code
from tests.learning.games import TARGET, hidden_target, play

RIVALS = ("evolution", "local_search", *(pytest.param(name, marks=pytest.mark.slow) for name in ("predictor", "tpe")))


def found(name: str, *, flipped: bool = False, seed: int = 0) -> tuple[float, float]:
    """Best true reward of all proposals, and the mean of the last three batches."""
    seen: list[float] = []

    def told(codes: dict[str, Code]) -> float:
        seen.append(hidden_target(codes))
        return 1 - seen[-1] if flipped else seen[-1]

    play(make_learner(name, TARGET, seed=seed), told, 20)
    return max(seen), float(np.mean(seen[-72:]))


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_find_the_optimum(name: str) -> None:
    """Over seeds 0 to 3 each finds it, 1.0, but for one run of TPE with 11 of 12 decisions."""
    assert found(name)[0] > 0.9


def test_control_random_does_not() -> None:
    """.67 to .75 over seeds 0 to 3."""
    assert found("random")[0] < 0.85


@pytest.mark.parametrize("name", RIVALS)
def test_control_rivals_that_are_told_the_opposite_go_there(name: str) -> None:
    """Over seeds 0 to 3 their best is .50 to .67, and their last batches have .00 to .22 where random ones have .31."""
    best, last = found(name, flipped=True)
    assert best < 0.85
    assert last < 0.26
