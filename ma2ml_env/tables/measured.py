"""A game that was trained whole: every pipeline of a grid, with what each of its trainings measured."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.evaluators.base import epoch_at
from ma2ml_env.space import Decision, SearchSpace
from ma2ml_env.tables.base import Codes, Grid, Span
from ma2ml_env.tables.trainings import Trainings
from ma2ml_env.trial import ERRORS, STATUSES, Outcome

MAY_PASS = ("CRASH", "TIMEOUT", "OOM")
"""errors that may lie in the machine: such a training measured nothing"""


class Measured(Grid):
    """Trainings of every pipeline as a table.

    A measurement is a training to the end, or one that failed by what it trained; that counts 0, as in a search. What a halving
    dropped, and what may have failed by the machine, is none. A point's measurements are in the order of the rows; of two with
    one seed, the first.

    Args:
        table: the trainings.
        epochs: of a training to its end.
        fidelity: share of the full training that these are, in (0, 1].
        same: (points,) number of the first joint code of the same pipeline: what was measured of one is known of all of them.
            None: all pipelines are different.

    Raises:
        ValueError: if the game has intervals, a number is out of its range, a pipeline was not measured, or rows of one
            contradict each other.
    """

    epochs: tuple[int, ...]

    def __init__(
        self, table: Trainings, epochs: int, fidelity: float = 1.0, same: NDArray[np.int64] | None = None
    ) -> None:
        _check(table)
        spaces = spaces_of(table)
        nvec = [n for space in spaces.values() for n in space.nvec]
        points = math.prod(nvec)
        same = np.arange(points) if same is None else same
        strides = np.append(np.cumprod(nvec[:0:-1])[::-1], 1).astype(np.int64)
        pipeline, rows = _measurements(same[table.codes @ strides], table, fidelity)
        lacking = np.setdiff1d(same, pipeline)
        if len(lacking):
            first = zip(table.about["decisions"], (lacking[0] // strides % nvec).tolist(), strict=True)
            told = ", ".join(f"{agent} {name} {choices[index]}" for (agent, name, choices), index in first)
            raise ValueError(
                f"{len(lacking):,} of {len(np.unique(same)):,} pipelines were not measured, the first of them {told}"
            )
        counts = np.bincount(pipeline, minlength=points)
        place = np.arange(len(rows)) - (np.cumsum(counts) - counts)[pipeline]

        def spread(values: NDArray[Any], empty: float) -> NDArray[Any]:
            """A row's value as (points, repeats, ...), of all codes of a pipeline."""
            found = np.full((points, counts.max(), *values.shape[1:]), empty, dtype=values.dtype)
            found[pipeline, place] = values
            return found[same]

        accuracy, failed = table.accuracy[rows], table.status[rows] != STATUSES.index("ok")
        macs, params = (_one_each(size[rows], pipeline, points)[same] for size in (table.flops, table.params))
        super().__init__(spaces, spread(accuracy, np.nan), macs)
        self.fidelity = fidelity
        self.params: NDArray[np.int64] = params
        """(points,) parameters; 0 if unknown"""
        self.seeds: NDArray[np.uint64] = spread(table.seeds[rows], 0)
        """(points, repeats) of the trainings; 0 where there is none"""
        self.seconds: NDArray[np.float64] = spread(table.seconds[rows], np.nan)
        """(points, repeats) of the trainings; NaN where there is none"""
        self.errors: NDArray[np.int64] = spread(table.error[rows], 0)
        """(points, repeats) index into `trial.ERRORS`"""
        self.sources: NDArray[np.int64] = spread(table.source[rows], 0)
        """(points, repeats) index into `about["sources"]`"""
        test = np.where(failed, 0.0, table.test_accuracy[rows])
        self.tests: NDArray[np.float64] | None = None if np.isnan(test).any() else spread(test, np.nan)
        """(points, repeats) test accuracies; NaN where there is no measurement; None if one was not tested"""
        curve = np.where(failed[:, None], 0.0, table.curve[rows])
        known = ~np.isnan(curve).any(axis=0) & (table.epochs < epochs)
        self.epochs = (*table.epochs[known].tolist(), epochs)
        self.curves: NDArray[np.float64] = spread(np.column_stack([curve[:, known], accuracy]), np.nan)
        """(points, repeats, epochs) accuracies; NaN where there is no measurement"""
        self.mean_curves: NDArray[np.float64] = np.nanmean(self.curves, axis=1)
        """(points, epochs)"""
        self.mean_curves[:, -1] = self._means  # to the bit
        self.mean_tests = None if self.tests is None else np.nanmean(self.tests, axis=1)
        self.mean_seconds: NDArray[np.float64] = np.nanmedian(self.seconds, axis=1)  # a machine that slept is no mean
        """(points,) of one training"""
        self.same = same
        self.about = table.about

    @property
    def values(self) -> NDArray[np.float64]:
        """(points, repeats) accuracies; NaN where there is no measurement."""
        return self._values

    @property
    def macs(self) -> NDArray[np.int64]:
        """(points,); 0 of what always failed before they were counted."""
        return self._macs

    def outcomes(self, codes: Codes, picks: NDArray[np.uint64] | None, spans: Sequence[Span]) -> list[Outcome]:
        """As the contract says. Nothing is started: attempts are 0, and the seconds are those of the trainings then.

        A pipeline that failed fails in its first span, with all its seconds. The mean has failed if all measurements have.
        """
        points = self.points(codes)
        repeats = [None] * len(spans) if picks is None else self.repeats(points, picks).tolist()
        return [self._outcome(*each) for each in zip(points.tolist(), repeats, spans, strict=True)]

    def _outcome(self, point: int, repeat: int | None, span: Span) -> Outcome:
        which = (point, 0 if repeat is None else repeat)
        whole = float(self.mean_seconds[point] if repeat is None else self.seconds[which])
        told: dict[str, Any] = {"flops": int(self._macs[point]), "params": int(self.params[point]), "attempts": 0}
        error = ERRORS[self.errors[which]]
        if error and (repeat is not None or (self.errors[point, : int(self._counts[point])] > 0).all()):
            return Outcome("failed", error=error, seconds=whole, fidelity=self.fidelity, **told)
        begin, end = (epoch_at(share, self.epochs[-1]) if share else 0 for share in span)
        until = self.column(end)
        curve = self.mean_curves[point] if repeat is None else self.curves[which]
        tests = self.mean_tests if repeat is None else self.tests
        tested = (
            None if tests is None or end < self.epochs[-1] else float(tests[point] if repeat is None else tests[which])
        )
        return Outcome(
            accuracy=float(curve[until]),
            seconds=whole * ((end - begin) / self.epochs[-1]),
            fidelity=self.fidelity * end / self.epochs[-1],
            test_accuracy=tested,
            curve=dict(zip(self.epochs[: until + 1], curve[: until + 1].tolist(), strict=True)),
            **told,
        )


