"""Images as a reader leaves them, before they are split and made tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
READER = 2
"""version of what makes pixels of files: what another one has kept is not used; 1 is that of runs without an identity"""


@dataclass(frozen=True)
class Seen:
    """What a reader saw of one image file, before it was brought to its size."""

    sha256: str
    """of its bytes, in hex"""
    width: int
    """in pixels, as a person sees it (turned by its EXIF tag)"""
    height: int
    mode: str
    """Pillow's, as it was stored: `RGB`, `L`, `I;16`, ..."""
    low: float
    """smallest value of the pixels as they were stored"""
    high: float
    """largest"""


@dataclass(frozen=True, eq=False)
class Raw:
    """Images (N, C, H, W) uint8 and labels (N,) int64 by part, as they come. A part that lacks is taken from `train`."""

    x: Mapping[Part, NDArray[np.uint8]]
    y: Mapping[Part, NDArray[np.int64]]
    class_names: tuple[str, ...]
    names: Mapping[Part, tuple[str, ...]] = field(default_factory=dict)
    """of the images: paths relative to the folder, with `/`; {} where they have none but their row numbers"""
    seen: Mapping[Part, tuple[Seen, ...]] = field(default_factory=dict)
    """of image files; {} of arrays"""
    content: str = ""
    """digest of the bytes of the files, by name, or of the arrays; "" if it is to be taken from `x`"""
    value_range: tuple[float, float] = (0.0, 255.0)
    """stored values that became 0 and 255, the same for the whole data set"""
    notes: tuple[str, ...] = ()
    """for people: what was not used, and why"""
    depth: str = "byte"
    """of the stored values: `byte`, `integer` (more than 8 bits) or `float`"""
