"""Files of plain arrays, an npz each, with a JSON object that says what they are: nothing in one can be run."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.io.files import write_atomic
from ma2ml_env.io.reading import read_json

FORMAT = 1
Made = TypeVar("Made")


def write_arrays(path: Path, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, key: str) -> None:
    """Write a file; a reader never sees half of it.

    Args:
        path: of the file.
        about: what the arrays are, as JSON has it.
        arrays: by their names.
        key: name under which `about` stands among them.

    Raises:
        OSError: if it cannot be written.
    """
    told = np.frombuffer(json.dumps({"format": FORMAT, **about}, sort_keys=True).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: told, **arrays})  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def said(error: Exception) -> str:
    """What an error says, in one line; of Python's parser without the place, which is none of the user's."""
    told = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return told.splitlines()[0][:200] if told.strip() else type(error).__name__


def read_arrays(
    path: Path, make: Callable[[dict[str, Any], dict[str, NDArray[Any]]], Made], *, key: str, what: str
) -> Made:
    """What `make` makes of `about` and the arrays of a file.

    Args:
        path: of the file.
        make: may raise what it likes, of arrays that are damaged or hostile.
        key: as of `write_arrays`.
        what: the file should be, for messages.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is something else, or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {what} {path}")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
        about = read_json(arrays.pop(key).tobytes())
        if about.pop("format") != FORMAT:
            raise ValueError("another version of ma2ml wrote it")
        return make(about, arrays)
    except Exception as error:  # numpy, zipfile and Python's parser have many for what is damaged or hostile
        reason = said(error)
        raise ValueError(f"{path} is no {what}: {reason}") from None
