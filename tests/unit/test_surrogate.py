"""The landscape is what its docstring says: shares of variance, a planted optimum, agents that must cooperate."""

import numpy as np
import pytest

from ma2ml_env.evaluators.surrogate import Surrogate
from ma2ml_env.games.make import make_game
from ma2ml_env.testing import random_codes

SMALL = [{"a": (3, 2), "b": (2, 3)}, {"a": (2,), "b": (2,)}, {"a": (3, 3, 3, 2), "b": (2, 2, 4), "c": (2, 2)}]


def every_code(nvec):
    sizes = [n for sizes in nvec.values() for n in sizes]
    grid = np.indices(sizes).reshape(len(sizes), -1).T
    ends = np.cumsum([len(s) for s in nvec.values()])
    return dict(zip(nvec, np.split(grid, ends[:-1], axis=1), strict=True))


def scores(surrogate, codes):
    return surrogate.score(codes, np.zeros(len(next(iter(codes.values()))), dtype=np.int64))[0]


@pytest.mark.parametrize("seed", range(5))
def test_optimum_is_the_best_of_all_codes(seed):
    for nvec in SMALL:
        surrogate = Surrogate(nvec, seed=seed, noise=0.0)
        codes = every_code(nvec)
        accuracy = scores(surrogate, codes)
        best, value = surrogate.optimum()
        assert accuracy.max() == value == pytest.approx(surrogate.landscape.top)
        assert {a: tuple(c[accuracy.argmax()].tolist()) for a, c in codes.items()} == best


@pytest.mark.parametrize("seed", range(5))
def test_each_agents_separate_best_joined_is_worse(seed):
    """By enumeration: average every agent's codes over the others', join the best, and miss the optimum."""
    for nvec in SMALL:
        surrogate = Surrogate(nvec, seed=seed, noise=0.0)
        codes = every_code(nvec)
        z = surrogate._tables.look_up(np.concatenate(list(codes.values()), axis=1), np.empty((0, 0)))[0]
        joined = {}
        for agent, own in codes.items():
            unique, inverse = np.unique(own, axis=0, return_inverse=True)
            marginal = np.bincount(inverse.ravel(), weights=z)
            joined[agent] = tuple(unique[marginal.argmax()].tolist())
        codes_, accuracy = surrogate.separate()
        assert joined == codes_
        assert accuracy < surrogate.optimum()[1]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_paper_size_landscape(seed):
    surrogate = make_game("cifar10-v0", "surrogate", seed=seed, noise=0.0).evaluator
    codes = random_codes(surrogate.nvec, 20_000, seed=seed)
    accuracy, flops = surrogate.score(codes, np.zeros(20_000, dtype=np.int64))
    assert 0.3 <= np.corrcoef(accuracy, flops)[0, 1] <= 0.7
    # Main effects by regression on all one-hot decisions: an estimate that knows nothing of the tables.
    joint = np.concatenate(list(codes.values()), axis=1)
    sizes = [n for s in surrogate.nvec.values() for n in s]
    columns = [(joint[:, d] == k) for d, n in enumerate(sizes) for k in range(1, n)]
    design = np.column_stack([np.ones(len(joint)), *columns])
    fitted = design @ np.linalg.lstsq(design, accuracy, rcond=None)[0]
    explained = 1 - (accuracy - fitted).var() / accuracy.var()
    assert 0.40 <= explained <= 0.70
    # Interactions across agents, and within: the change that is left when one agent's codes are swapped between pipelines
    # (Sobol: var of the mixed difference / 4 x var is the share of interactions between that agent and the rest).
    half = len(joint) // 2
    first, second = {a: c[:half] for a, c in codes.items()}, {a: c[half:] for a, c in codes.items()}
    across = [
        (scores(surrogate, first) - scores(surrogate, {**first, agent: second[agent]})
         - scores(surrogate, {**second, agent: first[agent]}) + scores(surrogate, second)).var() / 4 / accuracy.var()
        for agent in surrogate.nvec
    ]  # fmt: skip
    assert sum(across) / 2 >= 0.15  # with pairs, each interaction is counted by both of its agents
    assert 1 - explained - sum(across) / 2 >= 0.10
    best, value = surrogate.optimum()
    assert value > accuracy.max() + 0.05
    # No single change of the optimum is better: it is a peak, by whole-space construction and by test.
    for agent, code in best.items():
        for d, n in enumerate(surrogate.nvec[agent]):
            rows = np.tile(np.array(code), (n, 1))
            rows[:, d] = np.arange(n)
            neighbours = {a: np.tile(np.array(c), (n, 1)) for a, c in best.items()} | {agent: rows}
            assert scores(surrogate, neighbours).argmax() == code[d]


