"""The early JAHS snapshot: hand-made forests to the last number, and the snapshot itself where it is installed."""

import importlib.util
import math
import os
from pathlib import Path

import numpy as np
import pytest

from ma2ml_agents.cli.main import main
from ma2ml_env.evaluators.table import Table
from ma2ml_env.games.make import make_game
from ma2ml_env.store.store import TrialStore
from ma2ml_env.tables.forest import Forest
from ma2ml_env.tables.jahs_early import FOLDER, JahsEarly
from ma2ml_env.testing import random_codes


def grow(rng, leaf_values, trees=40, features=41, leaves=20):
    """A random forest in the snapshot's form: splits between values that the features take, leaves of exact sums."""
    left, right, feat, val, root = [], [], [], [], []

    def node(count):
        here = len(left)
        for column in (left, right, feat, val):
            column.append(-1)
        if count == 1:
            val[here] = float(rng.choice(leaf_values))
            return here
        cut = int(rng.integers(1, count))
        feat[here] = int(rng.integers(features))
        val[here] = float(rng.choice([0.5, 0.01, 0.0005, 3.0, 8.0, 0.25, 200.0]))
        left[here], right[here] = node(cut), node(count - cut)
        return here

    for _ in range(trees):
        root.append(node(int(rng.integers(1, leaves + 1))))
    return {
        "left": np.array(left, dtype=np.int32),
        "right": np.array(right, dtype=np.int32),
        "feat": np.array([max(f, 0) for f in feat], dtype=np.int16),
        "val": np.array(val, dtype=np.float32),
        "root": np.array(root, dtype=np.int32),
        "base": np.float32(0.5).reshape(()),
    }


def write(folder: Path, forest) -> Path:
    path = folder / FOLDER / "trees.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{f"valid_acc_{name}": array for name, array in forest.items()})
    return folder


def features_of(source, codes, i):
    """Row i's features, as the snapshot's documentation lists them."""
    aug, nas, hpo = (source.spaces[a].decode(codes[a][i].tolist()) for a in ("aug", "nas", "hpo"))
    row = [float(hpo["activation"] == a) for a in ("hardswish", "mish", "relu")]
    for edge in ("1_2", "1_3", "1_4", "2_3", "2_4", "3_4"):
        known = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
        row += [float(nas[f"edge_{edge}"] == name) for name in known]
    row += [1.0, float(aug["trivial_augment"]), hpo["learning_rate"], nas["cells"], nas["resolution"], nas["width"]]
    return np.array([*row, hpo["weight_decay"], 200], dtype=np.float32)


def walk(forest, row):
    """What a forest says, one step after the other; exact where the leaves are multiples of 1/8."""
    leaves = [float(forest["base"])]
    for node in forest["root"]:
        while forest["left"][node] >= 0:
            goes_left = row[forest["feat"][node]] < forest["val"][node]
            node = forest["left"][node] if goes_left else forest["right"][node]
        leaves.append(float(forest["val"][node]))
    return math.fsum(leaves)


@pytest.mark.parametrize("seed", range(3))
def test_forest_is_the_walk_from_the_root(tmp_path, seed):
    forest = grow(np.random.default_rng(seed), np.arange(-4, 40) / 8, leaves=64 if seed == 0 else 20)
    source = JahsEarly(write(tmp_path, forest))
    codes = random_codes({agent: space.nvec for agent, space in source.spaces.items()}, 300)
    accuracy, _ = source.look_up(codes, None)
    expected = [min(max(walk(forest, features_of(source, codes, i)), 0.0), 95.0) / 100.0 for i in range(300)]
    assert accuracy.tolist() == expected
    assert len(set(expected)) > 100  # this can fail


def test_a_row_does_not_depend_on_its_neighbours(tmp_path):
    rng = np.random.default_rng(5)
    source = JahsEarly(write(tmp_path, grow(rng, rng.random(50), trees=33)))
    codes = random_codes({agent: space.nvec for agent, space in source.spaces.items()}, 200)
    together = source.look_up(codes, None)[0].tolist()
    for step in (1, 7, 64, 199):
        parts = [
            source.look_up({agent: c[i : i + step] for agent, c in codes.items()}, None)[0] for i in range(0, 200, step)
        ]
        assert np.concatenate(parts).tolist() == together


