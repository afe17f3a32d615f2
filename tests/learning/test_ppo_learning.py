"""PPO, IPPO and MAPPO find the optimum of small noisy games; told the opposite, they go there.

Levels are means over the last three batches of 24. After 25 batches each has .99 to 1.0 on both games over three or four seeds;
random search has .31 on the hidden target and .50 on xor.
"""

import pytest

from tests.learning.test_learning import GAMES, level

BATCHES = {"ppo": 25, "ippo": 25, "mappo": 25}


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize(
    "name", [name if name == "ppo" else pytest.param(name, marks=pytest.mark.slow) for name in BATCHES]
)
def test_they_reach_the_optimum(name: str, game: str) -> None:
    assert level(name, game, BATCHES[name]) > GAMES[game][2]


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHES)
def test_control_told_the_opposite_they_go_there(name: str) -> None:
    assert level(name, "hidden target", BATCHES[name], flipped=True) < 0.15
