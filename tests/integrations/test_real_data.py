"""Real images beyond the digits. Each test names what it lacks where the data are not on the machine."""

import io
import os
from pathlib import Path

import numpy as np
import pytest

from ma2ml_env.games.make import make_game
from ma2ml_env.registry import resolve
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.trial import Proposal

FASHION = Path(os.environ.get("MA2ML_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
IMAGES = Path(os.environ.get("MA2ML_IMAGES", Path(__file__).parents[3] / "shared" / "images"))

needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="no Fashion-MNIST: apt-get install dataset-fashion-mnist"
)
needs_images = pytest.mark.skipif(
    not (IMAGES / "cifar10_jpg.npz").is_file(), reason="no cifar10_jpg.npz in MA2ML_IMAGES"
)


def play_one(game, seed=0):
    """The outcome of one pipeline without a policy, with NASNet-like cells of separable convolutions, at the middle rate."""
    codes = {agent: tuple(n // 2 for n in nvec) for agent, nvec in game.spec.nvec.items()}
    (trial,) = game.play([Proposal(codes)], [seed])
    assert trial.outcome.status == "ok", trial.outcome.note
    return trial.outcome


@needs_fashion
def test_fashion_mnist_is_split_as_its_game_says():
    data = DataSource("fashion-mnist", folder=str(FASHION)).load()
    assert [len(x) for x in (data.train_x, data.validation_x, data.test_x)] == [55_000, 5_000, 10_000]
    assert data.train_x.shape[1:] == (1, 28, 28)
    assert data.classes == 10
    assert np.bincount(data.validation_y.numpy()).tolist() == [500] * 10
    assert (data.train_x.float() / 255).mean().item() == pytest.approx(data.mean[0], abs=0.002)


@needs_fashion
def test_the_data_of_a_measured_game_have_their_digest():
    for id in ("trio-fashion-v0", "trio-fashion-macs-v0"):
        game = make_game(id, "train", data=FASHION, device="cpu")
        assert game.evaluator.inner.source.identity().digest == resolve("games", id).digest


@needs_fashion
@pytest.mark.slow
def test_a_pipeline_of_the_small_fashion_mnist_game_learns():
    game = make_game("fashion-mnist-small-v0", data=FASHION)
    assert play_one(game).accuracy > 0.4  # chance is 0.1, with an error of 0.004 over 5,000 images


@needs_images
def test_own_npz_of_real_photographs_is_a_data_set(tmp_path):
    from PIL import Image

    packed = np.load(IMAGES / "cifar10_jpg.npz", allow_pickle=False)

    def decode(part, n):
        raw, offsets, labels = packed[f"{part}_bytes"], packed[f"{part}_offs"], packed[f"{part}_y"]
        some = np.linspace(0, len(labels) - 1, n).astype(int)  # the file is sorted by class
        images = [Image.open(io.BytesIO(raw[offsets[i] : offsets[i + 1]].tobytes())).convert("RGB") for i in some]
        return {f"x_{part}": np.stack([np.asarray(image) for image in images]), f"y_{part}": labels[some]}

    np.savez(tmp_path / "own.npz", **decode("train", 400), **decode("test", 100))
    data = DataSource("npz", folder=str(tmp_path / "own.npz"), size=32).load()
    assert data.classes == 10
    assert [len(x) for x in (data.train_x, data.validation_x, data.test_x)] == [360, 40, 100]
    assert data.train_x.shape[1:] == (3, 32, 32)
