import numpy as np
import pytest
import torch

from ma2ml_agents.ma2ml.distinct import repeated
from ma2ml_agents.ma2ml.replay import Replay
from ma2ml_agents.returns import MovingAverage, blend, ranks, raw, standardised
from ma2ml_agents.saving import seeded


def filled(n: int, capacity: int = 100) -> Replay:
    replay = Replay(capacity, decisions=2, agents=1, state_dim=3)
    for k in range(n):
        replay.add(np.full((1, 2), k), np.full((1, 1, 3), k, dtype=np.float32), [float(k)])
    return replay


def test_the_oldest_go() -> None:
    replay = filled(7, capacity=4)
    assert replay.rewards.tolist() == [3, 4, 5, 6]
    assert replay.codes[:, 0].tolist() == [3, 4, 5, 6]
    assert replay.states[:, 0, 0].tolist() == [3, 4, 5, 6]
    replay.keep_newest(2)
    assert replay.rewards.tolist() == [5, 6]
    assert replay.codes[:, 0].tolist() == [5, 6]
    replay.keep_newest(9)
    assert len(replay) == 2


def test_capacity_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        filled(0, capacity=0)


def test_minibatches_are_uniform() -> None:
    rows = filled(10).rows(20_000, seeded(0))
    assert (torch.bincount(rows) / 20_000 - 0.1).abs().max() < 0.01  # 4.7 standard errors of 0.0021


def test_minibatches_of_the_newest() -> None:
    rows = filled(10).rows(20_000, seeded(0), newest=4)
    assert rows.unique().tolist() == [6, 7, 8, 9]
    assert filled(3).rows(1_000, seeded(0), newest=4).unique().tolist() == [0, 1, 2]


def test_state_round_trip() -> None:
    replay, other = filled(5), filled(0)
    other.load_state_dict(replay.state_dict())
    replay.add(np.zeros((1, 2), dtype=np.int64), np.zeros((1, 1, 3), dtype=np.float32), [0.0])
    assert other.rewards.tolist() == [0, 1, 2, 3, 4]
    assert other.states.dtype == np.float32


def test_repeated_rows() -> None:
    known = np.array([[1, 2], [3, 4]])
    assert repeated(np.array([[3, 4], [5, 6], [5, 6], [2, 1]]), known) == [0, 2]


def test_gaussian_ranks() -> None:
    values = ranks(np.array([0.5, 0.0, 0.9]))
    assert values == pytest.approx([0.0, -0.967422, 0.967422], abs=1e-5)  # quantiles of 1/2, 1/6, 5/6
    assert ranks(np.array([0.3, 0.3])) == pytest.approx([0.0, 0.0])
    tied = ranks(np.array([0.1, 0.2, 0.2, 0.9]))
    assert tied[1] == tied[2] == pytest.approx(0.0)
    same = ranks(np.array([0.1, 0.2, 0.2, 1e9]))  # only the order counts
    assert same.tolist() == tied.tolist()


def test_standardised_and_raw() -> None:
    values = standardised(np.array([1.0, 2.0, 3.0]))
    assert (values.mean(), values.std()) == pytest.approx((0.0, 1.0))
    assert standardised(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]
    equal = np.full(24, 0.1)
    assert equal.std() > 0  # the mean of these floats is not theirs
    assert not standardised(equal).any()
    assert raw(np.array([2.0])).tolist() == [2.0]


def test_moving_average_has_no_bias_at_the_start() -> None:
    average = MovingAverage(0.95)
    assert average.value(default=0.3) == 0.3
    average.update(0.8)
    assert average.value(0.0) == pytest.approx(0.8)
    average.update(0.4)
    assert average.value(0.0) == pytest.approx((0.95 * 0.8 + 0.4) / 1.95)
    other = MovingAverage(0.95)
    other.load_state_dict(average.state_dict())
    assert other.value(0.0) == average.value(0.0)


def test_a_blend_is_half_of_each_and_no_outlier_squashes_it() -> None:
    rewards = np.array([0.5, 0.6, 0.7, 0.8])
    assert blend(rewards) == pytest.approx(0.5 * ranks(rewards) + 0.5 * standardised(rewards))
    failed = blend(np.array([0.0, *np.linspace(0.80, 0.81, 99)]))
    assert failed[0] > -3.0
    assert failed[-1] - failed[1] > 2.0  # standardised alone they lie within .1 of each other
    assert standardised(np.array([0.0, *np.linspace(0.80, 0.81, 99)]))[1:].std() < 0.1
    assert np.isfinite(blend(np.array([1e300, -1e300, 0.0]))).all()
    assert blend(np.zeros(3)) == pytest.approx([0.0] * 3)
