import numpy as np
import pytest

import ma2ml_env
from ma2ml_env.testing import random_codes


def env():
    return ma2ml_env.parallel_env("digits-v0", "surrogate")


def joint(e, n=1, seed=0):
    return random_codes(e.game.spec.nvec, n, seed)


def one(e):
    return {agent: codes[0] for agent, codes in joint(e).items()}


def test_agents_are_there_before_reset():
    e = env()
    assert e.possible_agents == ["aug", "nas", "hpo"]
    assert e.agents == []
    assert e.max_num_agents == 3
    assert e.num_agents == 0


def test_last_trial_tells_everything():
    e = env()
    e.reset(seed=3)
    state = e.state()
    _, rewards, *_ = e.step(one(e))
    trial = e.last_trial
    assert trial.reward == rewards["aug"]
    assert trial.proposal.codes == {agent: tuple(a.tolist()) for agent, a in one(e).items()}
    assert np.array_equal(
        np.concatenate([trial.proposal.states[a] for a in e.possible_agents]).astype(np.float32), state
    )


def test_observations_are_new_arrays_and_new_draws():
    e = env()
    first, _ = e.reset(seed=0)
    kept = first["aug"].copy()
    first["aug"][:] = 0
    assert np.array_equal(e.state()[:8], kept)
    second, _ = e.reset()
    assert not np.array_equal(second["aug"], kept)


def test_explicit_seeds_leave_the_episodes_alone():
    e, twin = env(), env()
    actions = joint(e, 5)
    e.reset(seed=1)
    twin.reset(seed=1)
    seeds = np.arange(5)
    assert np.array_equal(e.evaluate_batch(actions, seeds), e.evaluate_batch(actions, seeds))
    assert np.array_equal(e.reset()[0]["nas"], twin.reset()[0]["nas"])


def test_empty_batch():
    e = env()
    assert e.evaluate_batch({a: c[:0] for a, c in joint(e, 1).items()}).shape == (0,)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.pop("nas"), r"agents are \['aug', 'nas', 'hpo'\]"),
        (lambda a: a.update(aug=a["aug"] + 20), "agent 'aug': decision"),
        (lambda a: a.update(aug=a["aug"].astype(float)), "agent 'aug': an action is a vector of integers"),
        (lambda a: a.update(hpo=a["hpo"][:3]), "agent 'hpo': a code of this space has 20 entries, not 3"),
        (lambda a: a.update(hpo=np.int64(1)), "agent 'hpo': an action is a vector"),
    ],
)
def test_bad_actions_name_the_agent_and_keep_the_episode(spoil, message):
    e = env()
    e.reset(seed=0)
    actions = one(e)
    spoil(actions)
    with pytest.raises(ValueError, match=message):
        e.step(actions)
    e.step(one(e))


def test_an_episode_is_one_step():
    e = env()
    with pytest.raises(ValueError, match="reset"):
        e.step(one(e))
    e.reset()
    e.step(one(e))
    with pytest.raises(ValueError, match="reset"):
        e.step(one(e))


def test_gymnasium_registry():
    import gymnasium

    flat = gymnasium.make("ma2ml/digits-v0", evaluator="surrogate")
    flat.reset(seed=0)
    *_, terminated, truncated, info = flat.step(flat.action_space.sample())
    assert terminated
    assert not truncated
    assert 0 < info["accuracy"] < 1


def test_flat_view_gives_the_parallel_rewards():
    flat, e = ma2ml_env.flat_env("digits-v0", "surrogate"), env()
    flat.reset(seed=5)
    e.reset(seed=5)
    action = np.concatenate(list(one(e).values()))
    assert flat.step(action)[1] == next(iter(e.step(one(e))[1].values()))
