"""One controller for all decisions (paper, Fig. 1 left): the same learner, without agents to give credit to."""

from collections.abc import Sequence

from torch import Tensor

from ma2ml_agents.joint import Joint, only_decisions
from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.learner import MA2ML
from ma2ml_env.trial import GameSpec, Proposal

ALL = "all"


class SingleAgent(MA2ML):
    """MA2ML with one policy for all decisions (Fig. 1, left): nobody to give credit to.

    One LSTM takes the decisions agent after agent. Its state is the first agent's; the policy does not read the others'.
    """

    def __init__(
        self, spec: GameSpec, config: MA2MLConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        super().__init__(only_decisions(spec, "single_agent"), config, seed=seed, device=device)

    def _owners(self, spec: GameSpec) -> GameSpec:
        """One policy over everybody's decisions."""
        return GameSpec({ALL: Joint(spec).nvec}, spec.state_dim)

    def proposals(self, codes: Tensor, s: Tensor, log_probs: Tensor | None, origins: Sequence[str]) -> list[Proposal]:
        """Rows (n, L) as proposals; no agent has a log-probability of its own."""
        return super().proposals(codes, s, None, origins)
