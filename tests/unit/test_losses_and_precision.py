"""Training losses and precisions act, and act as they say; beside each figure stands a control."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ma2ml_env.recipe import Spec
from ma2ml_env.training import loop, parts
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.losses import Focal, Poly
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


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
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
