"""The contract of a table, and the table whose every point is stored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.space import SearchSpace
from ma2ml_env.trial import Code, Outcome, split_row

Codes = Mapping[str, NDArray[np.int64]]
"""agent -> codes (n, L_i)"""
Span = tuple[float, float]
"""(from, to): the stretch of a training that is asked for, in shares of it"""


class TableSource(ABC):
    """Accuracies and MACs of every joint code."""

    spaces: Mapping[str, SearchSpace]
    """agent -> its space, in the order of the agents"""
    epochs: Sequence[int] = ()
    """after which accuracies are known, rising, the last one the end of the training; () where the end alone is"""

    @abstractmethod
    def look_up(self, codes: Codes, picks: NDArray[np.uint64] | None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Accuracies (n,) in [0, 1] and MACs (n,), 0 if unknown; a row's numbers depend on that row alone.

        Args:
            codes: agent -> codes (n, L_i), in range.
            picks: (n,) random numbers that choose among repeated measurements; None is their mean.
        """

    def outcomes(self, codes: Codes, picks: NDArray[np.uint64] | None, spans: Sequence[Span]) -> list[Outcome]:
        """What comes of training each row for its span; accuracies and MACs of whole trainings are those of `look_up`.

        Args:
            codes: as of `look_up`.
            picks: as of `look_up`.
            spans: n of them; a source that knows no epochs has whole trainings alone.

        Raises:
            NotImplementedError: if the source knows epochs; it has to say itself what came after them.
        """
        if self.epochs:
            raise NotImplementedError(f"{type(self).__name__} has epochs, so it needs a method outcomes() of its own")
        accuracy, flops = self.look_up(codes, picks)
        return [Outcome(accuracy=a, flops=f) for a, f in zip(accuracy.tolist(), flops.tolist(), strict=True)]

    def column(self, epochs: int) -> int:
        """Which of `epochs` these are.

        Raises:
            ValueError: if no accuracies are known after so many.
        """
        if not self.epochs:
            raise ValueError(f"this table has the accuracies of whole trainings alone, none after {epochs!r} epochs")
        if epochs not in self.epochs:
            near = min(self.epochs, key=lambda each: abs(each - epochs))
            raise ValueError(
                f"accuracies are known after {', '.join(map(str, self.epochs))} epochs, not after {epochs!r}; the closest is "
                f"{near}"
            )
        return self.epochs.index(epochs)

    def optimum(self) -> tuple[dict[str, Code], float]:
        """The codes with the best mean of all points, and that mean.

        Raises:
            ValueError: if the table is too large to go through.
        """
        raise ValueError(f"the optimum of {type(self).__name__} is not known: too many pipelines to go through")


class Grid(TableSource):
    """A stored table over the whole product of the choices.

    Args:
        spaces: agent -> space.
        values: measured accuracies in [0, 1], (points, repeats), points in the order of the joint codes, the last decision
            fastest. NaN at the end of a row where a point was measured less often.
        macs: (points,), 0 if unknown.

    Raises:
        ValueError: if the shapes do not fit the spaces, or a point has no value or one out of range.
    """

    def __init__(self, spaces: Mapping[str, SearchSpace], values: NDArray[np.float64], macs: NDArray[np.int64]) -> None:
        self.spaces = dict(spaces)
        self._nvec = np.array([n for space in self.spaces.values() for n in space.nvec], dtype=np.int64)
        points = int(self._nvec.prod())
        if values.ndim != 2 or len(values) != points or macs.shape != (points,):
            raise ValueError(
                f"{points} points need values (points, repeats) and MACs, not {values.shape}, {macs.shape}"
            )
        known = ~np.isnan(values)
        if not known[:, 0].all() or (known[:, 1:] & ~known[:, :-1]).any():
            raise ValueError("a point has at least one value, and what is missing comes last")
        if not ((values[known] >= 0.0) & (values[known] <= 1.0)).all():
            raise ValueError("accuracies lie in [0, 1]")
        self._values = values
        self._macs = macs
        self._counts = known.sum(axis=1).astype(np.uint64)
        self._means = np.nanmean(values, axis=1)  # once, so that it cannot depend on what is asked with it
        self._strides = np.append(self._nvec[:0:-1].cumprod()[::-1], 1)

    def look_up(self, codes: Codes, picks: NDArray[np.uint64] | None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """As the contract says."""
        point = self.points(codes)
        if picks is None:
            return self._means[point], self._macs[point]
        return self._values[point, self.repeats(point, picks)], self._macs[point]

    def points(self, codes: Codes) -> NDArray[np.int64]:
        """Numbers (n,) of the joint codes, the last decision fastest."""
        return self.numbers(np.concatenate([codes[agent] for agent in self.spaces], axis=1))

    def numbers(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers (n,) of joint codes as rows (n, decisions)."""
        return np.asarray(rows @ self._strides)

    def rows(self, points: NDArray[np.int64]) -> NDArray[np.int64]:
        """Inverse of `numbers`: (n,) to (n, decisions)."""
        return np.asarray(points[:, None] // self._strides % self._nvec)

    def repeats(self, points: NDArray[np.int64], picks: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Which measurement (n,) of each point (n,) a random number (n,) picks."""
        return np.asarray(picks % self._counts[points], dtype=np.int64)

    def optimum(self) -> tuple[dict[str, Code], float]:
        """The codes with the best mean of all points, ties to the first, and that mean."""
        best = int(self._means.argmax())
        row = self.rows(np.array([best]))[0].tolist()
        return split_row(row, {agent: space.nvec for agent, space in self.spaces.items()}), float(self._means[best])
