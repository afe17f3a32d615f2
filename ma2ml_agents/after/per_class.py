"""Which classes a trained model gets right, and which it takes for which: from the predictions that lie beside its weights."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from ma2ml_env.io.predictions import predictions_path, read_predictions
from ma2ml_env.metrics import shares

ALL_CLASSES, WORST = 20, 10
"""most classes of which people are shown each, and how many of more: those of lowest F1"""
MOST_CLASSES = 200
"""of which the confusion matrix is told; of more it would be megabytes, and the predictions are there for who wants it"""


@dataclass(frozen=True)
class ClassRow:
    """A class on the test images; shares are in [0, 1], and 0.0 of nothing."""

    name: str
    images: int
    """of this class"""
    precision: float
    """share of the images that are named so that are so"""
    recall: float
    """share of its images that are named so"""
    f1: float
    """harmonic mean of both"""


@dataclass(frozen=True)
class PerClass:
    """All classes of the data, on the test images of so many trainings together."""

    trainings: int
    rows: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    """images by right class (rows) and predicted class (columns); None of more than `MOST_CLASSES`"""

    @property
    def images(self) -> int:
        """Test images of one training."""
        return sum(row.images for row in self.rows) // self.trainings

    def shown(self) -> tuple[str, Sequence[ClassRow]]:
        """(what they are, rows) for people: all classes, or the worst of many."""
        if len(self.rows) <= ALL_CLASSES:
            return "classes", self.rows
        worst = sorted(self.rows, key=lambda row: row.f1)[:WORST]
        return f"the {WORST} classes of lowest F1, of {len(self.rows)}", worst

    def to_json(self) -> dict[str, Any]:
        """`from_json` reads it back."""
        confusion = None if self.confusion is None else [list(row) for row in self.confusion]
        return {"trainings": self.trainings, "rows": [asdict(row) for row in self.rows], "confusion": confusion}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PerClass":
        """Inverse of `to_json`; what is missing, of another kind or impossible raises LookupError, TypeError or ValueError."""
        rows = tuple(
            ClassRow(
                str(row["name"]), int(row["images"]), *(float(row[share]) for share in ("precision", "recall", "f1"))
            )
            for row in data["rows"]
        )
        confusion = data["confusion"] and tuple(tuple(map(int, row)) for row in data["confusion"])
        found = cls(int(data["trainings"]), rows, confusion)
        found._check()
        return found

    def _check(self) -> None:
        if self.trainings < 1 or any(row.images < 0 for row in self.rows):
            raise TypeError("there is no training, or a class has fewer than no images")
        matrix = self.confusion
        if matrix is not None and {len(matrix), *map(len, matrix)} != {len(self.rows)}:
            raise TypeError(f"the confusion matrix is not one of {len(self.rows)} classes")
        if any(count < 0 for row in matrix or () for count in row):
            raise TypeError("a count of the confusion matrix is negative")


def per_class(weights: Sequence[Path], names: Sequence[str]) -> PerClass | None:
    """Of trainings, by the places of their weights; None if one of them has left no predictions, as earlier versions did.

    Raises:
        ValueError: if a file of predictions is damaged, or of other classes than these.
        OSError: if one cannot be read.
    """
    seen = [read_predictions(predictions_path(path), len(names)) for path in weights]
    known = [one.confusion for one in seen if one is not None]
    if not known or len(known) < len(seen):
        return None
    confusion = sum(known[1:], known[0])
    columns = (confusion.sum(1), *shares(confusion))
    rows = tuple(ClassRow(str(name), *map(_plain, told)) for name, *told in zip(names, *columns, strict=True))
    matrix = tuple(tuple(row) for row in confusion.tolist()) if len(names) <= MOST_CLASSES else None
    return PerClass(len(seen), rows, matrix)


def _plain(value: Any) -> Any:
    """A Python number of numpy's."""
    return value.item()


def wilson(share: float, images: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of an accuracy that was measured on so many images (Wilson 1927, score interval without correction)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle = share + z**2 / (2 * images)
    half = z * (share * (1 - share) / images + z**2 / (4 * images**2)) ** 0.5
    scale = 1 + z**2 / images
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def short_rows(text: str) -> str:
    """Indented JSON with each list of whole numbers on one line: a matrix looks like one."""
    return re.sub(r"\[\n\s*(\d+(?:,\n\s*\d+)*)\n\s*\]", lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text)
