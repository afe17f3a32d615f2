"""Every knob of a training recipe acts, and acts as it says; beside each figure stands a control without the knob."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms.v2 import MixUp

from ma2ml_env.modules.hpo_recipe import OPTIMIZERS
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.training import loop, parts
from ma2ml_env.training.average import Average
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.images import batches, mixing
from ma2ml_env.training.losses import Focal, Poly
from ma2ml_env.training.networks import nasnet
from ma2ml_env.training.predict import predict

CELL = ((0, "conv_3x3", 1, "max_pool_3x3", "add"),)
TINY = Recipe(
    network=Spec("nasnet", {"normal": CELL, "reduction": CELL, "cells": 2, "reductions": (1,), "filters": 8}),
    crop_padding=1,
    flip=False,
    cutout=0,
    learning_rate=0.1,
    batch_size=32,
    drop_path=0.0,
    auxiliary=0.0,
    epochs=100,
)
SOURCE = DataSource("digits", limit=200)
STEPS = 14  # two epochs of 200 images in batches of 32


@cache
def digits() -> Dataset:
    return SOURCE.load()


def accuracy(*asked: Any, **how: Any) -> float:
    """Share of images that a network labels right; arguments are those of `predict`."""
    seen = predict(*asked, **how)
    assert seen is not None
    return seen.accuracy


def fit(seed: int = 0, fidelity: float = 0.02, **knobs: Any) -> loop.Fitted:
    return loop.fit(replace(TINY, **knobs), digits(), seed=seed, fidelity=fidelity)


def same(first: loop.Fitted, second: loop.Fitted) -> bool:
    states = (fitted.network.state_dict().values() for fitted in (first, second))
    return all(torch.equal(a, b) for a, b in zip(*states, strict=True))


@contextmanager
def hooked(*handles: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# --- mixup


def test_mixup_is_torchvisions() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(6, 3, 4, 4, generator=generator), torch.tensor([0, 3, 1, 1, 4, 2])
    mixed, targets = mixing.mixup(images, labels, 5, 0.3)
    theirs = MixUp(num_classes=5)
    params = {"lam": 0.3, "labels": labels, "batch_size": 6}
    assert torch.allclose(mixed, theirs.transform(images, params), atol=1e-6)
    assert torch.allclose(targets, theirs.transform(labels, params))
    assert targets[0].tolist() == pytest.approx([0.3, 0.0, 0.7, 0.0, 0.0])
    assert torch.equal(mixing.mixup(images, labels, 5, 1.0)[0], images)  # control: all of it is the image itself


def test_mixups_share_has_its_distribution() -> None:
    """Of Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)). The mean of 4,000 draws has sd 0.006, their variance 0.002."""
    shares = np.array([mixing.share(0.4, 7, step) for step in range(4000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.025)
    assert shares.var() == pytest.approx(1 / 7.2, abs=0.008)
    assert np.var([mixing.share(50.0, 7, step) for step in range(4000)]) < 0.01  # control
    assert mixing.share(0.4, 7, 3) == shares[3] != mixing.share(0.4, 8, 3)


def test_mixup_mixes_what_is_trained_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {"batches": [], "mixed": [], "losses": []}
    epoch, mixup, cross_entropy = batches.epoch, mixing.mixup, nn.CrossEntropyLoss.forward

    def spy_batches(*args: Any) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in epoch(*args):
            seen["batches"].append(batch)
            yield batch

    def spy_mixup(*args: Any) -> tuple[Tensor, Tensor]:
        seen["mixed"].append(mixup(*args))
        return seen["mixed"][-1]

    def spy_loss(self: nn.CrossEntropyLoss, logits: Tensor, targets: Tensor) -> Tensor:
        seen["losses"].append((logits, targets))
        return cross_entropy(self, logits, targets)

    monkeypatch.setattr(batches, "epoch", spy_batches)
    monkeypatch.setattr(mixing, "mixup", spy_mixup)
    monkeypatch.setattr(nn.CrossEntropyLoss, "forward", spy_loss)
    plain = fit()
    assert not seen["mixed"]
    assert all(not targets.is_floating_point() for _, targets in seen["losses"])
    unmixed = seen["batches"].copy()
    for calls in seen.values():
        calls.clear()
    mixed = fit(mixup=0.5)
    # Order and augmentation are as without it; only what the network gets is mixed.
    assert all(torch.equal(a[0], b[0]) for a, b in zip(seen["batches"], unmixed, strict=True))
    assert all(targets is made for (_, targets), (_, made) in zip(seen["losses"], seen["mixed"], strict=True))
    for _, targets in seen["mixed"]:
        assert torch.allclose(targets.sum(1), torch.ones(len(targets)))
    assert sum((targets.max(1).values < 0.999).sum().item() for _, targets in seen["mixed"]) > 100
    assert mixed.metrics["train_loss"] > plain.metrics["train_loss"] + 0.05


def test_mixup_is_seeded_by_the_job_alone() -> None:
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = fit(seed=3, mixup=0.5)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(2)
    assert same(first, fit(seed=3, mixup=0.5))
    assert not same(first, fit(seed=4, mixup=0.5))
    assert not same(first, fit(seed=3, mixup=0.4))


# --- dropout and stochastic depth


def test_dropout_drops_features_before_the_classifier_in_training_alone() -> None:
    """Of 32 x 16 features a share p is dropped, sd 0.02 at p = 0.3; those that stay grow by 1 / (1 - p)."""
    torch.manual_seed(0)
    network = loop.build(replace(TINY, dropout=0.3), digits())
    control = loop.build(TINY, digits())
    control.load_state_dict(network.state_dict())
    inputs: list[Tensor] = []
    images = batches.normalise(digits().train_x[:32], digits())
    for one in (network, control):
        one.head.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))  # type: ignore[operator]
        one.train()(images)
        one(images)
    first, again, whole, whole_again = inputs
    assert whole.count_nonzero() == whole.numel()
    assert torch.equal(whole, whole_again)
    assert not torch.equal(first, again)
    assert (first == 0).float().mean().item() == pytest.approx(0.3, abs=0.1)
    assert torch.allclose(first[first != 0], (whole / 0.7)[first != 0])
    assert torch.equal(network.eval()(images), network(images))
    assert not same(fit(dropout=0.3), fit())
    assert same(fit(dropout=0.3), fit(dropout=0.3))


def drop_rates(monkeypatch: pytest.MonkeyPatch, fidelity: float, **knobs: Any) -> tuple[list[float], list[float]]:
    """Probabilities that paths were dropped with, in order, and the shares of images that lost theirs."""
    asked: list[float] = []
    found: list[float] = []
    drop_path = nasnet.drop_path

    def spy(x: Tensor, probability: float) -> Tensor:
        out = drop_path(x, probability)
        asked.append(probability)
        found.append((out.flatten(1) == 0).all(1).float().mean().item())
        return out

    monkeypatch.setattr(nasnet, "drop_path", spy)
    fit(fidelity=fidelity, epochs=20, **knobs)
    monkeypatch.undo()
    return asked, found


@pytest.mark.parametrize("fidelity", [0.5, 1.0])
def test_stochastic_depth_drops_paths_at_every_fidelity(monkeypatch: pytest.MonkeyPatch, fidelity: float) -> None:
    """Each of two cells drops its two paths; the rates of 70 and 140 steps of 28 images have sd 0.01 and less."""
    asked, found = drop_rates(monkeypatch, fidelity, stochastic_depth=0.4)
    assert asked == pytest.approx([0.2, 0.2, 0.4, 0.4] * (len(asked) // 4))  # from the first step on
    assert len(asked) == 4 * 7 * 20 * fidelity
    rates = np.array(found).reshape(-1, 4).mean(0)
    assert rates == pytest.approx([0.2, 0.2, 0.4, 0.4], abs=0.05)
    assert drop_rates(monkeypatch, fidelity) == ([], [])  # control


@pytest.mark.slow
def test_a_path_survives_both_kinds_of_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, _ = drop_rates(monkeypatch, 0.5, stochastic_depth=0.4, drop_path=0.5)
    assert max(asked) == pytest.approx(0.4)  # ScheduledDropPath acts at fidelity 1.0 only
    asked, _ = drop_rates(monkeypatch, 1.0, stochastic_depth=0.4, drop_path=0.5)
    assert asked[3] == pytest.approx(0.4)
    assert asked[-1] == pytest.approx(1 - 0.6 * (1 - 0.5 * 139 / 140))
    asked, _ = drop_rates(monkeypatch, 1.0, drop_path=0.5)
    assert asked[-1] == pytest.approx(0.5 * 139 / 140)


STAGE = {"kernel": (3, 3), "expansion": (2, 2), "channels": 8, "depth": 4, "stride": 1, "se": False}
RESIDUAL = [Spec("mobile", {"stem": 8, "stages": (STAGE,), "head": 16}), Spec("resnet_cifar", {"depth": 8})]


@pytest.mark.parametrize("spec", RESIDUAL, ids=lambda spec: spec.kind)
def test_residual_networks_skip_blocks_and_drop_features(spec: Spec) -> None:
    recipe = replace(TINY, network=spec)

    def rates(final: bool, **knobs: float) -> list[float]:
        network = loop.build(replace(recipe, **knobs), digits(), final=final)  # type: ignore[arg-type]
        return [block.drop.p for block in network.blocks]  # type: ignore[union-attr]

    count = len(rates(False))
    depths = (np.arange(count) + 1) / count
    assert rates(True) == [0.0] * count
    for final in (False, True):
        assert rates(final, stochastic_depth=0.4) == pytest.approx(0.4 * depths)
    assert rates(False, stochastic_depth=0.4, drop_path=0.5) == pytest.approx(0.4 * depths)
    both = rates(True, stochastic_depth=0.4, drop_path=0.5)
    assert both == pytest.approx(1 - (1 - 0.4 * depths) * (1 - 0.5 * depths))
    plain = fit(network=spec)
    for knobs in ({"dropout": 0.3}, {"stochastic_depth": 0.4}):
        dropped = fit(network=spec, **knobs)
        assert not same(dropped, plain)
        assert same(dropped, fit(network=spec, **knobs))
    images = batches.normalise(digits().train_x[:8], digits())
    assert torch.equal(dropped.network(images), dropped.network(images))  # in evaluation mode nothing is dropped


PLAIN = Spec("plain", {"widths": (4, 8)})


def test_a_plain_network_drops_features_and_has_no_path_to_drop() -> None:
    plain = fit(network=PLAIN)
    assert same(fit(network=PLAIN, stochastic_depth=0.4, drop_path=0.5), plain)
    dropped = fit(network=PLAIN, dropout=0.3)
    assert not same(dropped, plain)
    assert same(dropped, fit(network=PLAIN, dropout=0.3))


def test_every_kind_of_network_is_tested_above() -> None:
    assert {TINY.network.kind, PLAIN.kind, *(spec.kind for spec in RESIDUAL)} == parts.NETWORKS.keys()


# --- all of them


def test_no_knob_asks_the_device_for_a_number() -> None:
    """Tensors of the meta device have no values, so whoever waits for one fails; torch's own averages are the control."""
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to("meta")
    Average(network, 0.9).update(0)
    with pytest.raises(RuntimeError, match="meta"):
        AveragedModel(network, device="meta").update_parameters(network)
    logits = torch.empty(5, 4, device="meta")
    for criterion in (Focal(), Poly()):
        assert criterion(logits, torch.zeros(5, dtype=torch.int64, device="meta")).device.type == "meta"
        assert criterion(logits, torch.empty(5, 4, device="meta")).device.type == "meta"
    images, labels = torch.empty(5, 1, 8, 8, device="meta"), torch.zeros(5, dtype=torch.int64, device="meta")
    mixed, targets = mixing.mixup(images, labels, 4, 0.3)
    assert (mixed.shape, targets.shape) == (images.shape, (5, 4))


