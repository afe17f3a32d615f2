"""MA2ML to the letter of the paper: no part of it that the paper does not name."""

from dataclasses import dataclass

from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.learner import MA2ML


@dataclass(frozen=True)
class MA2MLPaperConfig(MA2MLConfig):
    """Settings of `MA2MLPaper`. Where the paper gives no number, a plain one; its symbols are named."""

    updates: int = 24
    """one per trial of a batch of 24 (Algorithm 1, lines 5 to 12)"""
    minibatch: int = 24
    """experiences in an update's minibatch B"""
    lambda_: float = 1e-3
    """weight of the divergence, in units of the reward"""
    lambda_per_decision: bool = False
    """lambda is lambda"""
    tau: float = 0.01
    """how far the target policies follow at each update (eq. 14)"""
    distinct: bool = False
    """repeats included"""
    targets: str = "raw"
    """R itself (eq. 11)"""
    critic_steps: int = 1
    """one step of the critic per update of the policies (line 10)"""
    critic_minibatch: int = 24
    """the same B: line 9 draws one for critic and policies"""
    ensemble: int = 1
    """one critic"""
    critic_sees_states: bool = True
    """Q(S, A)"""


class MA2MLPaper(MA2ML):
    """MA2ML to the letter: equations 3 and 11 to 14 and Algorithm 1, and no part that the paper does not name."""

    Config: type[MA2MLConfig] = MA2MLPaperConfig
