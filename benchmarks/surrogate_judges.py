"""Searches on a surrogate, and another family of models: is the order of learners the surrogate's own?"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from surrogate_fit import Data, Floats, logit

from ma2ml_agents.registry import make_learner
from ma2ml_env.evaluators.table import Table
from ma2ml_env.game import Game
from ma2ml_env.tables.fit import END
from ma2ml_env.tables.fitted import Fitted
from ma2ml_env.trial import trial_seed

TOP = 30
DECAYS = (1.0, 10.0, 100.0)
"""of the networks, for all rows together"""


class Networks:
    """Another family than trees: the mean of some small networks that were fitted from different beginnings.

    They are told what codes mean, and no choice by name, which made them worse. The decay is the one that does best on a fifth.
    """

    def __init__(self, data: Data, names: Sequence[str], number: int = 5) -> None:
        self.used = np.array(["=" not in name for name in names])
        rows, target = data.features[:, self.used], logit(data.accuracy[:, -2])
        left = np.arange(len(data)) % 5 == 0

        def missed(decay: float) -> float:
            tried = _network(decay, 0).fit(rows[~left], target[~left])
            return float(np.mean((tried.predict(rows[left]) - target[left]) ** 2))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as are wanted
            self.decay = min(DECAYS, key=missed)
            self.members = [_network(self.decay, seed).fit(rows, target) for seed in range(number)]

    def predict(self, rows: Floats) -> Floats:
        return np.mean([member.predict(rows[:, self.used]) for member in self.members], axis=0)


def _network(decay: float, seed: int) -> Pipeline:
    network = MLPRegressor(hidden_layer_sizes=(64, 64), alpha=decay, max_iter=100, random_state=seed)
    return make_pipeline(StandardScaler(), network)


class BySecondFamily(Fitted):
    """The surrogate with the networks' accuracy at the end; the rest is the trees'."""

    def __init__(self, networks: Networks, *of_fitted: Any) -> None:
        super().__init__(*of_fitted)
        self._trees = {**self._trees, END: networks}  # type: ignore[dict-item]


def search(source: Fitted, game: Game, name: str, seed: int, budget: int) -> np.ndarray[Any, Any]:
    """Joint codes (30, decisions) of the best that a learner was told of, different pipelines."""
    own = Game([*game.modules.values()], Table(source, source.spaces), game.reward, game.base, game.protocol)
    learner, trials = make_learner(name, own.spec, seed=seed), list[Any]()
    while len(trials) < budget:
        proposals = learner.ask(min(own.protocol.batch, budget - len(trials)))
        seeds = [trial_seed(seed, len(trials) + i) for i in range(len(proposals))]
        played = own.play(proposals, seeds, first_number=len(trials))
        learner.tell(played)
        trials += played
    trials.sort(key=lambda trial: -trial.reward)
    codes = np.array([[index for agent in own.spec.nvec for index in t.proposal.codes[agent]] for t in trials])
    _, first = np.unique(source.canonical(codes), axis=0, return_index=True)
    return codes[np.sort(first)[:TOP]]


def order(families: Mapping[str, Fitted], game: Game, names: Sequence[str], budget: int, seeds: int) -> dict[str, Any]:
    """Family -> learner -> noise-free mean of what its searches found best; and tau of the learners' order on both."""

    def mean(source: Fitted, name: str) -> float:
        found = [search(source, game, name, seed, budget) for seed in range(seeds)]
        return float(np.mean([source.tell(codes, None, [END]).accuracy.mean() for codes in found]))

    means = {family: {name: mean(source, name) for name in names} for family, source in families.items()}
    one, other = ([each[name] for name in names] for each in means.values())
    return {**means, "tau": float(np.nan_to_num(kendalltau(one, other).statistic)), "budget": budget, "seeds": seeds}


def optima(source: Fitted, game: Game, names: Sequence[str], budget: int, seeds: int) -> list[dict[str, Any]]:
    """What these learners find best on it, different pipelines by their values, as `ma2ml collect` reads a list."""
    codes = np.concatenate([search(source, game, name, seed, budget) for name in names for seed in range(seeds)])
    _, first = np.unique(source.canonical(codes), axis=0, return_index=True)
    ends = np.cumsum([len(sizes) for sizes in game.spec.nvec.values()])[:-1]
    rows = (np.split(row, ends) for row in codes[np.sort(first)])
    return [game.values(dict(zip(game.spec.nvec, map(tuple, row), strict=True))) for row in rows]