@pytest.mark.parametrize(("leaf", "accuracy"), [(3.0, 0.95), (-1.0, 0.0), (1.0, 0.405)])
def test_accuracy_is_clipped_to_95_per_cent(tmp_path, leaf, accuracy):
    source = JahsEarly(write(tmp_path, grow(np.random.default_rng(0), [leaf])))  # 40 trees and 0.5
    codes = random_codes({agent: space.nvec for agent, space in source.spaces.items()}, 3)
    assert source.look_up(codes, None)[0].tolist() == [accuracy] * 3


# ---- the snapshot's file ---------------------------------------------------------------------------------------------


def test_missing_snapshot_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("MA2ML_LANDSCAPES", raising=False)
    with pytest.raises(FileNotFoundError, match=r"not given: .*MA2ML_LANDSCAPES.*jahs_bench_201 \(MIT\)"):
        make_game("jahs-early-v0")
    with pytest.raises(FileNotFoundError, match=f"not in {tmp_path}"):
        make_game("jahs-early-v0", data=tmp_path)
    monkeypatch.setenv("MA2ML_LANDSCAPES", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"not in {tmp_path}"):
        make_game("jahs-early-v0")


def test_snapshot_is_found_by_option_and_by_variable(tmp_path, monkeypatch):
    write(tmp_path, grow(np.random.default_rng(0), [1.0]))
    monkeypatch.delenv("MA2ML_LANDSCAPES", raising=False)
    assert isinstance(make_game("jahs-early-v0", data=tmp_path).evaluator.source, JahsEarly)
    assert isinstance(make_game("jahs-early-v0", data=str(tmp_path / FOLDER)).evaluator.source, JahsEarly)
    monkeypatch.setenv("MA2ML_LANDSCAPES", str(tmp_path))
    game = make_game("jahs-early-60m-v0")
    assert isinstance(game.evaluator, Table)
    with pytest.raises(ValueError, match="optimum of JahsEarly is not known"):
        game.evaluator.optimum()


def broken(**changes):
    return {**grow(np.random.default_rng(0), [1.0]), **changes}


