"""What a trained network said of the test images, as a file beside its weights: which were confused can be seen later."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ma2ml_env.io.files import write_atomic
from ma2ml_env.metrics import Predictions

_KINDS = {"labels": np.int32, "predicted": np.int32, "ranks": np.int32, "logs": np.float32}


def predictions_path(weights: Path) -> Path:
    """Where those of a training lie: `3.predictions.safetensors` beside `3.safetensors`."""
    return weights.with_suffix(".predictions.safetensors")


def write_predictions(path: Path, seen: Predictions) -> None:
    """Write them; a reader never sees half a file.

    Raises:
        OSError: if they cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, save({name: vars(seen)[name].astype(kind) for name, kind in _KINDS.items()}))


def read_predictions(path: Path, classes: int) -> Predictions | None:
    """Inverse of `write_predictions`; None if there is no such file, as an earlier version leaves none.

    Raises:
        ValueError: if it is damaged, or of other classes.
        OSError: if it cannot be read.
    """
    if not path.exists():
        return None
    try:
        found = load(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, or its folder and retrain") from None
    shape = found["labels"].shape if "labels" in found else ()
    fits = {name: (each.dtype, each.shape) for name, each in found.items()} == {
        name: (np.dtype(kind), shape) for name, kind in _KINDS.items()
    }
    counts = ("labels", "predicted", "ranks")
    if (
        not fits
        or len(shape) != 1
        or not shape[0]
        or any(((found[n] < 0) | (found[n] >= classes)).any() for n in counts)
    ):
        raise ValueError(f"{path} does not hold predictions of {classes} classes: delete it, or its folder and retrain")
    labels, predicted, ranks = (found[name].astype(np.int64) for name in counts)
    return Predictions(classes, labels, predicted, ranks, found["logs"])
