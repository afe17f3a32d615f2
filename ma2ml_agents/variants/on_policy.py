"""MA2ML on-policy: the ablation of the paper's Fig. 5, MA2ML without off-policy learning."""

from collections.abc import Sequence
from dataclasses import dataclass

from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.learner import MA2ML
from ma2ml_env.trial import Trial


@dataclass(frozen=True)
class OnPolicyConfig(MA2MLConfig):
    """Settings of `OnPolicy`: those of MA2ML, but for these."""

    updates: int = 4
    """updates U of the policies after each batch of trials; every one draws its actions from the current policies;
    0 is no learning"""
    minibatch: int = 32
    """experiences in an update's minibatch B"""
    tau: float = 0.05
    """how far the target policies follow at each update"""
    critic_steps: int = 16
    """steps of the critic per update"""
    targets: str = "standardised"
    """what the critic learns of the rewards of the newest batch; see `returns.py`"""
    distinct: bool = False
    """False: proposals are the policies' own draws, repeats included"""


class OnPolicy(MA2ML):
    """MA2ML without off-policy learning (Fig. 5): critic and policies learn from the newest batch alone.

    It has the same controllers, critic, credit assignment and divergence as `MA2ML`, at settings of its own.

    It keeps policies, target policies, the critic and the moments of their optimizers over batches, and forgets the trials. A
    batch is compared with itself, so it needs two trials to teach anything. `MA2ML` with `capacity=24` shows what replay alone
    is worth, all other settings being equal.
    """

    Config: type[MA2MLConfig] = OnPolicyConfig

    def remember(self, trials: Sequence[Trial]) -> float:
        """Store the newest trials, and forget all others; return the mean reward."""
        reward = super().remember(trials)
        self.replay.keep_newest(len(trials))
        return reward
