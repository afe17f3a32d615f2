"""Boosted trees over rows of numbers, as plain arrays and walked in numpy.

All rows go through all trees at once, one level after another. What is compared, taken and added is float64 in one order, so a
row's prediction is the same on every machine and whatever rows are beside it. `forest.py` is for rows of few choices.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

PARTS = ("left", "feature", "value", "root", "base")
"""arrays of trees: a node's left child (-1: it is a leaf), after which its right one stands; its feature; its threshold or, of
a leaf, its value; each tree's root; a number that is added to all"""
_CHUNK = 128  # rows at a time, so that they stay in the cache; no effect on any number


class Trees:
    """The sum of some trees.

    Args:
        arrays: of `PARTS`. A row goes left where its feature is at most the threshold.
        features: of a row.

    Raises:
        ValueError: if the arrays are no trees over so many features; what is wrong is named.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]], features: int) -> None:
        _check(arrays, features)
        leaf = arrays["left"] < np.array(0)
        number = np.arange(len(leaf))
        self.features = features
        self._values = arrays["value"].astype(np.float64)
        self._roots = arrays["root"].astype(np.int64)
        self._base = float(arrays["base"])
        # A leaf is its own left child, and everything goes left there: so all trees are as deep as the deepest.
        self._left = np.where(leaf, number, arrays["left"]).astype(np.int64)
        self._threshold = np.where(leaf, np.inf, self._values)
        self._feature = np.where(leaf, 0, arrays["feature"]).astype(np.int64)
        self._depth = _depth(self._left, self._roots)

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) of rows (n, features), without NaN.

        Raises:
            ValueError: if the rows are of another width, or hold a NaN.
        """
        if rows.ndim != 2 or rows.shape[1] != self.features or np.isnan(rows).any():
            raise ValueError(f"rows have {self.features} numbers each, none of them NaN; not an array {rows.shape}")
        found = np.empty(len(rows))
        for start in range(0, len(rows), _CHUNK):
            found[start : start + _CHUNK] = self._some(np.ascontiguousarray(rows[start : start + _CHUNK]))
        return found

    def _some(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        flat, first = rows.ravel(), np.arange(len(rows)) * self.features
        node = np.repeat(self._roots[:, None], len(rows), axis=1)
        for _ in range(self._depth):
            told = flat.take(self._feature.take(node) + first)
            right = told > self._threshold.take(node)
            node = self._left.take(node)
            node += right
        total = np.full(len(rows), self._base)
        for values in self._values.take(node):  # tree after tree: a sum over an axis has another order for other shapes
            total += values
        return total


def _depth(left: NDArray[np.int64], roots: NDArray[np.int64]) -> int:
    """Steps from a root to the farthest leaf."""
    depth, level = 0, roots
    while len(level := level[left[level] != level]):
        level = np.concatenate([left[level], left[level] + 1])
        depth += 1
    return depth


def _check(arrays: Mapping[str, NDArray[np.generic]], features: int) -> None:
    if missing := [name for name in PARTS if name not in arrays]:
        raise ValueError(f"trees lack {', '.join(missing)}")
    left, feature, value, root = (arrays[name] for name in PARTS[:4])
    nodes = len(left) if left.ndim == 1 else 0
    wrong = [name for name in ("left", "feature", "root") if not np.issubdtype(arrays[name].dtype, np.signedinteger)]
    wrong += [name for name in ("value", "base") if arrays[name].dtype != np.float64]
    wrong += [name for name in ("feature", "value") if arrays[name].shape != (nodes,)]
    if wrong or not nodes or root.ndim != 1 or not len(root) or arrays["base"].shape != ():
        raise ValueError(f"wrong shape or type of trees: {', '.join(sorted(set(wrong))) or 'left, root or base'}")
    if not (np.isfinite(value.astype(np.float64)).all() and np.isfinite(float(arrays["base"]))):
        raise ValueError("value or base of trees is not finite")
    child, number, roots = left.astype(np.int64), np.arange(nodes), root.astype(np.int64)
    inner = child >= 0
    if (child[inner] <= number[inner]).any() or (child[inner] + 1 >= nodes).any():  # after the parent, so no circles
        raise ValueError("left leads out of its tree")
    if ((roots < 0) | (roots >= nodes)).any():
        raise ValueError("root is out of range")
    if np.bincount(np.concatenate([child[inner], child[inner] + 1, roots]), minlength=nodes).max() > 1:
        raise ValueError("left or root leads twice to one node")
    used = feature.astype(np.int64)[inner]
    if ((used < 0) | (used >= features)).any():
        raise ValueError(f"feature of trees is out of range: rows have {features}")
