"""Every view is the same game: the frameworks' checkers, and the rewards of the parallel environment."""

import gymnasium.utils.env_checker
import numpy as np
import pytest
from pettingzoo.test import api_test, parallel_api_test

import ma2ml_env
from ma2ml_env.testing import random_codes

UNBOUNDED = "ignore:.*A Box observation space m.* value is -?infinity:UserWarning"


def reference(n=5, seed=3):
    env = ma2ml_env.parallel_env("digits-v0", "surrogate")
    codes = random_codes(env.game.spec.nvec, n)
    env.reset(seed=seed)
    rewards = [env.step({a: c[0] for a, c in codes.items()})[1]["nas"]]
    for i in range(1, n):
        env.reset()
        rewards.append(env.step({a: c[i] for a, c in codes.items()})[1]["nas"])
    return codes, rewards


def flat(codes):
    return np.concatenate(list(codes.values()), axis=1)


@pytest.mark.filterwarnings(UNBOUNDED)
def test_checkers():
    gymnasium.utils.env_checker.check_env(ma2ml_env.token_env("digits-v0", "surrogate"), skip_render_check=True)
    gymnasium.utils.env_checker.check_env(ma2ml_env.box_env("digits-v0", "surrogate"), skip_render_check=True)
    for mask in ("dict", "info", None):
        parallel_api_test(ma2ml_env.token_parallel_env("digits-v0", "surrogate", mask=mask), num_cycles=120)


# PettingZoo's checker fails by assertion; its warnings are advice that does not fit (numbered names, bounded states).
@pytest.mark.filterwarnings("ignore::UserWarning:pettingzoo")
def test_aec():
    api_test(ma2ml_env.aec_env("digits-v0", "surrogate"), num_cycles=20)


@pytest.mark.parametrize("mask", ["dict", "info", None])
def test_token_parallel_gives_the_same_reward_at_the_end(mask):
    codes, rewards = reference()
    env = ma2ml_env.token_parallel_env("digits-v0", "surrogate", mask=mask)
    for episode, reward in enumerate(rewards):
        observations, infos = env.reset(seed=3 if episode == 0 else None)
        steps, total = 0, 0.0
        while env.agents:
            actions = {a: int(c[episode][steps]) if steps < c.shape[1] else 0 for a, c in codes.items()}
            if mask is not None:
                masks = observations if mask == "dict" else infos
                assert all(masks[a]["action_mask"][actions[a]] for a in actions)
            observations, got, *_, infos = env.step(actions)
            steps, total = steps + 1, total + got["nas"]
        assert steps == 50
        assert total == reward


def test_token_env_gives_the_same_reward_at_the_end():
    codes, rewards = reference(2)
    env = ma2ml_env.token_env("digits-v0", "surrogate")
    for episode, reward in enumerate(rewards):
        env.reset(seed=3 if episode == 0 else None)
        for i, token in enumerate(flat(codes)[episode]):
            assert env.action_masks()[token]
            _, got, done, _, _ = env.step(int(token))
            assert done == (i == 99)
        assert got == reward
    with pytest.raises(ValueError, match="over"):
        env.step(0)


def test_masked_tokens_are_refused_or_taken_modulo():
    strict = ma2ml_env.token_parallel_env("digits-v0", "surrogate")
    strict.reset(seed=0)
    with pytest.raises(ValueError, match=r"agent 'hpo': this decision has the choices 0\.\.3, 14 is masked"):
        strict.step(dict.fromkeys(strict.agents, 0) | {"hpo": 14})
    lenient = ma2ml_env.token_parallel_env("digits-v0", "surrogate", mask=None)
    lenient.reset(seed=0)
    lenient.step(dict.fromkeys(lenient.agents, 14))


def test_box_covers_every_choice():
    codes, rewards = reference(1)
    env = ma2ml_env.box_env("digits-v0", "surrogate")
    env.reset(seed=3)
    nvec = env.nvec
    middle = (flat(codes)[0] + 0.5) / nvec * 2 - 1
    assert env.step(middle.astype(np.float32))[1] == rewards[0]
    assert env.code(np.full(100, 1.0)).tolist() == (nvec - 1).tolist()
    assert env.code(np.full(100, -1.5)).tolist() == [0] * 100


def test_vector_env_trains_every_step():
    codes, _ = reference(24)
    env = ma2ml_env.vector_env("digits-v0", "surrogate")
    twin = ma2ml_env.vector_env("digits-v0", "surrogate")
    first, _ = env.reset(seed=1)
    assert first.shape == (24, 24)
    plain = ma2ml_env.parallel_env("digits-v0", "surrogate")
    seen = [np.concatenate(list(plain.reset(seed=None if i else 1)[0].values())) for i in range(24)]
    assert np.array_equal(first, seen)  # those of the episodes that are played
    assert np.array_equal(first, twin.reset(seed=1)[0])
    for _ in range(3):
        observations, rewards, terminated, _, infos = env.step(flat(codes))
        assert (rewards > 0).all()
        assert terminated.all()
        assert np.array_equal(infos["final_obs"][0], first[0])
        first = observations
        assert np.array_equal(rewards, twin.step(flat(codes))[1])


