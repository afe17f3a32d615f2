"""The moving average of a network's weights is that of its trajectory, changes nothing of it, and is what is kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.training import loop
from ma2ml_env.training.average import Average
from tests.unit.test_recipe_knobs import SOURCE, STEPS, TINY, accuracy, digits, fit, hooked


def trajectory(**knobs: Any) -> tuple[list[list[Tensor]], loop.Fitted]:
    """Weights before the first step and after each, and the end of it."""
    weights: list[list[Tensor]] = []

    def record(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        weights.append([p.detach().clone() for group in optimizer.param_groups for p in group["params"]])

    def record_first(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if not weights:
            record(optimizer)

    with hooked(register_optimizer_step_pre_hook(record_first), register_optimizer_step_post_hook(record)):
        fitted = fit(**knobs)
    return weights, fitted


@pytest.mark.parametrize("decay", [0.4, 0.9999])
def test_the_average_is_that_of_the_trajectory(decay: float) -> None:
    weights, fitted = trajectory(ema=decay)
    assert len(weights) == STEPS + 1
    means = weights[0]
    for step, now in enumerate(weights[1:]):
        keep = min(decay, (1 + step) / (10 + step))
        means = [keep * mean + (1 - keep) * w for mean, w in zip(means, now, strict=True)]
    final = list(fitted.network.parameters())
    assert all(torch.allclose(w, mean, atol=1e-6) for w, mean in zip(final, means, strict=True))
    assert not all(torch.allclose(w, last, atol=1e-5) for w, last in zip(final, weights[-1], strict=True))
    plain, control = trajectory()
    assert all(torch.equal(w, last) for w, last in zip(control.network.parameters(), plain[-1], strict=True))
    assert all(
        torch.equal(a, b) for a, b in zip(weights[-1], plain[-1], strict=True)
    )  # it watches, and changes nothing
    assert fitted.metrics["train_loss"] == control.metrics["train_loss"]


def test_the_average_has_batch_norms_statistics_but_not_its_counters() -> None:
    layer = nn.BatchNorm1d(2)
    average = Average(layer, 0.25)
    assert layer.running_mean is not None
    assert layer.num_batches_tracked is not None
    expected = layer.running_mean.clone()
    for step in range(4):
        layer(torch.randn(8, 2) + 5.0)
        average.update(step)
        keep = (0.1, 2 / 11, 0.25, 0.25)[step]
        expected = keep * expected + (1 - keep) * layer.running_mean
        assert not torch.allclose(layer.running_mean, expected)  # control
    averaged = average.network
    assert isinstance(averaged, nn.BatchNorm1d)
    assert averaged.running_mean is not None
    assert torch.allclose(averaged.running_mean, expected)
    assert layer.num_batches_tracked.item() == 4
    assert all(parameter.requires_grad for parameter in layer.parameters())
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_averaged_weights_are_evaluated_and_saved(tmp_path: Path) -> None:
    evaluator = Train(SOURCE, weights=str(tmp_path))
    saved = {}
    for number, ema in enumerate((0.0, 0.9)):
        job = Job(number, replace(TINY, ema=ema), {}, seed=0, fidelity=0.02)
        [(_, outcome)] = evaluator.evaluate([job])
        saved[ema] = load_file(tmp_path / f"{number}.safetensors")
        network = loop.build(job.recipe, digits())
        network.load_state_dict(saved[ema])
        data = digits()
        assert accuracy(network.eval(), data, data.validation_x, data.validation_y) == outcome.accuracy
        fitted = loop.fit(job.recipe, data, seed=0, fidelity=0.02)
        assert all(torch.equal(saved[ema][name], tensor) for name, tensor in fitted.network.state_dict().items())
    assert not torch.equal(saved[0.0]["head.weight"], saved[0.9]["head.weight"])
