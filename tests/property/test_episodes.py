"""Whatever is called in whatever order, the environment plays the episodes that plain `reset` and `step` play."""

import copy

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ma2ml_env.env import AutoMLEnv, parallel_env
from ma2ml_env.testing import random_codes
from ma2ml_env.trial import trial_seeds

GAME = parallel_env("digits-v0", "surrogate").game
CODES = random_codes(GAME.spec.nvec, 400, seed=5)
CALLS = st.one_of(
    st.just(("reset", 0)),
    st.tuples(st.just("restart"), st.integers(0, 3)),
    st.just(("step", 0)),
    st.tuples(st.just("batch"), st.integers(0, 4)),
    st.tuples(st.just("given"), st.integers(1, 3)),
    st.just(("copy", 0)),
)


class Plain:
    """The same by `reset` and `step` alone."""

    def __init__(self, seed, observation):
        self.env, self.row = AutoMLEnv(GAME, seed, observation=observation), 0

    def one(self):
        actions = {agent: codes[self.row % 400] for agent, codes in CODES.items()}
        self.row += 1
        return self.env.step(actions)[1]["nas"]

    def batch(self, n):
        rewards, states = [], []
        for _ in range(n):
            if not self.env.agents:
                self.env.reset()
            states.append(self.env.state())
            rewards.append(self.one())
        return rewards, states


@settings(max_examples=100, deadline=None)
@given(st.lists(CALLS, max_size=14), st.integers(0, 3), st.sampled_from(["noise", "constant", "agent"]))
def test_any_sequence_of_calls_plays_the_same_episodes(calls, seed, observation):
    env, plain = AutoMLEnv(GAME, seed, observation=observation), Plain(seed, observation)
    row = 0
    for call, number in calls:
        if call in ("reset", "restart"):
            given_seed = number if call == "restart" else None
            seen, _ = env.reset(seed=given_seed)
            same, _ = plain.env.reset(seed=given_seed)
            assert all(np.array_equal(seen[agent], same[agent]) for agent in seen)
        elif call == "step" and env.agents:
            reward = env.step({agent: codes[row % 400] for agent, codes in CODES.items()})[1]["nas"]
            row += 1
            assert reward == plain.one()
        elif call == "batch":
            rows = np.arange(row, row + number) % 400
            upcoming = env.upcoming(number)
            rewards = env.evaluate_batch({agent: codes[rows] for agent, codes in CODES.items()})
            row += number
            wanted, states = plain.batch(number)
            assert rewards.tolist() == wanted
            assert np.array_equal(upcoming.ravel(), np.ravel(states))
            if number:
                assert env.agents == []
        elif call == "given":  # seeds of one's own leave the episodes alone
            actions = {agent: codes[:number] for agent, codes in CODES.items()}
            env.evaluate_batch(actions, trial_seeds(9, 0, number))
        elif call == "copy":
            env = copy.deepcopy(env)
        assert env.agents == plain.env.agents
        assert np.array_equal(env.state(), plain.env.state())