SINGLE = {
    "flat": ma2ml_env.flat_env,
    "box": ma2ml_env.box_env,
    "vector": ma2ml_env.vector_env,
    "token": ma2ml_env.token_env,
}


@pytest.mark.parametrize("view", SINGLE)
def test_views_of_one_agent_hand_on_what_decisions_mean(view):
    env, spec = SINGLE[view]("digits-v0", "surrogate"), ma2ml_env.parallel_env("digits-v0", "surrogate").game.spec
    assert len(env.kinds) == len(env.ordered) == sum(map(len, spec.nvec.values()))
    assert [f"aug.{kind}" if kind else "" for kind in spec.kinds["aug"]] == list(env.kinds[:30])
    assert env.ordered[-20:] == spec.ordered["hpo"]
    assert any(env.kinds)
    assert any(env.ordered)


def test_views_of_many_agents_hand_on_what_decisions_mean():
    for make in (ma2ml_env.parallel_env, ma2ml_env.token_parallel_env, ma2ml_env.aec_env):
        env = make("digits-v0", "surrogate")
        spec = ma2ml_env.parallel_env("digits-v0", "surrogate").game.spec
        assert env.kinds["aug"] == spec.kinds["aug"]
        assert env.ordered["hpo"] == spec.ordered["hpo"]
        assert list(env.kinds) == list(env.ordered) == list(spec.nvec)


def test_kinds_of_a_module_without_any_are_empty():
    env = ma2ml_env.parallel_env("trio-digits-v0", "surrogate")
    assert env.kinds == {agent: ("",) * len(nvec) for agent, nvec in env.game.spec.nvec.items()}


CASES = 10_000


@pytest.mark.slow
@pytest.mark.parametrize("observation", ["noise", "constant", "agent"])
def test_the_same_decisions_get_the_same_reward_through_every_view_of_one_step(observation):
    env = ma2ml_env.parallel_env("digits-v0", "surrogate", observation=observation)
    codes = random_codes(env.game.spec.nvec, CASES, seed=2)
    env.reset(seed=6)
    rewards, rows = env.evaluate_batch(codes), flat(codes)
    options = {"evaluator": "surrogate", "observation": observation}
    one, box = ma2ml_env.flat_env("digits-v0", **options), ma2ml_env.box_env("digits-v0", **options)
    middle = ((rows + 0.5) / box.nvec * 2 - 1).astype(np.float32)
    parallel, turns = (make("digits-v0", **options) for make in (ma2ml_env.parallel_env, ma2ml_env.aec_env))
    vector = ma2ml_env.vector_env("digits-v0", num_envs=CASES, **options)
    vector.reset(seed=6)
    assert np.array_equal(vector.step(rows)[1], rewards)
    for i in range(CASES):
        for view in (one, box, parallel, turns):
            view.reset(seed=None if i else 6)
        assert one.step(rows[i])[1] == box.step(middle[i])[1] == rewards[i]
        assert parallel.step({a: c[i] for a, c in codes.items()})[1]["aug"] == rewards[i]
        for agent in turns.agents[:]:
            turns.step(codes[agent][i])
        assert turns.rewards["aug"] == rewards[i]


@pytest.mark.slow
@pytest.mark.parametrize("observation", ["noise", "constant", "agent"])
def test_the_same_decisions_get_the_same_reward_one_decision_a_step(observation):
    """On a game of seven decisions, as every one is a step."""
    env = ma2ml_env.parallel_env("trio-digits-v0", "surrogate", observation=observation)
    codes = random_codes(env.game.spec.nvec, CASES, seed=2)
    env.reset(seed=6)
    rewards, rows = env.evaluate_batch(codes), flat(codes)
    options = {"evaluator": "surrogate", "observation": observation}
    one, many = (make("trio-digits-v0", **options) for make in (ma2ml_env.token_env, ma2ml_env.token_parallel_env))
    for i in range(CASES):
        for view in (one, many):
            view.reset(seed=None if i else 6)
        *_, last = (one.step(int(token))[1] for token in rows[i])
        assert last == rewards[i]
        for step in range(many.steps):
            got = many.step({a: int(c[i][step]) if step < c.shape[1] else 0 for a, c in codes.items()})[1]["aug"]
        assert got == rewards[i]
