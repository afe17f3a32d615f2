"""Algorithms of other libraries train on a measured game: every pipeline is counted, and what they play gets better.

They play `trio-digits-v0` on its table.
"""

import numpy as np
import pytest
from frameworks import ALGORITHMS, algorithm, is_algorithm

from ma2ml_env.games.make import make_game

pytestmark = [  # the libraries' own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
SHORT = {
    "sb3-ppo": 480, "sb3-a2c": 480, "sb3-dqn": 1440, "sb3-sac": 960, "contrib-maskable-ppo": 720, "supersuit-sb3-ppo": 720,
    "torchrl-ppo": 720, "benchmarl-mappo": 480, "benchmarl-ippo": 480, "benchmarl-qmix": 720, "benchmarl-vdn": 720,
    "benchmarl-masac": 720, "benchmarl-maddpg": 720,
}  # fmt: skip
"""pipelines after which an algorithm is seen above random"""
MEAN, DEVIATION, WINDOW = 0.797, 0.138, 120
"""of all pipelines of `trio-digits-v0`, and how many at the end are looked at: random ones err by .0126"""


@pytest.fixture(scope="module")
def digits():
    """The game on its table."""
    return make_game("trio-digits-v0")


def play(name, game, pipelines=None):
    """Rewards of all pipelines, or a skip."""
    if name.startswith("benchmarl"):
        pytest.importorskip("benchmarl", reason="BenchMARL is not installed (extra benchmarl)")
    if name == "torchrl-ppo":
        pytest.importorskip("torchrl", reason="TorchRL is not installed (extra torchrl)")
    if name == "supersuit-sb3-ppo":
        pytest.importorskip("supersuit", reason="SuperSuit is not installed (extra supersuit)")
    if name == "contrib-maskable-ppo":
        pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed (extra sb3-contrib)")
    return np.array([trial.reward for trial in algorithm(name).train(game, pipelines or SHORT[name])])


def test_all_that_share_this_environment_are_trained_here():
    assert set(SHORT) == {name for name, row in ALGORITHMS.items() if not row.apart and is_algorithm(name)}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_it_learns(name, digits):
    rewards = play(name, digits)
    assert len(rewards) == SHORT[name]
    assert rewards[-WINDOW:].mean() > MEAN + 3 * DEVIATION / WINDOW**0.5


@pytest.mark.slow
def test_random_pipelines_are_no_better_at_the_end(digits):
    """The control of the test above, and of its mean and deviation."""
    rewards = play("random", digits, 2400)
    assert rewards.mean() == pytest.approx(MEAN, abs=3 * DEVIATION / 2400**0.5)
    assert rewards.std() == pytest.approx(DEVIATION, rel=0.1)
    assert rewards[-WINDOW:].mean() < MEAN + 3 * DEVIATION / WINDOW**0.5


@pytest.mark.parametrize("name", ["sb3-a2c", "sb3-dqn", "sb3-sac", "supersuit-sb3-ppo", "torchrl-ppo"])
def test_so_many_pipelines_are_played_and_no_more(name, digits, monkeypatch):
    """Also where the number fits neither batch nor episode."""
    played = []
    evaluator = digits.evaluator
    whole = evaluator.evaluate
    monkeypatch.setattr(evaluator, "evaluate", lambda jobs: (played.append(len(jobs)), whole(jobs))[1])
    assert len(play(name, digits, 31)) == 31
    assert 31 <= sum(played) < 31 + 48  # a batch that goes beyond the end is looked up whole