@pytest.mark.parametrize(
    ("forest", "message"),
    [
        ({"left": np.zeros(3, dtype=np.int32)}, "missing: right, feat, val, root, base"),
        (broken(base=np.float64(0.5)), "wrong shape or type: base"),
        (broken(feat=np.zeros(3, dtype=np.int16)), "wrong shape or type: feat"),
        (broken(feat=broken()["feat"] + np.int16(41)), "out of range"),
        (broken(right=broken()["left"] * np.int32(0)), "right leads out of the tree"),
        (broken(val=broken()["val"] * np.float32(np.nan)), "not finite"),
        (broken(root=np.array([10**6])), "out of range"),
        (broken(root=np.array([None])), "Object arrays cannot be loaded"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, forest, message):
    with pytest.raises(ValueError, match=f"not the early JAHS snapshot: .*{message}"):
        JahsEarly(write(tmp_path, forest))


def test_wrong_files_are_refused(tmp_path):
    folder = write(tmp_path, broken())
    path = folder / FOLDER / "trees.npz"
    whole = path.read_bytes()
    for content in (b"", b"a text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not the early JAHS snapshot"):
            JahsEarly(folder)


def test_trees_have_at_most_64_leaves():
    chain = np.arange(
        65
    )  # each inner node has a leaf on its left and the next one on its right: 66 leaves under the first
    tree = {
        "left": np.append(chain + 66, np.full(66, -1)),
        "right": np.append(chain + 1, np.full(66, -1)),
        "feat": np.zeros(131, dtype=np.int64),
        "val": np.ones(131, dtype=np.float32),
        "root": np.array([2]),
        "base": np.float32(0).reshape(()),
    }
    choices = [np.array([[0.0], [2.0]], dtype=np.float32)]
    tree["val"][[68, 65]] = 7.0, 5.0  # the outermost of the 64 leaves under node 2
    assert Forest(tree, choices).predict([np.array([0, 1, 0])]).tolist() == [7.0, 5.0, 7.0]
    with pytest.raises(ValueError, match="more than 64 leaves"):
        Forest(tree | {"root": np.array([1])}, choices)


def test_macs_of_jahs(tmp_path):
    source = JahsEarly(write(tmp_path, broken()))
    codes = {
        "aug": np.array([[0], [1]]),
        "nas": np.array([[2, 1, 0, 4, 1, 1, 0, 0, 0], [3, 3, 1, 1, 1, 1, 2, 2, 1]]),
        "hpo": np.array([[0, 0, 0], [2, 9, 9]]),
    }
    small = 8 * 8 * 27 * 4 + 4 * 4 * (32 * 9 + 64 * 9 + 32) + 2 * 2 * (128 * 9 + 256 * 9 + 128) + 160
    large = 16 * 16 * 27 * 16 + 8 * 8 * (512 * 9 + 1024 * 9 + 512) + 4 * 4 * (2048 * 9 + 4096 * 9 + 2048) + 640
    small += 9 * (8 * 8 * 16 + 4 * 4 * 64 + 2 * 2 * 256)  # one 3x3 convolution, one cell a stage
    large += 2 * 5 * (16 * 16 * 256 + 8 * 8 * 1024 + 4 * 4 * 4096)  # two 1x1 convolutions, five cells a stage
    assert source.look_up(codes, None)[1].tolist() == [small, large]


# ---- games -----------------------------------------------------------------------------------------------------------


def test_games_need_their_own_agents(tmp_path):
    write(tmp_path, broken())
    with pytest.raises(ValueError, match="over the agents aug, nas, hpo, not nas, hpo"):
        make_game("jahs-early-v0", data=tmp_path, modules=["nas_jahs", "hpo_jahs"])
    with pytest.raises(ValueError, match="space of agent 'hpo'"):
        make_game("jahs-early-v0", data=tmp_path, modules=["aug_trivial", "nas_jahs", "hpo_mlp"])


def test_command_line_looks_up_and_does_not_retrain(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MA2ML_LANDSCAPES", raising=False)
    run = tmp_path / "run"
    search = ["search", "jahs-early-60m-v0", "--learner", "random", "--budget", "24", "--run", str(run)]
    assert main(search) == 2
    assert "--data DIR" in capsys.readouterr().err
    data = write(tmp_path, grow(np.random.default_rng(0), np.arange(8) / 4))
    assert main([*search, "--data", str(data)]) == 0
    assert "ma2ml retrain" not in capsys.readouterr().out
    with TrialStore(run, create=False) as store:
        assert store.config["evaluator"] == "table"
        assert len({trial.outcome.accuracy for trial in store.trials()}) > 10
    assert main(["retrain", str(run)]) == 2
    assert "evaluator 'table': there is nothing to train" in capsys.readouterr().err
    assert main([*search, "--data", str(data), "--evaluator", "train"]) == 2
    assert "nothing to train" in capsys.readouterr().err


# ---- the snapshot itself ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def snapshot():
    try:
        return JahsEarly()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_snapshot_equals_its_reference_reader(snapshot):
    """Up to its own rounding: the reference adds 500 float32, this reader float64."""
    folder = Path(os.environ["MA2ML_LANDSCAPES"])
    found = [path for path in (folder / FOLDER / "query.py", folder / "query.py") if path.is_file()]
    if not found:
        pytest.skip("the snapshot's query.py is not beside trees.npz")
    spec = importlib.util.spec_from_file_location("jahs_query", found[0])
    query = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(query)
    codes = random_codes({agent: space.nvec for agent, space in snapshot.spaces.items()}, 4000)
    accuracy, macs = snapshot.look_up(codes, None)
    operations = {"skip_connect": 0, "none": 1, "nor_conv_3x3": 2, "nor_conv_1x1": 3, "avg_pool_3x3": 4}
    names = {"hardswish": "Hardswish", "mish": "Mish", "relu": "ReLU"}
    rows, counted = [], []
    for i in range(4000):
        aug, nas, hpo = (snapshot.spaces[a].decode(codes[a][i].tolist()) for a in ("aug", "nas", "hpo"))
        config = {f"Op{j}": operations[value] for j, value in enumerate(list(nas.values())[:6], start=1)}
        config |= {"N": nas["cells"], "W": nas["width"], "Resolution": nas["resolution"]}
        config |= {"LearningRate": hpo["learning_rate"], "WeightDecay": hpo["weight_decay"]}
        config |= {"Activation": names[hpo["activation"]], "TrivialAugment": aug["trivial_augment"]}
        rows.append(query.encode(config))
        counted.append(query.mflops(config))
    expected = query.predict(rows).clip(0, 95) / 100
    assert np.abs(accuracy - expected).max() < 1e-6  # measured 2e-7
    assert macs.tolist() == [round(m * 1e6) for m in counted]
    assert accuracy.std() > 0.1
