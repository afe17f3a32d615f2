"""`benchmark(id)`: answers are what was measured, the clock counts each training once, and what is no question is refused."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_grid import AGENTS, GAME, all_codes, pipelines, small_game, split, trainings

import ma2ml_env
from ma2ml_env.games import trio
from ma2ml_env.games.make import make_game
from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.views.joint import JointSpace
from ma2ml_env.views.queries import Benchmark, benchmark

LIMIT = 5e5
MODULES = tuple((f"{agent}_trio", {}) for agent in AGENTS)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "whole.npz"
    trainings(failing=[(3, 1, "NAN"), (4, 0, "NAN"), (4, 1, "NAN"), (4, 2, "NAN"), (6, 0, "OOM")]).save(path)
    return path


@pytest.fixture(scope="module")
def game(file):
    return small_game("table", data=file)


@pytest.fixture(scope="module")
def costly(file):
    """With a reward of MACs."""
    return small_game("table", data=file, flops_limit=LIMIT)


@pytest.fixture
def bench(game):
    return Benchmark(game)


@pytest.mark.parametrize("noise", [False, True])
def test_answers_are_those_of_the_game(game, costly, noise):
    """In every way of asking; the same reward to the bit, and the same measurement by the same seed."""
    for each in (game, costly):
        bench, codes = Benchmark(each, noise=noise), all_codes(each)
        assert len(bench) == len(codes)
        seeds = np.arange(len(codes)) * 17 if noise else None
        answers = bench.query_batch(codes, seeds=seeds)
        joint = dict(zip(AGENTS, np.split(codes, [2], axis=1), strict=True))
        score = each.evaluator.score(joint, seeds) if noise else each.evaluator.noise_free(joint)
        assert answers.accuracy.tolist() == score[0].tolist()
        assert answers.flops.tolist() == score[1].tolist()
        assert answers.reward.tolist() == each.reward.vector(*score).tolist()
        assert bench.query_batch(joint, seeds=seeds).accuracy.tolist() == answers.accuracy.tolist()
        for i in range(0, len(codes), 7):
            seed = int(seeds[i]) if noise else None
            values = bench.space.values(codes[i])
            dotted = {f"{a}.{name}": value for a, own in values.items() for name, value in own.items()}
            for asked in (codes[i], codes[i].tolist(), tuple(codes[i]), split(each, codes[i]), values, dotted):
                one = bench.query(asked, seed=seed)
                assert one.accuracy == answers.accuracy[i]
                assert one.test_accuracy == answers.test_accuracy[i]
                assert (one.reward, one.params) == (answers.reward[i], answers.params[i])
                assert type(one.accuracy) is float
                assert type(one.flops) is int
            assert values == each.values(split(each, codes[i]))
        assert ((answers.accuracy >= 0) & (answers.accuracy <= 1)).all()
        assert ((answers.test_accuracy >= 0) & (answers.test_accuracy <= 1)).all()


def test_the_optimum_and_regrets_by_brute_force(game, costly):
    for each in (game, costly):
        bench, codes = Benchmark(each), all_codes(each)
        answers = bench.query_batch(codes)
        before = bench.seconds
        for test, accuracy in ((False, answers.accuracy), (True, answers.test_accuracy)):
            reward = each.reward.vector(accuracy, answers.flops)
            values, best = bench.optimum(test=test)
            assert best == reward.max()
            assert values == each.values(split(each, codes[int(reward.argmax())]))
            assert bench.regret_batch(codes, test=test).tolist() == (best - reward).tolist()
            assert bench.regret(values, test=test) == 0.0
            assert bench.regret(codes[5], test=test) == best - reward[5]
        assert bench.seconds == before
    assert Benchmark(game).optimum()[1] == pytest.approx(game.evaluator.optimum()[1])
    assert not np.array_equal(Benchmark(game).regret_batch(codes), Benchmark(costly).regret_batch(codes))


def test_a_curve_ends_in_the_accuracy_and_fails_at_once(bench, game):
    source = game.evaluator.source
    for point, code in enumerate(all_codes(game)[:40]):
        assert bench.curve(code) == dict(zip(bench.epochs, source.mean_curves[point].tolist(), strict=True))
        assert bench.curve(code)[20] == bench.query(code).accuracy
    noisy = Benchmark(game, noise=True)
    assert len({tuple(noisy.curve(code, seed=s).values()) for s in range(40)}) == 3
    assert bench.query(code, epochs=5).accuracy == bench.curve(code)[5]
    assert np.isnan(bench.query(code, epochs=5).test_accuracy)


# ---- the clock -------------------------------------------------------------------------------------------------------


def test_going_on_costs_the_difference_and_asking_twice_nothing(bench):
    code = bench.sample(1, seed=3)[0]
    whole = bench.query(code).seconds
    bench.restart()
    assert bench.seconds == 0.0
    bench.query(code, epochs=5)
    assert bench.seconds == pytest.approx(whole / 4)
    bench.query(code, epochs=2)
    assert bench.seconds == pytest.approx(whole / 4)
    bench.query(code)
    bench.query(code)
    bench.curve(code)
    assert bench.seconds == pytest.approx(whole)


@pytest.mark.parametrize("noise", [False, True])
def test_what_failed_costs_all_its_seconds_at_any_epoch(file, game, noise):
    """As in the game, whose first rung it does not reach; the mean failed where all of its trainings did."""
    halved = small_game("table", data=file, halving=(0.25,), mean=not noise)
    for code in (list(pipelines(game).values())[number][0] for number in (3, 4, 5)):
        for seed in range(6):
            bench = Benchmark(game, noise=noise)
            found = [bench.query(code, epochs, seed if noise else None) for epochs in bench.epochs]
            for job in (halved.job(number, split(halved, code), seed) for number in range(2)):
                ((_, outcome),) = halved.evaluator.evaluate([job])
            assert found[-1].seconds == pytest.approx(outcome.seconds)
            assert bench.seconds == pytest.approx(outcome.seconds)
            share = [1.0 if outcome.status == "failed" else epochs / 20 for epochs in bench.epochs]
            assert [each.seconds for each in found] == pytest.approx([part * outcome.seconds for part in share])


def test_codes_of_one_pipeline_are_trained_once(game, bench):
    same = game.evaluator.source.same
    twin = next(i for i, first in enumerate(same) if first != i)
    bench.query(all_codes(game)[twin])
    before = bench.seconds
    bench.query(all_codes(game)[same[twin]])
    assert bench.seconds == before > 0.0


QUESTION = st.tuples(st.integers(0, 999), st.sampled_from([None, 1, 2, 5, 10, 20]), st.integers(0, 5))


@given(st.lists(st.lists(QUESTION, max_size=6), max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_clock_is_that_of_a_plain_simulation(file, questions, noise):
    """Whatever is asked, one by one or in batches, in whatever order: each training to the furthest epoch asked."""
    game = small_game("table", data=file) if not _GAMES else _GAMES[0]
    _GAMES[:] = [game]
    source, codes = game.evaluator.source, all_codes(game)
    singly, batched = Benchmark(game, noise=noise), Benchmark(game, noise=noise)
    reached = {}
    for batch in questions:
        for number, epochs, seed in batch:
            point, before = number % len(codes), singly.seconds
            singly.query(codes[point], epochs, seed if noise else None)
            assert singly.seconds >= before
            first = source.same[point]
            training = None
            if noise:
                one = {agent: np.array([code]) for agent, code in split(game, codes[point]).items()}
                accuracy = game.evaluator.score(one, np.array([seed]))[0]
                assert singly.query(codes[point], None, seed).accuracy == accuracy[0]
                training = int(singly._trainings(np.array([point]), seed)[0])
                epochs = None
            errors = source.errors[first][~np.isnan(source.values[first])]
            failed = (errors > 0).all() if training is None else errors[training] > 0
            reached[first, training] = 20 if failed else max(reached.get((first, training), 0), epochs or 20)
    for epochs in (None, 1, 2, 5, 10, 20):
        some = [q for batch in questions for q in batch if (None if noise else q[1]) == epochs]
        if some:
            points, _, seeds = map(np.array, zip(*some, strict=True))
            batched.query_batch(codes[points % len(codes)], epochs, seeds if noise else None)
    taken = {
        (point, training): source.mean_seconds[point] if training is None else source.seconds[point, training]
        for point, training in reached
    }
    expected = sum(taken[key] * epochs / 20 for key, epochs in reached.items())
    assert singly.seconds == pytest.approx(expected)
    assert batched.seconds == pytest.approx(expected)


_GAMES = []


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_every_way_of_saying_a_pipeline_is_understood(data):
    """And comes back; choices that look alike are not taken for one another."""
    choices = st.one_of(st.integers(-9, 9), st.floats(allow_nan=False), st.text(max_size=3), st.booleans(), st.none())
    agents = data.draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
    spaces = {}
    for agent in agents:
        lists = data.draw(st.lists(st.lists(choices, min_size=1, max_size=4, unique=True), min_size=1, max_size=3))
        spaces[agent] = SearchSpace([Decision(f"d{i}", tuple(each)) for i, each in enumerate(lists)])
    space = JointSpace(spaces)
    for row in space.sample(5, seed=data.draw(st.integers(0, 99))):
        assert space.code(space.values(row)).tolist() == row.tolist()
        dotted = {f"{a}.{name}": value for a, own in space.values(row).items() for name, value in own.items()}
        assert space.code(dotted).tolist() == row.tolist()


# ---- what is no question ---------------------------------------------------------------------------------------------

VALUES = {
    "aug": {"family": "shift", "strength": "none"},
    "hpo": {"learning_rate": 0.0, "regulariser": "none"},
}


def told(**changes):
    return {agent: {**own, **changes.get(agent, {})} for agent, own in VALUES.items()}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (told(aug={"family": "shifty"}), r"'aug', decision 'family': 'shifty' is not one of .*; the closest is 'shift'"),
        (told(aug={"family": 0}), r"agent 'aug', decision 'family': 0 is not one of"),
        (told(hpo={"learning_rate": 1e9}), r"'learning_rate': 1000000000.0 is not .* the closest is 0\.\d"),
        (told(hpo={"learning_rate": float("nan")}), "'learning_rate': nan is not one of"),
        (told(hpo={"learning_rate": "0.3"}), r"'learning_rate': '0.3' is not .* the closest is 0.3"),
        (told(hpo={"learning_rate": True}), "'learning_rate': True is not one of"),
        (told(hpo={"learning_rate": [0.3]}), "is not one of"),
        (told(hpo={"rate": 0.1}), "no decision 'hpo.rate'; did you mean 'hpo.learning_rate'"),
        ({**VALUES, "nas": {"cells": 1}}, "no decision 'nas.cells'"),
        ({"aug": VALUES["aug"]}, r"hpo.learning_rate, hpo.regulariser is not told"),
        ({"aug.familie": "shift"}, "no decision 'aug.familie'; did you mean 'aug.family'"),
        ({}, "a pipeline has a value of every decision"),
        ([0, 0, 0, 9], r"agent 'hpo', decision 'regulariser' takes an index in 0..\d, not 9; the closest is \d"),
        ([0, -1, 0, 0], r"agent 'aug', decision 'strength' takes an index in 0..\d, not -1; the closest is 0"),
        ([0, 0, 0], "a code is 4 whole numbers"),
        ([0, 0, 0, 0, 0], "a code is 4 whole numbers"),
        ([0.0, 0.0, 0.0, 0.0], "whole numbers .*, not float64"),
        ([True, False, True, True], "not bool"),
        ("0000", "a code is 4 whole numbers"),
        (3, "a code is 4 whole numbers"),
        ({**VALUES, "aug.family": "warp"}, r"aug\.family is said twice"),
        ({"aug.family": "warp", **VALUES}, r"aug\.family is said twice"),
        (told(hpo={"learning_rate": 10**400}), "a number of more than 50 digits is not one of .*; the closest is 0.6"),
        (told(hpo={"learning_rate": -(10**9999)}), "a number of more than 50 digits is not one of .*; the closest is 0.03"),
        ({"aug": np.array([True, False]), "hpo": [0, 0]}, "agent 'aug': codes are whole numbers, not bool"),
        ({"aug": [0.0, 1.0], "hpo": [0, 0]}, "agent 'aug': codes are whole numbers, not float64"),
        ({"aug": [0], "hpo": [0, 0]}, "agent 'aug': codes are 2 indices a row"),
        ({"aug": [0, 0], "hpo": [0, 7]}, "agent 'hpo', decision 'regulariser' takes an index"),
    ],
)  # fmt: skip
def test_what_is_outside_the_space_is_named(bench, asked, message):
    for ask in (bench.query, bench.curve, bench.regret, bench.space.values):
        with pytest.raises(ValueError, match=message):
            ask(asked)
    assert bench.seconds == 0.0, "what is refused is not trained"


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros(4, dtype=int), "a code is 4 whole numbers"),
        (np.zeros((2, 3), dtype=int), "a code is 4 whole numbers"),
        (np.zeros((2, 4)), "not float64"),
        (np.array([[0, 0, 0, 0], [0, 9, 0, 0]]), "row 1: agent 'aug', decision 'strength' .* not 9; the closest is"),
        ({"aug": np.zeros((2, 2), dtype=int)}, "the agents are aug, hpo, not aug"),
        ({"aug": np.zeros((2, 2), dtype=int), "hpo": np.zeros((3, 2), dtype=int)}, "as many rows as others"),
    ],
)
def test_batches_that_are_none(bench, codes, message):
    for ask in (bench.query_batch, bench.regret_batch):
        with pytest.raises(ValueError, match=message):
            ask(codes)


def test_an_empty_batch_has_no_answers(bench):
    assert len(bench.query_batch(np.zeros((0, 4), dtype=int)).accuracy) == 0
    assert bench.seconds == 0.0
    assert bench.sample(0, seed=0).shape == (0, 4)


@pytest.mark.parametrize(
    ("epochs", "message"),
    [(3, r"after 1, 2, 5, 10, 20 epochs, not after 3; the closest is 2"), (40, "the closest is 20"), (0, "closest is 1"),
     (-1, "closest is 1"), (5.0, "a whole number, not 5.0"), (True, "a whole number"), ("5", "a whole number")],
)  # fmt: skip
def test_epochs_that_were_not_measured(bench, epochs, message):
    with pytest.raises(ValueError, match=message):
        bench.query([0, 0, 0, 0], epochs=epochs)


def test_seeds_are_for_noise_alone(game, bench):
    with pytest.raises(ValueError, match="these answers are exact"):
        bench.query([0, 0, 0, 0], seed=1)
    noisy = Benchmark(game, noise=True)
    for seeds in (None, 0.5, "1", True, [1, 2, 3]):
        with pytest.raises(ValueError, match="as many seeds"):
            noisy.query_batch([[0, 0, 0, 0]] * 2, seeds=seeds)
    assert len(set(noisy.query_batch([[0, 0, 0, 0]] * 40, seeds=np.arange(40)).accuracy)) == 3
    assert len(set(noisy.query_batch([[0, 0, 0, 0]] * 40, seeds=7).accuracy)) == 1


def test_what_was_not_measured_has_no_benchmark(file, tmp_path):
    with pytest.raises(ValueError, match="digits-v0 has no table"):
        benchmark("digits-v0")
    with pytest.raises(ValueError, match="did you mean 'trio-digits-v0'"):
        benchmark("trio-digit-v0")
    with pytest.raises(ValueError, match="a table of its own trainings"):
        Benchmark(make_game("digits-v0", "surrogate"))
    with pytest.raises(ValueError, match="make the game without halving"):
        Benchmark(small_game("table", data=file, halving=(0.25,)))
    with pytest.raises(FileNotFoundError):
        benchmark(GAME, data=tmp_path / "none.npz")


def test_without_test_accuracies_or_a_curve(tmp_path):
    table = trainings(epochs=())
    replace(table, test_accuracy=np.full(len(table), np.nan)).save(tmp_path / "bare.npz")
    bench = Benchmark(small_game("table", data=tmp_path / "bare.npz"))
    assert bench.epochs == (20,)
    assert bench.curve([0, 0, 0, 0]) == {20: bench.query([0, 0, 0, 0]).accuracy}
    assert np.isnan(bench.query([0, 0, 0, 0]).test_accuracy)
    for ask in (bench.optimum, lambda test: bench.regret([0, 0, 0, 0], test=test)):
        with pytest.raises(ValueError, match="no test accuracy"):
            ask(test=True)


def test_it_is_light(file, monkeypatch):
    """By its id, without torch; how long it takes, benchmarks/queries.py tells."""
    monkeypatch.setattr(trio, "TRIO_DIGITS", replace(trio.TRIO_DIGITS, measured=str(file), modules=MODULES))
    assert ma2ml_env.benchmark(GAME).query([0, 0, 0, 0]).epochs == 20
    program = f"""
