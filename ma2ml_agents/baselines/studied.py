"""Optuna's samplers behind ask and tell."""

import importlib
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ma2ml_agents.baselines.remembering import Picking
from ma2ml_agents.joint import Codes
from ma2ml_env.trial import GameSpec


class Studied(Picking):
    """A sampler of Optuna over one distribution per decision: integers where choices are ordered, else names.

    A study and a sampler are made anew for every batch. Each proposal of a batch knows those before it, as running trials.

    Raises:
        ImportError: without optuna; it is the extra `optuna`.
    """

    def __init__(self, spec: GameSpec, *, seed: int, order: bool = True) -> None:
        super().__init__(spec, seed=seed)
        self.optuna = _optuna(self.name)
        of = self.optuna.distributions
        self.space = {
            str(d): of.IntDistribution(0, size - 1) if ordered and order else of.CategoricalDistribution(range(size))
            for d, (size, ordered) in enumerate(zip(self.joint.nvec, self.joint.ordered, strict=True))
        }

    @abstractmethod
    def sampler(self, seed: int) -> Any:
        """The sampler, with this seed."""

    def seen(self) -> list[int]:
        """Rows of the memory that the sampler may see, in order."""
        return list(range(len(self.memory)))

    def pick(self, n: int) -> Codes:
        """What the sampler proposes."""
        codes = np.zeros((n, len(self.space)), dtype=np.int64)
        with self._quiet():
            study = self._study()
            for row in codes:
                trial = study.ask(self.space)  # it is running from here on
                row[:] = [trial.params[name] for name in self.space]
        return codes

    def _study(self) -> Any:
        """A study in memory of the trials that the sampler may see."""
        study = self.optuna.create_study(direction="maximize", sampler=self.sampler(self.seed()))
        codes, rewards = self.memory.codes.tolist(), self.memory.rewards.tolist()
        create = self.optuna.trial.create_trial
        for row in self.seen():
            params = dict(zip(self.space, codes[row], strict=True))
            study.add_trial(create(params=params, distributions=self.space, value=rewards[row]))
        return study

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


def _optuna(name: str) -> Any:
    try:
        return importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise ImportError(f"the learner {name!r} needs optuna: pip install 'ma2ml[optuna]'") from error
