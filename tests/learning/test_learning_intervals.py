"""Learners find the optimum of a small noisy game of decisions and intervals; random search does not.

Rewards are the share of what is right of five decisions and three intervals. Two intervals have a peak of width .35 whose place
another agent's decision moves, so that it is not enough for every agent to know its own best.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ma2ml_agents.registry import make_learner
from ma2ml_env.trial import Code, GameSpec
from tests.learning.games import play

SPEC = GameSpec({"aug": (3, 4), "nas": (5, 3, 2), "hpo": ()}, intervals={"nas": 1, "hpo": 2})
LAST = 3  # batches that count
# Learner, batches, settings, threshold. The mean of the last batches was .949 to .977 for Lite (mean .961, sd .012 over six
# seeds), .954 to .961 for ma2ml (three seeds); while the constants of `intervals.py` were chosen it was .981 to .990 on-policy.
# Random has .34 to .40; the decisions alone are worth .625.
LEARNERS: dict[str, tuple[int, dict[str, Any], float]] = {
    "ma2ml": (21, {"distinct": False}, 0.93),
    "on_policy": (30, {}, 0.93),
    "ma2ml_lite": (60, {}, 0.88),
}


def mixed(codes: dict[str, Code]) -> float:
    aug, nas, hpo = codes["aug"], codes["nas"], codes["hpo"]
    hits = [aug[0] == 1, aug[1] == 2, nas[0] == 3, nas[1] == 0, nas[2] == 1]
    peaks = (0.25 if nas[0] == 3 else 0.6, 0.8, 0.55 if aug[0] == 1 else 0.3)
    close = [1 - min(1.0, 8 * (u - peak) ** 2) for u, peak in zip((*hpo, nas[3]), peaks, strict=True)]
    return (sum(hits) + sum(close)) / 8


def level(name: str, reward_of: Callable[[dict[str, Code]], float], batches: int, **config: Any) -> float:
    return float(np.mean(play(make_learner(name, SPEC, seed=0, **config), reward_of, batches)[-LAST:]))


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("ma2ml", "on_policy")), "ma2ml_lite"]
)
def test_learners_reach_the_optimum(name: str) -> None:
    batches, config, threshold = LEARNERS[name]
    assert level(name, mixed, batches, **config) > threshold


def test_control_random_does_not() -> None:
    assert level("random", mixed, 60) < 0.5


def test_control_a_learner_that_is_told_the_opposite_goes_there() -> None:
    batches, config, _ = LEARNERS["ma2ml_lite"]
    assert 1 - level("ma2ml_lite", lambda codes: 1 - mixed(codes), batches, **config) < 0.1


@pytest.mark.parametrize(("name", "batches"), [pytest.param("ma2ml", 10, marks=pytest.mark.slow), ("evolution", 20)])
def test_defaults_come_closer_than_random(name: str, batches: int) -> None:
    """The best of 240 proposals of ma2ml (.99 and more), of 480 of evolution (.98); of 480 random ones .85 to .89."""
    best = {name: 0.0, "random": 0.0}
    for learner in best:

        def seen(codes: dict[str, Code], learner: str = learner) -> float:
            best[learner] = max(best[learner], mixed(codes))
            return mixed(codes)

        play(make_learner(learner, SPEC, seed=0), seen, batches)
    assert best[name] > 0.97
    assert best["random"] < 0.92
