"""Small pictures in class folders."""

from pathlib import Path

import numpy as np
from PIL import Image


def write(path: Path, seed: int, size: tuple[int, int] = (20, 16)) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def two_classes(folder: Path) -> Path:
    """Six pictures of each of `cat` and `dog`; the folder."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(6):
            write(folder / name / f"{number}.png", 10 * label + number)
    return folder
