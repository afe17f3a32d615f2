"""The evaluator that trains: what goes wrong with a job is an outcome."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ma2ml_env.evaluators import train
from ma2ml_env.evaluators.base import DeviceLost, Evaluator, Job, NoWorker
from ma2ml_env.evaluators.faults import out_of_memory
from ma2ml_env.evaluators.train import Train
from ma2ml_env.recipe import Operation, Recipe, Spec
from ma2ml_env.training import flops, loop, parts
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.trial import Outcome
from tests.unit.test_recipe_knobs import accuracy

SOURCE = DataSource("digits", limit=200)
CELL = ((0, "conv_3x3", 1, "max_pool_3x3", "add"),)
RECIPE = Recipe(
    network=Spec("nasnet", {"normal": CELL, "reduction": CELL, "cells": 2, "reductions": (1,), "filters": 4}),
    crop_padding=1,
    flip=False,
    cutout=0,
    epochs=2,
    batch_size=50,
    learning_rate=0.1,
)


def job(number: int = 0, recipe: Recipe = RECIPE, fidelity: float = 0.5) -> Job:
    return Job(number, recipe, {}, seed=number, fidelity=fidelity)


def train_one(evaluator: Train, asked: Job) -> Outcome:
    [(index, outcome)] = evaluator.evaluate([asked])
    assert index == 0
    return outcome


def without_time(outcome: Outcome) -> Outcome:
    return replace(outcome, seconds=0.0)


def test_outcomes_are_complete_and_lazy() -> None:
    evaluator = Train(SOURCE)
    assert isinstance(evaluator, Evaluator)
    iterator = evaluator.evaluate([job(0), job(1)])
    assert evaluator._dataset is None  # nothing is read before the first outcome is asked for
    index, outcome = next(iterator)
    assert index == 0
    assert outcome.status == "ok"
    assert 0.0 < outcome.accuracy < 1.0
    assert (outcome.flops, outcome.params) == flops.network_cost(RECIPE, 10, 1, 8)
    assert outcome.flops == evaluator.flops(job())
    assert outcome.seconds > 0.0
    assert outcome.fidelity == 0.5
    beside = {"balanced_accuracy", "macro_f1", "top5_accuracy", "log_loss"}
    assert set(outcome.metrics) == {"train_loss", "epochs", "steps", *beside}
    assert next(iterator)[0] == 1


def test_outcomes_depend_on_the_job_alone() -> None:
    first = {index: without_time(outcome) for index, outcome in Train(SOURCE).evaluate([job(0), job(1)])}
    again = without_time(train_one(pickle.loads(pickle.dumps(Train(SOURCE))), job(1)))
    assert first[1] == again
    assert first[0] != first[1]


def test_a_used_evaluator_pickles_without_its_data() -> None:
    evaluator = Train(SOURCE)
    evaluator.check()
    assert len(pickle.dumps(evaluator)) < 2000


def test_threads_are_restored() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    evaluator = Train(SOURCE, threads=before + 1)
    evaluator._train = lambda *_: seen.append(torch.get_num_threads()) or Outcome()  # type: ignore[method-assign,func-returns-value]
    train_one(evaluator, job())
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="threads"):
        Train(SOURCE, threads=0)


def test_test_accuracy_and_training_on_validation() -> None:
    plain, tested = train_one(Train(SOURCE), job()), train_one(Train(SOURCE, test=True), job())
    assert tested.accuracy == plain.accuracy
    assert 0.0 < tested.test_accuracy < 1.0
    merged = train_one(Train(SOURCE, train_on_validation=True), job())
    assert merged.accuracy == merged.test_accuracy
    assert merged.metrics["steps"] == 700 / 50


def test_test_images_are_resized_as_the_training_images_were(tmp_path: Path) -> None:
    recipe = replace(RECIPE, resolution=12)
    evaluator = Train(SOURCE, test=True, weights=str(tmp_path))
    outcome = train_one(evaluator, job(recipe=recipe))
    assert outcome.flops == flops.network_cost(RECIPE, 10, 1, 12)[0] == evaluator.flops(job(recipe=recipe))
    data = evaluator.dataset()
    network = loop.build(recipe, data)
    network.load_state_dict(load_file(tmp_path / "0.safetensors"))
    network.eval()
    assert accuracy(network, data, data.test_x, data.test_y, 12) == outcome.test_accuracy
    assert accuracy(network, data, data.test_x, data.test_y) != outcome.test_accuracy


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (replace(RECIPE, network=Spec("none")), "unknown network 'none'"),
        (replace(RECIPE, augment=((Operation("blur", 1.0, 1),),)), "blur"),
        (replace(RECIPE, batch_size=0), "batch_size"),
    ],
)
def test_bad_recipes_are_invalid(recipe: Recipe, words: str) -> None:
    outcome = train_one(Train(SOURCE), job(recipe=recipe))
    assert (outcome.status, outcome.error, outcome.accuracy) == ("failed", "INVALID", 0.0)
    assert words in outcome.note


def test_f9_divergence_is_nan_and_the_next_job_goes_on() -> None:
    wild = replace(RECIPE, learning_rate=1e9, clip_norm=0.0)
    outcomes = dict(Train(SOURCE).evaluate([job(recipe=wild), job()]))
    assert (outcomes[0].status, outcomes[0].error) == ("failed", "NAN")
    assert outcomes[1].status == "ok"


@pytest.mark.parametrize(
    ("error", "code"), [(torch.OutOfMemoryError("CUDA out of memory"), "OOM"), (RuntimeError("boom"), "CRASH")]
)
def test_errors_are_outcomes(monkeypatch: pytest.MonkeyPatch, error: Exception, code: str) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(loop, "fit", fail)
    outcome = train_one(Train(SOURCE), job())
    assert (outcome.status, outcome.error) == ("failed", code)
    assert str(error) in outcome.note


def test_interrupts_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_one(Train(SOURCE), job())


def test_weights_are_saved_without_the_auxiliary_head(tmp_path: Path) -> None:
    evaluator = Train(SOURCE, weights=str(tmp_path / "weights"))
    outcome = train_one(evaluator, job(number=7, fidelity=1.0))
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["7.safetensors"]
    data = evaluator.dataset()
    network = loop.build(RECIPE, data)
    network.load_state_dict(load_file(tmp_path / "weights" / "7.safetensors"))
    assert accuracy(network.eval(), data, data.validation_x, data.validation_y) == outcome.accuracy


def test_check_finds_missing_devices_and_data(tmp_path: Path) -> None:
    Train(SOURCE).check()
    with pytest.raises(FileNotFoundError, match="--data DIR"):
        Train(DataSource("cifar10", str(tmp_path))).check()
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        Train(SOURCE, device="gpu").check()
    with pytest.raises(ValueError, match="'meta' is not supported"):
        Train(SOURCE, device="meta").check()
    with pytest.raises(ValueError, match="'cuda:99' is not on this machine"):
        Train(SOURCE, device="cuda:99").check()
    assert train_one(Train(SOURCE, device="cuda:99"), job()).error == "CRASH"


@pytest.mark.parametrize(
    ("changes", "fidelity"), [({}, 0.5), ({}, 1.0), ({"batch_size": 20}, 0.5), ({"epochs": 4, "auxiliary": 0.4}, 1.0)]
)
def test_predicted_calls_are_the_layers_that_training_calls(
    changes: dict[str, float], fidelity: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator, asked = Train(SOURCE, device="cpu"), job(recipe=replace(RECIPE, **changes), fidelity=fidelity)  # type: ignore[arg-type]
    build, called = loop.build, 0

    def count(layer: nn.Module, *_: object) -> None:
        nonlocal called
        called += layer.training

    def watched(recipe: Recipe, dataset: Dataset, *, final: bool) -> nn.Module:
        network = build(recipe, dataset, final=final)
        for layer in network.modules():
            if not list(layer.children()):
                layer.register_forward_hook(count)
        return network

    monkeypatch.setattr(loop, "build", watched)
    assert train_one(evaluator, asked).status == "ok"
    assert evaluator.cost(asked).calls == called > 0


def test_flops_refuses_what_cannot_be_built() -> None:
    with pytest.raises(parts.InvalidRecipe):
        Train(SOURCE).flops(job(recipe=replace(RECIPE, network=Spec("none"))))


def test_a_lost_device_is_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every later job of the process would fail as well; the control is a job that is bad by itself."""
    bad = job(1, replace(RECIPE, network=Spec("nasnet", {**RECIPE.network.args, "filters": -1})))
    assert train_one(Train(SOURCE), bad).status == "failed"
    trainer = Train(SOURCE)
    monkeypatch.setattr(loop, "fit", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("CUDA error: unspecified")))
    assert train_one(trainer, job()).error == "CRASH"
    monkeypatch.setattr(train, "lost", lambda device: "CUDA error: unspecified launch failure")
    with pytest.raises(DeviceLost, match="no longer answers this process"):
        train_one(trainer, job())


