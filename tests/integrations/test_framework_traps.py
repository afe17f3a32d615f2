"""What broke other people's libraries on games of this shape: each trap has a test that our views keep out of it.

Where a library shares our environment, a control shows that the trap is real. Those of RLlib, AgileRL and tianshou are in
`tests/frameworks_apart`, which `make frameworks` runs; EPyMARL's are in `test_epymarl.py`.
"""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import ma2ml_env
from ma2ml_env.testing import random_codes

GAME = ("trio-digits-v0", "surrogate")
SINGLE = {"flat": ma2ml_env.flat_env, "box": ma2ml_env.box_env, "token": ma2ml_env.token_env}
quiet = [  # the libraries' own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def token(mask):
    return ma2ml_env.token_parallel_env(*GAME, mask=mask)


def test_native_observations_are_boxes_without_a_mask():
    """PettingZoo 1.27 takes an `action_mask` for one of a Discrete; RLlib needs a connector for observations that are dicts."""
    env = ma2ml_env.parallel_env(*GAME)
    seen, infos = env.reset(seed=0)
    assert all(isinstance(env.observation_space(a), Box) and isinstance(seen[a], np.ndarray) for a in env.agents)
    assert all("action_mask" not in info for info in infos.values())


def test_no_buffer_is_handed_out_twice():
    """Gymnasium 1.4 fails an environment whose observations share memory; a rollout would hold the last one n times."""
    for make in (*SINGLE.values(), ma2ml_env.vector_env):
        env = make(*GAME)
        seen = [env.reset(seed=0)[0], env.step(env.action_space.sample())[0], env.reset()[0], env.reset()[0]]
        assert not any(np.shares_memory(a, b) for i, a in enumerate(seen) for b in seen[:i])
    for env in (ma2ml_env.parallel_env(*GAME), token(None), token("dict")):
        seen = [env.reset()[0]["aug"] for _ in range(3)]
        seen = [each["observation"] if isinstance(each, dict) else each for each in seen]
        assert not any(np.shares_memory(a, b) for i, a in enumerate(seen) for b in seen[:i])


@pytest.mark.parametrize("view", ["native", "dict", "info", "None"])
def test_infos_hold_numbers_and_the_same_keys_always(view):
    """TorchRL refuses strings in infos, and keys that come only with a step."""
    env = ma2ml_env.parallel_env(*GAME) if view == "native" else token(None if view == "None" else view)
    _, infos = env.reset(seed=0)
    told = [infos]
    while env.agents:
        told.append(env.step({agent: 0 * env.action_space(agent).sample() for agent in env.agents})[-1])
    assert len({tuple(info) for infos in told for info in infos.values()}) == 1
    kinds = {type(value) for infos in told for info in infos.values() for value in info.values()}
    assert kinds <= {float, np.ndarray}
    assert (np.ndarray in kinds) == (view == "info")


def test_token_agents_have_equal_spaces_and_native_ones_do_not():
    """Tianshou, AgileRL's groups and SuperSuit want agents alike; EPyMARL and BenchMARL want a Discrete."""
    native = ma2ml_env.parallel_env(*GAME)
    assert len({str(native.action_space(a)) for a in native.possible_agents}) == 3
    for mask in ("dict", "info", None):
        env = token(mask)
        for spaces in (env.action_spaces, env.observation_spaces):
            assert all(space == spaces["aug"] for space in spaces.values())
        assert env.action_space("aug").n == 4


def test_gymnasiums_own_autoreset_makes_every_second_step_a_reset():
    """The control; with SAME_STEP, and in the vector view, every step is a pipeline."""
    codes = random_codes(ma2ml_env.parallel_env(*GAME).game.spec.nvec, 2)
    rows = np.concatenate(list(codes.values()), axis=1)

    def rewards(env):
        env.reset(seed=0)
        return np.array([env.step(rows)[1] for _ in range(4)])

    def flat():
        return ma2ml_env.flat_env(*GAME)

    usual = rewards(SyncVectorEnv([flat, flat]))
    assert (usual[1::2] == 0).all()
    assert (usual[::2] > 0).all()
    assert (rewards(SyncVectorEnv([flat, flat], autoreset_mode=AutoresetMode.SAME_STEP)) > 0).all()
    vector = ma2ml_env.vector_env(*GAME, num_envs=2)
    assert vector.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert (rewards(vector) > 0).all()


def test_every_agents_reward_is_the_shared_one():
    """RLlib and AgileRL report the sum over agents: three times this."""
    env = ma2ml_env.parallel_env(*GAME)
    env.reset(seed=0)
    rewards = env.step({agent: env.action_space(agent).sample() for agent in env.agents})[1]
    assert set(rewards.values()) == {env.last_trial.reward}
    assert sum(rewards.values()) == pytest.approx(3 * env.last_trial.reward)


def test_registered_games_are_checked_by_gymnasium():
    """`gymnasium.make` puts its checker over an environment, and the checker is strict about spaces."""
    env = gymnasium.make("ma2ml/trio-digits-v0", evaluator="surrogate", observation="constant")
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[1] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "low", "high"), [({}, 0.3, 1.0), ({"learning_rate": 2e-5}, 0.0, 0.2)])
def test_ppos_defaults_clip_most_samples_of_a_hundred_decisions(settings, low, high):
    """One ratio over all decisions: with the defaults an update leaves the trusted region at once."""
    from stable_baselines3 import PPO

    env = ma2ml_env.flat_env("digits-v0", "surrogate", observation="constant")
    model = PPO("MlpPolicy", env, n_steps=48, batch_size=48, seed=0, device="cpu", **settings)
    model.learn(48)
    assert low <= model.logger.name_to_value["train/clip_fraction"] <= high