def test_shares_are_settable():
    nvec = make_game("cifar10-v0", "surrogate").spec.nvec
    for main, across in ((0.7, 0.2), (0.4, 0.5), (0.55, 0.28)):
        shares = Surrogate(nvec, main=main, across=across).shares()
        assert shares["main"] == pytest.approx(main, abs=0.03)
        assert shares["across"] == pytest.approx(across, abs=0.03)
        assert sum(shares.values()) == pytest.approx(1)


def test_noise_has_its_deviation_and_is_a_function_of_seed_and_code():
    nvec = SMALL[2]
    noisy, calm = Surrogate(nvec, noise=0.003), Surrogate(nvec, noise=0.0)
    codes = random_codes(nvec, 20_000)
    seeds = np.arange(20_000)
    difference = noisy.score(codes, seeds)[0] - calm.score(codes, seeds)[0]
    assert difference.std() == pytest.approx(0.003, rel=0.03)  # six standard errors of a deviation
    assert abs(difference.mean()) < 0.003 * 6 / np.sqrt(20_000)
    assert np.array_equal(noisy.score(codes, seeds)[0], Surrogate(nvec, noise=0.003).score(codes, seeds)[0])
    again = noisy.score(codes, seeds + 1)[0] - calm.score(codes, seeds)[0]
    assert abs(np.corrcoef(difference, again)[0, 1]) < 0.05
    other = Surrogate(nvec, seed=1)
    assert not np.array_equal(other.score(codes, seeds)[0], noisy.score(codes, seeds)[0])


def test_one_row_is_the_same_as_in_a_crowd():
    surrogate = make_game("cifar10-v0", "surrogate").evaluator
    codes, seeds = random_codes(surrogate.nvec, 3000), np.arange(3000)
    accuracy, flops = surrogate.score(codes, seeds)
    for i in (0, 1, 7, 1023, 1024, 2999):
        one = surrogate.score({a: c[i : i + 1] for a, c in codes.items()}, seeds[i : i + 1])
        assert (one[0][0], one[1][0]) == (accuracy[i], flops[i])


def test_one_agent_and_single_choices():
    alone = Surrogate({"a": (3, 4, 1, 5)}, noise=0.0)
    assert scores(alone, every_code(alone.nvec)).max() == pytest.approx(alone.optimum()[1])
    assert alone.shares()["across"] == 0.0


def test_bad_options():
    with pytest.raises(ValueError, match="not options of the surrogate: noisy"):
        Surrogate({"a": (2,)}, noisy=1)
    with pytest.raises(ValueError, match="centre < top"):
        Surrogate({"a": (2,)}, centre=0.9, top=0.5)


KINDS = [
    ({"a": (3, 3, 3), "b": (2, 3, 3, 2)}, {"a": ("k", "k", "k"), "b": ("", "o", "o", "")}, {"a": (True, True, True)}),
    ({"a": (2, 4, 4, 4), "b": (3, 3)}, {"a": ("", "k", "k", "k"), "b": ("o", "o")}, {"a": (False, True, True, True)}),
    ({"a": (3, 3, 3, 2)}, {"a": ("k", "k", "k", "")}, {"a": (True, True, True, False)}),  # nobody else moves the peak
    ({"a": (3, 3, 3), "b": (2, 2, 2)}, {"a": ("k",) * 3, "b": ("k",) * 3}, {"a": (True,) * 3, "b": (True,) * 3}),
]
SYMMETRIC = {"shared": 0.5, "means": 0.3, "floor": 0.2}


def symmetric(case, seed, **options):
    nvec, kinds, ordered = KINDS[case]
    return Surrogate(nvec, {}, kinds, ordered, **{"seed": seed, "noise": 0.0, **SYMMETRIC, **options}), every_code(nvec)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("case", range(len(KINDS)))
