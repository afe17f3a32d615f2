"""What a data set looks like, before anything is trained: counts, sizes, and what may mislead a search."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ma2ml_env.training.data.raw import PARTS, Part, Raw
from ma2ml_env.training.data.split import Split

SIDE = 16
"""pixels of the small grey images that are compared"""
ALIKE = 0.999
"""correlation of two of them from which the images count as near-duplicates: what another compression or another size leaves"""
_AT_ONCE = 1024
_SHOWN = 3


@dataclass(frozen=True)
class Survey:
    """What was found."""

    counts: Mapping[Part, Mapping[str, int]]
    """images by part and class"""
    kinds: Mapping[str, int]
    """images by size and mode as they came, as in `640 x 480 RGB`, the most frequent first"""
    constant: tuple[str, ...]
    """names of images of one value alone"""
    lacking: Mapping[Part, tuple[str, ...]]
    """classes without an image in a part"""
    majority: float
    """share of the validation images that are of the most frequent class: what a constant answer scores"""
    twins: tuple[tuple[str, str], ...]
    """pairs of near-duplicates in different parts, as in `("validation cat/3.png", "train cat/8.png")`"""
    compared: bool
    """whether near-duplicates were looked for"""
    notes: tuple[str, ...]
    """of the reader, which says them itself: what was not used, and why"""

    def sampling_error(self, accuracy: float) -> float:
        """Half of the 95 % interval that the number of validation images leaves in an accuracy, binomial."""
        return 1.96 * math.sqrt(accuracy * (1 - accuracy) / max(1, sum(self.counts["validation"].values())))

    def lines(self) -> list[str]:
        """For people, what is usual first and what may mislead after it."""
        told = [f"  {part}: {_counts(self.counts[part])}" for part in PARTS]
        kinds = list(self.kinds.items())
        shown = [f"{count:,} of {kind}" for kind, count in kinds[:_SHOWN]]
        told.append(
            "  images: "
            + (", ".join(shown) or "not decoded yet, so neither sizes nor near-duplicates are known")
            + (f" and {len(kinds) - _SHOWN} more kinds" if kinds[_SHOWN:] else "")
        )
        at_nine, at_half = (f"{self.sampling_error(accuracy):.3f}" for accuracy in (0.9, 0.5))
        told.append(
            f"  a reward is known to within {at_nine} at accuracy .9 ({at_half} at .5): that is what "
            f"{sum(self.counts['validation'].values()):,} validation images leave (95 %)"
        )
        told.append(f"  always answering the most frequent class scores {self.majority:.3f}")
        warn = [f"no {part} image of class {', '.join(names)}" for part, names in self.lacking.items() if names]
        if self.constant:
            warn.append(f"images of one value alone: {_few(self.constant)}")
        if self.twins:
            pairs = [f"{one} and {other}" for one, other in self.twins]
            warn.append(
                f"near-duplicates in different parts, which make accuracies look better than they are: {_few(pairs)}. "
                "--groups FILE keeps them in one part"
            )
        if kinds and not self.compared:
            told.append("  near-duplicates were not looked for among so many images: `ma2ml data` does")
        return [*told, *(f"  WARNING: {line}" for line in warn)]


def survey(raw: Raw, chosen: Split, most_pairs: float = math.inf) -> Survey:
    """Look at a data set.

    Args:
        raw: the data; of ImageNet, which is decoded later, names and labels alone.
        chosen: how they are split.
        most_pairs: images of different parts are compared in pairs if there are no more of them than that.
    """
    labels, names = chosen.labels(raw), chosen.names(raw)
    counts = {
        part: dict(
            zip(raw.class_names, np.bincount(labels[part], minlength=len(raw.class_names)).tolist(), strict=True)
        )
        for part in PARTS
    }
    flat = {part: _constant(images) for part, images in raw.x.items()}
    constant = [
        name
        for part in PARTS
        for name, row in zip(names[part], chosen.rows[part].tolist(), strict=True)
        if flat and flat[chosen.of[part]][row]
    ]
    sizes = {part: len(names[part]) for part in PARTS}
    pairs = sizes["test"] * (sizes["train"] + sizes["validation"]) + sizes["validation"] * sizes["train"]
    validation, compared = counts["validation"], bool(raw.x) and pairs <= most_pairs
    return Survey(
        counts,
        dict(Counter(_kinds(raw)).most_common()),
        tuple(constant),
        {part: tuple(name for name, count in counts[part].items() if not count) for part in PARTS},
        max(validation.values()) / max(1, sum(validation.values())),
        tuple(_twins(raw, chosen, names)) if compared else (),
        compared,
        raw.notes,
    )


def _kinds(raw: Raw) -> list[str]:
    if raw.seen:
        return [f"{one.width} x {one.height} {one.mode}" for each in raw.seen.values() for one in each]
    return [f"{x.shape[3]} x {x.shape[2]} x {x.shape[1]}" for x in raw.x.values() for _ in range(len(x))]


def _constant(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    rows = images.reshape(len(images), -1)
    found: NDArray[np.bool_] = rows.max(axis=1) == rows.min(axis=1)
    return found


def _twins(raw: Raw, chosen: Split, names: Mapping[Part, Sequence[str]]) -> list[tuple[str, str]]:
    """The nearest of each image of a part among those of another, where it is a near-duplicate."""
    small = {part: _small(raw.x[chosen.of[part]], chosen.rows[part]) for part in PARTS}
    found = []
    pairs: tuple[tuple[Part, Part], ...] = (("validation", "train"), ("test", "train"), ("test", "validation"))
    for one, other in pairs:
        for start in range(0, len(small[one]), _AT_ONCE):
            alike, nearest = (small[one][start : start + _AT_ONCE] @ small[other].T).max(dim=1)
            for row in torch.nonzero(alike >= ALIKE).flatten().tolist():
                mine, yours = names[one][start + row], names[other][int(nearest[row])]
                found.append((f"{one} {mine}", f"{other} {yours}"))
    return found


def _small(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Tensor:
    """(n, side x side) grey, each of mean 0 and length 1, so that a product is a correlation; 0 where there is no contrast."""
    parts = []
    for some in np.array_split(rows, max(1, len(rows) // _AT_ONCE)):
        grey = torch.from_numpy(images[some]).float().mean(dim=1, keepdim=True)
        side = min(SIDE, *grey.shape[2:])
        flat = adaptive_avg_pool2d(grey, side).flatten(1)
        flat = flat - flat.mean(dim=1, keepdim=True)
        length = flat.norm(dim=1, keepdim=True)
        parts.append(torch.where(length > side, flat / length.clamp(min=1.0), 0.0))
    return torch.cat(parts)


def _counts(classes: Mapping[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(classes.items())[:10]]
    more = f" and {len(classes) - 10} more classes" if len(classes) > 10 else ""
    return f"{sum(classes.values()):,} ({', '.join(shown)}{more})"


def _few(names: Sequence[str]) -> str:
    shown = "; ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
