"""Settings of MA2ML. The paper publishes none of them; what deviates from its letter says how to switch it back."""

from dataclasses import dataclass
from itertools import pairwise

from ma2ml_agents.returns import TARGETS
from ma2ml_env.io.settings import check_ranges

CREDITS = ("counterfactual", "shared")
HEAVIEST = 100_000_000
"""weights of all critics between their hidden layers"""


@dataclass(frozen=True)
class MA2MLConfig:
    """Settings of `MA2ML`. Defaults were tuned on synthetic landscapes and tables of 5 to 100 decisions.

    Raises:
        ValueError: if a setting is out of its range.
    """

    hidden: int = 100
    """LSTM units of a controller (NASNet, AutoAugment)"""
    embedding: int = 32
    """length of the vector that stands for a choice in a controller"""
    policy_lr: float = 5e-3
    """Adam's step size of the policies, eta_theta"""
    updates: int = 8
    """updates U of the policies after each batch of trials, and after each 24 of a larger one; Algorithm 1 read to the letter
    has one per trial; 0 is no learning"""
    minibatch: int = 16
    """experiences in an update's minibatch B"""
    samples: int = 4
    """samples K of an agent's action in its counterfactual baseline (eq. 3)"""
    credit: str = "counterfactual"
    """an agent's baseline: counterfactual (eq. 3), or shared: the minibatch's mean Q for all agents, no credit assignment"""
    lambda_: float = 3.0
    """weight of the divergence (eq. 5), in units of the critic's targets"""
    lambda_per_decision: bool = True
    """divide lambda by the game's number of decisions, as the log-ratio is a sum over them; False: the paper's letter"""
    tau: float = 0.02
    """how far the target policies follow at each update (eq. 14), in (0, 1]"""
    grad_clip: float = 10.0
    """largest norm of a policy's gradient"""
    distinct: bool = True
    """draw a proposal again, from hotter policies, while its code is known; False, the paper's letter: repeats are trained"""
    targets: str = "blend"
    """what the critics learn of the rewards: blend, ranks, standardised or raw (the paper's letter; see `returns.py`)"""
    critic_hidden: tuple[int, ...] = (32, 32)
    """widths of the critic's hidden layers"""
    critic_lr: float = 3e-3
    """Adam's step size of the critic, eta_phi"""
    critic_steps: int = 24
    """steps of the critic per update; 1 is the paper's letter"""
    critic_minibatch: int = 64
    """experiences in a step of the critic; one step on as many as `minibatch` takes the same ones, the paper's letter"""
    ensemble: int = 4
    """critics with initial weights of their own, of which the mean is used; 1 is the paper's letter"""
    critic_sees_states: bool = False
    """True: Q(S, A) to the letter; False: Q(A), as S says nothing about the reward"""
    capacity: int = 10_000
    """newest trials that critic and policies are trained on, the buffer D; by default all of a search of the paper"""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=("minibatch", "samples", "critic_steps", "critic_minibatch", "ensemble", "capacity"),
            positive=("grad_clip",),
            not_negative=("updates", "lambda_", "policy_lr", "critic_lr"),
            units=("hidden", "embedding"),
            layers=("critic_hidden",),
            choices={"targets": TARGETS, "credit": CREDITS},
        )
        weights = self.ensemble * sum(one * other for one, other in pairwise(self.critic_hidden))
        if weights > HEAVIEST:
            raise ValueError(f"ensemble and critic_hidden make {weights:,} weights, more than {HEAVIEST:,}")
        if not 0 < self.tau <= 1:
            raise ValueError(f"tau lies in (0, 1], not {self.tau}")
