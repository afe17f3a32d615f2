"""A training that pauses and goes on ends with the bits of one that does not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ma2ml_env.evaluators import train
from ma2ml_env.evaluators.base import Job
from ma2ml_env.evaluators.train import Train
from ma2ml_env.recipe import Operation, Recipe, Spec
from ma2ml_env.training import checkpoint, loop
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.images import batches

CELL = ((0, "conv_3x3", 1, "sep_conv_3x3", "add"),)
REDUCTION = ((0, "max_pool_3x3", 1, "conv_3x3", "concat"),)
RECIPE = Recipe(
    network=Spec("nasnet", {"normal": CELL, "reduction": REDUCTION, "cells": 3, "reductions": (1,), "filters": 8}),
    augment=((Operation("rotate", 0.5, 4), Operation("cutout", 0.5, 4)), ()),
    crop_padding=1,
    cutout=2,
    learning_rate=0.1,
    batch_size=32,
    drop_path=0.5,
    auxiliary=0.4,
    epochs=6,
)
DATA = DataSource("digits", limit=100).load()


def fit(recipe: Recipe = RECIPE, **options: object) -> loop.Fitted:
    return loop.fit(recipe, DATA, **{"seed": 3, "fidelity": 1.0, **options})  # type: ignore[arg-type]


def same(first: loop.Fitted, second: loop.Fitted) -> bool:
    pairs = zip(first.network.state_dict().values(), second.network.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


AVERAGED = replace(RECIPE, ema=0.9, mixup=0.4, dropout=0.2, stochastic_depth=0.2)


@pytest.mark.parametrize(
    "recipe", [RECIPE, replace(RECIPE, optimizer=Spec("sgd", {})), AVERAGED], ids=["momentum", "plain", "averaged"]
)
@pytest.mark.parametrize("pauses", [(1,), (2, 5), (6,)])
def test_going_on_is_bit_equal_to_not_stopping(tmp_path: Path, pauses: tuple[int, ...], recipe: Recipe) -> None:
    """Final fidelity, so drop path draws and the auxiliary head learns; through a file, as in another process."""
    whole = fit(recipe)
    state = None
    for epochs in pauses:
        paused = fit(recipe, until=epochs, checkpoint=state)
        assert paused.checkpoint is not None
        assert paused.metrics["epochs"] == epochs
        assert same(paused, whole) == (epochs == 6)
        checkpoint.write(tmp_path / "state", paused.checkpoint)
        torch.manual_seed(99)  # what the process did meanwhile must not matter
        state = checkpoint.read(tmp_path / "state")
    resumed = fit(recipe, checkpoint=state)
    assert same(resumed, whole)
    assert (resumed.accuracy, resumed.metrics) == (whole.accuracy, whole.metrics)
    assert resumed.checkpoint is None


@pytest.mark.parametrize(
    "recipe", [pytest.param(RECIPE, id="plain"), pytest.param(AVERAGED, id="averaged", marks=pytest.mark.slow)]
)
def test_a_curve_changes_no_bit_and_is_that_of_shorter_looks(tmp_path: Path, recipe: Recipe) -> None:
    """Each point is what a training that pauses there measures; through checkpoints it is the same curve."""
    whole, looked = fit(recipe), fit(recipe, curve=(1, 3, 6, 9))
    assert same(whole, looked)
    assert whole.metrics == looked.metrics
    assert whole.curve == {}
    assert looked.curve == {epoch: fit(recipe, until=epoch).accuracy for epoch in (1, 3, 6)}
    state = None
    for epochs in (3, 4, 6):
        paused = fit(recipe, until=epochs, checkpoint=state, curve=(1, 3, 6))
        assert paused.checkpoint is not None
        checkpoint.write(tmp_path / "state", paused.checkpoint)
        state = checkpoint.read(tmp_path / "state")
    assert paused.curve == looked.curve
    assert same(paused, whole)


def test_a_checkpoint_without_the_curve_that_is_wanted_is_not_gone_on_from() -> None:
    state = fit(until=3).checkpoint
    assert state is not None
    cpu = torch.device("cpu")
    assert loop.goes_on(state, RECIPE, cpu, (4,))
    assert not loop.goes_on(state, RECIPE, cpu, (2, 4))


@pytest.mark.parametrize("forgotten", ["optimizer", "draws", "cpu", "epoch"])
def test_each_part_of_a_checkpoint_counts(forgotten: str) -> None:
    """The control: without any one of them the end is another."""
    state = fit(until=3).checkpoint
    fresh = fit(until=1).checkpoint
    assert state is not None
    assert fresh is not None
    if forgotten == "optimizer":
        spoilt = state._replace(parts={**state.parts, "optimizer": fresh.parts["optimizer"]})
    elif forgotten == "epoch":
        spoilt = state._replace(epoch=2)
    else:
        spoilt = state._replace(generators={**state.generators, forgotten: fresh.generators[forgotten]})
    assert not same(fit(checkpoint=spoilt), fit())


def test_a_damaged_file_is_no_checkpoint(tmp_path: Path) -> None:
    state = fit(until=1).checkpoint
    assert state is not None
    path = tmp_path / "folder" / "state"
    checkpoint.write(path, state)
    good = path.read_bytes()
    assert checkpoint.read(path) is not None
    for bad in (b"", good[:-1], good[:70], good[:200] + bytes([good[200] ^ 1]) + good[201:], b"{}\n" + good):
        path.write_bytes(bad)
        assert checkpoint.read(path) is None
    assert checkpoint.read(tmp_path / "none") is None
    assert checkpoint.read(tmp_path) is None


def test_a_checkpoint_of_other_parts_is_refused() -> None:
    state = fit(until=1).checkpoint
    assert state is not None
    with pytest.raises(ValueError, match="does not go with"):
        fit(checkpoint=state._replace(parts={"network": state.parts["network"]}))


def test_a_training_under_way_leaves_what_it_needs_to_go_on(tmp_path: Path) -> None:
    """After every epoch but the last; from each of them the end is the same."""
    whole, kept = fit(), []

    def keep(state: checkpoint.Checkpoint) -> None:
        checkpoint.write(tmp_path / str(state.epoch), state)
        kept.append(state.epoch)

    assert same(fit(keep=keep, keep_every=0.0), whole)
    assert kept == [1, 2, 3, 4, 5]
    for epoch in kept:
        assert same(fit(checkpoint=checkpoint.read(tmp_path / str(epoch))), whole)
    kept.clear()
    fit(keep=keep)  # every ten minutes
    assert kept == []


class Killed(BaseException):
    """The process is gone."""


def test_a_job_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of several kills comes after epoch 4: two of six are left, and the outcome is a calm one's."""
    source, job = DataSource("digits", limit=100), Job(0, RECIPE, {}, 3, 1.0)
    [(_, calm)] = Train(source).evaluate([job])
    monkeypatch.setattr(train, "KEEP_EVERY", 0.0)
    write, make = checkpoint.write, batches.epoch
    epochs: list[int] = []

    def write_and_die(path: Path, state: checkpoint.Checkpoint) -> None:
        write(path, state)
        if state.epoch in (2, 4):
            raise Killed

    monkeypatch.setattr(checkpoint, "write", write_and_die)
    monkeypatch.setattr(batches, "epoch", lambda *args: epochs.append(1) or make(*args))
    for trained in (2, 4):
        with pytest.raises(Killed):
            list(Train(source, checkpoints=str(tmp_path)).evaluate([job]))
        assert len(epochs) == trained
    [(_, outcome)] = Train(source, checkpoints=str(tmp_path)).evaluate([job])
    assert len(epochs) == 6
    assert replace(outcome, seconds=0.0) == replace(calm, seconds=0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["cuda", "float16"])
