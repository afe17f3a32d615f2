"""A learner's state as JSON and one safetensors blob, exact to the bit, and read without running anything.

The JSON holds the structure: numbers, strings, bools, None, lists, tuples and dicts. Arrays, tensors and numpy scalars stand
in it as a reference to the blob. JSON's floats are the shortest text that gives the same double, and its integers have no
limit, which the 128-bit words of numpy's PCG64 need.
"""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.io.reading import read_json

_TYPES = (
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "float16",
    "uint32",
    "int32",
    "float32",
    "uint64",
    "int64",
    "float64",
)
"""of arrays; what else safetensors can hold has no numpy twin"""


def pack(state: Mapping[str, Any]) -> tuple[str, bytes]:
    """(JSON, safetensors) of nested dicts, lists and tuples of numbers, strings, bools, None, arrays and tensors.

    Tensors are read from whatever device they are on. Shared memory is not kept: two names of one tensor become two tensors.

    Raises:
        ValueError: if something else is in it; the place is named.
    """
    from safetensors.numpy import save

    arrays: dict[str, NDArray[Any]] = {}
    text = json.dumps(_pack(state, "state", arrays), separators=(",", ":"), allow_nan=False)
    return text, save(arrays)


def unpack(text: str, blob: bytes) -> dict[str, Any]:
    """Inverse of `pack`: fresh, writable arrays and CPU tensors of the same types and bits.

    Raises:
        ValueError: if the two do not fit each other or are not what `pack` writes.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        state = _unpack(read_json(text), load(blob))
    except (SafetensorError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a packed state: {error!r}") from None
    if not isinstance(state, dict):
        raise ValueError("not a packed state: it is not a dict")
    return state


def _pack(value: Any, place: str, arrays: dict[str, NDArray[Any]]) -> Any:
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _pack(item, f"{place}.{key}", arrays) for key, item in value.items()}
        # torch's optimizers number their parameters, and JSON has no keys but strings
        pairs = [[_pack(k, place, arrays), _pack(v, f"{place}.{k}", arrays)] for k, v in value.items()]
        return {"$dict": pairs}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{place}[{i}]", arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, np.ndarray):
        return _reference("$array", value, place, arrays)
    if isinstance(value, np.generic):
        return _reference("$scalar", np.asarray(value), place, arrays)
    torch = sys.modules.get("torch")  # who holds a tensor has imported torch; nobody else shall wait for it
    if torch is not None and isinstance(value, torch.Tensor):
        try:
            return _reference("$tensor", value.detach().cpu().numpy(), place, arrays)
        except TypeError:
            raise ValueError(f"{place} is a tensor of {value.dtype}, which has no numpy type") from None
    raise ValueError(f"{place} is a {type(value).__name__}; a state holds numbers, strings, arrays and tensors only")


def _reference(kind: str, array: NDArray[Any], place: str, arrays: dict[str, NDArray[Any]]) -> dict[str, str]:
    if array.dtype.name not in _TYPES:
        raise ValueError(f"{place} has the type {array.dtype}; arrays of a state have one of {', '.join(_TYPES)}")
    name = str(len(arrays))
    # safetensors writes memory as it lies: it must be in C order and of this machine's byte order
    arrays[name] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True)
    return {kind: name}


def _unpack(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    kind: str = next(iter(value), "")
    content: Any = value.get(kind)
    if not kind.startswith("$"):
        return {key: _unpack(item, arrays) for key, item in value.items()}
    if kind == "$float":
        return float(content)
    if kind == "$tuple":
        return tuple(_unpack(item, arrays) for item in content)
    if kind == "$dict":
        return {_unpack(key, arrays): _unpack(item, arrays) for key, item in content}
    array = arrays.pop(content).copy()  # each stands in it once: a small file cannot ask for much memory
    if kind == "$array":
        return array
    if kind == "$scalar":
        return array[()]
    if kind == "$tensor":
        import torch

        return torch.from_numpy(array)
    raise ValueError(f"not a packed state: unknown mark {kind!r}")