# --- optimizer, rate, decay


def one_step(recipe: Recipe) -> list[float]:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = parts.optimizer(recipe, [weight])
    weight.grad = torch.tensor([0.5, 0.1])
    optimizer.step()
    return weight.tolist()


def test_a_step_of_rmsprop_by_hand() -> None:
    """torch's: the mean square begins at zero, and eps is added to its root. The decay is added to the gradient."""
    recipe = replace(TINY, optimizer=OPTIMIZERS["rmsprop"], learning_rate=0.02, weight_decay=0.01)
    by_hand = []
    for weight, gradient in ((1.0, 0.5), (-2.0, 0.1)):
        slope = gradient + 0.01 * weight
        by_hand.append(weight - 0.02 * slope / ((0.1 * slope**2) ** 0.5 + 1e-3))
    assert one_step(recipe) == pytest.approx(by_hand)
    assert one_step(replace(recipe, optimizer=OPTIMIZERS["sgd"])) != pytest.approx(by_hand)
    assert not same(fit(optimizer=OPTIMIZERS["rmsprop"], learning_rate=0.01), fit(learning_rate=0.01))
    assert same(*(fit(optimizer=OPTIMIZERS["rmsprop"], learning_rate=0.01) for _ in range(2)))


def test_rate_and_decay_act() -> None:
    plain = one_step(replace(TINY, learning_rate=0.1, weight_decay=0.0))
    assert plain == pytest.approx([1.0 - 0.1 * 1.9 * 0.5, -2.0 - 0.1 * 1.9 * 0.1])  # Nesterov: 1 + momentum
    assert one_step(replace(TINY, learning_rate=0.2, weight_decay=0.0)) == pytest.approx([0.81, -2.038])
    assert one_step(replace(TINY, learning_rate=0.1, weight_decay=0.5)) == pytest.approx([0.81, -1.829])
    assert not same(fit(weight_decay=0.01), fit())
    assert not same(fit(learning_rate=0.05), fit())