def test_weights_that_cannot_be_written_end_the_evaluation(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoWorker, match="weights of a finished training cannot be written"):
        train_one(Train(SOURCE, weights=str(tmp_path / "file")), job())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_weights_that_cannot_be_written_leave_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs, a checkpoint after the first: who makes room and starts again loses what came after it, and no more."""
    monkeypatch.setattr(train, "KEEP_EVERY", 0.0)
    (tmp_path / "file").touch()
    whole, checkpoints = job(fidelity=1.0), tmp_path / "checkpoints"
    with pytest.raises(NoWorker):
        train_one(Train(SOURCE, weights=str(tmp_path / "file"), checkpoints=str(checkpoints)), whole)
    assert (checkpoints / whole.checkpoint_name).exists()
    train_one(Train(SOURCE, weights=str(tmp_path / "weights"), checkpoints=str(checkpoints)), whole)
    assert list(checkpoints.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, full: bool) -> None:
    assert out_of_memory(error) == full


def test_a_workers_twin_has_the_data_and_its_own_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading counts against no job's time; cuda:1 of this machine is cuda:0 where one GPU is seen."""
    assert Train(SOURCE).twin()._dataset is not None
    monkeypatch.setattr(Train, "dataset", lambda self: None)
    assert Train(SOURCE, device="cuda:1").twin().device == "cuda"
    assert Train(SOURCE, device="cpu").twin().device == "cpu"
