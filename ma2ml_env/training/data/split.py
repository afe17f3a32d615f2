"""Which images train, which give the rewards, and which only ever measure: stratified, seeded, and stored with a run.

What the data do not bring is taken out of their training part. With groups, what belongs together (one person, one burst of a
camera) stays in one part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.training.data.raw import PARTS, Part, Raw

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """For each part of the data set: rows of the images, and the part of `Raw` that they are rows of."""

    rows: Mapping[Part, Rows]
    of: Mapping[Part, Part]

    def labels(self, raw: Raw) -> dict[Part, Rows]:
        """Labels (n,) by part."""
        return {part: raw.y[self.of[part]][rows] for part, rows in self.rows.items()}

    def fewer(self, part: Part, raw: Raw, most: int | None, seed: int) -> Self:
        """With at most so many images of a part that came as it is, a seeded draw with the classes in their shares."""
        rows = self.rows[part]
        if most is None or self.of[part] != part or len(rows) <= most:
            return self
        chosen = rows[stratified_order(raw.y[part][rows], np.random.default_rng(seed))[:most]]
        return replace(self, rows={**self.rows, part: chosen})

    def names(self, raw: Raw) -> dict[Part, list[str]]:
        """Names by part, as `image_names`."""
        named = {part: image_names(raw, part) for part in raw.y}
        return {part: [named[self.of[part]][row] for row in rows.tolist()] for part, rows in self.rows.items()}


def image_names(raw: Raw, part: Part) -> Sequence[str]:
    """Of a part as it came; where images have no names, the part and the row in it, as in `train/17`."""
    return raw.names.get(part) or [f"{part}/{row}" for row in range(len(raw.y[part]))]


def split(
    raw: Raw,
    *,
    seed: int,
    test: int,
    validation: int,
    limit: int | None = None,
    groups: Sequence[str] | None = None,
) -> Split:
    """Take the parts that the data do not bring out of their training part: test images first, then validation images.

    The order is `stratified_order`'s, so the parts hold the classes in their shares. Where a class would be in none of the test
    or validation images by chance, its next image is added. With groups, whole groups are drawn (scikit-learn's
    `StratifiedGroupKFold`), so the numbers are met about.

    Args:
        raw: the data.
        seed: of the draw.
        test: images to take, where the data bring none.
        validation: images to take, where the data bring none.
        limit: at most so many training images, the first of the order; None is all.
        groups: of the training part, (N,): what has the same name stays together.

    Raises:
        ValueError: if too few images are left to train on, or a class has too few for the parts; the message says how many.
    """
    labels = raw.y["train"]
    taken = {part: count for part, count in (("test", test), ("validation", validation)) if part not in raw.y}
    if "validation" in taken and not 1 <= validation <= len(labels) - taken.get("test", 0) - 2:
        raise ValueError(
            f"{validation} validation images cannot be taken from {len(labels) - taken.get('test', 0)}; at least 2 must be left"
        )
    _check_classes(raw, list(taken))
    rng = np.random.default_rng(seed)
    order = stratified_order(labels, rng)
    rows: dict[Part, Rows] = {part: np.arange(len(raw.y[part])) for part in PARTS[1:] if part in raw.y}
    of: dict[Part, Part] = {part: part if part in raw.y else "train" for part in PARTS}
    for part in ("test", "validation"):
        if part in taken:
            if groups is None:
                chosen = _front(labels, order, taken[part])
            else:
                chosen = _fold(labels, order, taken[part], [groups[row] for row in order.tolist()], seed)
            rows[part], order = order[chosen], order[~chosen]
    rows["train"] = order[:limit]
    if lacking := sorted(set(labels.tolist()) - set(labels[order].tolist())):
        names = ", ".join(raw.class_names[label] for label in lacking)
        raise ValueError(f"no training images are left of class {names}: all of its groups are in another part")
    return Split({part: rows[part] for part in PARTS}, of)


def stratified_order(labels: Rows, rng: np.random.Generator) -> Rows:
    """A random order of the images, each prefix of which holds the classes in their shares (to within an image or so).

    Within a class the order is random; an image's place is its rank within its class as a share of the class.
    """
    order = rng.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable").astype(np.int64)


def _front(labels: Rows, order: Rows, count: int) -> NDArray[np.bool_]:
    """The first so many of the order, and the first of each class that is not among them."""
    chosen = np.arange(len(order)) < count
    present = np.unique(labels[order])
    if count >= len(present):  # fewer images than classes cannot hold them all
        for label in np.setdiff1d(present, labels[order[:count]]):
            chosen[np.flatnonzero(labels[order] == label)[0]] = True
    return chosen


def _fold(labels: Rows, order: Rows, count: int, groups: Sequence[str], seed: int) -> NDArray[np.bool_]:
    """Whole groups with about so many images in all, which hold the classes in about their shares."""
    from sklearn.model_selection import StratifiedGroupKFold

    most = int(np.bincount(labels[order]).max())  # images of a class: scikit-learn makes no more folds
    folds = max(2, min(round(len(order) / count), len(set(groups)), most))
    if len(set(groups)) < 2:
        raise ValueError(f"all {len(order)} images that are left are of one group, which cannot be in two parts")
    first = next(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(order, labels[order], groups))[1]
    chosen = np.zeros(len(order), dtype=bool)
    chosen[first] = True
    return chosen


def _check_classes(raw: Raw, taken: Sequence[str]) -> None:
    """Each class needs an image in each part that is taken from the training part, and one to train on."""
    least = 1 + len(taken)
    counts = np.bincount(raw.y["train"], minlength=len(raw.class_names))
    few = [f"{name} ({n})" for name, n in zip(raw.class_names, counts.tolist(), strict=True) if n < least]
    if few:
        parts = " and ".join(["train", *taken])
        shown = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        raise ValueError(f"each class needs at least {least} images for {parts}; too few have {shown}")
