"""The training path on a GPU: the CPU's numbers, no waiting, memory as predicted. `pytest -m gpu tests/gpu`."""

import math
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ma2ml_env
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.recipe import Operation, Recipe, Spec
from ma2ml_env.testing import random_codes
from ma2ml_env.training import loop, numerics, parts
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.graphs import WAITING, WARM, Recorded
from ma2ml_env.training.images import augment, batches
from ma2ml_env.training.images.operations import KINDS
from ma2ml_env.training.step import Gradient
from ma2ml_env.trial import trial_seed

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

CUDA = torch.device("cuda")
PLAIN = ((0, "conv_3x3", 1, "sep_conv_3x3", "add"),)
REDUCTION = ((0, "max_pool_3x3", 1, "conv_3x3", "concat"),)
TINY = Recipe(
    network=Spec("nasnet", {"normal": PLAIN, "reduction": REDUCTION, "cells": 2, "reductions": (1,), "filters": 8}),
    augment=((Operation("rotate", 0.5, 4), Operation("brightness", 0.5, 4)), ()),
    crop_padding=1,
    flip=False,
    cutout=2,
    learning_rate=0.1,
    batch_size=32,
    epochs=100,
)
VARIANTS = {
    "plain": TINY,
    "rmsprop": replace(TINY, optimizer=Spec("rmsprop", {"momentum": 0.9}), learning_rate=0.002),
    "mixup": replace(TINY, mixup=0.2),
    "ema": replace(TINY, ema=0.9),
    "drops": replace(TINY, dropout=0.2, stochastic_depth=0.2),
    "clipped": replace(TINY, clip_norm=1.0),
    "focal": replace(TINY, loss=Spec("focal", {"gamma": 2.0})),
    "resolution": replace(TINY, resolution=12),
}


@cache
def digits() -> Dataset:
    return DataSource("digits").load()


def pixels(images: int, side: int = 32) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (images, 3, side, side), generator=draw, dtype=torch.uint8)


@cache
def noise(images: int = 2000, side: int = 32) -> Dataset:
    """Images of the CIFAR games' shape: what is timed or measured here does not depend on what they show."""
    x, y = pixels(images, side), torch.randint(10, (images,), generator=torch.Generator().manual_seed(1))
    half = images // 2
    names = tuple(map(str, range(10)))
    return Dataset(x, y, x[:half], y[:half], x[:half], y[:half], 10, names, (0.5,) * 3, (0.25,) * 3)


def paper_recipes(count: int, game: str = "cifar10-v0") -> list[Recipe]:
    """Random pipelines of a named game."""
    made = ma2ml_env.make_game(game, "surrogate")
    codes = random_codes(made.spec.nvec, count)
    return [made.recipe({agent: tuple(c[row].tolist()) for agent, c in codes.items()}) for row in range(count)]


def job(recipe: Recipe, number: int = 0, fidelity: float = 0.01) -> Job:
    return Job(number, recipe, {}, trial_seed(0, number), fidelity)


@pytest.fixture
def exact() -> Iterator[None]:
    """Deterministic kernels."""
    with numerics.deterministic():
        yield


@pytest.mark.parametrize("name", sorted(KINDS))
@pytest.mark.parametrize("channels", [1, 3])
def test_an_operation_has_the_values_of_the_cpu(name: str, channels: int) -> None:
    """Bit for bit where values are only moved or looked up; a blend may round another way, by one of 255."""
    images = pixels(256)[:, :channels].contiguous()
    policy = ((Operation(name, 1.0, None if KINDS[name].top is None else 7),),)
    there, here = (
        augment.augment(images.to(device), policy, torch.Generator().manual_seed(1), (125, 123, 114)[:channels]).cpu()
        for device in ("cuda", "cpu")
    )
    apart = (there.int() - here.int()).abs()
    assert apart.max() <= (1 if KINDS[name].blend else 0)
    assert (apart > 0).float().mean() < 1e-3
    if not (name == "color" and channels == 1) and name != "equalize":
        assert not torch.equal(there, images)


def test_batches_are_those_of_the_cpu() -> None:
    recipe, data = paper_recipes(1)[0], noise()
    epochs = [
        list(batches.epoch(recipe, data.to(torch.device(device)), 128, torch.Generator().manual_seed(0), device))
        for device in (torch.device("cpu"), CUDA)
    ]
    assert len(epochs[0]) == len(epochs[1])
    for (x, y), (there_x, there_y) in zip(*epochs, strict=True):
        assert there_x.device.type == "cuda"
        assert torch.equal(y, there_y.cpu())
        apart = (x - there_x.cpu()).abs()
        assert apart.max() < 0.05  # one of 255 is 0.016 here
        assert (apart > 1e-4).float().mean() < 1e-3


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_it_learns(name: str) -> None:
    """Chance is 0.10, and 0.7 the level that the CPU's test asks for."""
    fitted = loop.fit(VARIANTS[name], digits(), seed=0, fidelity=0.08, device="cuda")
    assert fitted.accuracy is not None
    assert fitted.accuracy > 0.7


