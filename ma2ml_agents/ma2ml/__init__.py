"""The paper's learner."""

from ma2ml_agents.ma2ml.config import MA2MLConfig
from ma2ml_agents.ma2ml.learner import MA2ML

__all__ = ["MA2ML", "MA2MLConfig"]
