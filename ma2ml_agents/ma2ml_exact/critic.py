"""The critic: effects of single choices, and what choices are worth together, as far as the trials speak for it.

The sum of effects (`additive.py`) is fitted to all trials. What it leaves over is noise, or it is interactions: a Gaussian
process (`gaussian.py`) is fitted to it, and says how much of it is which. It expects interactions until trials speak against
them. A draw is one of the effects, and then one of the process, given what these effects leave over.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ma2ml_agents.gaussian import MOST, GaussianProcess
from ma2ml_agents.gaussian_functions import FEATURES, Functions
from ma2ml_agents.joint import Joint
from ma2ml_agents.ma2ml_exact.additive import Additive, Weights
from ma2ml_agents.ma2ml_exact.effects import Effects
from ma2ml_agents.ma2ml_exact.feature_worth import FeatureWorth
from ma2ml_agents.meaning import Meaning
from ma2ml_agents.saving import seeded

_LEAST = 0.2
"""share of what effects leave over that has to be interactions, for them to be worth their time"""
_MEANS = 0.02
"""deviation of what features are worth to the trials that makes agents answer each other, in deviations of the targets"""
_SELDOM = 4
"""batches after which the share is looked at again where it is less"""


class Draws(NamedTuple):
    """Draws of the critic."""

    effects: Tensor
    """(size + 1 + F, n) values of all choices, a level, and those of features"""
    together: list[Functions | FeatureWorth]
    """what choices are worth together; nothing where nothing speaks for it"""


class Critic:
    """The exact critic.

    Args:
        joint: the layout of joint actions.
        ties: whether decisions of one kind may share effects.
        order: whether near choices of an ordered decision may have near effects.
        features: whether what the game tells of codes may be worth something.
        interactions: whether choices may be worth something together.
    """

    def __init__(self, joint: Joint, *, ties: bool, order: bool, features: bool, interactions: bool) -> None:
        self.effects, self.meaning = Effects(joint, ties=ties, order=order), Meaning(joint, wanted=features)
        self._joint, self._additive = joint, Additive(self.effects, self.meaning)
        self._process = GaussianProcess(joint.nvec) if interactions else None
        self._linear = self.effects.size + 1 + self.meaning.size
        self.noise_size = self._linear + FEATURES + MOST
        """numbers of white noise that a draw takes"""
        self._waited = 0
        self._forget()

    def _forget(self) -> None:
        """Stand where no trial was seen; settings stay."""
        self.knows = False
        """whether there is anything to draw: trials of different worth"""
        self.open = 1.0
        """what trials leave open: deviation of the value of the action that they speak for, in deviations of the targets"""
        self.interactions = 0.0 if self._process is None else self._process.share
        """share of what effects leave over that is interactions, by what makes the trials likeliest; the rest is noise"""
        self.features = 0.0
        """deviation of what features are worth to the trials, in deviations of the targets"""

    def learn(self, codes: Tensor, targets: Tensor, generator: torch.Generator, batches: int) -> dict[str, float]:
        """Fit to trials, of which so many batches are new: codes (N, L), targets (N,)."""
        self.see(codes, targets, batches, generator)
        weights = {f"log_{name}": value for name, value in vars(self._additive.weights).items()}
        return {**weights, "open": self.open, "features": self.features, "interactions": self.interactions}

    def see(self, codes: Tensor, targets: Tensor, batches: int = 0, generator: torch.Generator | None = None) -> None:
        """Take in trials; as many steps of all settings as there are new batches, of interactions by a generator."""
        self._forget()
        self.knows = len(targets) > 1 and bool(targets.std(correction=0) > 0)
        if not self.knows:
            return
        self._effects = self._additive.fit(codes, targets, batches)
        if self.meaning.size:
            worth = self._additive.features @ self._effects.mean[self.effects.size + 1 :]
            self.features = float(worth.std(correction=0))
        best = self.effects.best(self._effects.mean).to(codes.dtype)
        self.open = self._effects.deviation(self._additive.rows(best)[0])
        if self._process is not None:
            rest = targets - self._values(codes, self._additive.features, self._effects.mean[:, None])[:, 0]
            if generator is not None:
                self._waited += batches
                if self.interactions >= _LEAST or self._waited >= _SELDOM:
                    self._process.learn(codes, rest, generator, batches)
                    self._waited = 0
            self.interactions = self._process.share
            if self.interactions >= _LEAST:
                self._over = self._process.posterior(codes, rest, worth=targets)
                self._targets = targets[self._over.rows]
                self.open = (self.open**2 + self._over.variance(best)) ** 0.5

    @property
    def effects_mean(self) -> Tensor:
        """Mean of the effects, (size + 1 + F,), once it `knows` anything."""
        return self._effects.mean

    def draw(self, noise: Tensor, spread: float) -> Draws:
        """Draws by white noise (noise_size, n), each a share `spread` of its way from the mean; once it `knows` anything."""
        size = self._linear
        effects = self._effects.mean[:, None] + spread * self._effects.deviations(noise[:size])
        together = list[Functions | FeatureWorth]()
        if self.features >= _MEANS:
            together.append(FeatureWorth(self.meaning, effects[self.effects.size + 1 :], self._joint))
        if self.interactions < _LEAST:
            return Draws(effects, together)
        features = self._additive.features[self._over.rows]
        left = self._targets[:, None] - self._values(self._over.codes, features, effects)
        rest, basis = noise[size : size + FEATURES + len(left)], seeded(len(left))
        return Draws(effects, [*together, Functions(self._over, left, rest, spread, basis)])

    def mean(self, codes: Tensor) -> Tensor:
        """What joint actions (n, L) are expected to be worth, (n,), once it `knows` anything."""
        effects = self._values(codes, self.meaning(codes), self._effects.mean[:, None])[:, 0]
        return effects if self.interactions < _LEAST else effects + self._over.mean(codes)

    def _values(self, codes: Tensor, features: Tensor, effects: Tensor) -> Tensor:
        """Sums (N, n) of effects (size + 1 + F, n) at joint actions (N, L) with features (N, F)."""
        at, share = self.effects.entries(codes)
        sums = torch.einsum("nk,nkm->nm", share, effects[at])
        return sums + features @ effects[self.effects.size + 1 :] if self.meaning.size else sums

    def state_dict(self) -> dict[str, Any]:
        """Exact state, but for the trials."""
        state: dict[str, Any] = {"weights": dict(vars(self._additive.weights)), "turn": self._additive.turn}
        if self._process is not None:
            state |= {"process": self._process.state_dict(), "waited": self._waited}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`; then it has to `see` the trials."""
        self._additive.turn = int(state["turn"])
        self._additive.weights = Weights(**{name: float(value) for name, value in state["weights"].items()})
        if self._process is not None:
            self._process.load_state_dict(state["process"])
            self._waited = int(state["waited"])
        self._forget()
