"""Optuna's tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023) behind ask and tell."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ma2ml_agents.baselines.studied import Studied
from ma2ml_agents.joint import Codes
from ma2ml_env.io.settings import check_ranges
from ma2ml_env.trial import GameSpec

_GOOD = 25
"""most trials that optuna calls good (its `default_gamma`)"""


@dataclass(frozen=True)
class TPEConfig:
    """Settings of `TPE`. Optuna's own recommendation is `multivariate=True, others=0`.

    Raises:
        ValueError: if a setting is out of its range.
    """

    startup: int = 24
    """random trials before the estimators are used"""
    candidates: int = 24
    """draws from the density of good trials of which a proposal is the best (optuna's default)"""
    multivariate: bool = False
    """one density over all decisions, a kernel per trial (with optuna's `group`); False: a density for each by itself"""
    order: bool = True
    """whether ordered decisions are shown as integers, of which near ones are alike; False: as names"""
    others: int = 240
    """trials that the sampler sees beside the 25 best, spread over the search; 0: all, and time grows with their number"""
    distinct: bool = True
    """move a proposal on until its code is new; False: optuna's own proposals, with repeats"""

    def __post_init__(self) -> None:
        check_ranges(self, at_least_one=("startup", "candidates"), not_negative=("others",))


class TPE(Studied):
    """TPESampler over one distribution per decision, integers where choices are ordered, with the constant liar within a batch.

    Chosen here: a density per decision, which measured better than optuna's joint one; no repeats, as for the other rivals; and
    a thinned history, for optuna's time grows with trials times decisions. The good trials, 25 at most by optuna's rule, are
    always the best of all; of the others, which stand for the bad, every so many is shown, old and new.

    Raises:
        ImportError: without optuna; it is the extra `optuna`.
    """

    Config = TPEConfig
    name = "tpe"

    def __init__(self, spec: GameSpec, config: TPEConfig | None = None, *, seed: int = 0, device: str = "cpu") -> None:
        self.config = config or self.Config()
        super().__init__(spec, seed=seed, order=self.config.order)

    def sampler(self, seed: int) -> Any:
        """Optuna's TPESampler."""
        return self.optuna.samplers.TPESampler(
            n_startup_trials=self.config.startup,
            n_ei_candidates=self.config.candidates,
            multivariate=self.config.multivariate,
            group=self.config.multivariate,
            constant_liar=True,
            seed=seed,
        )

    def new(self, codes: Codes) -> Codes:
        """The codes, moved on if that is wanted."""
        return super().new(codes) if self.config.distinct else codes

    def seen(self) -> list[int]:
        """The best trials, and others spread over the search."""
        order = np.argsort(-self.memory.rewards, kind="stable")
        best, rest = order[:_GOOD], np.sort(order[_GOOD:])
        if 0 < self.config.others < len(rest):
            rest = rest[np.linspace(0, len(rest) - 1, self.config.others).astype(np.int64)]
        return sorted([*best.tolist(), *rest.tolist()])
