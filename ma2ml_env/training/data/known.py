"""Readers of the data sets that everybody knows: digits, Fashion-MNIST, CIFAR. Nothing is split or resized here."""

from pathlib import Path

import numpy as np

from ma2ml_env.training.data.idx import read_idx
from ma2ml_env.training.data.raw import Raw

# name -> mean and standard deviation of each channel in [0, 1]
STATISTICS = {
    "cifar10": ((0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)),
    "cifar100": ((0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047)),
    "fashion-mnist": ((0.2860406,), (0.3530242,)),
}
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_digits() -> Raw:
    """scikit-learn's 1,797 digits of 8x8 pixels, which come with its wheel."""
    from sklearn.datasets import load_digits  # slow to import, and needed here alone

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    return Raw({"train": images}, {"train": digits.target.astype(np.int64)}, tuple(map(str, range(10))))


def read_cifar(name: str, folder: Path, download: bool) -> Raw:
    """`cifar10` or `cifar100` by torchvision, which checks the files' digests.

    Raises:
        FileNotFoundError: if they are not there, or not whole.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    try:
        train, test = (kind(folder, train=part, download=download) for part in (True, False))
    except RuntimeError as error:
        raise FileNotFoundError(
            f"no complete {name} in {folder} ({kind.base_folder}): give --data DIR, or --download to fetch it"
        ) from error
    images = [np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)) for part in (train, test)]
    labels = [np.asarray(part.targets, dtype=np.int64) for part in (train, test)]
    return Raw({"train": images[0], "test": images[1]}, {"train": labels[0], "test": labels[1]}, tuple(train.classes))


def read_fashion_mnist(folder: Path, download: bool) -> Raw:
    """Fashion-MNIST's idx files, plain or gzipped: in `folder` (as Debian has them) or below it (as torchvision does).

    Raises:
        FileNotFoundError: if one is not there; OSError: if it cannot be fetched.
        ValueError: if a file is not whole, or images and labels do not fit.
    """
    if download:
        from torchvision.datasets import FashionMNIST

        try:
            FashionMNIST(folder, download=True)
        except RuntimeError as error:  # no server has it, or what came has another digest
            raise OSError(f"fashion-mnist cannot be fetched into {folder}: {error}") from error
    places = [place for place in (folder, folder / "FashionMNIST" / "raw") if place.is_dir()]
    parts = {}
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        found = [p for place in places for end in ("", ".gz") if (p := place / f"{name}-ubyte{end}").is_file()]
        if not found:
            raise FileNotFoundError(f"no {name}-ubyte[.gz] in {folder}: give --data DIR, or --download to fetch it")
        parts[name] = read_idx(found[0])
    train_x, train_y, test_x, test_y = parts.values()
    if len(train_x) != len(train_y) or len(test_x) != len(test_y):
        raise ValueError(f"{folder}: images and labels differ in number")
    if max(train_y.max(), test_y.max()) >= len(FASHION_CLASSES):
        raise ValueError(f"{folder}: labels lie in 0..9")
    return Raw(
        {"train": train_x[:, None], "test": test_x[:, None]},
        {"train": train_y.astype(np.int64), "test": test_y.astype(np.int64)},
        FASHION_CLASSES,
    )
