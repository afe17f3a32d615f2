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


def test_environments_without_a_seed_differ_and_a_seed_repeats():
    first, second = env(), env()
    assert first.seed != second.seed
    assert not np.array_equal(first.reset()[0]["aug"], second.reset()[0]["aug"])
    kept = first.reset(seed=4)[0]["aug"]
    on = first.reset()[0]["aug"]  # goes on with the stream
    assert not np.array_equal(on, kept)
    assert np.array_equal(second.reset(seed=4)[0]["aug"], kept)
    assert np.array_equal(second.reset()[0]["aug"], on)
    seeded = ma2ml_env.parallel_env("digits-v0", "surrogate", seed=4)
    assert seeded.seed == 4
    assert np.array_equal(seeded.reset()[0]["aug"], kept)
    assert np.array_equal(first.game.evaluator.optimum()[0]["aug"], second.game.evaluator.optimum()[0]["aug"])


def test_a_batch_closes_the_episode_that_is_open():
    e, twin = env(), env()
    e.reset(seed=3)
    twin.reset(seed=3)
    rewards = e.evaluate_batch(joint(e, 3))
    assert rewards[0] == twin.step({a: c[0] for a, c in joint(e, 3).items()})[1]["nas"]
    with pytest.raises(ValueError, match="reset"):
        e.step(one(e))


@pytest.mark.parametrize(("observation", "width"), [("noise", 8), ("constant", 8), ("agent", 4)])
def test_what_agents_observe(observation, width):
    e = ma2ml_env.parallel_env("digits-v0", "surrogate", observation=observation)
    seen, _ = e.reset(seed=3)
    assert {e.observation_space(a).shape for a in e.possible_agents} == {(width,)}
    assert e.state_space.contains(e.state())
    if observation == "constant":
        assert all((each == 1.0).all() for each in seen.values())
    elif observation == "agent":
        assert [seen[a].tolist() for a in seen] == [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]
    else:
        assert len({float(each[0]) for each in seen.values()}) == 3
    _, rewards, *_ = e.step(one(e))
    plain = env()
    plain.reset(seed=3)
    assert rewards == plain.step(one(e))[1], "what is seen changes no episode"
    assert bool(e.last_trial.proposal.states) == (observation == "noise"), "a state that nobody saw is none"


def test_an_unknown_observation_is_named():
    with pytest.raises(ValueError, match="unknown observation 'noice'; did you mean 'noise'"):
        ma2ml_env.parallel_env("digits-v0", "surrogate", observation="noice")


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
