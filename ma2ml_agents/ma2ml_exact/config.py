"""Settings of the closed-form learner."""

from dataclasses import dataclass

from ma2ml_env.io.settings import check_ranges

_TARGETS = ("standardised", "ranks", "blend")  # raw ones are not in their deviations


@dataclass(frozen=True)
class ExactConfig:
    """Settings of `MA2MLExact`; rewards count in their standard deviations.

    Raises:
        ValueError: if a setting is out of its range, or two contradict each other.
    """

    lambda_: float = 0.03
    """lambda of eq. 12, what a nat of divergence from the target policies costs. It is multiplied by what trials leave open:
    the deviation of the value of the action that they speak for"""
    mu: float = 0.002
    """temperature of the target policies, which answer the critic's mean"""
    targets: str = "blend"
    """what the critic learns of the rewards: standardised, ranks or blend"""
    ties: bool = True
    """whether decisions of one kind may share effects"""
    order: bool = True
    """whether near choices of an ordered decision may have near effects"""
    features: bool = True
    """whether what the game tells of codes may be worth something"""
    interactions: bool = True
    """whether choices may be worth something together"""
    off_policy: bool = True
    """whether all trials are learned from, or those of the newest batch alone"""
    agents: str = "several"
    """several: each has its own decisions and answers the others; one has all of them"""
    credit: str = "exact"
    """exact, or joint: policies learn from the joint values of their own samples. Only without features and interactions"""
    credit_steps: int = 12
    """of that learning, for each proposal"""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            positive=("lambda_", "mu"),
            at_least_one=("credit_steps",),
            choices={"targets": _TARGETS, "agents": ("several", "one"), "credit": ("exact", "joint")},
        )
        if self.credit == "joint" and (self.interactions or self.features):
            raise ValueError(
                "credit=joint is for a critic that is a sum over decisions: set interactions=false and features=false"
            )
