"""Every registered part passes its check: to register is to be tested."""

import importlib
import re

import numpy as np
import pytest

from ma2ml_agents.registry import LEARNERS, make_learner
from ma2ml_env.env import AutoMLEnv, parallel_env
from ma2ml_env.evaluators.base import Evaluator, Job
from ma2ml_env.game import Game
from ma2ml_env.games.make import make_game
from ma2ml_env.games.named import NamedGame
from ma2ml_env.registry import TABLE, names, register, resolve
from ma2ml_env.reward import FlopsReward
from ma2ml_env.testing import (
    check_env,
    check_evaluator,
    check_learner,
    check_module,
    check_reward,
    random_codes,
    random_proposals,
)
from ma2ml_env.trial import GameSpec, Outcome, Proposal, trial_seed, trial_seeds


def jobs_of(game: Game, n: int) -> list[Job]:
    proposals = random_proposals(game.spec, n)
    return [game.job(i, proposal.codes, trial_seed(0, i)) for i, proposal in enumerate(proposals)]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in TABLE for name in TABLE[kind]])
def test_row_resolves(kind, name):
    module, _, attribute = TABLE[kind][name].partition(":")
    assert getattr(importlib.import_module(module), attribute) is resolve(kind, name)


@pytest.mark.parametrize("name", names("modules"))
def test_module(name):
    check_module(resolve("modules", name)())


SMALL = {"hidden": 12, "updates": 2, "critic_steps": 2}
SETTINGS = {name: SMALL for name in ("ma2ml", "ma2ml_paper", "on_policy", "entropy", "single_agent")} | {
    "hybrid": {"policy_settings": SMALL, "rounds": 2}
}
PACKAGES = {"tpe": "optuna", "gp_sampler": "optuna", "catcma": "cmaes", "smac": "smac"}
SLOW = {"gp_sampler", "smac"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in LEARNERS]
)
def test_learner(name):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    spec = GameSpec({"aug": (3, 4), "nas": (2, 5, 3), "hpo": (4,)}, state_dim=4)
    check_learner(lambda: make_learner(name, spec, seed=3, **SETTINGS.get(name, {})), spec)


@pytest.mark.parametrize("reward", [resolve("rewards", "accuracy")(), FlopsReward(6e8), FlopsReward(6e8, hard=True)])
def test_reward(reward):
    check_reward(reward)


def test_every_reward_is_checked_above():
    assert names("rewards") == ["accuracy", "flops"]


class Eager(Evaluator):
    """What `check_evaluator` refuses: all at once, or another number each time."""

    def __init__(self, fault):
        self.fault, self.rng = fault, np.random.default_rng(0)

    def evaluate(self, jobs):
        outcomes = [(i, Outcome(accuracy=float(self.rng.random()))) for i in range(len(jobs))]
        return outcomes if self.fault == "no iterator" else iter(outcomes)


@pytest.mark.parametrize(("fault", "message"), [("no iterator", "iterator"), ("random", "another accuracy again")])
def test_bad_evaluators_are_refused(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_evaluator(Eager(fault), jobs_of(make_game("digits-v0", "surrogate"), 3))


@pytest.mark.parametrize("id", names("games"))
def test_named_game(id):
    named: NamedGame = resolve("games", id)
    assert named.id == id
    assert re.search(r"-v\d$", id)
    game = make_game(id, "surrogate")
    assert game.protocol.budget % game.protocol.batch == 0, "the paper searches whole batches"
    outcomes = check_evaluator(game.evaluator, jobs_of(game, 30))
    assert len({outcome.accuracy for outcome in outcomes.values()}) > 20
    codes = random_codes(game.spec.nvec, 1500, intervals=game.spec.intervals)
    seeds = trial_seeds(0, 0, 1500)
    played = [trial.reward for trial in game.play(random_proposals(game.spec, 1500), seeds.tolist())]
    assert game.score(codes, seeds).tolist() == played  # bit for bit
    assert not np.array_equal(game.score(codes, seeds + 1), played)  # the seed acts: this can fail


@pytest.mark.parametrize("id", names("games"))
def test_env_of_named_game(id):
    check_env(parallel_env(id, "surrogate"), episodes=1000 if id.startswith("digits-") else 50)


TABLE_GAMES = [id for id in names("games") if resolve("games", id).evaluator == "table"]
WITH_MARKS = [pytest.param(id, marks=pytest.mark.extra) if "bench" in id else id for id in TABLE_GAMES]


def table_game(id: str) -> Game:
    try:
        return make_game(id)
    except (FileNotFoundError, ImportError) as error:  # data of others: not in this repository
        pytest.skip(str(error))


def test_every_table_has_a_game():
    assert {resolve("games", id).data for id in TABLE_GAMES} == set(names("tables"))


@pytest.mark.parametrize("id", WITH_MARKS)
def test_table_of_named_game(id):
    game = table_game(id)
    outcomes = check_evaluator(game.evaluator, jobs_of(game, 30))
    assert len({outcome.accuracy for outcome in outcomes.values()}) > 10
    assert all(outcome.fidelity == 1.0 for outcome in outcomes.values())
    codes = random_codes(game.spec.nvec, 1500)
    rows = [Proposal({agent: tuple(c[i].tolist()) for agent, c in codes.items()}) for i in range(1500)]
    played = [trial.reward for trial in game.play(rows, list(range(1500)))]
    assert game.score(codes, np.arange(1500)).tolist() == played  # bit for bit
    check_env(AutoMLEnv(game), episodes=50)


@pytest.mark.parametrize("id", WITH_MARKS)
def test_different_pipelines_of_a_table_have_different_keys(id):
    game = make_game(id, "surrogate")
    codes = random_codes(game.spec.nvec, 500)
    rows = {tuple((agent, tuple(c[i].tolist())) for agent, c in codes.items()) for i in range(500)}
    assert len({game.recipe(dict(row)).key for row in rows}) == len(rows)


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
