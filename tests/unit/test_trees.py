"""Trees as arrays: the predictions of who fitted them, whatever rows are beside a row; and what is no tree."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from surrogate_fit import as_arrays

from ma2ml_env.tables.trees import Trees

FEATURES = 12


def rows(n, seed=0):
    """Whole numbers, as choices are, and others."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(0, 5, size=(n, FEATURES - 4)), rng.normal(size=(n, 4))]).astype(float)


@pytest.fixture(scope="module")
def model():
    seen = rows(800)
    target = seen[:, 0] * seen[:, 9] + np.sin(seen[:, 10]) + seen[:, 3]
    return HistGradientBoostingRegressor(max_iter=60, max_leaf_nodes=12, max_depth=6, random_state=0).fit(seen, target)


@pytest.fixture
def arrays(model):
    return as_arrays(model)


def test_predictions_are_those_of_scikit_learn_to_the_bit(model, arrays):
    asked = rows(700, seed=1)
    assert Trees(arrays, FEATURES).predict(asked).tolist() == model.predict(asked).tolist()


def test_a_row_on_a_threshold_goes_left(model, arrays):
    """As scikit-learn's does."""
    inner = arrays["left"] >= 0
    asked = rows(inner.sum(), seed=2)
    asked[np.arange(len(asked)), arrays["feature"][inner]] = arrays["value"][inner]
    assert Trees(arrays, FEATURES).predict(asked).tolist() == model.predict(asked).tolist()


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 300])
def test_a_row_does_not_depend_on_others(arrays, n):
    trees, asked = Trees(arrays, FEATURES), rows(300, seed=3)
    all_ = trees.predict(asked)
    assert trees.predict(asked[:n]).tolist() == all_[:n].tolist()
    assert trees.predict(np.asfortranarray(asked)[::-1]).tolist() == all_[::-1].tolist()
    assert trees.predict(asked[:0]).shape == (0,)


def test_by_hand():
    """x0 <= 1.5: 10, else x1 <= 0: 20 or 30; and a tree of one leaf; added to 1."""
    arrays = {
        "left": np.array([1, -1, 3, -1, -1, -1]), "feature": np.array([0, 0, 1, 0, 0, 0]),
        "value": np.array([1.5, 10.0, 0.0, 20.0, 30.0, 0.25]), "root": np.array([0, 5]), "base": np.array(1.0),
    }  # fmt: skip
    asked = np.array([[1.5, 9.0], [2.0, 0.0], [2.0, 0.1]])
    assert Trees(arrays, 2).predict(asked).tolist() == [11.25, 21.25, 31.25]


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("left", lambda a: a[:-1], "feature, value"),
        ("left", lambda a: np.where(np.arange(len(a)) == 2, 1, a), "left leads out|twice"),
        ("left", lambda a: np.where(a >= 0, len(a) - 1, a), "left leads out"),
        ("left", lambda a: a.astype(float), "left"),
        ("feature", lambda a: a + FEATURES, "out of range"),
        ("feature", lambda a: a - 1, "out of range"),
        ("value", lambda a: np.where(np.arange(len(a)) == 1, np.nan, a), "not finite"),
        ("value", lambda a: a.astype(np.float32), "value"),
        ("root", lambda a: a + 10_000_000, "root|left"),
        ("root", lambda a: a[:0], "root"),
        ("base", lambda a: np.array(np.inf), "base"),
        ("base", lambda a: None, "lack base"),
    ],
)
def test_what_is_no_tree_is_refused(arrays, part, change, message):
    changed = change(arrays[part])
    arrays = {name: changed if name == part else each for name, each in arrays.items()}
    with pytest.raises(ValueError, match=message):
        Trees({name: each for name, each in arrays.items() if each is not None}, FEATURES)


def test_rows_are_checked(arrays):
    trees = Trees(arrays, FEATURES)
    with pytest.raises(ValueError, match="12 numbers"):
        trees.predict(rows(3)[:, 1:])
    with pytest.raises(ValueError, match="NaN"):
        trees.predict(np.full((2, FEATURES), np.nan))
