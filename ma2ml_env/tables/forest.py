"""Boosted trees over a grid of choices, looked up by masks of leaves.

Every feature of a pipeline takes few values, so what a choice rules out in a tree is known beforehand: one bit for each of its
at most 64 leaves. The masks of all choices, combined by AND, leave one bit: the leaf that a walk from the root would reach
(QuickScorer, Lucchese et al. 2015). All of it is integer arithmetic and then one sum in a fixed order, so a row's prediction
does not depend on its neighbours, to the last bit.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

PARTS = ("left", "right", "feat", "val", "root", "base")
"""arrays of a forest: a node's children (-1: it is a leaf), feature, threshold or leaf value; each tree's root; an offset"""

_LEAVES = 64
_CHUNK = 64  # rows at a time: 4 KB of masks each, so that they stay in the cache; no effect on any number
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)  # times 2^k: its upper six bits differ for all 64 k


class Forest:
    """The forest over the product of several groups of choices.

    Args:
        arrays: of `PARTS`; a node goes left where its feature < its threshold, both as float32.
        groups: for each group, the feature values of each of its choices, (choices, features), NaN in the features that other
            groups set. Each feature is set by one group.

    Raises:
        ValueError: if the arrays are no forest of trees with at most 64 leaves over these features.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]], groups: Sequence[NDArray[np.float32]]) -> None:
        features = groups[0].shape[1]
        _check(arrays, features)
        walked = _Walk(arrays)
        trees = len(arrays["root"])
        width = 1 << (trees - 1).bit_length()  # of halves down to one number; the trees added have one leaf of 0.0
        alive = np.ones(width, dtype=np.uint64)
        alive[:trees] = [_bits(0, len(leaves)) for leaves in walked.leaves]
        node = np.array(walked.nodes, dtype=np.int64)
        tree = np.array(walked.tree, dtype=np.int64)
        kills = np.array(walked.kills, dtype=np.uint64)
        feature, threshold = arrays["feat"][node].astype(np.int64), arrays["val"][node]
        self._masks = []
        for choices in groups:
            mine = np.flatnonzero(~np.isnan(choices[0])[feature])
            masks = np.tile(alive, (len(choices), 1))
            for row, values in zip(masks, choices, strict=True):
                goes_left = values[feature[mine]] < threshold[mine]
                np.bitwise_and.at(row, tree[mine], ~np.where(goes_left, kills[mine, 1], kills[mine, 0]))
            self._masks.append(masks)
        slots = _slot(np.uint64(1) << np.arange(_LEAVES, dtype=np.uint64)).astype(np.int64)
        table = np.zeros((width, _LEAVES))
        for row, leaves in zip(table, walked.leaves, strict=False):
            row[slots[: len(leaves)]] = leaves
        self._values = table.ravel()
        self._offsets = np.arange(width, dtype=np.uint64) * np.uint64(_LEAVES)
        self._base = float(arrays["base"])

    def predict(self, choices: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
        """Predictions (n,) of the rows' choices (n,) in each group."""
        out = np.empty(len(choices[0]))
        for start in range(0, len(out), _CHUNK):
            rows = slice(start, start + _CHUNK)
            left = self._masks[0].take(choices[0][rows], axis=0)
            for masks, choice in zip(self._masks[1:], choices[1:], strict=True):
                left &= masks.take(choice[rows], axis=0)
            values = self._values.take((_slot(left) + self._offsets).view(np.int64))
            while values.shape[1] > 1:  # halves onto halves: element by element, the same order for any number of rows
                half = values.shape[1] // 2
                values = values[:, :half] + values[:, half:]
            out[rows] = values[:, 0]
        return out + self._base


class _Walk:
    """Each tree's leaves from left to right, and which of them each inner node's two answers rule out."""

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        self.nodes: list[int] = []
        self.tree: list[int] = []
        self.kills: list[tuple[int, int]] = []
        """leaves under the left child, lost by going right; leaves under the right child"""
        self.leaves: list[list[float]] = []
        self._left, self._right = arrays["left"].tolist(), arrays["right"].tolist()
        self._values = arrays["val"].tolist()
        for root in arrays["root"].tolist():
            self.leaves.append([])
            self._visit(root, 0)

    def _visit(self, node: int, depth: int) -> None:
        leaves = self.leaves[-1]
        if depth >= _LEAVES or len(leaves) >= _LEAVES:
            raise ValueError(f"a tree has more than {_LEAVES} leaves")
        if self._left[node] < 0:
            leaves.append(self._values[node])
            return
        first = len(leaves)
        self._visit(self._left[node], depth + 1)
        middle = len(leaves)
        self._visit(self._right[node], depth + 1)
        self.nodes.append(node)
        self.tree.append(len(self.leaves) - 1)
        self.kills.append((_bits(first, middle), _bits(middle, len(leaves))))


def _check(arrays: Mapping[str, NDArray[np.generic]], features: int) -> None:
    missing = [name for name in PARTS if name not in arrays]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}")
    nodes = len(arrays["left"]) if arrays["left"].ndim == 1 else 0
    whole = {name: np.issubdtype(arrays[name].dtype, np.integer) for name in ("left", "right", "feat", "root")}
    shapes = {name: (nodes,) for name in ("left", "right", "feat", "val")} | {"base": ()}
    wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
    wrong += [name for name, fits in whole.items() if not fits]
    wrong += [name for name in ("val", "base") if arrays[name].dtype != np.float32]
    if wrong or nodes == 0 or arrays["root"].ndim != 1 or not len(arrays["root"]):
        raise ValueError(f"wrong shape or type: {', '.join(sorted(set(wrong))) or 'left or root'}")
    number = np.arange(nodes)
    inner = arrays["left"].astype(np.int64) >= 0
    for name in ("left", "right"):  # children come after their parent, so there are no circles
        child = arrays[name].astype(np.int64)[inner]
        if ((child <= number[inner]) | (child >= nodes)).any():
            raise ValueError(f"{name} leads out of the tree")
    feature, root = arrays["feat"].astype(np.int64)[inner], arrays["root"].astype(np.int64)
    if ((feature < 0) | (feature >= features)).any() or ((root < 0) | (root >= nodes)).any():
        raise ValueError("feat or root is out of range")
    if not (np.isfinite(arrays["val"].astype(float)).all() and np.isfinite(arrays["base"].astype(float))):
        raise ValueError("val or base is not finite")


def _bits(first: int, end: int) -> int:
    """Ones at the places first..end-1."""
    return ((1 << (end - first)) - 1) << first


def _slot(bit: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers in 0..63, another one for each power of two."""
    return (bit * _DE_BRUIJN) >> np.uint64(58)
