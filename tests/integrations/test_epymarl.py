"""EPyMARL's contract: what its `MultiAgentEnv` promises, and what its runners do with it. EPyMARL is not needed."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import ma2ml_env
from ma2ml_env.integrations.epymarl import epymarl_env

GAME = {"key": "trio-digits-v0", "evaluator": "surrogate"}
METHODS = """step get_obs get_obs_agent get_obs_size get_state get_state_size get_avail_actions get_avail_agent_actions
get_total_actions reset render close seed save_replay get_env_info get_stats"""
"""of `src/envs/multiagentenv.py`"""


def run(env, choose):
    """An episode as `EpisodeRunner.run` plays it: (return, stats, what a batch holds of each step, actions)."""
    env.reset()
    total, steps, terminated, taken = 0, [], False, []
    while not terminated:
        assert len(steps) < env.episode_limit  # a batch has no more columns
        before = (env.get_state(), env.get_avail_actions(), env.get_obs())
        actions = choose(before[1])
        _, reward, terminated, truncated, info = env.step(actions)
        terminated = terminated or truncated
        total += reward
        steps.append((*before, reward, terminated != info.get("episode_limit", False)))
        taken.append([int(each) for each in actions])
    last = (env.get_state(), env.get_avail_actions(), env.get_obs())  # it acts once more, for the bootstrap
    choose(last[1])
    stats = {key: 0 + value for key, value in info.items()}
    return total, stats, [*steps, last], taken


def draw(rng):
    """A masked draw, as a tensor: what EPyMARL's selectors give."""

    def choose(available):
        return torch.tensor([rng.choice(np.flatnonzero(each)) for each in available])

    return choose


def test_it_has_every_method_of_the_contract():
    env = epymarl_env(**GAME)
    assert all(callable(getattr(env, name)) for name in METHODS.split())
    assert env.get_env_info() == {
        "state_shape": 3 * env.get_obs_size(), "obs_shape": 1 + 3 + 1 + 3, "n_actions": 4, "n_agents": 3, "episode_limit": 3,
    }  # fmt: skip
    assert (env.render(), env.save_replay(), env.get_stats()) == (None, None, {})
    env.close()


def test_sizes_are_equal_and_as_told_at_every_step():
    env = epymarl_env(**GAME)
    info = env.get_env_info()
    *_, steps, _ = run(env, draw(np.random.default_rng(0)))
    assert len(steps) == info["episode_limit"] + 1
    for state, available, seen, *_ in steps:
        assert state.shape == (info["state_shape"],)
        assert state.dtype == np.float32
        assert np.array_equal(state, np.concatenate(seen))
        assert [each.shape for each in seen] == [(info["obs_shape"],)] * 3
        assert np.array(available).shape == (3, info["n_actions"])
        assert np.array(available).any(axis=1).all()  # there is always something to choose
        assert all(np.array_equal(env.get_obs_agent(i), each) for i, each in enumerate(env.get_obs()))
    assert steps[-1][1] == [[1, 0, 0, 0]] * 3


def test_the_last_reward_is_kept_and_is_the_games_own():
    """Ten episodes beside the parallel environment's: same seed, same decisions, same reward, once and not three times."""
    env, beside = epymarl_env(**GAME, seed=4), ma2ml_env.parallel_env("trio-digits-v0", "surrogate")
    rng, nvec = np.random.default_rng(1), beside.game.spec.nvec
    for episode in range(10):
        total, stats, steps, taken = run(env, draw(rng))
        beside.reset(seed=None if episode else 4)
        codes = {agent: np.array(taken)[: len(sizes), i] for i, (agent, sizes) in enumerate(nvec.items())}
        reward = beside.step(codes)[1]["aug"]
        assert isinstance(total, float)
        assert total == reward > 0
        assert [step[3] for step in steps[:-1]] == [0.0, 0.0, reward]
        assert [step[4] for step in steps[:-1]] == [False, False, True]
        assert stats["accuracy"] == reward
        assert all(isinstance(value, float) for value in stats.values())


