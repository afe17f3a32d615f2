"""What rivals share that remember all trials: memory, generator, and codes that are new."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from ma2ml_agents.baselines.moves import Memory, Moves, moved_on
from ma2ml_agents.joint import Codes, Joint, only_decisions
from ma2ml_agents.learner import States
from ma2ml_agents.saving import seeded
from ma2ml_env.trial import GameSpec, Proposal, Trial


class Remembering:
    """What a learner of decisions alone has that remembers all trials; a subclass asks.

    It makes a model of somebody else's package anew from the trials, with a seed from the learner's own generator. So a state
    holds nothing of the package's, and what is asked and never told leaves no trace.
    """

    name: ClassVar[str]
    """in the registry; the origin of its proposals"""

    def __init__(self, spec: GameSpec, *, seed: int) -> None:
        self.joint = Joint(only_decisions(spec, self.name))
        self.generator = seeded(seed)
        self.moves = Moves(self.joint.nvec, self.generator)
        self.memory = Memory(len(self.joint.nvec))

    def new(self, codes: Codes) -> Codes:
        """The codes, those moved on that are known or stand further up."""
        return moved_on(codes, self.memory, self.moves)

    def seed(self) -> int:
        """Draw a seed for somebody else's generator."""
        return int(self.moves.below(2**31 - 1, 1))

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Remember trials; see `Learner.tell`."""
        if not trials:
            return {}
        codes, _, rewards = self.joint.read(trials, self.generator)
        self.memory.add(codes, rewards)
        return {"reward": sum(rewards) / len(rewards), "updates": 0.0}

    def state_dict(self) -> dict[str, Any]:
        """All trials and the random state; see `Learner.state_dict`."""
        return {"memory": self.memory.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.memory.load_state_dict(state["memory"])
        self.generator.set_state(state["generator"])


class Picking(Remembering, ABC):
    """One that says in `pick` which codes come next, whatever the states."""

    @abstractmethod
    def pick(self, n: int) -> Codes:
        """The next n >= 1 codes, (n, L)."""

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """The next n codes, none of them known while there are others; see `Learner.ask`."""
        s = self.joint.states(n, states, self.generator)
        codes = self.new(self.pick(n)) if n else self.memory.codes[:0]
        return self.joint.proposals(torch.from_numpy(codes), s, None, [self.name] * n)
