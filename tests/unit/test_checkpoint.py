"""A training that pauses and goes on ends with the bits of one that does not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ma2ml_env.recipe import Operation, Recipe, Spec
from ma2ml_env.training import checkpoint, loop
from ma2ml_env.training.data import DataSource

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
