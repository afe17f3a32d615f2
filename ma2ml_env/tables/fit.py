"""What the fit of a surrogate comes to: plain arrays, and their file. `fitted.py` says what the numbers mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.io.arrays import read_arrays, write_arrays
from ma2ml_env.recipe import content_key
from ma2ml_env.tables.trees import PARTS

Floats = NDArray[np.float64]
_KEY = "surrogate"
"""where a file says what its arrays are, and by which it is known"""
END, TEST, SECONDS = "end", "test", "seconds"
"""outputs that are no epoch: the accuracy at the end, that of test images, how long a training takes"""


@dataclass(frozen=True)
class Fit:
    """What a fit comes to, as plain arrays.

    Raises:
        ValueError: if something is missing or of another shape; it is named.
    """

    about: Mapping[str, Any]
    """`decisions`, `intervals` and `sources` as of `Trainings`; `epochs` of the curve, the last one the end; `features`: their
    names; `image`: channels, size and classes, which MACs are for; and for people what it was fitted to and how good it is"""
    trees: Mapping[str, Mapping[str, NDArray[Any]]]
    """`END`; the epochs before it, as text, and `TEST`, which are told as what is added to the end's logit; `SECONDS`"""
    levels: Floats
    """(k,) rising logits of accuracies, between which the noise is linear"""
    noise: Floats
    """(k, outputs) deviations of the logits of one pipeline's trainings: of each epoch, and of the test images"""
    shared: Floats
    """(outputs,) correlation of that noise with the end's"""
    largest: Floats
    """(outputs,) accuracies"""

    def __post_init__(self) -> None:
        epochs, features, image = (self.about[name] for name in ("epochs", "features", "image"))
        whole = [*epochs, *image]
        if (
            not all(type(each) is int and each > 0 for each in whole)
            or epochs != sorted(set(epochs))
            or len(image) != 3
        ):
            raise ValueError(f"epochs rise from 1, and an image has channels, size and classes; not {epochs}, {image}")
        if not features or not all(isinstance(each, str) for each in features):
            raise ValueError("features are named")
        outputs = len(epochs) + 1
        shapes = {"noise": (len(self.levels), outputs), "shared": (outputs,), "largest": (outputs,)}
        for name, shape in {"levels": (len(self.levels),), **shapes}.items():
            values = getattr(self, name)
            if values.shape != shape or not values.size or not np.isfinite(values).all():
                raise ValueError(f"{name} are finite numbers {shape}, not {values.shape}")
        if (np.diff(self.levels) <= 0).any() or (self.noise < 0).any() or (np.abs(self.shared) > 1).any():
            raise ValueError("levels rise, noise is not negative, and a correlation lies in [-1, 1]")
        if not ((self.largest >= 0) & (self.largest <= 1)).all():
            raise ValueError("the largest accuracies lie in [0, 1]")
        if missing := {*self.outputs, SECONDS} - self.trees.keys():
            raise ValueError(f"there are no trees of {', '.join(sorted(missing))}")
        for name, arrays in self.trees.items():
            if arrays.keys() != set(PARTS):
                raise ValueError(f"trees of {name} have {', '.join(PARTS)}, not {', '.join(sorted(arrays))}")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Of which there are accuracies: the epochs, the last one as `END`, and `TEST`."""
        return (*map(str, self.about["epochs"][:-1]), END, TEST)

    @property
    def digest(self) -> str:
        """Of the content, 32 hex digits, however a file of it was compressed."""
        arrays = {name: [str(a.dtype), sha256(np.ascontiguousarray(a).data).hexdigest()] for name, a in self._arrays()}
        return content_key([self.about, arrays])

    def save(self, path: Path) -> None:
        """Write the file, an npz of plain arrays; a reader never sees half of it.

        Raises:
            OSError: if it cannot be written.
        """
        write_arrays(path, self.about, dict(self._arrays()), key=_KEY)

    @classmethod
    def is_in(cls, path: Path) -> bool:
        """Whether a file looks like one of these."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return _KEY in archive.files
        except Exception:  # numpy and zipfile have many for what is something else
            return False

    @classmethod
    def load(cls, path: Path) -> "Fit":
        """Read a file.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is something else, or damaged.
        """

        def made(about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "Fit":
            trees: dict[str, dict[str, NDArray[Any]]] = {}
            for name in [name for name in arrays if name.startswith("trees.")]:
                _, output, part = name.split(".")
                trees.setdefault(output, {})[part] = arrays.pop(name)
            return cls(about, trees, **arrays)

        return read_arrays(path, made, key=_KEY, what="surrogate")

    def _arrays(self) -> list[tuple[str, NDArray[Any]]]:
        trees = [(f"trees.{output}.{part}", self.trees[output][part]) for output in self.trees for part in PARTS]
        return trees + [(name, getattr(self, name)) for name in ("levels", "noise", "shared", "largest")]
