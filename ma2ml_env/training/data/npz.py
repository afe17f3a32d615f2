"""Reader of images that a user brings as arrays in an npz file. Nothing in it is run; what is wrong is named."""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.io.arrays import said
from ma2ml_env.training.data.pixels import array_range, to_bytes
from ma2ml_env.training.data.raw import PARTS, Part, Raw

Arrays = dict[str, NDArray[Any]]

IMAGES = ("x", "images", "image", "imgs", "img", "data", "inputs")
LABELS = ("y", "labels", "label", "targets", "target")
ENDINGS: Mapping[Part, tuple[str, ...]] = {
    "train": ("train", "training", "tr"),
    "validation": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing", "te"),
}
CLASS_NAMES = ("class_names", "classes", "label_names", "target_names", "names")
VAGUE = CLASS_NAMES[1:]
"""which may be something else, where they are no texts"""
KNOWN = "x_train, y_train, x_val, y_val, x_test, y_test, class_names; or images and labels, as in train_images, train_labels"
_DEPTHS = {"b": "byte", "u": "integer", "i": "integer", "f": "float"}
_NO_ARRAYS = (zipfile.BadZipFile, zlib.error, ValueError, OSError, LookupError, EOFError, AttributeError, TypeError)
"""what numpy and zipfile raise on files of another kind; on members that cannot be unpacked, or lie, there is more"""
_AT_ONCE = 1000
"""images whose values are brought to bytes at once, in float64"""


def read_npz(path: Path) -> Raw:
    """An npz file of images N x H x W or N x H x W x C (or N x C x H x W), and labels: integers or texts.

    Names of the arrays are `x_train`, `train_images`, `X`, ..., see `IMAGES`, `LABELS` and `ENDINGS`, in small or capital
    letters; without an ending they are the training part. Values other than uint8 are brought to 0..255 by the one range of
    `pixels.array_range`. The classes are the sorted distinct labels of the training part, or `class_names`, whose positions are
    the labels.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no npz file, or an array is missing or not as described.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: --npz takes a file of arrays, {KNOWN}")
    members, keys, arrays = _open(path)
    try:
        if "class_names" in arrays and arrays["class_names"].dtype.kind not in "US" and keys["class_names"] in VAGUE:
            del arrays["class_names"], keys["class_names"]
        parts = [part for part in PARTS if f"x {part}" in arrays]
        x, channels_last = {}, True
        for part in parts:
            x[part], channels_last = _images(keys[f"x {part}"], arrays[f"x {part}"])
        shapes = {images.shape[1:] for images in x.values()}
        if len(shapes) > 1:
            raise ValueError(f"images of {' and '.join(keys[f'x {part}'] for part in parts)} differ in shape")
        texts = {part: _labels(keys[f"y {part}"], arrays[f"y {part}"], len(x[part])) for part in parts}
        y, names = _classes(texts, arrays.get("class_names"))
        depth, (low, high) = _range(keys, x)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; it has {_told(members, arrays, keys)}") from None
    notes = [] if channels_last else ["images are taken as N x channels x H x W"]
    if depth != "byte":
        notes.append(f"values from {low:g} to {high:g} became 0 to 255")
    if unused := [name for name in members if name not in keys.values()]:
        notes.append(f"arrays that are not used: {', '.join(unused)}")
    content = _digest({keys[name]: array for name, array in arrays.items()})
    squares = {part: _bytes(images, low, high) for part, images in x.items()}
    return Raw(squares, y, names, content=content, value_range=(low, high), notes=tuple(notes), depth=depth)


def _open(path: Path) -> tuple[list[str], dict[str, str], Arrays]:
    """(members, role -> member, role -> array). Roles are `x train`, `y train`, ..., and `class_names`."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            members = list(archive.files)
            keys = _keys(path, members)
            arrays = {role: archive[name] for role, name in keys.items()}
    except _Wrong:
        raise
    except Exception as error:  # numpy, zipfile and Python's parser have many for what is damaged, or nested 9,000 deep
        reason = said(error)
        kind = "of plain arrays" if isinstance(error, _NO_ARRAYS) else "that can be read"
        raise ValueError(f"{path} is not an npz file {kind}: {reason}") from None
    for role, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy hands out a member that is no array as it is
            raise ValueError(f"{path} is not an npz file of plain arrays: {keys[role]} is no array")
    return members, keys, arrays


class _Wrong(ValueError):
    """Its arrays have not the names that are needed."""


def _keys(path: Path, members: Sequence[str]) -> dict[str, str]:
    """Role -> member.

    Raises:
        _Wrong: if one is missing, or there are two for one role.
    """
    keys: dict[str, str] = {}
    for name in members:
        if (role := _role(name.lower())) is None:
            continue
        if role in keys:
            raise _Wrong(f"{path}: {keys[role]} and {name} are both {role}; keep one of them")
        keys[role] = name
    pairs = {part: [f"{kind} {part}" in keys for kind in "xy"] for part in PARTS}
    if not all(pairs["train"]) or any(any(pair) and not all(pair) for pair in pairs.values()):
        raise _Wrong(
            f"{path}: x_train and y_train are needed, and those of other parts only together; it has "
            f"{', '.join(members) or 'nothing'}, known are {KNOWN}"
        )
    return keys


