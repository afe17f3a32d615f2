"""One controller for all decisions (paper, Fig. 1 left): the same learner, without agents to give credit to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ma2ml_agents.joint import Joint, only_decisions
from ma2ml_agents.learner import States
from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.learner import MA2ML
from ma2ml_env.trial import GameSpec, Proposal, Trial

ALL = "all"


@dataclass(frozen=True)
class SingleAgentConfig(MA2MLConfig):
    """Settings of `SingleAgent`: those of MA2ML."""


class SingleAgent:
    """`MA2ML` on the game in which one agent takes all decisions, agent after agent, by one LSTM.

    Its state is the first agent's; the others' play no part.
    """

    Config: type[MA2MLConfig] = SingleAgentConfig

    def __init__(
        self, spec: GameSpec, config: MA2MLConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.config = config or self.Config()
        self.joint = Joint(only_decisions(spec, "single_agent"))
        merged = GameSpec({ALL: self.joint.nvec}, spec.state_dim)
        self.inner = MA2ML(merged, self.config, seed=seed, device=device)

    def ask(self, n: int, states: States | None = None) -> list[Proposal]:
        """Draw n proposals; see `Learner.ask`."""
        s = self.joint.states(n, states, self.inner.generator)
        first = [{ALL: row} for row in s[:, 0].numpy()]
        agents, slices = self.joint.agents, self.joint.slices
        return [
            replace(
                proposal,
                codes={agent: proposal.codes[ALL][slices[agent]] for agent in agents},
                states={agent: tuple(row) for agent, row in zip(agents, numbers, strict=True)},
                log_probs=None,  # no agent has one of its own
            )
            for proposal, numbers in zip(self.inner.ask(n, first), s.tolist(), strict=True)
        ]

    def tell(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Learn; see `Learner.tell`."""
        if not trials:
            return {}
        codes, _, _ = self.joint.read(trials, self.inner.generator)
        merged = []
        for trial, row in zip(trials, codes.tolist(), strict=True):
            given = trial.proposal
            state = {ALL: given.states[self.joint.agents[0]]} if given.states else {}
            merged.append(replace(trial, proposal=Proposal({ALL: tuple(row)}, state, None, given.origin)))
        return self.inner.tell(merged)

    def state_dict(self) -> dict[str, Any]:
        """Exact state; see `Learner.state_dict`."""
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.inner.load_state_dict(state)