@pytest.mark.parametrize("name", sorted(VARIANTS))
@pytest.mark.parametrize("fidelity", [0.02, 1.0])
def test_a_replayed_step_is_the_step(name: str, fidelity: float, exact: None) -> None:
    """With and without graphs: the same weights, bit for bit, also with drop path and the auxiliary head of a full training."""
    recipe = replace(VARIANTS[name], epochs=100 if fidelity < 1.0 else 2, drop_path=0.3, auxiliary=0.4)
    states = [
        loop.fit(recipe, digits(), seed=0, fidelity=fidelity, device="cuda", cuda_graphs=graphs).network.state_dict()
        for graphs in (True, False)
    ]
    other = loop.fit(recipe, digits(), seed=1, fidelity=fidelity, device="cuda").network.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], other[key]) for key in states[0])


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    """All that trainings make."""
    made: list[Recorded] = []

    class Kept(Recorded):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(loop, "Recorded", Kept)
    return made


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_steps_are_replayed(name: str, recorders: list[Recorded], monkeypatch: pytest.MonkeyPatch) -> None:
    """One recording for each shape of a batch: the test before is not of eager steps twice."""
    recipe = replace(VARIANTS[name], epochs=2, drop_path=0.3, auxiliary=0.4)
    calls = 0
    step = Gradient.__call__

    def counted(self: Gradient, *batch: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return step(self, *batch)

    monkeypatch.setattr(Gradient, "__call__", counted)
    fitted = loop.fit(recipe, digits(), seed=0, fidelity=1.0, device="cuda")
    assert fitted.metrics["replayed"] == 1.0
    assert len(recorders[0]._recordings) == 2  # 1,000 images are 31 batches of 32 and one of 8
    assert calls == WARM + 2
    assert fitted.metrics["steps"] == 64


class Waits(nn.Module):
    """A loss that asks what it is, as a user's may: torch notices that it waits."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(logits, labels)
        return loss if loss.item() < 1e9 else loss * 0.0


class Copies(nn.Module):
    """A loss that takes a number from the CPU without waiting: torch refuses to record that."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        one = torch.ones(()).to(logits.device, non_blocking=True)
        return nn.functional.cross_entropy(logits, labels) * one


@pytest.mark.parametrize("loss", [Waits, Copies])
def test_what_cannot_be_recorded_is_trained_all_the_same(
    loss: type[nn.Module], recorders: list[Recorded], monkeypatch: pytest.MonkeyPatch, exact: None
) -> None:
    monkeypatch.setitem(parts.LOSSES, "own", loss)
    monkeypatch.setattr(parts, "RECORDABLE", {*parts.RECORDABLE, loss})
    drops = VARIANTS["drops"]  # it draws from the GPU's generator
    states = [
        loop.fit(recipe, digits(), seed=0, fidelity=0.02, device="cuda").network.state_dict()
        for recipe in (replace(drops, loss=Spec("own", {})), drops)
    ]
    assert [one.recording for one in recorders] == [False, True]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


BROKEN = """
import sys
sys.path.insert(0, {here!r})
import torch
from test_cuda import VARIANTS, Spec, Waits, digits, loop, parts, replace
torch.cuda.set_sync_debug_mode = lambda mode: None  # nobody notices before the driver does
parts.LOSSES["own"] = Waits
parts.RECORDABLE.add(Waits)
loop.fit(VARIANTS["drops"], digits(), seed=0, fidelity=0.02, device="cuda")
torch.cuda.empty_cache()
before = torch.cuda.memory_reserved()
broken = loop.fit(replace(VARIANTS["drops"], loss=Spec("own", {{}})), digits(), seed=0, fidelity=0.02, device="cuda")
assert broken.metrics["replayed"] == 0.0
del broken
for graphs in (True, False):
    print(loop.fit(VARIANTS["drops"], digits(), seed=0, fidelity=0.08, device="cuda", cuda_graphs=graphs).accuracy)
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before + 3e7, "memory is not given back"
assert torch.cuda.current_stream() == torch.cuda.default_stream()
"""


def test_a_recording_that_the_driver_breaks_off_leaves_the_process_whole() -> None:
    """Random numbers, memory and streams: the next trainings are as good as any."""
    script = BROKEN.format(here=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert min(map(float, done.stdout.split())) > 0.7


class Counts(nn.Module):
    """A loss that changes with Python's count of its calls, which a graph would freeze."""

    calls = 0

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.cross_entropy(logits, labels) * (1.0 + 0.1 * self.calls)


def test_parts_of_ones_own_are_not_recorded_unasked(monkeypatch: pytest.MonkeyPatch, exact: None) -> None:
    """The control asks for it, and gets another network."""
    monkeypatch.setitem(parts.LOSSES, "own", Counts)
    recipe = replace(TINY, loss=Spec("own", {}))

    def states(graphs: bool = True) -> dict[str, Tensor]:
        fitted = loop.fit(recipe, digits(), seed=0, fidelity=0.02, device="cuda", cuda_graphs=graphs)
        return fitted.network.state_dict()

    eager, unasked = states(graphs=False), states()
    assert all(torch.equal(eager[key], unasked[key]) for key in eager)
    monkeypatch.setattr(parts, "RECORDABLE", {*parts.RECORDABLE, Counts})
    asked = states()
    assert not all(torch.equal(eager[key], asked[key]) for key in eager)


def waits(recipe: Recipe, data: Dataset) -> int:
    """How often a training asks the device for something."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            loop.fit(recipe, data, seed=0, fidelity=0.01, device="cuda")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum(WAITING in str(one.message) for one in told)


def test_no_step_waits_for_the_device() -> None:
    """Ten times as many steps in an epoch, no more waiting: that of its end."""
    few, many = (replace(paper_recipes(1)[0], batch_size=size, epochs=100) for size in (250, 25))
    few, many = (replace(r, network=TINY.network, drop_path=0.0) for r in (few, many))
    data = noise().to(CUDA)
    waits(few, data)
    assert 0 < waits(few, data) == waits(many, data)


def test_a_paused_training_goes_on_to_the_same_bits(exact: None) -> None:
    how = {"seed": 0, "fidelity": 0.04, "device": "cuda"}
    for recipe in (VARIANTS["drops"], VARIANTS["rmsprop"]):
        whole = loop.fit(recipe, digits(), **how)  # type: ignore[arg-type]
        paused = loop.fit(recipe, digits(), until=2, **how)  # type: ignore[arg-type]
        resumed = loop.fit(recipe, digits(), checkpoint=paused.checkpoint, **how)  # type: ignore[arg-type]
        for key, value in whole.network.state_dict().items():
            assert torch.equal(value, resumed.network.state_dict()[key]), key


def test_generators_are_left_as_they_were() -> None:
    torch.cuda.manual_seed(5)
    before = torch.cuda.get_rng_state()
    loop.fit(VARIANTS["drops"], digits(), seed=0, fidelity=0.02, device="cuda")
    assert torch.equal(before, torch.cuda.get_rng_state())


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Room for 3.5 GB: the memory really runs out, whatever the card."""
    torch.cuda.empty_cache()
    share = 3.5e9 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(share)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def source(tmp_path: Path, images: int = 2000) -> DataSource:
    x = pixels(images).permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "noise.npz", x_train=x, y_train=noise(images).train_y.numpy())
    return DataSource("npz", folder=str(tmp_path / "noise.npz"))


def test_out_of_memory_costs_one_try(little_memory: None, tmp_path: Path) -> None:
    """A batch too large for the memory is trained in quarters; one that still is, is an outcome, and the next job runs."""
    trainer = Train(source(tmp_path), device="cuda")
    large, larger = (
        replace(TINY, network=Spec("nasnet", {**TINY.network.args, "filters": filters}), batch_size=size)
        for filters, size in ((96, 600), (256, 1600))
    )
    outcomes = [outcome for _, outcome in trainer.evaluate([job(large), job(larger), job(TINY)])]
    assert [(o.status, o.error, o.attempts) for o in outcomes] == [
        ("ok", "", 2),
        ("failed", "OOM", 2),
        ("ok", "", 1),
    ]
    assert outcomes[0].metrics["micro_batch"] == 150


@pytest.mark.parametrize("name", ["cifar10-v0", "cifar100-resnet56-hpo-v0"])
def test_memory_is_predicted(name: str, tmp_path: Path) -> None:
    """Never less than is used, since two jobs would meet; and not three times as much, since a GPU would stand idle."""
    trainer = Train(source(tmp_path), device="cuda")
    trainer.dataset()
    for recipe in paper_recipes(4, name):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        one = job(replace(recipe, epochs=100))
        list(trainer.evaluate([one]))
        used = torch.cuda.max_memory_reserved() + 0.5e9  # CUDA's context
        predicted = trainer.cost(one).memory
        print(f"{name}: {used / 1e9:.2f} GB used, {predicted / 1e9:.2f} predicted")
        assert used < predicted < 3 * used


def test_a_pool_shares_a_gpu() -> None:
    """Three jobs at once on one GPU; outcomes are those of a single process, to what kernels differ in."""
    jobs = [job(replace(VARIANTS[name], epochs=100), number, 0.08) for number, name in enumerate(sorted(VARIANTS))]
    alone = [outcome for _, outcome in Train(DataSource("digits"), device="cuda").evaluate(jobs)]
    pool = Pool(partial(Train, DataSource("digits"), device="cuda"), 3)
    try:
        shared = dict(pool.evaluate(jobs))
    finally:
        pool.close()
    assert all(shared[i].status == "ok" for i in range(len(jobs)))
    assert all(math.isclose(shared[i].accuracy, alone[i].accuracy, abs_tol=0.15) for i in range(len(jobs)))
