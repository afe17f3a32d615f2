"""What data a run was made with: a digest that changes with the data, and the facts of them in clear.

The digest is over relative names, file bytes (or arrays), classes and split. The place of the data is no part of it: they may
move. Size, fit, background and the reader's version stand beside it, for they make other pixels of the same files.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from ma2ml_env.io.reading import check_fields, expected
from ma2ml_env.recipe import content_key
from ma2ml_env.training.data.raw import PARTS, READER, Raw
from ma2ml_env.training.data.split import Split

_SHOWN = 5
"""names that a message shows at most"""


@dataclass(frozen=True)
class Identity:
    """Of a data set as it is split and read."""

    name: str = ""
    """of the data set: `digits`, `images`, `npz`, ..."""
    digest: str = ""
    """32 hex digits"""
    class_names: tuple[str, ...] = ()
    """in the order of the network's outputs"""
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """part -> images of each class"""
    pixels: Mapping[str, Any] = field(default_factory=dict)
    """size, fit, background and the reader's version"""

    @classmethod
    def of(cls, name: str, raw: Raw, chosen: Split, pixels: Mapping[str, Any]) -> Self:
        """Take it.

        Args:
            name: of the data set.
            raw: the data; where `content` is "", the arrays themselves are read.
            chosen: how they are split.
            pixels: what was told of size, fit and background.
        """
        labels = chosen.labels(raw)
        counts = {part: np.bincount(labels[part], minlength=len(raw.class_names)) for part in PARTS}
        told = [list(raw.class_names), raw.content or _arrays(raw), chosen.names(raw)]
        return cls(
            name,
            content_key(told),
            tuple(raw.class_names),
            {part: tuple(numbers.tolist()) for part, numbers in counts.items()},
            {**pixels, "reader": READER},
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` reads it back."""
        return {
            **asdict(self),
            "class_names": list(self.class_names),
            "counts": {p: list(n) for p, n in self.counts.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`.

        Raises:
            ValueError: if a field is unknown or of another kind.
        """
        check_fields(cls(), data, "a data identity")
        with expected("the data's identity", "the run's config was not written by ma2ml"):
            counts = {str(part): tuple(int(n) for n in numbers) for part, numbers in data["counts"].items()}
            names = tuple(map(str, data["class_names"]))
            return cls(data["name"], data["digest"], names, counts, dict(data["pixels"]))

    def changes(self, now: "Identity") -> str:
        """What is another now, in a line: `classes +zebra -aardvark; train 20 -> 10`; "" if nothing is."""
        lines = []
        if self.name != now.name:
            lines.append(f"data set {self.name} -> {now.name}")
        gone = [name for name in self.class_names if name not in now.class_names]
        new = [name for name in now.class_names if name not in self.class_names]
        if gone or new:
            lines.append("classes " + " ".join([*_some("+", new), *_some("-", gone)]))
        elif self.class_names != now.class_names:
            lines.append("the order of the classes")
        for part in PARTS:
            before, after = sum(self.counts.get(part, ())), sum(now.counts.get(part, ()))
            if before != after:
                lines.append(f"{part} {before:,} -> {after:,}")
            elif not (gone or new) and self.counts.get(part) != now.counts.get(part):
                lines.append(f"images a class of {part}")
        for key in sorted(self.pixels.keys() | now.pixels.keys()):
            if self.pixels.get(key) != now.pixels.get(key):
                lines.append(f"{key} {self.pixels.get(key)} -> {now.pixels.get(key)}")
        if not lines and self.digest != now.digest:
            what = "names, bytes or parts of some images, as many as before in each class"
            lines.append(what if self.counts else f"digest {self.digest[:8]} -> {now.digest[:8]}")
        return "; ".join(lines)


def _some(sign: str, names: Sequence[str]) -> list[str]:
    shown = [f"{sign}{name}" for name in names[:_SHOWN]]
    return shown if len(names) <= _SHOWN else [*shown, f"{sign}{len(names) - _SHOWN} more"]


def _arrays(raw: Raw) -> str:
    """Digest of images and labels as they came."""
    total = hashlib.sha256()
    for part in PARTS:
        for array in (raw.x.get(part), raw.y.get(part)):
            if array is not None:
                total.update(f"{part} {array.dtype.str} {array.shape}".encode())
                total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
