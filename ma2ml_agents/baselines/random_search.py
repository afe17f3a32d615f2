"""Random search: every code uniformly, nothing learned. The floor that a learner must leave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ma2ml_agents.joint import Joint
from ma2ml_agents.learner import States
from ma2ml_agents.saving import seeded
from ma2ml_env.trial import GameSpec, Proposal, Trial


@dataclass(frozen=True)
class RandomSearchConfig:
    """Settings of `RandomSearch`: there are none."""


class RandomSearch:
    """Draws every decision uniformly and independently, whatever the states."""

    Config = RandomSearchConfig

    def __init__(
        self, spec: GameSpec, config: RandomSearchConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = config or self.Config()
        self.joint = Joint(spec)
        self.generator = seeded(seed)
        sizes = torch.tensor(self.joint.nvec, dtype=torch.float64)
        self._sizes = sizes
        sizes = sizes.clamp(min=1.0)  # the density of an interval, 0 in nvec, is 1
        self._log_probs = torch.stack([-sizes[self.joint.slices[agent]].log().sum() for agent in self.joint.agents])

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Draw n proposals; see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        uniform = torch.rand(n, len(self._sizes), generator=self.generator, dtype=torch.float64)  # in [0, 1 - 2^-53]
        codes = (uniform * self._sizes).floor()
        codes = torch.where(self._sizes > 0, codes, uniform)
        return self.joint.proposals(codes, s, self._log_probs.expand(n, -1), ["random"] * n)

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Report the mean reward; see `Learner.tell`."""
        if not trials:
            return {}
        _, _, rewards = self.joint.read(trials, self.generator)
        return {"reward": sum(rewards) / len(rewards), "updates": 0.0}

    def state_dict(self) -> dict[str, Any]:
        """The random state; see `Learner.state_dict`."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.generator.set_state(state["generator"])
