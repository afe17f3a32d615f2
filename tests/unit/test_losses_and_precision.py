"""Training losses and precisions act, and act as they say; beside each figure stands a control."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ma2ml_env.evaluators.train import Train
from ma2ml_env.recipe import Spec
from ma2ml_env.training import loop, parts
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.losses import ClassWeights, Focal, Poly, weights_of_classes
from ma2ml_env.training.predict import predict
from ma2ml_env.training.step import Gradient
from tests.unit.test_recipe_knobs import TINY, fit, hooked, same

# --- losses

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.3, -0.2]])
LABELS = torch.tensor([0, 2])


def by_hand(cost: Callable[[float], float]) -> float:
    probabilities = LOGITS.softmax(1)[[0, 1], LABELS].tolist()
    return sum(cost(p) for p in probabilities) / 2


def test_losses_by_hand() -> None:
    assert Focal(2.0)(LOGITS, LABELS).item() == pytest.approx(by_hand(lambda p: -((1 - p) ** 2) * np.log(p)))
    assert Focal(0.5)(LOGITS, LABELS).item() == pytest.approx(by_hand(lambda p: -((1 - p) ** 0.5) * np.log(p)))
    assert Poly(2.0)(LOGITS, LABELS).item() == pytest.approx(by_hand(lambda p: 2 * (1 - p) - np.log(p)))
    assert Poly(-1.0)(LOGITS, LABELS).item() == pytest.approx(by_hand(lambda p: p - 1 - np.log(p)))
    plain = nn.CrossEntropyLoss()(LOGITS, LABELS).item()
    assert Focal(0.0)(LOGITS, LABELS).item() == pytest.approx(plain) == Poly(0.0)(LOGITS, LABELS).item()
    assert Focal(2.0)(LOGITS, LABELS).item() < 0.7 * plain  # control: it is not cross-entropy


SPECS = [Spec("cross_entropy", {"label_smoothing": 0.1}), Spec("focal", {"gamma": 2.0}), Spec("poly", {"epsilon": 1.0})]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)
def test_loss_of_mixed_labels_is_the_mean_of_both(spec: Spec) -> None:
    criterion = parts.loss(spec)
    targets = nn.functional.one_hot(LABELS, 3).float()
    one, other = criterion(LOGITS, LABELS).item(), criterion(LOGITS, LABELS.roll(1)).item()
    assert criterion(LOGITS, targets).item() == pytest.approx(one)
    assert criterion(LOGITS, targets.lerp(targets.roll(1, 0), 0.3)).item() == pytest.approx(0.7 * one + 0.3 * other)
    assert abs(one - other) > 0.01
    assert not same(fit(loss=spec, mixup=0.4), fit(mixup=0.4))
    assert not same(fit(loss=spec), fit())


@pytest.mark.parametrize("criterion", [Focal(0.5), Focal(5.0), Poly(-1.0), Poly(2.0)])
def test_losses_have_a_slope_at_certainty_and_compute_in_float32(criterion: nn.Module) -> None:
    logits = torch.tensor([[1e4, 0.0], [0.0, 1e4]], requires_grad=True)
    criterion(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert criterion(LOGITS.bfloat16(), LABELS).dtype == torch.float32


# --- precision


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16"), ("float16", "float16")],
)
def test_precision_is_what_convolutions_put_out(precision: str, dtype: str) -> None:
    training: set[torch.dtype] = set()
    evaluation: set[torch.dtype] = set()

    def record(module: nn.Module, _: Any, out: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            (training if module.training else evaluation).add(out.dtype)

    with hooked(register_module_forward_hook(record)):
        fitted = fit(precision=precision)
    assert training == {getattr(torch, dtype)}
    assert evaluation == {torch.float32}
    assert {parameter.dtype for parameter in fitted.network.parameters()} == {torch.float32}
    assert same(fitted, fit()) == (dtype == "float32")


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_it_learns_in_half_precision(precision: str) -> None:
    """Chance is 0.10; on 500 images its sd is 0.013."""
    data = DataSource("digits").load()
    fitted = loop.fit(replace(TINY, precision=precision), data, seed=0, fidelity=0.04)
    assert fitted.accuracy is not None
    assert fitted.accuracy > 0.5


def test_float16_keeps_gradients_that_are_too_small_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient of 1e-9 is 0 in float16; the loss is scaled by 65536. The control is the same without a scaler."""

    def largest_gradient() -> float:
        seen: list[float] = []

        def record(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
            seen.append(max(g.abs().max().item() for g in gradients if g is not None))

        with hooked(register_optimizer_step_pre_hook(record)):
            fit(precision="float16", loss=Spec("faint"), clip_norm=1e9, learning_rate=1e-12)
        return max(seen)

    class Faint(nn.Module):
        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            return logits.sum() * 1e-9

    monkeypatch.setitem(parts.LOSSES, "faint", Faint)
    assert largest_gradient() > 0.0
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: scaler(device, enabled=False))
    assert largest_gradient() == 0.0


# --- weights of classes


