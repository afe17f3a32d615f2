"""Optuna's tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023) behind ask and tell."""

import importlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ma2ml_agents.baselines.moves import Memory, Moves, moved_on
from ma2ml_agents.joint import Joint, only_decisions
from ma2ml_agents.learner import States
from ma2ml_agents.saving import seeded
from ma2ml_env.io.settings import check_ranges
from ma2ml_env.trial import GameSpec, Proposal, Trial

_GOOD = 25
"""most trials that optuna calls good (its `default_gamma`)"""


@dataclass(frozen=True)
class TPEConfig:
    """Settings of `TPE`.

    Raises:
        ValueError: if a setting is out of its range.
    """

    startup: int = 24
    """random trials before the estimators are used"""
    candidates: int = 24
    """draws from the density of good trials of which a proposal is the best (optuna's default)"""
    multivariate: bool = False
    """one density over all decisions, a kernel per trial; False: a density for each decision by itself"""
    order: bool = True
    """whether ordered decisions are shown as integers, of which near ones are alike; False: as names"""
    others: int = 240
    """trials that the sampler sees beside the 25 best, spread over the search; 0: all, and time grows with their number"""
    distinct: bool = True
    """move a proposal on until its code is new; False: optuna's own proposals, with repeats"""

    def __post_init__(self) -> None:
        check_ranges(self, at_least_one=("startup", "candidates"), not_negative=("others",))


class TPE:
    """TPESampler over one distribution per decision, integers where choices are ordered, with the constant liar within a batch.

    A study and a sampler are made anew for every batch: from what was told, and with a seed from the learner's own generator.
    So a state holds nothing of optuna's, and what is asked and never told leaves no trace.

    Chosen here: a density per decision, which measured better than optuna's joint one; no repeats, as for the other rivals; and
    a thinned history, for optuna's time grows with trials times decisions. The good trials, 25 at most by optuna's rule, are
    always the best of all; of the others, which stand for the bad, every so many is shown, old and new.

    Raises:
        ImportError: without optuna; it is the extra `optuna`.
    """

    Config = TPEConfig

    def __init__(self, spec: GameSpec, config: TPEConfig | None = None, *, seed: int = 0, device: str = "cpu") -> None:
        self.config = config or self.Config()
        self.optuna = _optuna()
        self.joint = Joint(only_decisions(spec, "tpe"))
        self.generator = seeded(seed)
        self.moves = Moves(self.joint.nvec, self.generator)
        self.memory = Memory(len(self.joint.nvec))
        of = self.optuna.distributions
        self.space = {
            str(d): of.IntDistribution(0, size - 1)
            if ordered and self.config.order
            else of.CategoricalDistribution(range(size))
            for d, (size, ordered) in enumerate(zip(self.joint.nvec, self.joint.ordered, strict=True))
        }

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Optuna's next n trials, each knowing of those before it; see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        codes = np.zeros((n, len(self.space)), dtype=np.int64)
        seed = int(self.moves.below(2**31 - 1, 1))
        if n:
            with self._quiet():
                study = self._study(seed)
                for row in codes:
                    trial = study.ask(self.space)  # it is running from here on
                    row[:] = [trial.params[name] for name in self.space]
        if self.config.distinct:
            codes = moved_on(codes, self.memory, self.moves)
        return self.joint.proposals(torch.from_numpy(codes), s, None, ["tpe"] * n)

    def _study(self, seed: int) -> Any:
        """A study in memory of the trials that the sampler may see."""
        study = self.optuna.create_study(
            direction="maximize",
            sampler=self.optuna.samplers.TPESampler(
                n_startup_trials=self.config.startup,
                n_ei_candidates=self.config.candidates,
                multivariate=self.config.multivariate,
                constant_liar=True,
                seed=seed,
            ),
        )
        codes, rewards = self.memory.codes.tolist(), self.memory.rewards.tolist()
        create = self.optuna.trial.create_trial
        for row in self._seen():
            params = dict(zip(self.space, codes[row], strict=True))
            study.add_trial(create(params=params, distributions=self.space, value=rewards[row]))
        return study

    def _seen(self) -> list[int]:
        """Rows of the memory that the sampler may see, in order."""
        order = np.argsort(-self.memory.rewards, kind="stable")
        best, rest = order[:_GOOD], np.sort(order[_GOOD:])
        if 0 < self.config.others < len(rest):
            rest = rest[np.linspace(0, len(rest) - 1, self.config.others).astype(np.int64)]
        return sorted([*best.tolist(), *rest.tolist()])

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Remember trials, as complete ones; see `Learner.tell`."""
        if not trials:
            return {}
        codes, _, rewards = self.joint.read(trials, self.generator)
        self.memory.add(codes, rewards)
        return {"reward": sum(rewards) / len(rewards), "updates": 0.0}

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """No news of a study or of what is experimental, and what the user set is as it was after."""
        logging = self.optuna.logging
        level = logging.get_verbosity()
        logging.set_verbosity(max(level, logging.WARNING))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", self.optuna.exceptions.ExperimentalWarning)
                yield
        finally:
            logging.set_verbosity(level)

    def state_dict(self) -> dict[str, Any]:
        """What was told, and the random state; see `Learner.state_dict`."""
        return {"memory": self.memory.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.memory.load_state_dict(state["memory"])
        self.generator.set_state(state["generator"])


def _optuna() -> Any:
    try:
        return importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise ImportError("the learner 'tpe' needs optuna: pip install 'ma2ml[optuna]'") from error