# --- bad and old recipes


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"mixup": -0.1}, "'mixup' is out of its range"),
        ({"mixup": float("nan")}, "'mixup' is out of its range"),
        ({"mixup": float("inf")}, "'mixup' is out of its range"),
        ({"dropout": 1.0}, "'dropout' is out of its range"),
        ({"stochastic_depth": 1.0}, "'stochastic_depth' is out of its range"),
        ({"stochastic_depth": -0.1}, "'stochastic_depth' is out of its range"),
        ({"ema": 1.0}, "'ema' is out of its range"),
        ({"precision": "float64"}, "'precision' is out of its range: float64"),
        ({"optimizer": Spec("rmsprop", {"beta": 0.9})}, "'optimizer', kind 'rmsprop'.*beta"),
        ({"loss": Spec("focal", {"gamma": -1.0})}, "'loss', kind 'focal': gamma is at least 0"),
        ({"loss": Spec("poly", {"epsilon": -1.5})}, "'loss', kind 'poly': epsilon is at least -1"),
        ({"loss": Spec("poly", {"gamma": 1.0})}, "'loss', kind 'poly'.*gamma"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(parts.InvalidRecipe, match=words):
        fit(**knobs)


def test_an_older_recipe_has_neutral_knobs() -> None:
    knobs = {"mixup": 0.0, "precision": "auto", "ema": 0.0, "dropout": 0.0, "stochastic_depth": 0.0}
    old = {name: value for name, value in TINY.to_json().items() if name not in knobs}
    assert len(old) == len(TINY.to_json()) - len(knobs)
    assert Recipe.from_json(old) == TINY == replace(TINY, **knobs)  # type: ignore[arg-type]
    assert Recipe.from_json({**old, "ema": 0.9}).ema == 0.9