def _role(name: str) -> str | None:
    if name in CLASS_NAMES:
        return "class_names"
    for kind, bases in (("x", IMAGES), ("y", LABELS)):
        for part, endings in ENDINGS.items():
            for base in bases:
                if name in {each for end in endings for each in (f"{base}_{end}", f"{end}_{base}", f"{base}{end}")}:
                    return f"{kind} {part}"
        if name in bases:
            return f"{kind} train"
    return None


def _images(key: str, images: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """(images (N, C, H, W), whether their channels came last)."""
    shape = images.shape
    if images.dtype.kind not in _DEPTHS:
        raise ValueError(f"{key} must be numbers, uint8 in 0..255 at best, not {images.dtype}")
    last = len(shape) == 4 and shape[3] in (1, 3)
    first = len(shape) == 4 and shape[1] in (1, 3) and not last
    if not (len(shape) == 3 or last or first) or 0 in shape:
        raise ValueError(f"{key} must be N x H x W or N x H x W x C with C 1 or 3, not {' x '.join(map(str, shape))}")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise ValueError(f"{key} holds values that are not finite (NaN or infinite)")
    if images.dtype == np.bool_:
        images = images * np.uint8(255)
    if len(shape) == 3:
        return images[:, None], True
    return (np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if last else images), not first


def _labels(key: str, labels: NDArray[Any], count: int) -> NDArray[Any]:
    """(N,) integers or texts."""
    if labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{key} holds texts that are not UTF-8") from None
    if labels.shape != (count,) or labels.dtype.kind not in "biuU":
        raise ValueError(f"{key} must be {count} integers or texts, not {labels.dtype} of shape {labels.shape}")
    return labels


def _classes(
    labels: Mapping[Part, NDArray[Any]], given: NDArray[Any] | None
) -> tuple[dict[Part, NDArray[np.int64]], tuple[str, ...]]:
    """Labels (N,) by part as positions among the classes, and the classes' names."""
    texts = labels["train"].dtype.kind == "U"
    if any((each.dtype.kind == "U") != texts for each in labels.values()):
        raise ValueError("labels are texts in one part and integers in another")
    if given is None:
        known = np.unique(labels["train"])
        names = tuple(str(name) for name in known.tolist())
    else:
        if given.ndim != 1 or given.dtype.kind not in "US" or len(set(given.tolist())) != len(given):
            raise ValueError(
                f"class_names must be different texts, one a class, not {given.dtype} of shape {given.shape}"
            )
        names = (
            tuple(str(name) for name in np.char.decode(given, "utf-8").tolist())
            if given.dtype.kind == "S"
            else tuple(given.tolist())
        )
        known = np.array(names) if texts else np.arange(len(names))
    if odd := [name for name in names if not name.isascii() and name.encode(errors="replace").decode() != name]:
        raise ValueError(f"names of classes must be texts that UTF-8 can hold, not {odd[0]!a}")
    found: dict[Part, NDArray[np.int64]] = {}
    positions = {label: position for position, label in enumerate(known.tolist())}
    for part, each in labels.items():
        unknown = sorted(set(each.tolist()) - positions.keys())
        if unknown:
            where = "class_names has no name for" if given is not None else f"{part} has labels that train has not"
            raise ValueError(f"{where}: {unknown[:5]}")
        # One by one, as numpy would compare int64 with uint64 as floats.
        found[part] = np.array([positions[label] for label in each.tolist()], dtype=np.int64)
    return found, names


def _range(keys: Mapping[str, str], x: Mapping[Part, NDArray[Any]]) -> tuple[str, tuple[float, float]]:
    """(depth, values that become 0 and 255) of all parts together."""
    depths = {"byte" if each.dtype == np.uint8 else _DEPTHS[each.dtype.kind] for each in x.values()}
    if len(depths) > 1:
        told = ", ".join(f"{keys[f'x {part}']} {each.dtype}" for part, each in x.items())
        raise ValueError(f"no one range of values fits images of different types ({told})")
    (depth,) = depths
    return depth, array_range(depth, min(float(e.min()) for e in x.values()), max(float(e.max()) for e in x.values()))


def _bytes(images: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    if images.dtype == np.uint8:
        return images
    scaled = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _AT_ONCE):
        scaled[start : start + _AT_ONCE] = to_bytes(images[start : start + _AT_ONCE], low, high)
    return scaled


def _told(members: Sequence[str], arrays: Arrays, keys: Mapping[str, str]) -> str:
    """What is in the file."""
    known = {keys[role]: array for role, array in arrays.items()}
    return ", ".join(
        f"{name} ({known[name].dtype} {' x '.join(map(str, known[name].shape))})" if name in known else name
        for name in members
    )


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(
            np.ascontiguousarray(array).tobytes() if array.dtype.kind in "US" else np.ascontiguousarray(array).data
        )
    return total.hexdigest()