def spaces_of(table: Trainings) -> dict[str, SearchSpace]:
    """Agent -> the space that the trainings were drawn from."""
    decisions: dict[str, list[Decision]] = {}
    for agent, name, choices in table.about["decisions"]:
        decisions.setdefault(agent, []).append(Decision(name, tuple(map(_hashable, choices))))
    return {agent: SearchSpace(each) for agent, each in decisions.items()}


def _check(table: Trainings) -> None:
    """Refuse what `Trainings` does not look at, and a grid cannot bear."""
    if table.about.get("intervals") != []:
        raise ValueError("a game with intervals has no grid")
    if (table.epochs < 1).any() or (np.diff(table.epochs) < 1).any():
        raise ValueError(f"the epochs of a curve rise from 1, not {table.epochs.tolist()}")
    for name in ("seconds", "flops", "params"):
        values = vars(table)[name]
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(f"{name} are finite and not negative")


def _measurements(
    pipeline: NDArray[np.int64], table: Trainings, fidelity: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(pipelines, rows) of what is a measurement, by pipeline and then in order."""
    whole = (table.status == STATUSES.index("ok")) & (table.fidelity == fidelity)
    by_pipeline = (table.status == STATUSES.index("failed")) & ~np.isin(
        table.error, [ERRORS.index(e) for e in MAY_PASS]
    )
    rows = np.flatnonzero(whole | by_pipeline)
    keys = np.column_stack([pipeline[rows].astype(np.uint64), table.seeds[rows]])
    _, first = np.unique(keys, axis=0, return_index=True)
    rows = rows[np.sort(first)]
    rows = rows[np.argsort(pipeline[rows], kind="stable")]
    return pipeline[rows], rows


def _one_each(sizes: NDArray[np.int64], pipeline: NDArray[np.int64], points: int) -> NDArray[np.int64]:
    """(points,) MACs or parameters of rows; 0 is not known, as of what failed."""
    found = np.zeros(points, dtype=np.int64)
    np.maximum.at(found, pipeline, sizes)
    if ((sizes > 0) & (sizes != found[pipeline])).any():
        raise ValueError("one pipeline has several numbers of MACs or parameters: these are not trainings of one game")
    return found


def _hashable(choice: Any) -> Any:
    """As it was before JSON made lists of tuples."""
    return tuple(map(_hashable, choice)) if isinstance(choice, list) else choice