def test_a_checkpoint_of_another_device_or_type_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """`resume --device` may change it between a job's two halves; the job starts anew, to this device's end."""
    source, job = DataSource("digits", limit=100), Job(0, RECIPE, {}, 3, 1.0)
    trainer = Train(source, checkpoints=str(tmp_path))
    [(_, calm)] = Train(source).evaluate([job])
    list(trainer.evaluate([replace(job, until=0.5)]))
    path = tmp_path / job.checkpoint_name
    state = checkpoint.read(path)
    assert state is not None
    if where == "cuda":
        state = state._replace(generators={**state.generators, "cuda": torch.zeros(16, dtype=torch.uint8)})
    else:
        state = state._replace(parts={**state.parts, "scaler": torch.amp.GradScaler("cpu").state_dict()})
    checkpoint.write(path, state)
    epochs, make = [], batches.epoch
    monkeypatch.setattr(batches, "epoch", lambda *args: epochs.append(1) or make(*args))
    [(_, outcome)] = trainer.evaluate([job])
    assert len(epochs) == 6
    assert replace(outcome, seconds=0.0) == replace(calm, seconds=0.0)


def test_a_checkpoint_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source, job = DataSource("digits", limit=100), Job(0, RECIPE, {}, 3, 1.0)
    [(_, outcome)] = Train(source, checkpoints=str(tmp_path / "file")).evaluate([replace(job, until=0.5)])
    assert (outcome.status, outcome.fidelity) == ("ok", 0.5)
