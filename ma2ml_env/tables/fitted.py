"""A surrogate of a game that is too large to be measured whole: what trees that were fitted to some of its trainings say.

The trees tell the logit of the accuracy at the end, how much lower it was after fewer epochs, how far the test images' is from
it, and the logarithm of the seconds. Without noise an answer is the middle of what trainings of the pipeline would have; with
noise it is spread as trainings of one pipeline were at this accuracy. Nothing is better than the best training that it was
fitted to. Accuracies have six digits, so that the last bits of an exponential, which differ between machines, do not show.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.evaluators.base import epoch_at
from ma2ml_env.space import SearchSpace
from ma2ml_env.tables.base import Codes, Span, TableSource
from ma2ml_env.tables.fit import END, SECONDS, Fit
from ma2ml_env.tables.trees import Trees
from ma2ml_env.trial import Outcome, mix64

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_DIGITS = 6
_ROWS = 4096  # at a time: their features take some 10 MB; no effect on any number
_QUANTILES = np.array([NormalDist().inv_cdf((k + 0.5) / 4096) for k in range(4096)]).round(9)


class Describe(Protocol):
    """What a fit is told of joint codes (n, decisions)."""

    def canonical(self, codes: Ints) -> Ints:
        """Of all codes of a pipeline the same one."""
        ...

    def __call__(self, codes: Ints) -> tuple[Floats, Ints, Ints]:
        """Features (n, F), MACs (n,), parameters (n,)."""
        ...


class Told(NamedTuple):
    """What is said of n pipelines."""

    accuracy: Floats
    """(n, outputs that were asked for) in [0, 1]"""
    flops: Ints
    params: Ints
    seconds: Floats
    """(n,) of whole trainings"""


class Fitted(TableSource):
    """A fit as a table.

    Args:
        fit: what was fitted.
        spaces: agent -> space.
        describe: what the trees are told of joint codes.
        fidelity: share of the full training that its trainings are, in (0, 1].

    Raises:
        ValueError: if a tree is none, or asks for more features.
    """

    def __init__(self, fit: Fit, spaces: Mapping[str, SearchSpace], describe: Describe, fidelity: float) -> None:
        self.spaces = dict(spaces)
        self.epochs = tuple(fit.about["epochs"])
        self.about = fit.about
        self.digest = fit.digest
        self.fidelity = fidelity
        self.outputs = fit.outputs
        self._fit, self._describe = fit, describe
        self._trees = {name: Trees(arrays, len(fit.about["features"])) for name, arrays in fit.trees.items()}

    def look_up(self, codes: Codes, picks: NDArray[np.uint64] | None) -> tuple[Floats, Ints]:
        """As the contract says."""
        told = self.tell(self.joint(codes), picks, [END])
        return told.accuracy[:, 0], told.flops

    def tell(self, codes: Ints, picks: NDArray[np.uint64] | None, outputs: Sequence[str]) -> Told:
        """What there is of joint codes (n, decisions); numbers are those of `look_up`.

        Args:
            codes: in range.
            picks: (n,) random numbers that choose the noise; None is none.
            outputs: some of `outputs`.
        """
        parts = []
        for begin in range(0, max(len(codes), 1), _ROWS):
            some = slice(begin, begin + _ROWS)
            rows, flops, params = self._describe(codes[some])
            accuracy = self._accuracy(rows, None if picks is None else picks[some], outputs)
            parts.append((accuracy, flops, params, np.exp(self._trees[SECONDS].predict(rows)).round(_DIGITS)))
        return Told(*map(np.concatenate, zip(*parts, strict=True)))

    def outcomes(self, codes: Codes, picks: NDArray[np.uint64] | None, spans: Sequence[Span]) -> list[Outcome]:
        """As the contract says. Nothing is started: attempts are 0."""
        told = self.tell(self.joint(codes), picks, self.outputs)
        return [self._outcome(told, row, span) for row, span in enumerate(spans)]

    def canonical(self, codes: Ints) -> Ints:
        """Of joint codes (n, decisions), the same one of all of a pipeline."""
        return self._describe.canonical(codes)

    def joint(self, codes: Codes) -> Ints:
        """(n, decisions) of agent -> codes."""
        return np.concatenate([codes[agent] for agent in self.spaces], axis=1)

    def _outcome(self, told: Told, row: int, span: Span) -> Outcome:
        begin, end = (epoch_at(share, self.epochs[-1]) if share else 0 for share in span)
        until = self.column(end)
        *curve, test = told.accuracy[row].tolist()
        return Outcome(
            accuracy=curve[until],
            seconds=float(told.seconds[row]) * ((end - begin) / self.epochs[-1]),
            fidelity=self.fidelity * end / self.epochs[-1],
            flops=int(told.flops[row]),
            params=int(told.params[row]),
            attempts=0,
            test_accuracy=test if end == self.epochs[-1] else None,
            curve=dict(zip(self.epochs[: until + 1], curve, strict=False)),
        )

    def _accuracy(self, rows: Floats, picks: NDArray[np.uint64] | None, outputs: Sequence[str]) -> Floats:
        """(n, outputs) of features (n, F)."""
        end, found = self._trees[END].predict(rows), []
        for name in outputs:
            logit = end if name == END else end + self._trees[name].predict(rows)
            place = self.outputs.index(name)
            if picks is not None:
                deviation = np.interp(logit, self._fit.levels, self._fit.noise[:, place])
                logit = logit + deviation * self._normal(picks, place)
            accuracy = (1.0 / (1.0 + np.exp(-logit))).round(_DIGITS)
            found.append(np.minimum(accuracy, self._fit.largest[place]))
        return np.stack(found, axis=1)

    def _normal(self, picks: NDArray[np.uint64], place: int) -> Floats:
        """Normal numbers (n,) of an output, correlated with the end's as the trainings' noise was."""
        shared, own = self._fit.shared[place], _normal(mix64(picks + np.uint64(place + 1)))
        return np.asarray(shared * _normal(picks) + np.sqrt(1.0 - shared**2) * own)


def _normal(picks: NDArray[np.uint64]) -> Floats:
    """One of 4,096 quantiles (n,) of the normal distribution for each random number (n,)."""
    return np.asarray(_QUANTILES[(picks >> np.uint64(52)).astype(np.int64)])
