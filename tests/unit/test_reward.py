import math

import numpy as np
import pytest

from ma2ml_env.reward import Accuracy, FlopsReward
from ma2ml_env.trial import Outcome


def test_flops_reward_is_the_papers():
    reward = FlopsReward(600e6)
    assert reward(Outcome(accuracy=0.8, flops=600_000_000)) == 0.8
    assert reward(Outcome(accuracy=0.8, flops=300_000_000)) == pytest.approx(0.8 * 0.5**-0.07)  # 5.0 % more
    assert reward(Outcome(accuracy=0.8, flops=1_200_000_000)) == pytest.approx(0.8 * 2**-0.07)  # 4.7 % less
    assert reward(Outcome(accuracy=0.8, flops=0)) == 0.8  # unknown


def test_hard_limit():
    reward = FlopsReward(100, hard=True)
    assert reward(Outcome(accuracy=0.8, flops=100)) == 0.8
    assert reward(Outcome(accuracy=0.8, flops=101)) == 0.0


@pytest.mark.parametrize("reward", [Accuracy(), FlopsReward(10)])
def test_what_failed_is_worth_nothing(reward):
    assert reward(Outcome(status="failed", error="NAN")) == 0.0
    assert reward(Outcome(status="infeasible", flops=5)) == 0.0


@pytest.mark.parametrize(
    "bad",
    [{"limit": 0}, {"limit": -1}, {"limit": float("nan")}, {"limit": 1, "w": 0.1}, {"limit": 1, "w": float("nan")}],
)
def test_impossible_rewards_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        FlopsReward(**bad)


FOUND = Outcome(accuracy=0.5, flops=200, metrics={"macro_f1": 0.25, "log_loss": 2.0})


def test_a_reward_may_go_by_another_metric():
    assert Accuracy("macro_f1")(FOUND) == 0.25
    assert Accuracy("log_loss")(FOUND) == pytest.approx(math.exp(-2.0)), "a loss is no reward: its score rises"
    assert FlopsReward(100, metric="macro_f1")(FOUND) == pytest.approx(0.25 * 2**-0.07)
    assert FlopsReward(100, hard=True, metric="macro_f1")(FOUND) == 0.0
    assert Accuracy("macro_f1")(Outcome(status="failed", error="NAN")) == 0.0
    with pytest.raises(ValueError, match="top5_accuracy of validation images was not measured"):
        Accuracy("top5_accuracy")(FOUND)


@pytest.mark.parametrize("reward", [Accuracy("macro_f1"), FlopsReward(10, metric="macro_f1")])
def test_what_is_cheap_has_accuracies_alone(reward):
    with pytest.raises(ValueError, match="metric macro_f1 is for what is trained"):
        reward.vector(np.array([0.5]), np.array([1]))
