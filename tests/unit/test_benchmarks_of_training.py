"""The benchmarks of augmentation and of training run, and their arms train the same pipelines."""

import json
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import training
import tune

from ma2ml_env.evaluators.base import Evaluator
from ma2ml_env.evaluators.train import Train
from ma2ml_env.evaluators.workers.pool import Pool
from ma2ml_env.recipe import Recipe, Spec
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.trial import Outcome

FOLDER = Path(__file__).parents[2] / "benchmarks"
SMALL = ("--pipelines", "2", "--limit", "64", "--validation", "50", "--epochs", "1")
DIGITS = DataSource("digits", limit=200)
PLAIN = ((0, "conv_3x3", 1, "conv_3x3", "add"),)
TINY = Recipe(
    network=Spec("nasnet", {"normal": PLAIN, "reduction": PLAIN, "cells": 2, "reductions": (1,), "filters": 8}),
    crop_padding=1, flip=False, cutout=2, learning_rate=0.1, batch_size=32, epochs=100,
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images in Fashion-MNIST's files, of noise."""
    folder = tmp_path_factory.mktemp("fashion-mnist")
    rng = np.random.default_rng(0)
    for part, count in (("train", 150), ("t10k", 20)):
        labels = np.arange(count) % 10
        for name, array in (("images-idx3", rng.integers(256, size=(count, 28, 28))), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{part}-{name}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())
    return folder


def figures(program, out, *options):
    command = [sys.executable, str(FOLDER / program), *map(str, options), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def jobs(recipe, count, fidelity):
    return [tune.Job(number, recipe, {}, number, fidelity) for number in range(count)]


def test_jobs_are_random_pipelines_and_the_same_at_every_call():
    first, again = training.random_jobs(3, epochs=3), training.random_jobs(3, epochs=3)
    assert first == again
    assert len({job.recipe.key for job in first}) == 3
    assert {job.fidelity * job.recipe.epochs for job in first} == {3.0}


def test_the_plain_script_learns():
    """Chance is 0.10. The control is one epoch, at the end of which the rate is nearly zero."""
    data = training.loaded(DIGITS)
    assert training.plain(TINY, data, epochs=8, seed=0, loaders=0) > 0.5
    assert training.plain(TINY, data, epochs=1, seed=0, loaders=0) < 0.3


@pytest.mark.slow
def test_ours_are_the_accuracies_of_the_evaluator():
    some = jobs(TINY, count=2, fidelity=0.02)
    here = [outcome.accuracy for _, outcome in Train(DIGITS, device="cpu").evaluate(some)]
    assert sorted(tune.ours(Pool, DIGITS, some)) == sorted(here)  # in order of completion
    assert here[0] != here[1]


def test_an_arm_that_fails_is_not_timed():
    class Failing(Evaluator):
        def __init__(self, factory, workers):
            assert isinstance(factory, partial)

        def evaluate(self, jobs):
            yield 0, Outcome("failed", error="CRASH")

    with pytest.raises(AssertionError, match="CRASH"):
        tune.ours(Failing, DIGITS, jobs(TINY, count=1, fidelity=0.01))


@pytest.mark.slow
def test_the_benchmark_of_augmentation_keeps_its_figures(tmp_path):
    told = figures("augment.py", tmp_path / "augment.json", "--policies", 1, "--repeat", 1)
    assert told["ratio_median"] > 0
    assert 0 < told["share_of_step_median"] < 1


@pytest.mark.slow
def test_the_benchmark_of_training_keeps_its_figures(images, tmp_path):
    told = figures("training.py", tmp_path / "training.json", "--data", images, *SMALL, "--threads", 1)
    assert min(told["ratio_cpu"], told["ratio_wall"], told["ratio_wall_channels_last"]) > 0
    assert all(0 <= accuracy <= 1 for accuracy in told["mean_accuracy"].values())


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(find_spec, ("ray", "fsspec", "pandas", "pyarrow", "requests"))),
    reason='Ray Tune is not installed: pip install "ray[tune]"',
)
@pytest.mark.timeout(900)
def test_the_benchmark_against_ray_tune_keeps_its_figures(images, tmp_path):
    told = figures("tune.py", tmp_path / "tune.json", "--data", images, *SMALL, "--rounds", 1)
    assert told["mean_accuracy"]["pool"] == told["mean_accuracy"]["ray_pool"]
    rivals = [name for name in told["seconds"] if name not in told["ratio"]]
    assert told["rival"] == min(rivals, key=lambda name: told["seconds"][name])
    assert min(told["ratio"].values()) > 0
