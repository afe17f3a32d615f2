"""MAPPO: PPO of every agent around one central value (Yu et al. 2022)."""

from dataclasses import dataclass

from torch import Tensor

from ma2ml_agents.baselines.ippo import IPPO, IPPOConfig


@dataclass(frozen=True)
class MAPPOConfig(IPPOConfig):
    """Settings of `MAPPO`: those of `IPPO`, which suit both."""


class MAPPO(IPPO):
    """Multi-agent PPO (Yu et al. 2022, arXiv 2103.01955): `IPPO` but for one V(S) of the states of all agents.

    As in the paper: whole batches, advantages normalised, values on a moving scale of the rewards. Chosen where it leaves it
    open: the agents have controllers of their own, since their decisions differ, and the central input is the states as they
    are. Old log-probabilities are the proposal's where it has finite ones of all agents, else the current policies'.
    """

    Config: type[IPPOConfig] = MAPPOConfig

    def _inputs(self) -> dict[str, int]:
        return {"central": len(self.joint.agents) * self.joint.spec.state_dim}

    def _seen(self, states: Tensor) -> Tensor:
        return states.flatten(1)[:, None]
