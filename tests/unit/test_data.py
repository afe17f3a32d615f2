"""Data sets: fixed splits, and one clear line for what is wrong."""

import gzip
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ma2ml_env.games.options import sort_options
from ma2ml_env.registry import resolve
from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.data.source import DataSource
from ma2ml_env.training.data.split import stratified_order


def split(dataset: Dataset) -> tuple[int, int, int]:
    return len(dataset.train_x), len(dataset.validation_x), len(dataset.test_x)


def test_digits() -> None:
    data = DataSource("digits").load()
    assert split(data) == (1000, 500, 297)
    assert (data.channels, data.size, data.classes) == (1, 8, 10)
    assert data.train_x.dtype == torch.uint8
    assert data.train_y.dtype == torch.int64
    assert int(data.train_x.max()) == 255
    assert data.mean[0] == pytest.approx(data.train_x.float().mean().item() / 255, rel=1e-5)
    assert data.std[0] == pytest.approx(data.train_x.float().std().item() / 255, rel=1e-3)
    for labels in (data.train_y, data.validation_y, data.test_y):
        counts = torch.bincount(labels) / len(labels)
        assert counts.max() - counts.min() < 0.02  # stratified: the classes are 174..183 of 1,797


def test_parts_are_disjoint_and_fixed_by_the_seed() -> None:
    first, again, other = DataSource("digits").load(), DataSource("digits").load(), DataSource("digits", seed=1).load()
    assert torch.equal(first.train_x, again.train_x)
    assert torch.equal(first.test_y, again.test_y)
    assert not torch.equal(first.validation_x, other.validation_x)
    everything = torch.cat([first.train_x, first.validation_x, first.test_x]).flatten(1)
    assert len(torch.unique(everything, dim=0)) == 1797  # no image of the digits occurs twice


def test_limit_validation_size_and_merge() -> None:
    small = DataSource("digits", limit=200, validation=100, size=12).load()
    assert split(small) == (200, 100, 297)
    assert small.train_x.shape == (200, 1, 12, 12)
    assert torch.bincount(small.train_y).min() >= 18
    merged = small.merged()
    assert split(merged) == (300, 0, 297)
    assert merged.mean == small.mean
    larger = DataSource("digits", limit=400, validation=100, size=12).load()
    assert torch.equal(larger.train_x[:200], small.train_x)


def test_every_prefix_of_the_order_is_stratified() -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 2], [600, 300, 100]))
    order = stratified_order(labels, rng)
    assert sorted(order) == list(range(1000))
    for length in (10, 100, 500):
        assert np.abs(np.bincount(labels[order[:length]]) - length * np.array([0.6, 0.3, 0.1])).max() <= 1.0


def test_source_is_picklable() -> None:
    source = DataSource("digits", limit=10)
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist"])
def test_missing_data_say_what_to_do(name: str, tmp_path: Path) -> None:
    for folder in (None, str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(FileNotFoundError, match=r"--data DIR.*--download"):
            DataSource(name, folder).load()


def test_unknown_name_and_bad_numbers() -> None:
    with pytest.raises(ValueError, match="unknown data set 'mnist'; known are digits"):
        DataSource("mnist").load()
    for wrong in (DataSource("digits", validation=1499), DataSource("digits", limit=1), DataSource("digits", size=0)):
        with pytest.raises(ValueError, match="at least"):
            wrong.load()


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes() + array.astype(np.uint8).tobytes()
    )


def write_fashion(folder: Path, zipped: bool) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    images = {"train": rng.integers(0, 256, (60, 28, 28)), "t10k": rng.integers(0, 256, (20, 28, 28))}
    for part, array in images.items():
        for kind, content in (("images-idx3", array), ("labels-idx1", np.arange(len(array)) % 10)):
            data = idx(content)
            name = f"{part}-{kind}-ubyte" + (".gz" if zipped else "")
            (folder / name).write_bytes(gzip.compress(data) if zipped else data)
    return images["train"]


