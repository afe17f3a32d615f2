"""Settings of the hybrid learner: who learns inside, and what a batch is made of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ma2ml_agents.ma2ml.learner import MA2ML
from ma2ml_agents.registry import make_config
from ma2ml_agents.variants.entropy import Entropy
from ma2ml_agents.variants.single_agent import SingleAgent
from ma2ml_env.io.settings import check_ranges

POLICIES: dict[str, type[MA2ML]] = {"ma2ml": MA2ML, "entropy": Entropy, "single_agent": SingleAgent}
"""the MARL learners that may stand inside, by their names in the registry"""


@dataclass(frozen=True)
class HybridConfig:
    """Settings of `Hybrid`. Defaults were tuned on synthetic landscapes and tables of 5 to 100 decisions.

    Raises:
        ValueError: if a setting is out of its range.
    """

    policies: str = "ma2ml"
    """the MARL learner inside: ma2ml, entropy or single_agent"""
    policy_settings: Mapping[str, Any] = field(default_factory=dict)
    """its settings, as in {"credit": "shared"}; those that are not named have its defaults, and are filled in"""
    response_share: float = 0.75
    """share of a batch that are best responses to draws of the additive critic (`additive.py`)"""
    response_spread: float = 0.3
    """how far these draws lie from their mean, as a share of the posterior's deviation; 1: Thompson sampling"""
    policy_share: float = 0.1
    """share of what responses leave of a batch that the policies draw; the rest is chosen among candidates"""
    candidates: int = 16
    """candidates for each proposal that is chosen among them (`behaviour.py`); 1: none is, the policies draw all the rest"""
    mutant_share: float = 0.8
    """of what is chosen, descendants of the best pipelines that a Gaussian process likes (`gaussian.py`)"""
    parents: int = 30
    """how many of the best pipelines these start from"""
    rounds: int = 5
    """generations of these before a pipeline is trained"""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            at_least_one=("candidates", "parents", "rounds"),
            not_negative=("response_spread",),
            shares=("response_share", "policy_share", "mutant_share"),
            choices={"policies": POLICIES},
        )
        inner = make_config(POLICIES[self.policies].Config, self.policy_settings, self.policies)
        object.__setattr__(self, "policy_settings", asdict(inner))
