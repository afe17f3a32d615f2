"""SMAC (Lindauer et al. 2022): a random forest with expected improvement, by the parts of the package `smac`."""

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ma2ml_agents.baselines.remembering import Picking
from ma2ml_agents.joint import Codes
from ma2ml_env.io.settings import check_ranges
from ma2ml_env.trial import GameSpec


@dataclass(frozen=True)
class SMACConfig:
    """Settings of `SMAC`; the package's defaults but for `start` and `at_once`.

    Raises:
        ValueError: if a setting is out of its range.
    """

    start: int = 24
    """random trials before the forest is asked"""
    at_once: int = 8
    """proposals of one fit; then they are held for trials of the forest's own opinion, and it is fitted anew"""
    trees: int = 10
    """of the forest"""
    challengers: int = 5000
    """random candidates, of which the best begin local searches"""
    searches: int = 10
    """local searches from these, and as many from the best trials"""

    def __post_init__(self) -> None:
        check_ranges(self, at_least_one=("start", "at_once", "trees", "challengers", "searches"))


class SMAC(Picking):
    """SMAC3's random forest, log-scaled costs, expected improvement and its local and random search, fitted anew each batch.

    The package's own `ask` of a batch gives six to eight proposals of the forest and fills up at random, since it knows of no
    pending trials. Here the best candidates of a fit join the data with the costs that the forest expects (Ginsbourger et al.
    2010, the kriging believer), until the batch is full.

    Raises:
        ImportError: without smac; it is the extra `smac`.
    """

    Config = SMACConfig
    name = "smac"

    def __init__(self, spec: GameSpec, config: SMACConfig | None = None, *, seed: int = 0, device: str = "cpu") -> None:
        self.config = config or self.Config()
        super().__init__(spec, seed=seed)
        _imported("smac")
        of = _imported("ConfigSpace")
        self._columns = [d for d, size in enumerate(self.joint.nvec) if size > 1]
        self._space = of.ConfigurationSpace()
        for d in self._columns:
            kind = of.UniformIntegerHyperparameter if self.joint.ordered[d] else None
            size = self.joint.nvec[d]
            self._space.add(
                kind(f"d{d}", 0, size - 1) if kind else of.CategoricalHyperparameter(f"d{d}", list(range(size)))
            )

    def pick(self, n: int) -> Codes:
        """Random codes at the start, then candidates of the best expected improvement."""
        random = n if not (len(self.memory) and self._columns) else min(n, max(0, self.config.start - len(self.memory)))
        codes = [*self.moves.uniform(random)]
        self._space.seed(self.seed())  # the package draws random candidates by the space's own generator
        trials = [self._configuration(code) for code in self.memory.codes]
        costs = list(-self.memory.rewards)
        while len(codes) < n:
            with _quiet():
                found, expected = self._best(trials, np.array(costs), min(self.config.at_once, n - len(codes)))
            trials += found
            costs += expected
            codes += [self._code(one) for one in found]
        return np.array(codes, dtype=np.int64)

    def _best(self, trials: list[Any], costs: Any, n: int) -> tuple[list[Any], list[float]]:
        """Up to n >= 1 new configurations, best first, and the costs that the forest expects of them."""
        forest = _imported("smac.model.random_forest.random_forest").RandomForest(
            self._space, log_y=True, n_trees=self.config.trees, ratio_features=1.0, min_samples_split=2,
            min_samples_leaf=1, n_jobs=1, seed=self.seed(),
            max_leaf_nodes=2 * len(trials),  # no limit; its own takes half a second a tree to lay out
        )  # fmt: skip
        least, most = np.percentile(costs, 10), costs.max()
        least = costs.min() - (least - costs.min()) - 1e-10  # as its encoder `RunHistoryLogScaledEncoder` does
        scale = (most - least) or 1.0
        y = np.log((costs - least) / scale)
        forest.train(np.array([one.get_array() for one in trials]), y[:, None])
        improvement = _imported("smac.acquisition.function.expected_improvement").EI(log=True)
        improvement.update(model=forest, eta=y.min())
        maximizer = _imported("smac.acquisition.maximizer.local_and_random_search").LocalAndSortedRandomSearch(
            self._space, improvement, challengers=self.config.challengers,
            local_search_iterations=self.config.searches, seed=self.seed(),
        )  # fmt: skip
        order = np.argsort(costs, kind="stable")  # it begins local searches from the first ones
        # Its public method mixes random ones in.
        ranked = maximizer._maximize([trials[row] for row in order], self.config.challengers)
        known, found = set(trials), list[Any]()
        for _, one in ranked:
            if len(found) < n and one not in known:
                found.append(one)
                known.add(one)
        found = found or [self._space.sample_configuration()]
        means, _ = forest.predict_marginalized(np.array([one.get_array() for one in found]))
        return found, (np.exp(means[:, 0]) * scale + least).tolist()

    def _configuration(self, code: Codes) -> Any:
        values = {f"d{d}": int(code[d]) for d in self._columns}
        return _imported("ConfigSpace").Configuration(self._space, values=values)

    def _code(self, one: Any) -> Codes:
        code = np.zeros(len(self.joint.nvec), dtype=np.int64)
        code[self._columns] = [one[f"d{d}"] for d in self._columns]
        return code


@contextmanager
def _quiet() -> Iterator[None]:
    """No news of the package below a warning."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError("the learner 'smac' needs smac: pip install 'ma2ml[smac]'") from error
