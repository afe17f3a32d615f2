"""Settings of MA2ML. The paper publishes none of them; what deviates from its letter says how to switch it back."""

from dataclasses import dataclass

from ma2ml_agents.ma2ml.credit import ACTIONS
from ma2ml_agents.returns import TARGETS

CREDITS = ("counterfactual", "shared")
DIVERGENCES = ("exact", "sampled")


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
    actions: str = "fresh"
    """where the actions of eq. 13's expectation come from: fresh, mixed or buffer (`credit.take`)"""
    updates: int = 8
    """updates U of the policies after each batch of trials, and after each 24 of a larger one; Algorithm 1 read to the letter
    has one per trial"""
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
    target_every: int = 1
    """updates of the policies between two of the target policies; with tau = 1 these are hard copies"""
    kl: str = "exact"
    """divergence along a sampled action: exact at every step, or sampled: the log-ratio of what was drawn"""
    restart: float = 0.12
    """policies are drawn anew when their entropy falls below this share of the uniform ones'; 0, the paper's letter: never"""
    grad_clip: float = 10.0
    """largest norm of a policy's gradient"""

    distinct: bool = True
    """draw a proposal anew, each time from hotter policies, while its code is in the replay; False, the paper's letter, also
    means that nothing is screened"""

    response_share: float = 0.75
    """share of a batch that are best responses to draws of the additive critic (`additive.py`); 0: none, the letter"""
    response_spread: float = 0.3
    """how far these draws lie from their mean, as a share of the posterior's deviation; 1: Thompson sampling"""

    candidates: int = 16
    """candidates for each proposal that is chosen among them (`behaviour.py`); 1: what policies draw is trained, the letter"""
    mutant_share: float = 0.8
    """of what is chosen, descendants of the best pipelines that a Gaussian process likes (`gaussian.py`); 0: there is none"""
    rounds: int = 5
    """generations of these before a pipeline is trained"""
    parents: int = 30
    """how many of the best pipelines these start from"""
    policy_share: float = 0.1
    """share of what responses leave of a batch that is not chosen but drawn by the policies"""

    targets: str = "blend"
    """what the critics learn of the rewards: blend, ranks, standardised or raw (the paper's letter; see `returns.py`)"""
    critic_hidden: tuple[int, ...] = (32, 32)
    """widths of the critic's hidden layers"""
    shallow: float = 0.5
    """share of the ensemble whose members end after the first of them"""
    critic_lr: float = 3e-3
    """AdamW's step size of the critic, eta_phi"""
    critic_steps: int = 24
    """steps of the critic per update; 1 is the paper's letter"""
    critic_minibatch: int = 64
    """experiences in a step of the critic; one step on as many as `minibatch` takes the same ones, the paper's letter"""
    weight_decay: float = 2.0
    """of the critic, AdamW"""
    ensemble: int = 4
    """critics with initial weights of their own, of which the mean is used; 1 is the paper's letter"""
    linear: bool = True
    """a linear term beside the critic's network; False: the network alone"""
    critic_sees_states: bool = False
    """True: Q(S, A) to the letter; False: Q(A), as S says nothing about the reward"""
    capacity: int = 10_000
    """newest trials that critic and policies are trained on, the buffer D; by default all of a search of the paper"""

    def __post_init__(self) -> None:
        choices = {"actions": ACTIONS, "targets": tuple(TARGETS), "credit": CREDITS, "kl": DIVERGENCES}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")
        for name in (
            "hidden",
            "embedding",
            "minibatch",
            "samples",
            "critic_steps",
            "critic_minibatch",
            "ensemble",
            "capacity",
            "candidates",
            "parents",
            "rounds",
            "target_every",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        for name in (
            "updates",
            "lambda_",
            "policy_lr",
            "critic_lr",
            "weight_decay",
            "restart",
            "response_spread",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is not negative; it is {getattr(self, name)}")
        for name in ("policy_share", "mutant_share", "response_share", "shallow"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies in [0, 1], not {getattr(self, name)}")
        if not 0 < self.tau <= 1:
            raise ValueError(f"tau lies in (0, 1], not {self.tau}")
