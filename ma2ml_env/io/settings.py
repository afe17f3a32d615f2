"""Check that every setting has the type that its dataclass declares.

A text in place of a switch would count as true. A fraction in place of a number of images would fail in every training.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    NoneType: "none",
    tuple: "a list",
}


MOST = 1_000_000
"""largest count that a setting takes unless it says another: more is a slip of the pen, and would end in a full memory"""
LARGEST = 1e9
"""largest number beside counts: a step size, a weight or a norm above it is no number that anybody means"""
WIDEST = 10_000
"""units of a hidden layer"""
DEEPEST = 100
"""hidden layers"""


def check_settings(home: type, given: Mapping[str, Any], what: str) -> None:
    """Compare values with the annotations of a dataclass's fields.

    Args:
        home: the dataclass.
        given: field -> value; fields that it has not are somebody else's to report.
        what: to call one, for the message: `option`, `setting`.

    Raises:
        ValueError: if a value is of another kind; the field is named, and what it takes.
    """
    hints = get_type_hints(home)
    for name, value in given.items():
        if name in hints:
            check_kind(name, value, hints[name], what)


def check_ranges(
    config: Any,
    *,
    at_least_one: Sequence[str] = (),
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    shares: Sequence[str] = (),
    units: Sequence[str] = (),
    layers: Sequence[str] = (),
    choices: Mapping[str, Collection[str]] = {},
) -> None:
    """Refuse settings that are out of their ranges.

    Args:
        config: an instance of a dataclass.
        at_least_one: names of its fields that are counts, at least 1 and at most `MOST`.
        positive: above 0.
        not_negative: at least 0.
        shares: in [0, 1].
        units: width of a layer, at least 1 and at most `WIDEST`.
        layers: widths of hidden layers, at most `DEEPEST` of them; none is no hidden layer.
        choices: field -> what it may be.

    Raises:
        ValueError: if one is not; the field is named. A NaN is in no range.
    """
    values = vars(config)
    for name, known in choices.items():
        if values[name] not in known:
            raise ValueError(f"{name} is one of {', '.join(known)}, not {values[name]!r}")
    fits = {
        "is at least 1": {name: values[name] >= 1 for name in (*at_least_one, *units)},
        f"is at most {MOST:,}": {name: values[name] <= MOST for name in at_least_one},
        f"is at most {WIDEST:,}": {name: values[name] <= WIDEST for name in units},
        "is above 0": {name: values[name] > 0 for name in positive},
        "is at least 0": {name: values[name] >= 0 for name in not_negative},
        f"is at most {LARGEST:g}": {name: values[name] <= LARGEST for name in (*positive, *not_negative)},
        "lies in [0, 1]": {name: 0 <= values[name] <= 1 for name in shares},
        f"has at most {DEEPEST} layers of 1 to {WIDEST:,} units": {
            name: len(values[name]) <= DEEPEST and all(1 <= width <= WIDEST for width in values[name])
            for name in layers
        },
    }
    for words, fitting in fits.items():
        for name, fit in fitting.items():
            if not fit:
                raise ValueError(f"{name} {words}, not {str(values[name])[:50]}")


def check_kind(name: str, value: Any, kind: Any, what: str) -> None:
    """One value against one annotation; see `check_settings`."""
    if not fits(value, kind):
        if isinstance(value, Real) and not isinstance(value, bool) and not _bearable(value):
            raise ValueError(f"{what} {name!r} is a finite number, and a whole one has 64 bits, not {str(value)[:50]}")
        raise ValueError(f"{what} {name!r} is {words(kind)}, not {str(value)[:50]!r}")


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of the kind of an annotation."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if kind is tuple or origin is tuple:
        same = parts[0] if len(parts) == 2 and parts[1] is ... else Any
        return isinstance(value, (tuple, list)) and all(fits(item, same) for item in value)
    if kind in (int, float):  # numpy's numbers are numbers, and a whole one will do for any
        number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        return number and _bearable(value)
    expected = origin or kind
    return not isinstance(expected, type) or isinstance(value, expected)


def _bearable(number: Any) -> bool:
    """Whether computing can bear a number: it is finite, and a whole one has 64 bits."""
    return abs(int(number)) < 1 << 63 if isinstance(number, Integral) else math.isfinite(number)


def words(kind: Any) -> str:
    """An annotation as people say it: `a whole number or none`."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(words(part) for part in parts)
    if origin is Literal:
        return " or ".join(map(repr, parts))
    expected = origin or kind
    return _WORDS.get(expected) or f"a {expected.__name__ if isinstance(expected, type) else expected}"
