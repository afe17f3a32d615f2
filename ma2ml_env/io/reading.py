"""Validate what is read from a file: return an object of the expected type, or raise ValueError.

A run's folder may come from somebody else. A digest proves that nothing has changed since it was written, not who wrote it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def read_json(text: str | bytes) -> Any:
    """Parse JSON; execute nothing.

    Raises:
        ValueError: if the text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except (RecursionError, TypeError) as error:
        raise ValueError(f"not JSON that can be read: {error}") from None


def check_fields(usual: Any, data: Any, name: str) -> None:
    """Make sure that a JSON object has fields of a dataclass only, each of the kind of its default.

    JSON has one kind of number, so an integer will do for a float and the other way round; both are finite.

    Args:
        usual: one with the defaults.
        data: what was read.
        name: of what it should be, for the message.

    Raises:
        ValueError: if it is no object, or a field is unknown or of another kind; it is named.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"not a JSON object, as {name} is: {str(data)[:50]!r}")
    defaults = {f.name: vars(usual)[f.name] for f in fields(usual)}
    unknown = sorted(data.keys() - defaults.keys())
    if unknown:
        raise ValueError(f"not fields of {name}: {', '.join(map(str, unknown))}")
    for key, value in data.items():
        if not _like(value, defaults[key]):
            raise ValueError(f"{name.split()[-1]} field {key!r} cannot be {str(value)[:50]!r}")


@contextmanager
def expected(path: Path | str, remedy: str) -> Iterator[None]:
    """Turn any error about a file's content into a ValueError that names the file and says what to do."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}): {remedy}") from error


def is_number(value: Any) -> bool:
    """Whether it is a number that computing can bear: finite, and an integer within 64 bits."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 1 << 63
    return isinstance(value, float) and math.isfinite(value)


def _like(value: Any, default: Any) -> bool:
    if isinstance(default, (int, float)) and not isinstance(default, bool):
        return is_number(value)
    if isinstance(default, Mapping) or is_dataclass(default):
        return isinstance(value, Mapping)
    return isinstance(value, (list, tuple) if isinstance(default, tuple) else type(default))
