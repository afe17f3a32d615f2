"""Local search (White et al. 2021, "Exploring the loss landscape in neural architecture search")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ma2ml_agents.baselines.moves import Memory, Moves, moved_on
from ma2ml_agents.joint import Codes, Joint, only_decisions
from ma2ml_agents.learner import States
from ma2ml_agents.saving import seeded
from ma2ml_env.trial import GameSpec, Proposal, Trial


@dataclass(frozen=True)
class LocalSearchConfig:
    """Settings of `LocalSearch`: there are none."""


class LocalSearch:
    """Tries the neighbours of the best code found, in random order; moves to a better one; starts anew at a local optimum.

    A neighbour differs in one decision. The paper moves at the first improvement ("query until lower"); here a batch is tried,
    then the search moves to the best of it if that improves, so a batch of one is the paper's form. A start is the best of a
    batch of random codes. What is told from outside counts: the search moves to a foreign trial that is better. No code is
    proposed twice while that can be helped; where fewer neighbours are left than asked for, random codes fill the batch.
    """

    Config = LocalSearchConfig

    def __init__(
        self, spec: GameSpec, config: LocalSearchConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = config or self.Config()
        self.joint = Joint(only_decisions(spec, "local_search"))
        self.generator = seeded(seed)
        self.moves = Moves(self.joint.nvec, self.generator)
        self.memory = Memory(len(self.joint.nvec))
        self.incumbent = -1  # its row in the memory; -1 before a start

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Untried neighbours of the incumbent, then random codes; see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        near = self._untried()
        near = near[self.moves.shuffled(len(near))[:n]]
        random = n - len(near)
        codes = moved_on(np.concatenate([near, self.moves.uniform(random)]), self.memory, self.moves)
        origins = ["neighbour"] * len(near) + ["random"] * random
        return self.joint.proposals(torch.from_numpy(codes), s, None, origins)

    def _untried(self) -> Codes:
        if self.incumbent < 0:
            return self.memory.codes[:0]
        near = self.moves.neighbours(self.memory.codes[self.incumbent])
        return near[[row.tobytes() not in self.memory.known for row in near]]

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Move to the best of these trials if it improves, or give the incumbent up; see `Learner.tell`."""
        if not trials:
            return {}
        codes, _, rewards = self.joint.read(trials, self.generator)
        best = len(self.memory) + int(np.argmax(rewards))
        self.memory.add(codes, rewards)
        moved = self.incumbent < 0 or self.memory.rewards[best] > self.memory.rewards[self.incumbent]
        if moved:
            self.incumbent = best
        level = float(self.memory.rewards[self.incumbent])
        restart = not len(self._untried())
        if restart:  # a local optimum
            self.incumbent = -1
        return {
            "reward": sum(rewards) / len(rewards),
            "incumbent": level,
            "restarts": float(restart),
            "updates": float(moved),
        }

    def state_dict(self) -> dict[str, Any]:
        """All trials, the incumbent and the random state; see `Learner.state_dict`."""
        return {
            "memory": self.memory.state_dict(),
            "incumbent": self.incumbent,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.memory.load_state_dict(state["memory"])
        self.incumbent = int(state["incumbent"])
        self.generator.set_state(state["generator"])