@pytest.mark.parametrize(("below", "zipped"), [("", True), ("FashionMNIST/raw", False)])
def test_fashion_mnist_in_both_layouts(tmp_path: Path, below: str, zipped: bool) -> None:
    images = write_fashion(tmp_path / below, zipped)
    data = DataSource("fashion-mnist", str(tmp_path), validation=10).load()
    assert split(data) == (50, 10, 20)
    assert data.class_names[9] == "Ankle boot"
    assert data.mean == (0.2860406,)
    known = {image.tobytes(): label % 10 for label, image in enumerate(images.astype(np.uint8))}
    assert all(known[x.numpy().tobytes()] == int(y) for x, y in zip(data.train_x, data.train_y, strict=True))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-7], lambda b: gzip.compress(gzip.decompress(b)[:-1]), lambda b: b"x" * 20]
)
def test_damaged_fashion_mnist_names_the_file(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write_fashion(tmp_path, zipped=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz"):
        DataSource("fashion-mnist", str(tmp_path), validation=10).load()


def write_images(folder: Path, classes: dict[str, int], mode: str = "RGB") -> None:
    for label, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            value = 40 * label + number
            Image.new(mode, (20 + number, 14), value if mode == "L" else (value, 0, 255)).save(
                folder / name / f"{number}.png"
            )


def test_one_folder_of_class_folders_is_split(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 20, "dog": 20})
    data = DataSource("images", str(tmp_path), size=10).load()
    assert split(data) == (32, 4, 4)
    assert data.train_x.shape[1:] == (3, 10, 10)
    assert data.class_names == ("cat", "dog")
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        assert torch.equal((x[:, 0, 5, 5] >= 40).long(), y)


def test_train_val_test_folders_and_grey_images(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        write_images(tmp_path / part, {"a": count, "b": count, "c": count}, mode="L")
    data = DataSource("images", str(tmp_path), size=8).load()
    assert split(data) == (15, 6, 9)
    assert data.channels == 1
    Image.new("RGB", (9, 9)).save(tmp_path / "val" / "a" / "colour.jpg")
    assert DataSource("images", str(tmp_path), size=8).load().channels == 3


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("Train", "Test"), "Test, Train would be taken for classes"),
        (("training", "validation"), "training, validation would be taken for classes"),
        (("train", "testing"), "testing would be left out"),
    ],
)
def test_parts_under_other_names_are_refused(tmp_path: Path, parts: tuple[str, ...], message: str) -> None:
    for part in parts:
        write_images(tmp_path / part, {"a": 4, "b": 4})
    with pytest.raises(ValueError, match=message):
        DataSource("images", str(tmp_path), size=8).load()


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    write_images(tmp_path, {"test": 9, "other": 9})
    assert DataSource("images", str(tmp_path), size=8).load().class_names == ("other", "test")


def test_bad_folders_of_images(tmp_path: Path) -> None:
    def load(size: int | None = 8) -> Dataset:
        return DataSource("images", str(tmp_path / "data"), size=size).load()

    with pytest.raises(FileNotFoundError, match="no folder"):
        load()
    write_images(tmp_path / "data", {"only": 9})
    with pytest.raises(ValueError, match="at least 2 classes"):
        load()
    write_images(tmp_path / "data", {"other": 9})
    with pytest.raises(ValueError, match="--size"):
        load(size=None)
    (tmp_path / "data" / "other" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        load()
    (tmp_path / "data" / "other" / "broken.png").unlink()
    (tmp_path / "data" / "empty").mkdir()
    with pytest.raises(ValueError, match="no images of class empty"):
        load()


def test_a_class_of_test_alone_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"a": 5, "b": 5})
    write_images(tmp_path / "test", {"z": 2})
    with pytest.raises(ValueError, match="classes z are not among"):
        DataSource("images", str(tmp_path), size=8).load()


def test_validation_images_are_limited_wherever_they_come_from(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(90, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "taken.npz", x_train=pixels, y_train=np.arange(90) % 3)
    for number in range(60):
        for part in ("train", "val"):
            path = tmp_path / "brought" / part / "abc"[number % 3] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number]).save(path)
    for name, folder, usual in (("npz", "taken.npz", 9), ("images", "brought", 60)):
        everything = DataSource(name, str(tmp_path / folder), size=4)
        for limit, expected in ((None, usual), (6, 6), (1000, usual)):
            data = replace(everything, validation_limit=limit).load()
            assert len(data.validation_y) == expected
            assert torch.bincount(data.validation_y).tolist() == [expected // 3] * 3
        assert replace(everything, validation_limit=1000).identity() == everything.identity()
    taken = DataSource("npz", str(tmp_path / "taken.npz"), validation_limit=6).load()
    assert len(taken.train_y) == 90 - 9 - 6, "what is not validated on is trained on"
    with pytest.raises(ValueError, match="validation_limit is at least 1 image, not 0"):
        DataSource("digits", validation_limit=0).load()


def test_own_small_is_small_on_any_data_and_takes_all_of_few(tmp_path: Path) -> None:
    own = resolve("games", "own-small-v0")
    for n, train, validation in ((30_000, 4000, 2000), (1000, 800, 100)):
        x = np.zeros((n, 1, 1), np.uint8)
        np.savez(tmp_path / "x.npz", x_train=x, y_train=np.arange(n) % 2)
        data = sort_options(own, "train", {"npz": str(tmp_path / "x.npz"), "size": None}).source.load()
        assert (len(data.train_y), len(data.validation_y)) == (train, validation)