def test_with_symmetries_the_optimum_is_the_best_of_all_codes_and_shares_are_exact(case, seed):
    surrogate, codes = symmetric(case, seed)
    accuracy, (best, value) = scores(surrogate, codes), surrogate.optimum()
    assert accuracy.max() == value == pytest.approx(surrogate.landscape.top)
    assert scores(surrogate, {a: np.array([code]) for a, code in best.items()})[0] == value
    tables, joint = surrogate._tables, np.concatenate(list(codes.values()), axis=1)
    z, means = tables.look_up(joint, np.empty((0, 0)))[0], tables.means.score(joint)
    assert z.mean() == pytest.approx(0.0, abs=1e-12) == means.mean()
    assert means.var() / z.var() == pytest.approx(surrogate.shares()["means"])
    assert (means * (z - means)).mean() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("case", range(len(KINDS)))
def test_with_symmetries_each_agents_separate_best_is_what_enumeration_says(case, seed):
    surrogate, codes = symmetric(case, seed)
    z = surrogate._tables.look_up(np.concatenate(list(codes.values()), axis=1), np.empty((0, 0)))[0]
    separate, accuracy = surrogate.separate()
    for agent, own in codes.items():
        unique, inverse = np.unique(own, axis=0, return_inverse=True)
        marginal = np.bincount(inverse.ravel(), weights=z)
        here = (unique == separate[agent]).all(axis=1).argmax()
        assert marginal[here] == pytest.approx(marginal.max())
    assert accuracy <= surrogate.optimum()[1]


def test_what_symmetries_do_is_seen_and_without_them_it_is_not():
    """Order within a kind, the common effect, the long lower tail: each beside a landscape that lacks it."""
    game = make_game("cifar10-v1", "surrogate", seed=3, noise=0.0)
    surrogate, plain = game.evaluator, make_game("cifar10-v0", "surrogate", seed=3, noise=0.0).evaluator
    codes = random_codes(game.spec.nvec, 4000, seed=0)
    rates = [i for i, kind in enumerate(game.spec.kinds["hpo"]) if kind == "learning_rate"]
    swapped = {**codes, "hpo": codes["hpo"].copy()}
    swapped["hpo"][:, rates] = codes["hpo"][:, rates[::-1]]
    assert np.array_equal(scores(surrogate, codes), scores(surrogate, swapped))
    assert not np.array_equal(scores(plain, codes), scores(plain, swapped))
    types = [i for i, kind in enumerate(game.spec.kinds["aug"]) if kind == "type"]

    def agreement(of):
        tables = of._tables
        own = [tables.effects[tables.main[i] : tables.main[i] + tables.sizes[i]] for i in types]
        return np.mean(np.corrcoef(own)[np.triu_indices(len(own), 1)])

    assert agreement(surrogate) > 0.3 > 0.2 > agreement(plain)
    low, middle, high = np.quantile(scores(surrogate, codes), [0.05, 0.5, 0.95])
    assert middle - low > 4 * (high - middle)
    low, middle, high = np.quantile(scores(plain, codes), [0.05, 0.5, 0.95])
    assert middle - low < 1.3 * (high - middle)


def test_noise_grows_towards_the_floor():
    spread = {}
    for floor in (None, 0.2):
        surrogate, grid = symmetric(0, 1, noise=0.01, floor=floor)
        accuracy = surrogate.noise_free(grid)[0]
        for name, row in (("worst", accuracy.argmin()), ("best", accuracy.argmax())):
            repeated = {a: np.repeat(c[row : row + 1], 400, axis=0) for a, c in grid.items()}
            spread[name, floor] = surrogate.score(repeated, np.arange(400))[0].std()
    assert spread["best", None] == pytest.approx(0.01, rel=0.15) == spread["best", 0.2]
    assert spread["worst", None] == pytest.approx(0.01, rel=0.15)
    assert spread["worst", 0.2] > 0.02


def test_symmetries_out_of_range_are_refused():
    for options in ({"floor": 0.9}, {"floor": -0.1}, {"shared": 1.5}, {"means": 1.0}, {"means": -0.1}):
        with pytest.raises(ValueError, match=r"floor is None|shared lies in"):
            Surrogate({"a": (2,)}, **options)
