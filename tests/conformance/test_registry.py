"""Every registered part passes its check: to register is to be tested."""

import importlib

import numpy as np
import pytest

from ma2ml_env.evaluators.base import Job
from ma2ml_env.game import Game
from ma2ml_env.games import NamedGame, make_game
from ma2ml_env.registry import TABLE, names, register, resolve
from ma2ml_env.reward import FlopsReward
from ma2ml_env.testing import check_env, check_evaluator, check_module, check_reward, random_codes
from ma2ml_env.trial import trial_seed, trial_seeds


def jobs_of(game: Game, n: int) -> list[Job]:
    codes = random_codes(game.spec.nvec, n)
    rows = [{agent: tuple(c[i].tolist()) for agent, c in codes.items()} for i in range(n)]
    return [game.job(i, row, trial_seed(0, i)) for i, row in enumerate(rows)]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in TABLE for name in TABLE[kind]])
def test_row_resolves(kind, name):
    module, _, attribute = TABLE[kind][name].partition(":")
    assert getattr(importlib.import_module(module), attribute) is resolve(kind, name)


@pytest.mark.parametrize("name", names("modules"))
def test_module(name):
    check_module(resolve("modules", name)())


@pytest.mark.parametrize("reward", [resolve("rewards", "accuracy")(), FlopsReward(6e8), FlopsReward(6e8, hard=True)])
def test_reward(reward):
    check_reward(reward)


def test_every_reward_is_checked_above():
    assert names("rewards") == ["accuracy", "flops"]


@pytest.mark.parametrize("id", names("games"))
def test_named_game(id):
    named: NamedGame = resolve("games", id)
    assert named.id == id
    assert id.endswith("-v0")
    game = make_game(id, "surrogate")
    assert game.protocol.budget % game.protocol.batch == 0, "the paper searches whole batches"
    outcomes = check_evaluator(game.evaluator, jobs_of(game, 30))
    assert len({outcome.accuracy for outcome in outcomes.values()}) > 20
    codes = random_codes(game.spec.nvec, 1500)
    seeds = trial_seeds(0, 0, 1500)
    from ma2ml_env.trial import Proposal

    rows = [Proposal({agent: tuple(c[i].tolist()) for agent, c in codes.items()}) for i in range(1500)]
    played = [trial.reward for trial in game.play(rows, seeds.tolist())]
    assert game.score(codes, seeds).tolist() == played  # bit for bit
    assert not np.array_equal(game.score(codes, seeds + 1), played)  # the seed acts: this can fail


@pytest.mark.parametrize("id", names("games"))
def test_env_of_named_game(id):
    from ma2ml_env.env import parallel_env

    check_env(parallel_env(id, "surrogate"), episodes=1000 if id == "digits-v0" else 50)


def test_bad_rows_are_refused():
    with pytest.raises(ValueError, match="did you mean 'games'"):
        register("gamez", "x", "a:b")
    with pytest.raises(ValueError, match="already registered"):
        register("module", "aug", "somewhere.else:Aug")
    with pytest.raises(ValueError, match=r"package\.module:attr"):
        register("module", "new", "no_colon")
    with pytest.raises(ValueError, match="did you mean 'digits-v0'"):
        resolve("games", "digit-v0")


def test_register_adds_a_row(monkeypatch):
    monkeypatch.setitem(TABLE, "rewards", dict(TABLE["rewards"]))
    register("reward", "mine", "ma2ml_env.reward:Accuracy")
    assert "mine" in names("rewards")
    assert resolve("rewards", "mine") is resolve("rewards", "accuracy")
