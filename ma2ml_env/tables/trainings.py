"""Trainings as plain arrays, one row each: what every stored run can become, and measured games are made of.

A file is an npz of arrays without objects, so nothing in it can be run. `about` says what the columns mean: the decisions with
their choices, where the rows come from, and what trained them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.io.arrays import read_arrays, write_arrays
from ma2ml_env.recipe import content_key
from ma2ml_env.trial import ERRORS, STATUSES

SAME = ("game", "data", "split", "trains", "levels")
"""what all rows of a table share of their sources: seeds of another game, other data or another training mean something else.
`split` and `levels` are not there in tables of before"""
MADE = ("ma2ml", "torch")
"""what rows of one table share, unless somebody means to mix them"""


@dataclass(frozen=True)
class Trainings:
    """A row a training.

    Raises:
        ValueError: if the arrays do not have one number of rows, or a value is out of range.
    """

    about: Mapping[str, Any]
    """What the columns mean. `decisions`: a list of (agent, decision, choices), one for each column of the codes; `intervals`:
    (agent, interval, low, high) of each position; `sources`: for each where its rows come from: `game`, `data` (the digest),
    `split` (which images of these, and how they are read), `trains` (what all its trainings share), `levels` (a digest of
    what the choices mean), `learner`, `seed`, and `made`: the versions and the processor"""
    codes: NDArray[np.int64]
    """(n, decisions) indices"""
    positions: NDArray[np.float64]
    """(n, intervals) in [0, 1]"""
    seeds: NDArray[np.uint64]
    """(n,) of the trainings"""
    status: NDArray[np.int64]
    """(n,) index into `trial.STATUSES`"""
    error: NDArray[np.int64]
    """(n,) index into `trial.ERRORS`"""
    accuracy: NDArray[np.float64]
    """(n,) in [0, 1] on validation images; 0.0 unless ok"""
    test_accuracy: NDArray[np.float64]
    """(n,) in [0, 1]; NaN where it was not measured"""
    epochs: NDArray[np.int64]
    """(e,) of the curve"""
    curve: NDArray[np.float64]
    """(n, e) accuracy in [0, 1] on validation images after these epochs; NaN where it was not measured"""
    fidelity: NDArray[np.float64]
    """(n,) share of the full training"""
    flops: NDArray[np.int64]
    """(n,) MACs; 0 if unknown"""
    params: NDArray[np.int64]
    """(n,) parameters; 0 if unknown"""
    seconds: NDArray[np.float64]
    """(n,) by the clock, as they were when other work may have gone on beside it"""
    source: NDArray[np.int64]
    """(n,) index into `about["sources"]`"""

    def __post_init__(self) -> None:
        rows = len(self.codes)
        if not all(isinstance(each, dict) and isinstance(each.get("made"), dict) for each in self.about["sources"]):
            raise ValueError("each source says what made it")
        for name, array in self._arrays().items():
            if name != "epochs" and len(array) != rows:
                raise ValueError(f"{name} has {len(array)} rows, codes have {rows}")
        choices = [len(choices) for _, _, choices in self.about["decisions"]]
        if self.codes.shape != (rows, len(choices)) or (
            rows and not ((self.codes >= 0) & (self.codes < choices)).all()
        ):
            raise ValueError(f"codes are indices into {choices} choices")
        if self.curve.shape != (rows, len(self.epochs)):
            raise ValueError(f"curves have {self.curve.shape} values for {len(self.epochs)} epochs")
        for name in ("accuracy", "test_accuracy", "curve"):
            values = getattr(self, name)
            values = values[~np.isnan(values)] if name != "accuracy" else values
            if not ((values >= 0.0) & (values <= 1.0)).all():
                raise ValueError(f"{name} lies in [0, 1]")
        for name, known in (("status", STATUSES), ("error", ERRORS), ("source", self.about["sources"])):
            array = getattr(self, name)
            if rows and not ((array >= 0) & (array < len(known))).all():
                raise ValueError(f"{name} is an index below {len(known)}")

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def digest(self) -> str:
        """Of the content, 32 hex digits: equal of equal tables, however a file of them was compressed."""
        arrays = {name: sha256(np.ascontiguousarray(array).data).hexdigest() for name, array in self._arrays().items()}
        return content_key([self.about, arrays])

    def save(self, path: Path) -> None:
        """Write the file; a reader never sees half of it.

        Raises:
            OSError: if it cannot be written.
        """
        small = {name: _small(array) for name, array in self._arrays().items()}
        write_arrays(path, self.about, small, key="about")

    @classmethod
    def load(cls, path: Path) -> "Trainings":
        """Read a file.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is something else, or damaged.
        """

        def made(about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "Trainings":
            columns: dict[str, Any] = {n: array.astype(_kind(n), casting="same_kind") for n, array in arrays.items()}
            return cls(about, **columns)

        return read_arrays(path, made, key="about", what="table of trainings")

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "about"}


_FLOATS = {"positions", "accuracy", "test_accuracy", "curve", "fidelity", "seconds"}


def _kind(name: str) -> type:
    """Of a column."""
    return np.uint64 if name == "seeds" else np.float64 if name in _FLOATS else np.int64


def joined(tables: Sequence[Trainings], *, mixed: bool = False) -> Trainings:
    """Several tables of one space as one; of rows with equal codes and seeds that are there twice, the first.

    Args:
        tables: in the order of the rows.
        mixed: whether trainings by several versions of torch or of this project are meant.

    Raises:
        ValueError: if there are none, they are of different spaces, or their versions differ and that is not meant.
    """
    if not tables:
        raise ValueError("there is no table to join")
    first = tables[0].about
    for table in tables:
        for name in ("decisions", "intervals"):
            if table.about[name] != first[name]:
                raise ValueError(f"the tables have different {name}: {first[name]} and {table.about[name]}"[:300])
    sources: list[Any] = []
    renamed = []
    for table in tables:
        for each in table.about["sources"]:
            if each not in sources:
                sources.append(each)
        renamed.append(np.array([sources.index(each) for each in table.about["sources"]], dtype=np.int64))
    for name in SAME:
        kinds = sorted({json.dumps(each[name], sort_keys=True) for each in sources if name in each})
        if len(kinds) > 1:
            raise ValueError(f"these are of different {name}, so they make no one table: {'; '.join(kinds)[:300]}")
    for name in MADE:
        versions = sorted({str(each["made"].get(name)) for each in sources})
        if len(versions) > 1 and not mixed:
            raise ValueError(
                f"these were trained by different versions of {name}: {', '.join(versions)}. One table of both is refused "
                "unless it is meant: --mixed"
            )
    epochs = np.unique(np.concatenate([table.epochs for table in tables]))
    columns: dict[str, Any] = {
        each.name: np.concatenate([getattr(table, each.name) for table in tables])
        for each in fields(Trainings)
        if each.name not in ("about", "epochs", "curve", "source")
    }
    columns["curve"] = np.concatenate([_spread(table, epochs) for table in tables])
    columns["source"] = np.concatenate([new[table.source] for new, table in zip(renamed, tables, strict=True)])
    keys = [np.ascontiguousarray(columns[name]).view(np.uint64) for name in ("codes", "positions")]
    _, kept = np.unique(np.concatenate([*keys, columns["seeds"][:, None]], axis=1), axis=0, return_index=True)
    kept.sort()
    rows = {name: array[kept] for name, array in columns.items()}
    return Trainings({**first, "sources": sources}, epochs=epochs, **rows)


def _spread(table: Trainings, epochs: NDArray[np.int64]) -> NDArray[np.float64]:
    """A table's curves at all of these epochs; NaN where it has none."""
    found = np.full((len(table), len(epochs)), np.nan)
    found[:, np.searchsorted(epochs, table.epochs)] = table.curve
    return found


def _small(array: NDArray[Any]) -> NDArray[Any]:
    """The same whole numbers in the narrowest type that has them."""
    if array.dtype.kind not in "iu" or not array.size:
        return array
    return array.astype(np.promote_types(np.min_scalar_type(array.min()), np.min_scalar_type(array.max())))