class TestSuperSuit:
    pytestmark = quiet

    def test_it_refuses_native_agents_and_its_padding_refuses_multidiscrete(self):
        supersuit = pytest.importorskip("supersuit", reason="SuperSuit is not installed (extra supersuit)")
        with pytest.raises(AssertionError, match="not consistent"):
            supersuit.pettingzoo_env_to_vec_env_v1(ma2ml_env.parallel_env(*GAME))
        with pytest.raises(AssertionError):
            supersuit.pad_action_space_v0(ma2ml_env.parallel_env(*GAME))

    def test_the_token_view_is_three_environments_and_the_reward_comes_to_all(self):
        supersuit = pytest.importorskip("supersuit", reason="SuperSuit is not installed (extra supersuit)")
        env = supersuit.pettingzoo_env_to_vec_env_v1(token(None))
        env.reset(seed=0)
        steps = [env.step(np.zeros(3, dtype=np.int64)) for _ in range(6)]
        rewards = np.array([rewards for _, rewards, *_ in steps])
        assert (rewards[[2, 5]] > 0).all()
        assert (rewards[[0, 1, 3, 4]] == 0).all()
        assert [bool(ends.all()) for _, _, ends, *_ in steps] == [False, False, True] * 2


class TestTorchRL:
    pytestmark = quiet

    def wrapped(self, env, **more):
        pytest.importorskip("torchrl", reason="TorchRL is not installed (extra torchrl)")
        from torchrl.envs import MarlGroupMapType
        from torchrl.envs.libs.pettingzoo import PettingZooWrapper

        return PettingZooWrapper(env, group_map=MarlGroupMapType.ALL_IN_ONE_GROUP, **more)

    def test_one_group_of_all_agents_fails_on_native_and_works_on_tokens(self):
        with pytest.raises((RuntimeError, ValueError)):
            self.wrapped(ma2ml_env.parallel_env(*GAME)).rollout(1)
        played = self.wrapped(token("dict"), use_mask=True).rollout(10)
        assert played.shape == (3,)
        assert (played["next", "agents", "reward"][-1] > 0).all()

    def test_native_agents_play_in_groups_of_their_own(self):
        pytest.importorskip("torchrl", reason="TorchRL is not installed (extra torchrl)")
        from torchrl.envs import check_env_specs
        from torchrl.envs.libs.pettingzoo import PettingZooWrapper

        env = PettingZooWrapper(ma2ml_env.parallel_env(*GAME))
        check_env_specs(env)
        assert (env.rollout(1)["next", "aug", "reward"] > 0).all()


class TestBenchMARL:
    pytestmark = quiet

    @pytest.mark.parametrize("continuous", [False, True])
    def test_mixing_and_central_critics_see_all_agents(self, continuous):
        """They stay inside a group, and without a state its MAPPO is IPPO."""
        pytest.importorskip("benchmarl", reason="BenchMARL is not installed (extra benchmarl)")
        from ma2ml_env.integrations.benchmarl import benchmarl_task

        task = benchmarl_task(*GAME, observation="agent")
        env = task.get_env_fun(2, continuous, 0, "cpu")()
        assert task.group_map(env) == {"agents": ["aug", "nas", "hpo"]}
        width = task.observation_spec(env)["agents", "observation"].shape[-1]
        assert task.state_spec(env)["state"].shape[-1] == 3 * width
        assert (task.action_mask_spec(env) is None) == continuous
