"""MA2ML to the letter of the paper: no part that it does not name, but for Adam and the clipping of gradients."""

from dataclasses import dataclass

from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.learner import MA2ML


@dataclass(frozen=True)
class MA2MLPaperConfig(MA2MLConfig):
    """Settings of `MA2MLPaper`. The paper publishes none of them; one configuration serves all games."""

    updates: int = 8
    """updates U after each batch of 24: one for each trial (lines 5 to 12) settles the policies within a few batches;
    0 is no learning"""
    minibatch: int = 64
    """experiences in a minibatch B"""
    critic_minibatch: int = 64
    """experiences in a step of the critic: the same B, since line 9 draws one for critic and policies"""
    critic_steps: int = 1
    """steps of the critic for each update of the policies (line 10)"""
    targets: str = "standardised"
    """what the critic learns: R in units of its standard deviation, about its mean, over the rewards so far. The paper names no
    unit; this one gives lambda the same meaning on every game, and the shift changes no gradient of eq. 13"""
    lambda_: float = 0.03
    """weight of the divergence (eq. 5), in units of the critic's targets"""
    lambda_per_decision: bool = False
    """divide lambda by the game's number of decisions; False: lambda as it is"""
    tau: float = 0.05
    """how far the target policies follow at each update (eq. 14)"""
    ensemble: int = 1
    """critics, of which the mean is used; one in the paper"""
    critic_sees_states: bool = True
    """True: Q(S, A), as in eq. 11; False: Q(A)"""
    distinct: bool = False
    """draw a known pipeline again; False: repeats are trained"""


class MA2MLPaper(MA2ML):
    """MA2ML to the letter: equations 3 and 11 to 14 and Algorithm 1, and no part that the paper does not name."""

    Config: type[MA2MLConfig] = MA2MLPaperConfig
