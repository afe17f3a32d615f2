"""MA2ML with an entropy bonus instead of the divergence (paper, eq. 4): what section 3.5 argues against."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ma2ml_agents.joint import only_decisions
from ma2ml_agents.ma2ml.actor import Actor
from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.learner import MA2ML
from ma2ml_agents.policies.controllers import IMPOSSIBLE, Controller
from ma2ml_env.trial import GameSpec


@dataclass(frozen=True)
class EntropyConfig(MA2MLConfig):
    """Settings of `Entropy`: those of MA2ML, but for these."""

    lambda_: float = 0.3
    """weight of the entropy in eq. 4, in units of the critic's targets; divided like MA2ML's"""


class UniformTarget(Actor):
    """An actor whose target policy is the uniform one, and never moves."""

    def target(self, states: Tensor, codes: Tensor) -> Tensor:
        """Log-probabilities of the uniform policy: (n, state_dim), (n, T) -> (n, T, C)."""
        sizes = torch.tensor(self.policy.nvec, dtype=torch.float32, device=codes.device)
        table = (-sizes.log())[:, None].expand(self.policy.mask.shape).masked_fill(self.policy.mask, IMPOSSIBLE)
        return table.expand(len(codes), *table.shape)

    def follow(self, tau: float) -> None:
        """Do nothing."""


class Entropy(MA2ML):
    """MA2ML with an entropy bonus (eq. 4) in place of the divergence (eq. 5).

    Every agent maximises R + lambda H(pi_i), in the manner of SAC.

    H(pi) = log |A_i| - D_KL(pi || uniform), so the target policy is the uniform one. The optimum of eq. 4 is therefore not that
    of the reward, but the Boltzmann policy exp(Q / lambda); with eq. 5 the bias fades as rho follows pi.
    """

    Config: type[MA2MLConfig] = EntropyConfig

    def __init__(
        self, spec: GameSpec, config: MA2MLConfig | None = None, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        super().__init__(only_decisions(spec, "entropy"), config, seed=seed, device=device)

    def _actor(self, policy: Controller) -> Actor:
        return UniformTarget(policy.to(self.device), self.config.policy_lr)
