"""Types of options that several commands share, and how their texts are read."""

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

PYTHONS = {"True": True, "False": False, "None": None}
"""as Python writes what JSON writes in small letters"""
UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}
GAMES_OWN = "(default: the game's own)"
NONE = "(default: none)"
STORED = "(default: as the run has it)"
BASE = "base"
"""word of --start for the game's base recipe"""

Run = Positional[Annotated[Path, arg(metavar="RUN")]]
Number = Annotated[int, arg(metavar="N")]
OptionalNumber = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
OwnNumber = Annotated[int | None, arg(metavar="N", help_behavior_hint=GAMES_OWN)]
OptionalAmount = Annotated[float | None, arg(metavar="X", help_behavior_hint=NONE)]
OptionalFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]
OptionalFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]


def settings(texts: Sequence[str], flag: str) -> dict[str, Any]:
    """`key=value` texts as a dict; values are JSON, True, False or None where they can be read as such, else strings.

    Raises:
        ValueError: if a text has no `=` or the same key comes twice.
    """
    read: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise ValueError(f"{flag} takes key=value, as in {flag} cells=5; not {text!r}")
        if key in read:
            raise ValueError(f"{flag} {key} is given twice")
        try:
            read[key] = json.loads(value)
        except RecursionError:
            raise ValueError(f"{flag} {key}: its lists or objects are nested too deeply") from None
        except ValueError:
            read[key] = PYTHONS.get(value, value)
    return read


def starts(words: Sequence[str] | None) -> tuple[str, ...] | None:
    """Words of --start: files and runs so that another folder will do; `none` is none of them, None is not told.

    Raises:
        ValueError: if `none` stands beside others, or one stands there twice.
    """
    if words is None or tuple(words) == ("none",):
        return None if words is None else ()
    if "none" in words:
        raise ValueError("--start none stands alone: it switches the others off")
    read = tuple(word if word == BASE else os.path.abspath(os.path.expanduser(word)) for word in words)
    if len(set(read)) < len(read):
        raise ValueError("--start: the same is given twice")
    return read


def folders(words: Sequence[Path | str] | None) -> tuple[str, ...] | None:
    """Runs, so that another folder will do.

    Raises:
        ValueError: if one stands there twice.
    """
    read = None if words is None else tuple(os.path.abspath(os.path.expanduser(word)) for word in words)
    if read and len(set(read)) < len(read):
        raise ValueError("--learn-from: the same run is given twice")
    return read


def amounts(text: str, flag: str) -> tuple[float, ...]:
    """MACs with units, `500m,600m,1g`, as numbers, smallest first.

    Raises:
        ValueError: if one cannot be read, is not positive, or comes twice.
    """
    read = []
    for part in text.split(","):
        digits, unit = part.strip().lower(), 1.0
        if digits and digits[-1] in UNITS:
            digits, unit = digits[:-1], UNITS[digits[-1]]
        try:
            value = float(digits) * unit
        except ValueError:
            value = math.nan
        if not 0.0 < value < math.inf or value in read:
            raise ValueError(f"{flag} takes different amounts of MACs, as in {flag} 500m,600m,1g; not {text!r}")
        read.append(value)
    return tuple(sorted(read))


def usable_cores() -> int:
    """CPU cores that this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers(device: str) -> int:
    """One process a core, or one a GPU: more of them share it, as far as its memory goes."""
    if device in ("auto", "cuda"):
        import torch

        if count := torch.cuda.device_count():
            return count
    return 1 if device.startswith("cuda") else usable_cores()
