"""Metrics beside the accuracy: by scikit-learn's figures, on the device that trains, in rewards and in choices."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn import metrics as sk
from torch import Tensor, nn

from ma2ml_env import metrics
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.io.predictions import predictions_path, read_predictions, write_predictions
from ma2ml_env.metrics import Metric, Predictions
from ma2ml_env.registry import TABLE, names
from ma2ml_env.training import loop
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.predict import predict
from ma2ml_env.trial import Outcome
from tests.unit.test_recipe_knobs import TINY

CLASSES = 8


class Says(nn.Module):
    """A network that says what it was given, image by image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits, self.at, self.none = logits, 0, nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        self.at += len(images)
        return self.logits[self.at - len(images) : self.at]


def seen_of(logits: Tensor, labels: Tensor) -> Predictions:
    images = torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8)
    parts = (images, labels) * 3
    data = Dataset(*parts, logits.shape[1], tuple(map(str, range(logits.shape[1]))), (0.5,), (0.5,))
    seen = predict(Says(logits).eval(), data, images, labels)
    assert seen is not None
    return seen


def drawn(n: int = 1203, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Logits and labels of unequal classes; the last has no image, and is named now and then."""
    rng = np.random.default_rng(0)
    labels = rng.choice(classes - 1, n, p=np.arange(1, classes) / np.arange(1, classes).sum())
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    return torch.tensor(logits, dtype=torch.float32), torch.from_numpy(labels)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_metrics_are_scikit_learns() -> None:
    logits, labels = drawn()
    seen, probabilities = seen_of(logits, labels), logits.double().softmax(1).numpy()
    predicted = logits.argmax(1)
    assert (predicted == CLASSES - 1).any()
    assert not (labels == CLASSES - 1).any()
    known = range(CLASSES)
    found = metrics.measured(seen)
    assert found == {
        "balanced_accuracy": pytest.approx(sk.balanced_accuracy_score(labels, predicted), abs=1e-12),
        "macro_f1": pytest.approx(sk.f1_score(labels, predicted, average="macro"), abs=1e-12),
        "top5_accuracy": pytest.approx(sk.top_k_accuracy_score(labels, probabilities, k=5, labels=known), abs=1e-12),
        "log_loss": pytest.approx(sk.log_loss(labels, probabilities, labels=known), abs=1e-6),
    }
    assert seen.accuracy == sk.accuracy_score(labels, predicted)
    assert np.array_equal(seen.confusion, sk.confusion_matrix(labels, predicted, labels=known))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, predicted, labels=known, zero_division=0)
    for ours, theirs in zip(metrics.shares(seen.confusion), (precision, recall, f1), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-12)
    assert len({round(value, 3) for value in (seen.accuracy, *found.values())}) == 5, "they differ: this can fail"


def test_scores_rise_in_the_unit_interval_and_log_loss_is_a_geometric_mean() -> None:
    logits, labels = drawn()
    own = logits.double().softmax(1)[torch.arange(len(labels)), labels]
    outcome = Outcome(accuracy=0.25, metrics=metrics.measured(seen_of(logits, labels)), test_accuracy=0.5)
    assert metrics.score("log_loss", outcome) == pytest.approx(float(own.log().mean().exp()), abs=1e-6)
    assert metrics.value("log_loss", outcome) == pytest.approx(-float(own.log().mean()), abs=1e-6)
    better = replace(
        outcome, metrics=metrics.measured(seen_of(logits + 2 * nn.functional.one_hot(labels, CLASSES), labels))
    )
    for name in names("metrics"):
        assert 0.0 <= metrics.score(name, outcome) <= 1.0
        if name != "accuracy":
            assert metrics.score(name, outcome) < metrics.score(name, better)
    assert (metrics.score("accuracy", outcome), metrics.score("accuracy", outcome, test=True)) == (0.25, 0.5)
    assert metrics.score("macro_f1", Outcome("failed", error="NAN")) == 0.0
    with pytest.raises(
        ValueError, match="macro_f1 of test images was not measured; this evaluator gives accuracy, balanced"
    ):
        metrics.score("macro_f1", outcome, test=True)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, 1e38])
def test_logits_that_are_no_numbers_give_finite_metrics(broken: float) -> None:
    logits, labels = drawn()
    logits[::3, 2] = broken
    logits[1::3] = broken
    for value in metrics.measured(seen_of(logits, labels)).values():
        assert math.isfinite(value)
    nothing = seen_of(torch.full((3, 6), math.nan), torch.tensor([0, 1, 5]))
    assert nothing.ranks.tolist() == [0, 1, 5], "what is no number beats nothing, and is no hit"
    assert metrics.measured(nothing)["log_loss"] == 100.0


def test_a_network_that_says_nothing_has_no_better_rank_than_label() -> None:
    """All classes alike: the first is named, and the first five are the top five."""
    seen = seen_of(torch.zeros(CLASSES, CLASSES), torch.arange(CLASSES))
    assert seen.accuracy == 1 / CLASSES
    assert metrics.measured(seen)["top5_accuracy"] == 5 / CLASSES


def test_top5_needs_six_classes() -> None:
    assert "top5_accuracy" in metrics.measured(seen_of(*drawn(classes=6)))
    assert "top5_accuracy" not in metrics.measured(seen_of(*drawn(classes=5)))
    metrics.check("top5_accuracy", 6)
    with pytest.raises(ValueError, match="metric top5_accuracy: it needs at least 6 classes, and the data have 5"):
        metrics.check("top5_accuracy", 5)
    with pytest.raises(ValueError, match="unknown metric 'macrof1'; did you mean 'macro_f1'"):
        metrics.check("macrof1", 5)


def test_a_metric_of_somebody_elses_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE["metrics"], "top3", f"{__name__}:TOP3")
    assert metrics.measured(seen_of(*drawn()))["top3"] == pytest.approx(
        sk.top_k_accuracy_score(drawn()[1], drawn()[0].numpy(), k=3, labels=range(CLASSES))
    )
    monkeypatch.setitem(TABLE["metrics"], "nonsense", f"{__name__}:CLASSES")
    with pytest.raises(ValueError, match=r"'nonsense' is no ma2ml_env\.metrics\.Metric but 8"):
        metrics.metric("nonsense")


TOP3 = Metric("top-3 accuracy", lambda seen: float((seen.ranks < 3).mean()))


def test_a_training_measures_validation_and_test_images(tmp_path: Path) -> None:
    source, job = DataSource("digits", limit=200), Job(4, TINY, {}, 3, 0.02)
    [(_, plain)] = Train(source).evaluate([job])
    [(_, outcome)] = Train(source, test=True, weights=str(tmp_path)).evaluate([job])
    assert outcome.accuracy == plain.accuracy
    for name, value in plain.metrics.items():
        assert outcome.metrics[name] == value, "the test images change nothing"
    data = source.load()
    network = loop.fit(TINY, data, seed=3, fidelity=0.02).network
    for prefix, images in (("", (data.validation_x, data.validation_y)), ("test_", (data.test_x, data.test_y))):
        seen = predict(network, data, *images)
        assert seen is not None
        for name, value in metrics.measured(seen).items():
            assert outcome.metrics[prefix + name] == value
    assert not any(name.startswith("test_") for name in plain.metrics)
    kept = read_predictions(predictions_path(tmp_path / "4.safetensors"), 10)
    assert kept is not None
    assert kept.accuracy == outcome.test_accuracy
    assert {f"test_{name}": value for name, value in metrics.measured(kept).items()}.items() <= outcome.metrics.items()
    assert np.array_equal(kept.labels, data.test_y.numpy())
    [(_, merged)] = Train(source, train_on_validation=True).evaluate([job])
    assert merged.metrics["macro_f1"] == merged.metrics["test_macro_f1"], "no other images are left to measure on"


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    path = predictions_path(tmp_path / "3.safetensors")
    assert read_predictions(path, CLASSES) is None, "an earlier version left none"
    write_predictions(path, seen_of(*drawn()))
    whole = load_file(path)
    with pytest.raises(ValueError, match="does not hold predictions of 5 classes"):
        read_predictions(path, 5)
    others = [
        {"labels": whole["labels"]},
        {**whole, "predicted": whole["predicted"] - 1},
        {**whole, "ranks": whole["ranks"][:-1]},
        {**whole, "logs": whole["logs"].astype(np.float64)},
        {name: each[:0] for name, each in whole.items()},
    ]
    for other in others:
        save_file(other, path)
        with pytest.raises(ValueError, match=r"3\.predictions\.safetensors does not hold predictions of 8 classes"):
            read_predictions(path, CLASSES)
    path.write_bytes(b"none")
    with pytest.raises(ValueError, match=r"3\.predictions\.safetensors is damaged"):
        read_predictions(path, CLASSES)
