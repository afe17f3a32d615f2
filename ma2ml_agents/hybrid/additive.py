"""The additive critic: an exact posterior over values that are sums over decisions, and best responses to draws of it.

    R(A) = sum_d w_d[a_d] + noise,    w ~ N(0, s^2 I),    noise ~ N(0, r s^2)

As the value is a sum, an agent's best response is the same whatever the others do, and the best of 10^78 joint actions is
found decision by decision: no policy has to find it by sampling. Interactions are noise here; they are the networks' affair
(`critic.py`). With some hundred trials on a hundred decisions that is the better model: interactions cannot be told apart yet.

A draw of w stands for what the trials leave open (Thompson sampling): decisions that are settled are the same in all draws,
the others vary. With hundreds of decisions full draws vary too much, as the errors of all of them add up, so draws are pulled
towards the mean (`spread`), and the search closes in earlier. Not of the paper: Bayesian linear regression and its evidence are
those of Bishop 2006, sections 3.3 and 3.5, in the choices or, where there are thousands of these, in the trials; Thompson
sampling with a scaled posterior as in Agrawal & Goyal 2013.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ma2ml_agents.policies.intervals import COSINES, cosines

_STEP = 0.35
"""how far a step moves log r, if at all"""
_LOWEST, _HIGHEST = math.log(0.1), math.log(1e5)
_GRID = 65
"""positions of an interval that are compared"""
_AT_ONCE = 1024
"""trials that are counted at a time: what that takes does not grow"""
_MOST = 2000
"""choices, above which a system of trials is solved while there are fewer of these"""


class Additive:
    """Bayesian linear regression on single decisions; an interval enters as a few cosines of its position.

    Args:
        nvec: number of choices of every decision of the joint action, L entries; 0 stands for an interval.

    `log_ratio` is log r, and all that has to be kept; r is found by the marginal likelihood, and s in closed form. How often
    choices came together is counted on from the trials of before, not anew in each batch.
    """

    def __init__(self, nvec: Sequence[int]) -> None:
        self.decisions = [column for column, size in enumerate(nvec) if size]
        self.intervals = [column for column, size in enumerate(nvec) if not size]
        sizes = np.array([size for size in nvec if size], dtype=np.int64)
        self.choices = int(sizes.sum())
        self.offsets = torch.from_numpy(np.cumsum(sizes) - sizes)
        # Row of w of every choice of a decision; behind its last choice, the row after the last, which is -inf.
        choice = torch.arange(max(sizes, default=0))
        self.rows = torch.where(choice < torch.from_numpy(sizes)[:, None], self.offsets[:, None] + choice, self.choices)
        self.grid = torch.linspace(0.0, 1.0, _GRID, dtype=torch.float64)
        self.log_ratio = math.log(max(len(nvec), 1))
        self._counts = _Counts(self.choices)

    def learn(self, codes: Tensor, targets: Tensor, steps: int = 1) -> None:
        """Some steps of log r towards where it makes all trials likeliest: codes (N, L), targets (N,)."""
        system = self._system(codes, targets)
        for _ in range(steps):
            near = [min(max(self.log_ratio + step, _LOWEST), _HIGHEST) for step in (0.0, -_STEP, _STEP)]
            best = max(near, key=lambda log_ratio: system.fit(log_ratio).likelihood)
            if best == self.log_ratio:
                break
            self.log_ratio = best

    def responses(self, codes: Tensor, targets: Tensor, n: int, spread: float, generator: torch.Generator) -> Tensor:
        """The best joint actions (n, L) of n draws of w, given all trials: codes (N, L), targets (N,).

        Args:
            codes: of the trials.
            targets: what they were worth.
            n: draws.
            spread: deviation of a draw from the mean, as a share of the posterior's; 1: Thompson sampling, 0: the mean n times.
            generator: draws them. Nothing else changes.
        """
        fitted = self._system(codes, targets).fit(self.log_ratio)
        return self._best(fitted.mean[:, None] + spread * fitted.deviations(n, generator), codes)

    def _system(self, codes: Tensor, targets: Tensor) -> "_OfChoices | _OfTrials":
        features = cosines(codes[:, self.intervals]).double() if self.intervals else None
        rows = codes[:, self.decisions].long() + self.offsets
        if self.choices > _MOST and len(codes) < self.choices:
            return _OfTrials(rows, features, self.choices, targets.double())
        return _OfChoices(rows, features, self.choices, targets.double(), self._counts)

    def _best(self, w: Tensor, like: Tensor) -> Tensor:
        """The best choice of every decision, and position of every interval, by each column of w (F, n): (n, L)."""
        n = w.shape[1]
        best = torch.empty(n, len(self.decisions) + len(self.intervals), dtype=like.dtype)
        if self.decisions:
            padded = torch.cat([w[: self.choices], w.new_full((1, n), -math.inf)])
            best[:, self.decisions] = padded[self.rows].argmax(1).T.to(like.dtype)
        if self.intervals:
            basis = cosines(self.grid[:, None]).double()  # (G, COSINES)
            values = torch.einsum("gk,ikn->gin", basis, w[self.choices :].reshape(len(self.intervals), COSINES, n))
            best[:, self.intervals] = self.grid[values.argmax(0)].T.to(like.dtype)
        return best


class _Fitted(NamedTuple):
    """Log-likelihood (but for a constant), mean of w (F,), and (draws, generator) -> as many deviations from it (F, draws)."""

    likelihood: float
    mean: Tensor
    deviations: Callable[[int, torch.Generator], Tensor]


class _Counts:
    """How often two choices stand in one trial, X^T X: whole numbers, so counting on gives the same bits as counting anew."""

    def __init__(self, choices: int) -> None:
        self._choices = choices
        self._rows = torch.empty(0, 0, dtype=torch.int64)
        self._gram = torch.empty(
            0, 0
        )  # (choices, choices) in single precision: exact below 2^24 trials, and twice as fast

    def gram(self, rows: Tensor) -> Tensor:
        """(choices, choices) float64, of trials (N, decisions)."""
        before = len(self._rows)
        if not before or before > len(rows) or not torch.equal(rows[:before], self._rows):  # the oldest were forgotten
            before, self._gram = 0, torch.zeros(self._choices, self._choices)
        for first in range(before, len(rows), _AT_ONCE):
            new = rows[first : first + _AT_ONCE]
            x = torch.zeros(len(new), self._choices).scatter_(1, new, 1.0)
            self._gram += x.T @ x
        self._rows = rows.clone()
        return self._gram.double()


class _OfChoices:
    """X^T X, X^T y, y^T y and N: a system with a row for every choice.

    Args:
        rows: of w that each trial takes (N, decisions).
        features: of the intervals (N, K), or None.
        choices: rows of w that stand for choices.
        y: targets (N,).
        counts: of the trials of before.
    """

    def __init__(self, rows: Tensor, features: Tensor | None, choices: int, y: Tensor, counts: _Counts) -> None:
        x = torch.zeros(len(rows), choices, dtype=torch.float64).scatter_(1, rows, 1.0)
        if features is not None:
            x = torch.cat([x, features], dim=1)
        self.gram = x.T @ x if features is not None else counts.gram(rows)  # cosines are no counts
        self.b, self.total, self.n = x.T @ y, float(y @ y), len(x)

    def fit(self, log_ratio: float) -> _Fitted:
        """At a ratio r."""
        size = len(self.b)
        cholesky = torch.linalg.cholesky(self.gram + math.exp(log_ratio) * torch.eye(size, dtype=torch.float64))
        mean = torch.cholesky_solve(self.b[:, None], cholesky)[:, 0]
        noise = max(self.total - float(self.b @ mean), 1e-9) / self.n  # r s^2, at its likeliest
        log_det = 2.0 * float(cholesky.diagonal().log().sum()) - size * log_ratio

        def deviations(n: int, generator: torch.Generator) -> Tensor:
            drawn = torch.randn(size, n, generator=generator, dtype=torch.float64)
            white: Tensor = torch.linalg.solve_triangular(cholesky.T, drawn, upper=True)
            return white * math.sqrt(noise)

        return _Fitted(-0.5 * (self.n * math.log(noise) + log_det), mean, deviations)


class _OfTrials:
    """X X^T and y: the same model as a system with a row for every trial, for many choices; X is never written out."""

    def __init__(self, rows: Tensor, features: Tensor | None, choices: int, y: Tensor) -> None:
        self.rows, self.features, self.choices, self.y = rows, features, choices, y
        self.kernel = torch.zeros(len(rows), len(rows), dtype=torch.float64)
        for column in rows.T:
            self.kernel += column[:, None] == column
        if features is not None:
            self.kernel += features @ features.T

    def fit(self, log_ratio: float) -> _Fitted:
        """At a ratio r."""
        n, r = len(self.y), math.exp(log_ratio)
        cholesky = torch.linalg.cholesky(self.kernel + r * torch.eye(n, dtype=torch.float64))
        weights = torch.cholesky_solve(self.y[:, None], cholesky)
        noise = max(r * float(self.y @ weights[:, 0]), 1e-9) / n  # r s^2, at its likeliest
        log_det = 2.0 * float(cholesky.diagonal().log().sum()) - n * log_ratio

        def deviations(draws: int, generator: torch.Generator) -> Tensor:
            """A draw of the prior, less what its own trials would have taught (Matheron's rule)."""
            scale = math.sqrt(noise / r)
            size = self.choices + (0 if self.features is None else self.features.shape[1])
            w = scale * torch.randn(size, draws, generator=generator, dtype=torch.float64)
            seen = math.sqrt(noise) * torch.randn(n, draws, generator=generator, dtype=torch.float64)
            return w - self._to_choices(torch.cholesky_solve(self._to_trials(w) + seen, cholesky))

        return _Fitted(-0.5 * (n * math.log(noise) + log_det), self._to_choices(weights)[:, 0], deviations)

    def _to_choices(self, v: Tensor) -> Tensor:
        """X^T v: (N, m) -> (F, m)."""
        w = torch.zeros(self.choices, v.shape[1], dtype=v.dtype)
        for column in self.rows.T:
            w.index_add_(0, column, v)
        return w if self.features is None else torch.cat([w, self.features.T @ v])

    def _to_trials(self, w: Tensor) -> Tensor:
        """X w: (F, m) -> (N, m)."""
        taken = w.new_zeros(len(self.y), w.shape[1])
        for column in self.rows.T:
            taken += w[column]
        return taken if self.features is None else taken + self.features @ w[self.choices :]