def test_its_own_wrapper_of_pettingzoo_loses_every_reward():
    """The control: when all are done, that wrapper takes the agents' rewards for missing and gives zeros."""
    env = ma2ml_env.token_parallel_env("trio-digits-v0", "surrogate", mask=None)
    env.reset(seed=0)
    theirs = []
    while env.agents:
        _, rewards, dones, *_ = env.step(dict.fromkeys(env.agents, 0))
        theirs.append([0] * 3 if all(dones.values()) else [rewards[agent] for agent in env.agents])
    assert np.sum(theirs) == 0.0
    assert run(epymarl_env(**GAME), lambda available: [0, 0, 0])[0] > 0


@pytest.mark.parametrize("scalarisation", ["sum", "mean"])
def test_a_shared_reward_is_not_added_up(scalarisation):
    def choose(available):  # the second choice, where there is one
        return [int(sum(each) > 1) for each in available]

    once = run(epymarl_env(**GAME, seed=0, reward_scalarisation=scalarisation), choose)[0]
    env = epymarl_env(**GAME, seed=0, common_reward=False, reward_scalarisation=scalarisation)
    env.reset()
    told = []
    for _ in range(3):
        told.append(env.step(choose(env.get_avail_actions()))[1])
    assert told == [[0.0] * 3, [0.0] * 3, [once] * 3]


def test_masks_are_the_decisions_at_hand():
    env = epymarl_env(**GAME)
    env.reset()
    nvec = [(4, 3), (4, 2, 2), (4, 4)]
    for step in range(3):
        choices = [sizes[step] if step < len(sizes) else 1 for sizes in nvec]
        assert [sum(each) for each in env.get_avail_actions()] == choices
        assert [each.index(0) if 0 in each else 4 for each in env.get_avail_actions()] == choices
        env.step([0, 0, 0])


def test_a_seed_starts_the_next_reset():
    first, second = epymarl_env(**GAME, seed=1), epymarl_env(**GAME, observation="noise")
    second.seed(1)
    for _ in range(3):  # both go on
        assert run(first, lambda _: [0, 0, 0])[0] == run(second, lambda _: [0, 0, 0])[0]
    second.seed(1)
    assert not np.array_equal(second.reset()[0][0], second.reset()[0][0])


def test_all_pipelines_can_be_reached_and_no_other():
    """Masked draws reach exactly the codes that the game has."""
    env, seen = epymarl_env(**GAME), set()
    rng = np.random.default_rng(0)
    for _ in range(300):
        taken = run(env, draw(rng))[3]
        seen |= {(i, step, action) for step, actions in enumerate(taken) for i, action in enumerate(actions)}
    choices = [(4, 3, 1), (4, 2, 2), (4, 4, 1)]
    assert seen == {(i, s, a) for i, sizes in enumerate(choices) for s, n in enumerate(sizes) for a in range(n)}


def test_bad_input():
    env = epymarl_env(**GAME)
    assert env.get_avail_actions() == [[0] * 4] * 3  # before the first reset
    assert env.get_state().tolist() == [0.0] * env.get_state_size()
    with pytest.raises(ValueError, match="this episode is over"):
        env.step([0, 0, 0])
    env.reset()
    with pytest.raises(ValueError, match="3 agents act, not 2"):
        env.step([0, 0])
    with pytest.raises(ValueError, match=r"agent 'aug': this decision has the choices 0\.\.3, 4 is masked"):
        env.step([4, 0, 0])
    with pytest.raises(ValueError, match="an episode of trio-digits-v0 has 3 steps, more than time_limit=2"):
        epymarl_env(**GAME, time_limit=2)
    assert epymarl_env(**GAME, time_limit=25).episode_limit == 3
    with pytest.raises(ValueError, match=r"unknown reward_scalarisation 'summ'.*'sum'"):
        epymarl_env(**GAME, reward_scalarisation="summ")
    with pytest.raises(ValueError, match="no pretrained agents"):
        epymarl_env(**GAME, pretrained_wrapper="PretrainedTag")
    with pytest.raises(ValueError, match="did you mean 'trio-digits-v0'"):
        epymarl_env("trio-digit-v0", "surrogate")
    with pytest.raises(ValueError, match="agent 'hpo' has 2 intervals"):
        epymarl_env("digits-continuous-v0", "surrogate")


def test_nothing_of_epymarl_or_torch_is_imported():
    program = "import sys, ma2ml_env.integrations.epymarl; print({'envs', 'torch', 'epymarl'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "set()"
