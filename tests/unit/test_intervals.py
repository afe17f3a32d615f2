"""Intervals from the space to the learner: good values, bad ones, and who refuses them."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import gymnasium.utils.env_checker
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, MultiDiscrete
from pettingzoo.test import api_test

import ma2ml_env
from ma2ml_agents.cli.main import main
from ma2ml_agents.registry import LEARNERS, make_learner
from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.evaluators.table import Table
from ma2ml_env.game import Game
from ma2ml_env.modules.hpo_continuous import HpoContinuous
from ma2ml_env.recipe import Recipe
from ma2ml_env.space import Decision, Interval, SearchSpace
from ma2ml_env.store.store import TrialStore
from ma2ml_env.tables.base import TableSource
from ma2ml_env.testing import as_actions, check_env, check_learner, random_codes, random_proposals
from ma2ml_env.trial import GameSpec, Outcome, Proposal, Trial
from tests.unit.test_learners import assert_plain, equal

SPEC = GameSpec({"aug": (3, 4), "nas": (2, 5, 3), "hpo": ()}, state_dim=4, intervals={"nas": 1, "hpo": 2})
QUICK = {"hidden": 12, "updates": 2, "critic_steps": 2}
TAKE_BOTH: dict[str, dict[str, Any]] = {
    "hybrid": {"policy_settings": QUICK, "rounds": 2},
    "ma2ml_exact": {},
    "ma2ml": QUICK,
    "ma2ml_paper": QUICK,
    "on_policy": QUICK,
    "ma2ml_lite": {},
    "random": {},
    "evolution": {},
    "ippo": {},
    "mappo": {},
}


class Module:
    """A module of any space whose values change nothing."""

    def __init__(self, name: str, *parts: Decision | Interval) -> None:
        self.name, self.space = name, SearchSpace(parts)

    def apply(self, recipe: Recipe, values: Any) -> Recipe:
        return recipe


def small_game(**options: Any) -> Game:
    modules = [
        Module("a", Decision("d", (1, 2, 3)), Interval("x", -1.0, 1.0), Decision("e", ("p", "q"))),
        Module("b", Interval("y", 1e-4, 1.0, log=True)),
        Module("c", Decision("f", (1, 2))),
    ]
    spaces = {m.name: m.space for m in modules}
    nvec, intervals = ({a: f(s) for a, s in spaces.items()} for f in (lambda s: s.nvec, lambda s: len(s.intervals)))
    return Game(modules, Surrogate(nvec, intervals, **options))


# ---- spaces ------------------------------------------------------------------------------------------------------------


def test_a_space_of_both():
    space = small_game().modules["a"].space
    assert space.nvec == (3, 2)
    assert [i.name for i in space.intervals] == ["x"]
    assert space.decode((2, 0, 0.75)) == {"d": 3, "e": "p", "x": 0.5}
    assert space.encode({"x": 0.5, "e": "p", "d": 3}) == (2, 0, 0.75)
    assert space.log10_size == pytest.approx(math.log10(6))  # of the decisions
    assert "1 intervals" in repr(space)


def test_scales_and_their_ends():
    linear, log = Interval("x", -2.0, 6.0), Interval("y", 1e-5, 1e-1, log=True)
    assert [linear.value(u) for u in (0.0, 0.25, 1.0)] == [-2.0, 0.0, 6.0]
    assert [log.value(u) for u in (0.0, 0.5, 1.0)] == [1e-5, 1e-3, 1e-1]
    assert [log.position(v) for v in (1e-5, 1e-1)] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interval("x", 1.0, 1.0), "low < high, not 1.0 and 1.0"),
        (lambda: Interval("x", 2.0, 1.0), "'x' needs finite ends"),
        (lambda: Interval("x", math.nan, 1.0), "finite ends"),
        (lambda: Interval("x", 0.0, math.inf), "finite ends"),
        (lambda: Interval("x", 0.0, 1.0, log=True), "above 0, not 0.0"),
        (lambda: Interval("x", -1.0, 1.0, log=True), "above 0"),
        (lambda: SearchSpace([Interval("x", 0.0, 1.0), Decision("x", (1,))]), "unique"),
        (lambda: SearchSpace([]), "at least one"),
        (lambda: HpoContinuous(learning_rates=(0.1, 0.1)), "'learning_rate' needs"),
    ],
)
def test_bad_intervals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ((0, 0), "2 indices and 1 positions, not 2 entries"),
        ((0, 0, 0.5, 0.5), "not 4 entries"),
        ((0, 0, math.nan), "'x' takes a position in"),
        ((0, 0, 1.1), r"'x' takes a position in \[0, 1\], not 1.1"),
        ((0, 0, -0.1), "'x' takes"),
        ((0, 0, "0.5"), "'x' takes"),
        ((0.5, 0, 0.5), "'d' takes an index"),
        ((3, 0, 0.5), "'d' takes an index in 0..2"),
    ],
)
def test_bad_codes(code, message):
    with pytest.raises(ValueError, match=message):
        small_game().modules["a"].space.decode(code)


@pytest.mark.parametrize("value", [1.5, -1.01, math.nan, "0"])
def test_bad_values(value):
    with pytest.raises(ValueError, match=r"is not in 'x', which goes from -1\.0 to 1\.0"):
        small_game().modules["a"].space.encode({"d": 1, "e": "p", "x": value})


# ---- games and environments --------------------------------------------------------------------------------------------


def test_the_environment_of_a_small_game():
    env = ma2ml_env.AutoMLEnv(small_game())
    assert env.game.spec == GameSpec({"a": (3, 2), "b": (), "c": (2,)}, 8, {"a": 1, "b": 1})
    box = Box(0.0, 1.0, (1,), np.float32)
    assert env.action_space("a") == Dict({"decisions": MultiDiscrete([3, 2]), "intervals": box})
    assert env.action_space("b") == Dict({"intervals": box})
    assert env.action_space("c") == MultiDiscrete([2])
    check_env(env, episodes=20)
    env.reset(seed=0)
    env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    assert [type(c) for c in env.last_trial.proposal.codes["a"]] == [int, int, float]


def test_what_a_discrete_game_says_is_as_before():
    game = ma2ml_env.make_game("digits-v0", "surrogate")
    assert game.spec.intervals == {}
    assert all(isinstance(ma2ml_env.AutoMLEnv(game).action_space(a), MultiDiscrete) for a in game.spec.nvec)


GOOD = {
    "a": {"decisions": np.array([1, 1]), "intervals": np.array([0.5])},
    "b": {"intervals": np.array([0.5])},
    "c": np.array([0]),
}


@pytest.mark.parametrize(
    ("agent", "action", "message"),
    [
        ("a", np.array([1.0, 1.0, 0.5]), "'a': an action is a mapping of decisions and intervals"),
        ("a", {"decisions": np.array([1, 1])}, "'a': an action is a mapping of decisions and intervals"),
        ("a", {**GOOD["a"], "more": 1}, "'a': an action is a mapping of decisions and intervals"),
        ("a", {**GOOD["a"], "intervals": np.array([math.nan])}, "'a': interval 'x' takes a position"),
        ("a", {**GOOD["a"], "intervals": np.array([1.5])}, "'a': interval 'x' takes a position"),
        ("a", {**GOOD["a"], "intervals": np.array([0.5, 0.5])}, "'a': an action has 2 decisions and 1 intervals"),
        ("a", {"decisions": np.array([1]), "intervals": np.array([0.5, 0.5])}, "an action has 2 decisions"),
        ("a", {**GOOD["a"], "decisions": np.array([1.0, 1.0])}, "'a': decisions are integers"),
        ("b", np.array([0.5]), "'b': an action is a mapping"),
        ("b", {"intervals": np.array(0.5)}, "'b': an action has 0 decisions"),
        ("c", {"decisions": np.array([0])}, "'c': an action is a vector of integers, not a mapping"),
    ],
)
def test_bad_actions_name_the_agent_and_keep_the_episode(agent, action, message):
    env = ma2ml_env.AutoMLEnv(small_game())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step({**GOOD, agent: action})
    env.step(GOOD)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([[0, 0]], r"floats of shape \(1, 3\)"),
        ([[0.5, 0.0, 0.5]], "row 0: decision 'd' takes a whole number, not 0.5"),
        ([[0.0, 2.0, 0.5]], "decision 'e' takes an index in 0..1"),
        ([[math.nan, 0.0, 0.5]], "decision 'd' takes a whole number"),
        ([[0.0, 0.0, math.nan]], r"row 0: interval 'x' takes a position in \[0, 1\], not nan"),
        ([[0.0, 0.0, -0.1]], "interval 'x' takes"),
    ],
)
def test_bad_rows(row, message):
    game = small_game()
    good = {"b": np.array([[0.5]]), "c": np.array([[0]])}
    assert game.score({**good, "a": np.array([[1.0, 1.0, 0.5]])}, np.array([0])).shape == (1,)
    with pytest.raises(ValueError, match=message):
        game.score({**good, "a": np.array(row)}, np.array([0]))


def test_views_carry_intervals_or_refuse_by_name():
    for view in (ma2ml_env.token_env, ma2ml_env.token_parallel_env, ma2ml_env.box_env, ma2ml_env.vector_env):
        with pytest.raises(ValueError, match=r"view carries decisions alone, and agent 'hpo' has 2 intervals"):
            view("digits-continuous-v0", "surrogate")
    with pytest.raises(ValueError, match="agent 'hpo' acts in Dict"):
        ma2ml_env.game_from_env(lambda: ma2ml_env.parallel_env("digits-continuous-v0", "surrogate"))
    source = type("Source", (TableSource,), {"look_up": None, "spaces": {"hpo": SearchSpace([Decision("d", (1,))])}})()
    with pytest.raises(ValueError, match="'hpo' is not the table's"):
        Table(source, {"hpo": SearchSpace([Decision("d", (1,)), Interval("x", 0.0, 1.0)])})


@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium", "ignore::UserWarning:pettingzoo")
def test_flat_and_aec_views():
    flat, env = ma2ml_env.FlatEnv(ma2ml_env.AutoMLEnv(small_game())), ma2ml_env.AutoMLEnv(small_game())
    gymnasium.utils.env_checker.check_env(flat, skip_render_check=True)
    flat.reset(seed=5)
    env.reset(seed=5)
    whole = {"decisions": np.array([1, 1, 0]), "intervals": np.array([0.5, 0.5])}
    assert flat.step(whole)[1] == env.step(GOOD)[1]["a"]
    flat.reset()
    with pytest.raises(ValueError, match="agent 'a'"):
        flat.step({"decisions": np.array([1, 1, 0])})
    api_test(ma2ml_env.aec_env("digits-continuous-v0", "surrogate"), num_cycles=20)


def test_module_writes_its_slots():
    game = ma2ml_env.make_game("digits-continuous-v0", "surrogate")
    codes = {agent: (0,) * len(nvec) for agent, nvec in game.spec.nvec.items()} | {"hpo": (0.0, 1.0)}
    recipe = game.recipe(codes)
    assert (recipe.learning_rate, recipe.weight_decay) == (0.0015, 8e-3)


# ---- the synthetic landscape -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_planted_optimum_and_what_agents_prefer_by_themselves(seed):
    game = small_game(seed=seed, noise=0.0)
    surrogate = game.evaluator
    best, accuracy = surrogate.optimum()
    codes = random_codes(game.spec.nvec, 20_000, seed, game.spec.intervals)
    found = surrogate.noise_free(codes)[0]
    assert found.max() <= accuracy
    assert found.max() > accuracy - 0.02
    for agent in ("a", "b"):  # a small step away from the peak costs
        moved = {a: np.array([c], dtype=float if a != "c" else int) for a, c in best.items()}
        moved[agent][0, -1] += 0.02
        assert surrogate.noise_free(moved)[0][0] < accuracy
    assert surrogate.separate()[1] < accuracy - 1e-3
    assert surrogate.separate()[0]["a"][2] != best["a"][2]


def test_shares_of_variance_are_those_of_random_codes():
    spec = SPEC
    surrogate = Surrogate(spec.nvec, spec.intervals, seed=1)
    shares = surrogate.shares()
    assert shares["intervals"] == pytest.approx(3 / 8, abs=0.02)  # 3 of 8 parts
    plain = Surrogate(spec.nvec, seed=1)
    assert "intervals" not in plain.shares()
    codes = random_codes(spec.nvec, 200_000, 0, spec.intervals)
    with_peaks = surrogate._tables.look_up(*surrogate._joined(codes))[0]
    tables = plain._tables.look_up(
        *plain._joined({a: c[:, : len(spec.nvec[a])].astype(np.int64) for a, c in codes.items()})
    )[0]
    assert np.var(with_peaks - tables) / np.var(with_peaks) == pytest.approx(shares["intervals"], abs=0.01)
    assert abs(np.corrcoef(with_peaks - tables, tables)[0, 1]) < 0.01  # orthogonal


def test_a_landscape_of_intervals_alone():
    surrogate = Surrogate({"a": (), "b": ()}, {"a": 1, "b": 2}, noise=0.0)
    codes, accuracy = surrogate.optimum()
    assert accuracy == pytest.approx(0.97)
    rows = {agent: np.array([code]) for agent, code in codes.items()}
    assert surrogate.score(rows, np.array([0]))[0][0] == accuracy


# ---- learners ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TAKE_BOTH)
@pytest.mark.parametrize("spec", [SPEC, GameSpec({"a": ()}, 1, {"a": 1})], ids=["both", "one interval"])
def test_learners_keep_their_contract(name, spec):
    check_learner(lambda: make_learner(name, spec, seed=3, **TAKE_BOTH[name]), spec)


def test_every_learner_takes_both_or_refuses_by_name():
    for name in LEARNERS:
        if name not in TAKE_BOTH:
            with pytest.raises(
                ValueError, match=f"learner '{name}' takes decisions alone, and agent 'nas' has 1 inter"
            ):
                make_learner(name, SPEC)


def made_up(proposals: list[Proposal], first: int = 0) -> list[Trial]:
    rewards = [0.9 * p.codes["hpo"][0] + 0.01 * (k % 7) for k, p in enumerate(proposals)]
    return [Trial(k, k, p, Outcome(), r) for k, (p, r) in enumerate(zip(proposals, rewards, strict=True), first)]


@pytest.mark.parametrize("name", TAKE_BOTH)
def test_a_restored_learner_goes_on_to_the_bit(name):
    learner = make_learner(name, SPEC, seed=3, **TAKE_BOTH[name])
    for k in range(2):
        learner.tell(made_up(learner.ask(8), 8 * k))
    state = copy.deepcopy(learner.state_dict())
    assert_plain(state)
    other = make_learner(name, SPEC, seed=99, **TAKE_BOTH[name])
    other.load_state_dict(state)
    for _ in range(2):
        proposals = learner.ask(5)
        assert other.ask(5) == proposals
        assert learner.tell(made_up(proposals)) == other.tell(made_up(proposals))
    assert equal(learner.state_dict(), other.state_dict())


@pytest.mark.parametrize("name", TAKE_BOTH)
def test_ends_are_learned_from_and_bad_positions_refused(name):
    learner = make_learner(name, SPEC, **TAKE_BOTH[name])
    good = {"aug": (0, 1), "nas": (1, 4, 2, 0.0), "hpo": (1.0, 0.0)}
    assert all(math.isfinite(v) for v in learner.tell(made_up([Proposal(good)] * 3)).values())
    before = copy.deepcopy(learner.state_dict())
    for hpo in ((0.5,), (0.5, 1.1), (0.5, math.nan), (-0.1, 0.5)):
        with pytest.raises(ValueError, match=r"trial 9.*'hpo'"):
            learner.tell([Trial(9, 9, Proposal({**good, "hpo": hpo}), Outcome(), 0.0)])
    assert equal(before, learner.state_dict())


@pytest.mark.parametrize("config", [{"credit": "shared"}, {"critic_sees_states": True}, {"capacity": 5}], ids=str)
def test_settings_of_ma2ml(config):
    learner = make_learner("ma2ml", SPEC, **QUICK, **config)
    for k in range(3):
        metrics = learner.tell(made_up(learner.ask(6), 6 * k))
    assert all(math.isfinite(v) for v in metrics.values())


# ---- runs --------------------------------------------------------------------------------------------------------------


def test_proposals_survive_json_bit_for_bit():
    for proposal in random_proposals(SPEC, 50):
        again = Proposal.from_json(json.loads(json.dumps(proposal.to_json())))
        assert again == proposal
        assert [type(c) for c in again.codes["nas"]] == [int, int, int, float]
    ends = Proposal({"a": (1, 1.0, 0.0)})
    assert [type(c) for c in Proposal.from_json(json.loads(json.dumps(ends.to_json()))).codes["a"]] == [
        int,
        float,
        float,
    ]


def search(run: Path, learner: str, budget: int) -> None:
    args = ["--evaluator", "surrogate", "--learner", learner, "--batch", "4", "--budget", str(budget)]
    assert main(["search", "digits-continuous-v0", "--run", str(run), *args]) == 0


@pytest.mark.parametrize("learner", [pytest.param("hybrid", marks=pytest.mark.slow), "ma2ml_lite", "evolution"])
def test_a_run_resumes_and_reads_back(tmp_path, capsys, learner):
    calm, resumed = tmp_path / "calm", tmp_path / "resumed"
    search(calm, learner, 12)
    search(resumed, learner, 4)
    search(resumed, learner, 12)
    with TrialStore(calm) as a, TrialStore(resumed) as b:
        trials = list(a.trials())
        assert [t.to_json()["proposal"] for t in trials] == [t.to_json()["proposal"] for t in b.trials()]
    capsys.readouterr()
    assert main(["trials", str(calm), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Trial.from_json(line) for line in lines] == trials
    assert main(["check", str(calm)]) == 0
    assert main(["show", str(calm)]) == 0
    assert "learning_rate: 0." in capsys.readouterr().out
    assert main(["report", str(calm)]) == 0
    best = json.loads((calm / "best.json").read_text())
    assert set(best["values"]["hpo"]) == {"learning_rate", "weight_decay"}


def test_a_learner_of_decisions_alone_is_one_line_on_stderr(tmp_path, capsys):
    args = ["search", "digits-continuous-v0", "--run", str(tmp_path / "r"), "--evaluator", "surrogate"]
    assert main([*args, "--learner", "tpe"]) == 2
    assert "'tpe' takes decisions alone, and agent 'hpo' has 2 intervals" in capsys.readouterr().err


def test_batches_of_actions_as_mappings():
    env = ma2ml_env.parallel_env("digits-continuous-v0", "surrogate")
    spec = env.game.spec
    codes = random_codes(spec.nvec, 10, 0, spec.intervals)
    seeds = np.arange(10)
    assert np.array_equal(env.evaluate_batch(as_actions(codes, spec), seeds), env.game.score(codes, seeds))
    assert env.evaluate_batch(as_actions({a: c[:0] for a, c in codes.items()}, spec)).shape == (0,)
