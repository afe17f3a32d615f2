"""A package of somebody else's: one file with an agent and its loss, found by entry points, in worker processes as well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = """
import torch
from ma2ml_env import Decision, SearchSpace, Spec


class Absolute(torch.nn.Module):
    def forward(self, logits, targets):
        if not targets.is_floating_point():
            targets = torch.nn.functional.one_hot(targets, logits.shape[1])
        return (1.0 - (logits.float().softmax(1) * targets).sum(1)).mean()


class RobustLoss:
    name = "loss"
    space = SearchSpace([Decision("loss", ("absolute",))])

    def apply(self, recipe, values):
        return recipe.with_slots(loss=Spec(values["loss"]))
"""
MODULE = "[ma2ml.modules]\nrobust_loss = robust:RobustLoss\n"
LOSS = "[ma2ml.losses]\nabsolute = robust:Absolute\n"
SCRIPT = """
from ma2ml_env.games.make import make_game
from ma2ml_env.testing import random_proposals

if __name__ == "__main__":
    options = {"limit": 100, "proxy_epochs": 1, "cells": 1, "reductions": (), "filters": 2}
    game = make_game("digits-v0", modules=["nas", "robust_loss"], workers=2, device="cpu", **options)
    outcomes = [trial.outcome for trial in game.play(random_proposals(game.spec, 2), [0, 1])]
    game.evaluator.close()
    print([(outcome.status, outcome.error) for outcome in outcomes], outcomes[0].note)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groups", "told"),
    [
        (MODULE + LOSS, "[('ok', ''), ('ok', '')]"),
        (MODULE, "[('failed', 'INVALID'), ('failed', 'INVALID')] unknown loss 'absolute'; known are cross_entropy"),
    ],
    ids=["with its loss", "control: nobody names the loss"],
)
def test_workers_know_the_parts_of_an_installed_package(tmp_path: Path, groups: str, told: str) -> None:
    (tmp_path / "robust.py").write_text(PACKAGE)
    info = tmp_path / "robust-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: robust\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(groups)
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, tmp_path / "script.py"], env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(told), done.stdout + done.stderr
