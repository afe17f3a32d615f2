"""Looks pipelines up in a table instead of training them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ma2ml_env.evaluators.base import GroundTruth, Job
from ma2ml_env.space import SearchSpace
from ma2ml_env.tables.base import Codes, TableSource
from ma2ml_env.trial import Code, Outcome, mix64


class Table(GroundTruth):
    """The evaluator over a table.

    Where the table holds several measurements of a pipeline, the trial's seed picks one: as noisy as training, and the same
    every time.

    Args:
        source: the table.
        spaces: agent -> space of the game that is played; None trusts that they are the table's own.
        mean: the mean over the measurements instead of one of them: no noise.

    Raises:
        ValueError: if it is no table, or the agents or their spaces are not the table's; the agent is named.
    """

    def __init__(
        self, source: TableSource, spaces: Mapping[str, SearchSpace] | None = None, *, mean: bool = False
    ) -> None:
        if not isinstance(source, TableSource):
            raise ValueError(f"{source!r} is no table: derive its class from ma2ml_env.tables.base.TableSource")
        if not isinstance(mean, bool):
            raise ValueError(f"mean is true or false, not {mean!r}")
        self.source = source
        self.mean = mean
        if spaces is not None:
            self._check(spaces)

    def evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """Outcomes in order; of whole trainings, the numbers are those of `score`. Who knows no epochs does not pause."""
        if not jobs:
            return
        codes = {agent: np.array([job.codes[agent] for job in jobs], dtype=np.int64) for agent in self.source.spaces}
        picks = self._picks(np.array([job.seed for job in jobs], dtype=np.int64))
        yield from enumerate(self.source.outcomes(codes, picks, [(job.since, job.until) for job in jobs]))

    def score(self, codes: Codes, seeds: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Accuracies (n,) and MACs (n,) of agent -> codes (n, L_i) under trial seeds (n,)."""
        return self.source.look_up(codes, self._picks(seeds))

    def noise_free(self, codes: Codes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Mean accuracies (n,) over the measurements, and MACs (n,), of agent -> codes (n, L_i): for reports."""
        return self.source.look_up(codes, None)

    def optimum(self) -> tuple[dict[str, Code], float]:
        """The best codes of all and their accuracy without noise.

        Raises:
            ValueError: if the table is too large to go through.
        """
        return self.source.optimum()

    def _picks(self, seeds: NDArray[np.int64]) -> NDArray[np.uint64] | None:
        """Random numbers (n,) of trial seeds (n,); None where the mean is wanted."""
        return None if self.mean else picks_of(seeds)

    def _check(self, spaces: Mapping[str, SearchSpace]) -> None:
        own = self.source.spaces
        if list(spaces) != list(own):
            raise ValueError(f"the table is over the agents {', '.join(own)}, not {', '.join(spaces)}")
        for agent, space in spaces.items():
            if space.intervals or space.decisions != own[agent].decisions:
                raise ValueError(f"the space of agent {agent!r} is not the table's")


def picks_of(seeds: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Random numbers (n,) by which trial seeds (n,) choose among measurements."""
    return mix64(seeds.astype(np.uint64))
