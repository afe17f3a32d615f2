"""A MARL learner inside, a behaviour policy around it: what the command line runs unless told otherwise."""

from ma2ml_agents.hybrid.config import HybridConfig
from ma2ml_agents.hybrid.learner import Hybrid

__all__ = ["Hybrid", "HybridConfig"]
