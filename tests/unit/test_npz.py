"""Images that come as arrays: names of arrays, labels, ranges, and one clear line for what is wrong."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ma2ml_env.training.data.dataset import Dataset
from ma2ml_env.training.data.npz import read_npz
from ma2ml_env.training.data.raw import Raw
from ma2ml_env.training.data.source import DataSource


def split(dataset: Dataset) -> tuple[int, int, int]:
    return len(dataset.train_x), len(dataset.validation_x), len(dataset.test_x)


def arrays(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    good = {"x_train": np.zeros((40, 6, 6, 3), np.uint8), "y_train": np.arange(40) % 4}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def save(tmp_path: Path, **content: np.ndarray) -> DataSource:
    np.savez(tmp_path / "data.npz", **content)
    return DataSource("npz", str(tmp_path / "data.npz"))


def test_npz(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 6)).astype(np.uint8)
    data = save(tmp_path, **arrays(x_train=x)).load()
    assert split(data) == (32, 4, 4)
    assert data.channels == 1
    test = {"x_test": np.ones((7, 6, 6, 3), np.uint8), "y_test": np.zeros(7, np.int32)}
    data = save(tmp_path, **arrays(**test)).load()
    assert split(data) == (36, 4, 7)
    assert data.std == (1 / 255,) * 3  # all black: no division by zero


def test_npz_labels_of_two_kinds_are_compared_as_they_are(tmp_path: Path) -> None:
    """As floats, which numpy makes of int64 beside uint64, two such classes would be one."""
    large = 2**53 + np.arange(40) % 2
    parts = {"x_test": np.zeros((40, 6, 6, 3), np.uint8), "y_test": large.astype(np.uint64)}
    data = save(tmp_path, **arrays(y_train=large, **parts)).load()
    assert data.test_y.tolist() == [0, 1] * 20


def test_npz_of_classes_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="texts that UTF-8 can hold"):
        save(tmp_path, **arrays(y_train=np.array(["\udcff", "b"] * 20))).load()


def test_npz_labels_are_mapped(tmp_path: Path) -> None:
    data = save(tmp_path, **arrays(y_train=np.array([7, -2, 7, 100] * 10))).load()
    assert data.class_names == ("-2", "7", "100")
    assert set(data.train_y.tolist()) == {0, 1, 2}


X = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3)).astype(np.uint8)
Y = np.arange(40) % 4


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train"), ("train_images", "train_labels"), ("X", "y"), ("images", "labels"), ("data", "target"),
     ("X_training", "Y_training"), ("images_train", "labels_train")],
)  # fmt: skip
def test_npz_of_other_names(tmp_path: Path, names: tuple[str, str]) -> None:
    raw = read_npz(save_as(tmp_path, **dict(zip(names, (X, Y[:, None]), strict=True))))
    assert np.array_equal(raw.x["train"], X.transpose(0, 3, 1, 2))
    assert np.array_equal(raw.y["train"], Y)


def save_as(tmp_path: Path, **content: np.ndarray) -> Path:
    np.savez(tmp_path / "data.npz", **content)
    return tmp_path / "data.npz"


def test_npz_with_validation_images_class_names_and_what_is_not_used(tmp_path: Path) -> None:
    parts = {}
    for part, count in (("train", 40), ("val", 8), ("test", 4)):
        parts |= {f"x_{part}": X[:count], f"y_{part}": Y[:count]}
    path = save_as(tmp_path, **parts, class_names=np.array(["d", "a", "c", "b"]), weights=np.ones(40), classes=Y)
    raw = read_npz_without_classes(path)
    assert {part: len(images) for part, images in raw.x.items()} == {"train": 40, "validation": 8, "test": 4}
    assert raw.class_names == ("d", "a", "c", "b")
    assert np.array_equal(raw.y["validation"], Y[:8])
    assert raw.notes == ("arrays that are not used: weights",)
    assert split(DataSource("npz", str(path)).load()) == (40, 8, 4)


def read_npz_without_classes(path: Path) -> Raw:
    """`classes` beside `class_names` is refused: which of them is meant?"""
    with pytest.raises(ValueError, match="class_names and classes are both class_names"):
        read_npz(path)
    with np.load(path) as file:
        content = {name: file[name] for name in file.files if name != "classes"}
    np.savez(path, **content)
    return read_npz(path)


@pytest.mark.parametrize("kind", ["U", "S"])
def test_npz_with_texts_as_labels(tmp_path: Path, kind: str) -> None:
    texts = np.array(["zebra", "ape", "cat", "dog"]).astype(kind)
    raw = read_npz(save_as(tmp_path, x=X, y=texts[Y]))
    assert raw.class_names == ("ape", "cat", "dog", "zebra")
    assert raw.y["train"][:4].tolist() == [3, 0, 1, 2]
    raw = read_npz(save_as(tmp_path, x=X, y=texts[Y], class_names=texts))
    assert raw.class_names == ("zebra", "ape", "cat", "dog")
    assert raw.y["train"][:4].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("scale", "kind", "value_range", "depth"),
    [(1, np.uint16, (0, 255), "integer"), (16, np.uint16, (0, 4095), "integer"), (257, np.int64, (0, 65535), "integer"),
     (1 / 255, np.float32, (0, 1), "float"), (1, np.float64, (0, 255), "float")],
)  # fmt: skip
def test_npz_of_more_than_8_bits_has_one_range(
    tmp_path: Path, scale: float, kind: type, value_range: Any, depth: str
) -> None:
    x = np.concatenate([X[:-1], np.full((1, 6, 6, 3), 255, np.uint8)]) * np.float64(scale)
    raw = read_npz(save_as(tmp_path, x_train=x.astype(kind), y_train=Y, x_test=x[:4].astype(kind), y_test=Y[:4]))
    assert (raw.value_range, raw.depth) == (value_range, depth)
    assert np.abs(raw.x["train"][:39].astype(int) - X[:39].transpose(0, 3, 1, 2)).max() <= 1
    assert np.array_equal(raw.x["test"], raw.x["train"][:4])


def test_npz_of_channels_first_is_told(tmp_path: Path) -> None:
    raw = read_npz(save_as(tmp_path, x=X.transpose(0, 3, 1, 2), y=Y))
    assert np.array_equal(raw.x["train"], X.transpose(0, 3, 1, 2))
    assert raw.notes == ("images are taken as N x channels x H x W",)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_npz_is_fitted_as_is_told(tmp_path: Path, fit: Any) -> None:
    x = np.zeros((40, 6, 12, 3), np.uint8)
    x[:, :, 3:9] = 200
    path = save_as(tmp_path, x=x, y=Y)
    image = DataSource("npz", str(path), size=6, fit=fit, background="#0000ff").load().train_x[0]
    assert image[:, 0, 0].tolist() == {"crop": [200] * 3, "pad": [0, 0, 255], "squash": [0] * 3}[fit]


def test_a_header_that_is_nested_deep_is_one_line(tmp_path: Path) -> None:
    header = b"(" * 9000 + b"\n"
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as file:
        for name in ("x_train.npy", "y_train.npy"):
            file.writestr(name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"data\.npz is not an npz file") as error:
        read_npz(tmp_path / "data.npz")
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"X_train": X}, "x_train and X_train are both x train; keep one of them"),
        ({"x_train": None, "foo": X}, "it has y_train, foo, known are x_train"),
        ({"y_val": Y}, "those of other parts only together"),
        ({"x_train": X * np.nan}, r"not finite.*it has x_train \(float64 40 x 6 x 6 x 3\)"),
        ({"x_test": X.astype(float), "y_test": Y}, r"no one range of values fits.*x_train uint8, x_test float64"),
        ({"class_names": np.array(["a", "b", "c"])}, r"class_names has no name for: \[3\]"),
        ({"class_names": np.array(["a", "a", "b", "c"])}, "class_names must be different texts"),
        ({"x_test": X, "y_test": np.full(40, "cat")}, "labels are texts in one part and integers in another"),
        ({"x_train": np.zeros((40, 6, 6, 3), complex)}, "x_train must be numbers, uint8"),
        ({"x_train": np.zeros((40, 6), np.uint8)}, "x_train must be N x H x W"),
        ({"x_train": np.zeros((40, 6, 6, 4), np.uint8)}, "C 1 or 3, not 40 x 6 x 6 x 4"),
        ({"x_train": np.zeros((0, 6, 6), np.uint8), "y_train": np.zeros(0, int)}, "x_train must be"),
        ({"y_train": np.zeros(39, int)}, "y_train must be 40 integers or texts"),
        ({"y_train": np.zeros(40)}, "y_train must be 40 integers or texts"),
        ({"y_train": np.zeros(40, int)}, "at least 2 classes"),
        ({"y_train": None}, "x_train and y_train are needed"),
        ({"y_train": np.array([object()] * 40)}, "not an npz file of plain arrays"),
        ({"x_test": np.zeros((4, 6, 6, 3), np.uint8)}, "only together"),
        ({"x_test": np.zeros((4, 6, 6), np.uint8), "y_test": np.zeros(4, int)}, "differ in shape"),
        (
            {"x_test": np.zeros((4, 6, 6, 3), np.uint8), "y_test": np.full(4, 9)},
            r"test has labels that train has not: \[9\]",
        ),
        ({"x_train": np.zeros((40, 6, 5, 3), np.uint8)}, "give --size"),
        ({"x_train": np.zeros((2, 6, 6, 3), np.uint8), "y_train": np.arange(2)}, "validation images cannot be taken"),
    ],
)
def test_bad_npz(tmp_path: Path, changes: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        save(tmp_path, **arrays(**changes)).load()


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with pytest.raises(FileNotFoundError, match="no file"):
        DataSource("npz", str(path)).load()
    np.savez(path, **arrays())
    whole = path.read_bytes()
    np.save(tmp_path / "array.npy", np.zeros(3))
    for content in (b"", b"text", whole[:200], (tmp_path / "array.npy").read_bytes(), pickle.dumps({"x_train": 1})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not an npz file of plain arrays"):
            DataSource("npz", str(path)).load()


def test_npz_of_oblong_images_is_squared_by_size(tmp_path: Path) -> None:
    x = np.zeros((40, 6, 12, 3), np.uint8)
    x[:, :, 3:9] = 200  # what a centre crop keeps
    source = save(tmp_path, **arrays(x_train=x))
    data = DataSource("npz", source.folder, size=6).load()
    assert data.train_x.shape[1:] == (3, 6, 6)
    assert int(data.train_x.min()) == 200
