"""MA2ML on-policy: the ablation of the paper's Fig. 5, MA2ML without off-policy learning."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ma2ml_agents.joint import Codes
from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.learner import MA2ML


@dataclass(frozen=True)
class OnPolicyConfig(MA2MLConfig):
    """Settings of `OnPolicy`: those of MA2ML, but for these."""

    updates: int = 4
    """updates U of the policies after each batch of trials; every one draws its actions anew from the current policies"""
    minibatch: int = 32
    """experiences in an update's minibatch B"""
    tau: float = 0.05
    """how far the target policies follow at each update"""
    restart: float = 0.0
    """never"""
    critic_steps: int = 16
    """steps of the critic per update"""
    response_share: float = 0.0
    """none"""
    candidates: int = 1
    """1: the policies' draws are trained"""
    targets: str = "standardised"
    """what the critic learns of the rewards of the newest batch; see `returns.py`"""
    distinct: bool = False
    """False: proposals are the policies' own draws, repeats included"""


class OnPolicy(MA2ML):
    """The same controllers, critic, credit assignment and divergence as `MA2ML`, without its data, at settings of its own.

    What is kept over batches: policies, target policies, the critic and the moments of their optimizers. What is not: trials.
    Critic and policies are trained on the newest batch alone, with states S of that batch and actions as `actions` says. A
    batch is compared with itself, so it needs two trials to teach anything. What one setting is worth, all others being equal,
    is `MA2ML` with `capacity=24`.
    """

    Config: type[MA2MLConfig] = OnPolicyConfig

    def _store(self, codes: Codes, states: NDArray[np.float32], rewards: list[float]) -> None:
        self.replay.clear()
        super()._store(codes, states, rewards)
