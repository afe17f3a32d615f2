"""Regularised evolution (Real et al. 2019, "Regularized evolution for image classifier architecture search")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ma2ml_agents.baselines.moves import Memory, Moves, moved_on
from ma2ml_agents.joint import Codes, Joint
from ma2ml_agents.learner import States
from ma2ml_agents.saving import seeded
from ma2ml_env.io.settings import check_ranges
from ma2ml_env.trial import GameSpec, Proposal, Trial


@dataclass(frozen=True)
class EvolutionConfig:
    """Settings of `Evolution`.

    Raises:
        ValueError: if a setting is out of its range.
    """

    population: int = 24
    """P: parents are among the newest P trials; older ones have died"""
    sample: int = 24
    """S: a parent is the best of S, drawn from the population with replacement; 1 is no selection at all"""
    distinct: bool = True
    """move a child on until its code is new, in this batch too; False: the paper's form, with repeats"""

    def __post_init__(self) -> None:
        check_ranges(self, at_least_one=("population", "sample"))


class Evolution:
    """Regularised evolution (Real et al. 2019) in batches.

    All children of a batch have their parents in the population as it was told.

    The first P trials are random; foreign ones count. A mutation sets one decision, drawn uniformly, to another of its
    choices, as the paper's mutations change one thing each, or moves an interval by a step; its identity mutation (probability
    .05) is left out, as it would only repeat trials. No-repeat proposals are not in the paper: a child that is known is mutated
    again, further and further from its parent, until it is new, within bounds.
    """

    Config = EvolutionConfig

    def __init__(
        self, spec: GameSpec, config: EvolutionConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = config or self.Config()
        self.joint = Joint(spec)
        self.generator = seeded(seed)
        self.moves = Moves(self.joint.nvec, self.generator)
        self.memory = Memory(len(self.joint.nvec), self.joint.dtype)

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Random codes while the population is not full, then children; see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        random = min(n, max(0, self.config.population - len(self.memory))) if len(self.memory) else n
        codes = np.concatenate([self.moves.uniform(random), self.moves.mutated(self._parents(n - random))])
        if self.config.distinct:
            codes = moved_on(codes, self.memory, self.moves)
        origins = ["random"] * random + ["mutation"] * (n - random)
        return self.joint.proposals(torch.from_numpy(codes), s, None, origins)

    def _parents(self, n: int) -> Codes:
        """The best of S of each of n tournaments among the newest P trials: (n, L)."""
        if not n:
            return self.memory.codes[:0]
        codes, rewards = self.memory.codes[-self.config.population :], self.memory.rewards[-self.config.population :]
        drawn = self.moves.below(len(rewards), n * self.config.sample).reshape(n, -1).numpy()
        winners: Codes = codes[drawn[np.arange(n), rewards[drawn].argmax(axis=1)]]
        return winners

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Add trials to the population; see `Learner.tell`."""
        if not trials:
            return {}
        codes, _, rewards = self.joint.read(trials, self.generator)
        self.memory.add(codes, rewards)
        population = self.memory.rewards[-self.config.population :]
        return {"reward": sum(rewards) / len(rewards), "population": float(population.mean()), "updates": 1.0}

    def state_dict(self) -> dict[str, Any]:
        """All trials and the random state; see `Learner.state_dict`."""
        return {"memory": self.memory.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.memory.load_state_dict(state["memory"])
        self.generator.set_state(state["generator"])