@pytest.mark.parametrize("spec", [*SPECS, Spec("cross_entropy")], ids=lambda spec: f"{spec.kind}-{len(spec.args)}")
def test_weights_of_classes_by_hand(spec: Spec) -> None:
    """Each image's cost, smoothing included, times its class's weight; of a mixed image, each share by its own."""
    weights, images = torch.tensor([2.0, 5.0, 0.5]), [(LOGITS[i : i + 1], LABELS[i : i + 1]) for i in range(2)]
    costs = [parts.loss(spec)(*image).item() for image in images]
    weighted = parts.loss(spec, weights)
    by_hand = (2.0 * costs[0] + 0.5 * costs[1]) / 2
    assert weighted(LOGITS, LABELS).item() == pytest.approx(by_hand)
    targets = nn.functional.one_hot(LABELS, 3).float()
    assert weighted(LOGITS, targets).item() == pytest.approx(by_hand)
    mixed = targets[:1].lerp(targets[1:], 0.3)  # the first image's logits: .7 of its own class, .3 of the other one's
    other = parts.loss(spec)(LOGITS[:1], LABELS[1:]).item()
    assert weighted(LOGITS[:1], mixed).item() == pytest.approx(0.7 * 2.0 * costs[0] + 0.3 * 0.5 * other)
    assert parts.loss(spec, torch.ones(3))(LOGITS, LABELS).item() == pytest.approx(
        parts.loss(spec)(LOGITS, LABELS).item()
    )
    assert weighted(LOGITS, LABELS).item() != pytest.approx(parts.loss(spec)(LOGITS, LABELS).item(), rel=0.1)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = torch.tensor([0] * 7 + [1] * 2 + [3])
    weights = weights_of_classes("balanced", labels, 5)
    assert weights is not None
    theirs = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels.numpy())
    assert weights[[0, 1, 3]].tolist() == pytest.approx(theirs)
    assert weights[[2, 4]].tolist() == [0.0, 0.0]
    assert weights[labels].mean().item() == pytest.approx(1.0)
    assert weights_of_classes("none", labels, 5) is None
    with pytest.raises(ValueError, match="class_weights is none or balanced, not 'inverse'"):
        Train(DataSource("digits"), class_weights="inverse")  # type: ignore[arg-type]


def test_a_loss_without_a_reduction_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(nn.Module):
        pass

    monkeypatch.setitem(parts.LOSSES, "plain", Plain)
    with pytest.raises(
        parts.InvalidRecipe, match="classes cannot be weighted in the loss 'plain', it has no reduction"
    ):
        parts.loss(Spec("plain"), torch.ones(3))
    with pytest.raises(parts.InvalidRecipe, match="gamma is at least 0, not -1"):
        parts.loss(Spec("focal", {"gamma": -1}), torch.ones(3))
    with pytest.raises(parts.InvalidRecipe, match="reduction is mean or none, not 'sum'"):
        parts.loss(Spec("poly", {"reduction": "sum"}))


def test_micro_batches_give_the_batchs_weighted_gradient() -> None:
    """A mean over weights would not: the parts of a batch have other sums."""
    network, images, labels = nn.Linear(4, 3), torch.randn(12, 4), torch.tensor([0] * 9 + [1] * 2 + [2])
    criterion = parts.loss(Spec("cross_entropy"), weights_of_classes("balanced", labels, 3))

    def gradient(micro_batch: int | None) -> Tensor:
        optimizer = torch.optim.SGD(network.parameters())
        Gradient(
            network, criterion, optimizer, torch.amp.GradScaler("cpu", enabled=False), None, micro_batch=micro_batch
        )(images, labels)
        assert network.weight.grad is not None
        return network.weight.grad.clone()

    assert torch.allclose(gradient(None), gradient(3), atol=1e-6)


@pytest.mark.parametrize(
    "how",
    [
        {},
        pytest.param({"mixup": 0.4, "loss": SPECS[0]}, marks=pytest.mark.slow),
        pytest.param({"loss": SPECS[1]}, marks=pytest.mark.slow),
        pytest.param({"loss": SPECS[2]}, marks=pytest.mark.slow),
    ],
    ids=["plain", "mixup and smoothing", "focal", "poly"],
)
def test_balanced_classes_help_the_rare_one(how: dict[str, Any]) -> None:
    """Seven in eight images of one digit are left out of the training images: without weights, that digit is not found."""
    data = DataSource("digits").load()
    rare = data.train_y == 3
    kept = ~rare | (torch.arange(len(rare)) % 8 == 0)
    few = replace(data, train_x=data.train_x[kept], train_y=data.train_y[kept])

    def recall(class_weights: ClassWeights) -> float:
        found = loop.fit(replace(TINY, **how), few, seed=1, fidelity=0.04, class_weights=class_weights)
        seen = predict(found.network, data, data.validation_x, data.validation_y)
        assert seen is not None
        return float(seen.confusion[3, 3] / seen.confusion[3].sum())

    assert recall("none") < 0.2
    assert recall("balanced") > 0.6
