"""Metrics of a classifier, by name: what a reward may go by, and what a retraining chooses by.

Every training measures all of them, in one pass over the images. `Outcome.accuracy` and `Outcome.test_accuracy` are accuracies,
whatever a reward goes by; the others stand in `Outcome.metrics` under their names, those of test images under `test_NAME`.

A metric is a row of the registry. Where its values are no rising numbers in [0, 1], as of a loss, `score` makes them such: that
is what rewards and choices see, and people see the value.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.registry import names, resolve
from ma2ml_env.trial import Outcome

LEAST = -100.0
"""log-probability below which an image's counts as this, as in torch's BCELoss; so does one that is not a number"""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier said of N images, of which there is at least one."""

    classes: int
    labels: NDArray[np.int64]
    """right class of each image (N,)"""
    predicted: NDArray[np.int64]
    """class that it names (N,)"""
    ranks: NDArray[np.int64]
    """how many classes it holds for likelier than the right one (N,); among equals the first is"""
    logs: NDArray[np.float32]
    """natural logarithm of the probability that it gives to the right class (N,), in [LEAST, 0]"""

    @property
    def accuracy(self) -> float:
        """Share of the images that it gets right."""
        return int((self.labels == self.predicted).sum()) / len(self.labels)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Images by right class (rows) and predicted class (columns), (classes, classes)."""
        cells = np.bincount(self.labels * self.classes + self.predicted, minlength=self.classes**2)
        return cells.reshape(self.classes, self.classes)


@dataclass(frozen=True)
class Metric:
    """How to measure one, and what it is worth."""

    title: str
    """in tables"""
    measure: Callable[[Predictions], float]
    """a finite number"""
    score: Callable[[float], float] = float
    """its value as a number in [0, 1] that rises with what is better"""
    fewest_classes: int = 2
    """with fewer it says nothing, and is not measured"""


def shares(confusion: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F1 of each class, (classes,) each, of a confusion matrix (classes, classes); 0/0 is 0."""
    hits, right, named = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    return hits / np.maximum(named, 1), hits / np.maximum(right, 1), 2 * hits / np.maximum(right + named, 1)


def _balanced(seen: Predictions) -> float:
    """Mean recall of the classes that have images (Brodersen et al. 2010), as scikit-learn's `balanced_accuracy_score`."""
    _, recall, _ = shares(seen.confusion)
    return float(recall[seen.confusion.sum(1) > 0].mean())


def _macro_f1(seen: Predictions) -> float:
    """Mean F1 of the classes that have images or are named, as scikit-learn's `f1_score`."""
    _, _, f1 = shares(seen.confusion)
    return float(f1[seen.confusion.sum(0) + seen.confusion.sum(1) > 0].mean())


ACCURACY = Metric("accuracy", lambda seen: seen.accuracy)
BALANCED_ACCURACY = Metric("balanced accuracy", _balanced)
MACRO_F1 = Metric("macro F1", _macro_f1)
TOP5_ACCURACY = Metric("top-5 accuracy", lambda seen: float((seen.ranks < 5).mean()), fewest_classes=6)
LOG_LOSS = Metric("log loss", lambda seen: -float(seen.logs.mean(dtype=np.float64)), lambda loss: math.exp(-loss))
"""in nats; its score is the geometric mean of the probabilities of the right classes"""


def measured(seen: Predictions) -> dict[str, float]:
    """All metrics of the registry but the accuracy, by name; without those that need more classes."""
    rows = {name: metric(name) for name in names("metrics") if name != "accuracy"}
    return {name: row.measure(seen) for name, row in rows.items() if seen.classes >= row.fewest_classes}


def metric(name: str) -> Metric:
    """A row of the registry.

    Raises:
        ValueError: if there is no such metric; the closest one is offered.
    """
    found: Any = resolve("metrics", name)
    if not isinstance(found, Metric):
        raise ValueError(f"the metric {name!r} is no ma2ml_env.metrics.Metric but {found!r}")
    return found


def check(name: str, classes: int) -> None:
    """Refuse a metric that says nothing of data of so many classes.

    Raises:
        ValueError: if it does not, or there is no such metric.
    """
    fewest = metric(name).fewest_classes
    if classes < fewest:
        raise ValueError(
            f"metric {name}: it needs at least {fewest} classes, and the data have {classes}; take another"
        )


def value(name: str, outcome: Outcome, *, test: bool = False) -> float | None:
    """A metric of an outcome, on validation or on test images; None if it was not measured."""
    if name == "accuracy":
        return outcome.test_accuracy if test else outcome.accuracy
    return outcome.metrics.get(f"test_{name}" if test else name)


def score(name: str, outcome: Outcome, *, test: bool = False) -> float:
    """What an outcome is worth by a metric, in [0, 1]; 0.0 unless it is ok.

    Raises:
        ValueError: if the metric was not measured.
    """
    if outcome.status != "ok":
        return 0.0
    found = value(name, outcome, test=test)
    if found is None:
        where = "test" if test else "validation"
        raise ValueError(
            f"{name} of {where} images was not measured; this evaluator gives {', '.join(_given(outcome))}"
        )
    return metric(name).score(found)


def _given(outcome: Outcome) -> list[str]:
    return ["accuracy", *(name for name in names("metrics") if name in outcome.metrics)]
