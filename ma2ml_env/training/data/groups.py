"""What belongs together (one person, one burst of a camera): a table of image and group that a user brings."""

import csv
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from ma2ml_env.training.data.raw import Part

_SHOWN = 3


def read_groups(path: Path, names: Mapping[Part, Sequence[str]]) -> dict[Part, list[str]]:
    """The group of each image, by part.

    Args:
        path: a CSV file with a line `name,group` for each image; a first line `name,group` is a heading.
        names: of the images by part, as `RUN/split.csv` has them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a line has no two columns, a name comes twice or is not among the data, an image has no group, or one
            group has images in several parts that the data bring.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: --groups takes a CSV file with a line `name,group` for each image")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(number, row) for number, row in enumerate(csv.reader(file), 1) if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file in UTF-8: {error}") from None
    of: dict[str, str] = {}
    for number, row in lines:
        cells = [unicodedata.normalize("NFC", cell.strip()) for cell in row]
        if number == lines[0][0] and [cell.lower() for cell in cells] == ["name", "group"]:
            continue
        if len(cells) != 2 or not all(cells):
            raise ValueError(f"{path}, line {number}: it has to be `name,group`, not {','.join(row)!r}")
        if of.setdefault(cells[0], cells[1]) != cells[1]:
            raise ValueError(f"{path}, line {number}: {cells[0]} is in group {of[cells[0]]} already")
    known = [name for each in names.values() for name in each]
    if strange := of.keys() - set(known):
        raise ValueError(f"{path}: {_few(sorted(strange))} not among the images, which are named as in {known[0]}")
    if missing := [name for name in known if name not in of]:
        raise ValueError(f"{path}: {_few(missing)} without a group; give each image one, be it its own")
    groups = {part: [of[name] for name in each] for part, each in names.items()}
    parts = {group: part for part, each in groups.items() for group in each}
    split = sorted({group for part, each in groups.items() for group in each if parts[group] != part})
    if split:
        raise ValueError(f"{path}: group {_few(split)} in several of the folders train, val and test")
    return groups


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
