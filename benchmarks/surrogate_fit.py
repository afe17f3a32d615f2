"""Fit a surrogate of a large game to some of its trainings: boosted trees by scikit-learn, written as plain arrays.

The accuracy at the end is fitted by its logit, each training weighted by how well it is known: one over the variance of the
noise at its accuracy and that of what the features leave open. Curves and test accuracies are fitted as differences to it,
seconds by their logarithm. The noise comes from pipelines that were trained several times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from ma2ml_env.game import Game
from ma2ml_env.games.fitted import Columns
from ma2ml_env.modules.nasnet_cost import ImageShape
from ma2ml_env.tables.fit import END, SECONDS, TEST, Fit
from ma2ml_env.tables.measured import MAY_PASS
from ma2ml_env.tables.trainings import Trainings
from ma2ml_env.trial import ERRORS, STATUSES

Floats = NDArray[np.float64]
LOWEST, HIGHEST = 0.02, 0.9995
"""accuracies that others count as: 0 and 1 have no logit, and a training that failed is as bad as one that learnt nothing"""
TREES: Mapping[str, Any] = {
    "max_iter": 500,
    "learning_rate": 0.04,
    "max_leaf_nodes": 16,
    "max_depth": 6,
    "min_samples_leaf": 10,
}
FEW_TREES: Mapping[str, Any] = {
    "max_iter": 80,
    "learning_rate": 0.1,
    "max_leaf_nodes": 8,
    "max_depth": 4,
    "min_samples_leaf": 20,
}
"""of what is added to the logit at the end, and of seconds"""
KNOTS, BANDWIDTH, FEW = 8, 0.4, 5.0
"""logits between which the noise is linear, how far trainings count for it, and how many near ones outweigh the mean of all"""


def logit(accuracy: Floats) -> Floats:
    held = np.clip(accuracy, LOWEST, HIGHEST)
    return np.asarray(np.log(held / (1.0 - held)))


@dataclass(frozen=True)
class Data:
    """Trainings to the end, a row each; those that failed by what they trained have accuracy 0."""

    codes: NDArray[np.int64]
    """(n, decisions), the same ones of one pipeline"""
    features: Floats
    accuracy: Floats
    """(n, outputs): after each epoch, the last one the end, and of test images"""
    seconds: Floats
    source: NDArray[np.int64]
    """(n,) index into the sources of the table"""

    @classmethod
    def of(cls, table: Trainings, columns: Columns, epochs: Sequence[int], fidelity: float) -> Self:
        """The measurements of a table.

        Raises:
            ValueError: if there is none, one lacks an epoch or was not tested, or other MACs were counted than the formula has.
        """
        failed = (table.status == STATUSES.index("failed")) & ~np.isin(table.error, [ERRORS.index(e) for e in MAY_PASS])
        whole = (table.status == STATUSES.index("ok")) & (table.fidelity == fidelity)
        rows = np.flatnonzero(whole | failed)
        if not len(rows):
            raise ValueError("there is no training to the end")
        places = [table.epochs.tolist().index(each) if each in table.epochs else -1 for each in epochs[:-1]]
        if min(places, default=0) < 0:
            raise ValueError(f"the curves have the epochs {table.epochs.tolist()}, and {list(epochs)} are to be fitted")
        told = np.column_stack([table.curve[:, places], table.accuracy, table.test_accuracy])[rows]
        told[failed[rows]] = 0.0
        if np.isnan(told).any():
            raise ValueError("a training has no accuracy after one of its epochs, or of the test images")
        features, macs, params = columns(table.codes[rows])
        counted = table.flops[rows] > 0
        if (macs != table.flops[rows])[counted].any() or (params != table.params[rows])[counted].any():
            raise ValueError("other MACs or parameters were counted than the formula says: these are of another game")
        return cls(columns.canonical(table.codes[rows]), features, told, table.seconds[rows], table.source[rows])

    def __getitem__(self, rows: Any) -> "Data":
        return Data(*(each[rows] for each in vars(self).values()))

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True)
class Noise:
    """Deviations of the logits of one pipeline's trainings, by their level; see `Fit`."""

    levels: Floats
    noise: Floats
    shared: Floats

    @classmethod
    def of(cls, data: Data) -> Self:
        """Of pipelines that were trained several times.

        Raises:
            ValueError: if there are fewer than ten of them.
        """
        _, pipeline, counts = np.unique(data.codes, axis=0, return_inverse=True, return_counts=True)
        pipeline = pipeline.reshape(-1)
        several = counts[pipeline] > 1
        pipeline, logits = pipeline[several], logit(data.accuracy)[several]
        if len(np.unique(pipeline)) < 10:
            raise ValueError("the noise needs at least ten pipelines that were trained several times")
        sums = np.stack([np.bincount(pipeline, column, len(counts)) for column in logits.T], axis=1)
        means = (sums / counts[:, None])[pipeline]
        apart = (logits - means) * np.sqrt(counts / np.maximum(counts - 1, 1))[pipeline, None]
        levels = np.unique(np.quantile(means, np.linspace(0.02, 0.98, KNOTS)).round(6))
        near = np.exp(-0.5 * ((means[None] - levels[:, None, None]) / BANDWIDTH) ** 2)
        usual = (apart**2).mean(axis=0)
        noise = np.sqrt(((near * apart**2).sum(axis=1) + FEW * usual) / (near.sum(axis=1) + FEW))
        end = apart[:, -2]
        lengths = np.sqrt((apart**2).sum(axis=0) * (end**2).sum())
        shared = np.divide(apart.T @ end, lengths, out=np.zeros(len(lengths)), where=lengths > 0)
        shared[-2] = 1.0
        return cls(levels, noise, np.clip(shared, -1.0, 1.0))

    def at_end(self, logits: Floats) -> Floats:
        """Deviations (n,) of the end's logit at these levels."""
        return np.interp(logits, self.levels, self.noise[:, -2])