import sys
from dataclasses import replace
import ma2ml_env
from ma2ml_env.games import trio
trio.TRIO_DIGITS = replace(trio.TRIO_DIGITS, measured={str(file)!r}, modules={MODULES!r})
before = set(sys.modules)
ma2ml_env.benchmark({GAME!r}).query([0, 0, 0, 0])
new = {{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
print(*new - {{"ma2ml_env", "numpy"}})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# ---- the extra `configspace` -----------------------------------------------------------------------------------------


def test_a_missing_extra_is_named(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "ConfigSpace", None)
    with pytest.raises(ImportError, match=r"pip install 'ma2ml\[configspace\]'"):
        bench.space.to_configspace()


@pytest.mark.extra
def test_configurations_both_ways(bench):
    ConfigSpace = pytest.importorskip(
        "ConfigSpace", reason="ConfigSpace is not installed: pip install 'ma2ml[configspace]'"
    )
    space = bench.space.to_configspace(seed=1)
    assert list(space) == list(bench.space.decisions)
    assert isinstance(space["hpo.learning_rate"], ConfigSpace.OrdinalHyperparameter)
    assert isinstance(space["aug.family"], ConfigSpace.CategoricalHyperparameter)
    for configuration in space.sample_configuration(20):
        code = bench.space.code(configuration)
        assert bench.query(configuration) == bench.query(code)
        values = {f"{a}.{n}": v for a, own in bench.space.values(code).items() for n, v in own.items()}
        assert ConfigSpace.Configuration(space, values) == configuration
