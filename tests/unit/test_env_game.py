import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from pettingzoo import ParallelEnv

import ma2ml_env
from ma2ml_env.trial import Proposal, trial_seed


class Match(ParallelEnv):
    """Two agents are paid for choosing the same."""

    metadata = {"name": "match"}  # noqa: RUF012

    def __init__(self, spaces=None, steps=1, greedy=False):
        self.possible_agents = ["left", "right"]
        self.spaces = spaces or {"left": Discrete(3, start=1), "right": MultiDiscrete([3, 2])}
        self.steps, self.greedy = steps, greedy

    def action_space(self, agent):
        return self.spaces[agent]

    def observation_space(self, agent):
        return Discrete(1)

    def reset(self, seed=None, options=None):
        self.agents = self.possible_agents[:]
        return dict.fromkeys(self.agents, 0), {a: {} for a in self.agents}

    def step(self, actions):
        same = float(actions["left"] - 1 == actions["right"][0])
        agents, done = self.possible_agents, self.steps == 1
        rewards = {"left": same, "right": same + 1.0 if self.greedy else same}
        return (
            dict.fromkeys(agents, 0),
            rewards,
            dict.fromkeys(agents, done),
            dict.fromkeys(agents, False),
            {a: {} for a in agents},
        )


def test_a_foreign_environment_is_a_game():
    game = ma2ml_env.game_from_env(Match)
    assert game.spec.nvec == {"left": (3,), "right": (3, 2)}
    codes = [{"left": (0,), "right": (0, 1)}, {"left": (1,), "right": (0, 1)}]
    trials = game.play([Proposal(c) for c in codes], [trial_seed(0, 0), trial_seed(0, 1)], first_number=4)
    assert [(t.number, t.reward) for t in trials] == [(4, 1.0), (5, 0.0)]


def test_our_own_environment_is_one_too():
    game = ma2ml_env.game_from_env(lambda: ma2ml_env.parallel_env("digits-v0", "surrogate"))
    direct = ma2ml_env.make_game("digits-v0", "surrogate")
    assert game.spec == direct.spec
    codes = {agent: (0,) * len(nvec) for agent, nvec in game.spec.nvec.items()}
    (trial,) = game.play([Proposal(codes)], [1])
    assert trial.reward == pytest.approx(
        direct.play([Proposal(codes)], [1])[0].reward, abs=0.03
    )  # noise of other seeds


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Match({"left": Box(0, 1), "right": Discrete(2)}), "agent 'left' acts in"),
        (lambda: Match({"left": Discrete(2), "right": MultiDiscrete(np.array([[2, 2]]))}), "agent 'right' acts in"),
    ],
)
def test_other_spaces_are_refused_with_the_agents_name(make, message):
    with pytest.raises(ValueError, match=message):
        ma2ml_env.game_from_env(make)


@pytest.mark.parametrize(
    ("options", "message"), [({"steps": 2}, "not a one-step"), ({"greedy": True}, "not a cooperative")]
)
def test_other_games_are_refused_when_played(options, message):
    game = ma2ml_env.game_from_env(lambda: Match(**options))
    with pytest.raises(ValueError, match=message):
        game.play([Proposal({"left": (0,), "right": (0, 0)})], [0])