def fit(
    data: Data,
    noise: Noise,
    game: Game,
    table: Trainings,
    image: ImageShape,
    epochs: Sequence[int],
    names: Sequence[str],
) -> Fit:
    """The surrogate of these trainings."""
    logits = logit(data.accuracy)
    trees = {END: as_arrays(fit_end(data, noise))}
    for name, column in zip([*map(str, epochs[:-1]), TEST], [*range(len(epochs) - 1), len(epochs)], strict=True):
        trees[name] = as_arrays(boosted(FEW_TREES, data.features, logits[:, column] - logits[:, -2]))
    trees[SECONDS] = as_arrays(boosted(FEW_TREES, data.features, np.log(np.maximum(data.seconds, 1e-3))))
    about = {
        **table.about,
        "epochs": list(epochs),
        "features": list(names),
        "image": list(image),
        "trainings": len(data),
    }
    return Fit(about, trees, noise.levels, noise.noise, noise.shared, data.accuracy.max(axis=0))


def fit_end(data: Data, noise: Noise) -> HistGradientBoostingRegressor:
    """The logit at the end; what the features leave open is guessed by leaving a fifth out once."""
    target = logit(data.accuracy[:, -2])
    variance = noise.at_end(target) ** 2
    left = np.arange(len(data)) % 5 == 0
    first = boosted(TREES, data.features[~left], target[~left])
    open_ = max(float(np.mean((first.predict(data.features[left]) - target[left]) ** 2 - variance[left])), 0.01)
    return boosted(TREES, data.features, target, 1.0 / (variance + open_))


def boosted(
    settings: Mapping[str, Any], rows: Floats, target: Floats, weight: Floats | None = None
) -> HistGradientBoostingRegressor:
    model = HistGradientBoostingRegressor(**settings, early_stopping=False, random_state=0)
    return model.fit(rows, target, sample_weight=weight)


def as_arrays(model: HistGradientBoostingRegressor) -> dict[str, NDArray[Any]]:
    """The arrays of `tables/trees.py`: level by level, so that a node's children stand beside each other."""
    left: list[int] = []
    feature: list[int] = []
    value: list[float] = []
    root = []
    for (predictor,) in model._predictors:  # public nowhere; a test compares the predictions
        nodes, order = predictor.nodes, [0]
        for number in order:  # which grows
            if not nodes[number]["is_leaf"]:
                order += [int(nodes[number]["left"]), int(nodes[number]["right"])]
        at = {number: len(left) + place for place, number in enumerate(order)}
        root.append(at[0])
        for node in (nodes[number] for number in order):
            left.append(-1 if node["is_leaf"] else at[int(node["left"])])
            feature.append(0 if node["is_leaf"] else int(node["feature_idx"]))
            value.append(float(node["value"] if node["is_leaf"] else node["num_threshold"]))
    return {
        "left": np.array(left, dtype=np.int32), "feature": np.array(feature, dtype=np.int16), "value": np.array(value),
        "root": np.array(root, dtype=np.int32), "base": np.array(float(model._baseline_prediction.item())),
    }  # fmt: skip
